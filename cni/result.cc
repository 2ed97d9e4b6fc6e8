#include "cni/result.h"

#include <linux/rtnetlink.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "cni/json.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// Writes keys in the order of the assignments.
using Out = nlohmann::ordered_json;

std::string Text(const Out& json) {
  // Names and messages come from outside: invalid UTF-8 is replaced instead of thrown.
  return json.dump(-1, ' ', false, Out::error_handler_t::replace);
}

Out DnsOut(const Dns& dns) {
  Out out = Out::object();
  if (!dns.nameservers.empty()) out["nameservers"] = dns.nameservers;
  if (!dns.domain.empty()) out["domain"] = dns.domain;
  if (!dns.search.empty()) out["search"] = dns.search;
  if (!dns.options.empty()) out["options"] = dns.options;
  return out;
}

Out RouteOut(const ResultRoute& route, SpecVersion version) {
  Out out = {{"dst", route.destination.ToString()}};
  if (route.gateway) out["gw"] = route.gateway->ToString();
  if (version < SpecVersion::k110) return out;
  if (route.mtu) out["mtu"] = *route.mtu;
  if (route.advmss) out["advmss"] = *route.advmss;
  if (route.priority) out["priority"] = *route.priority;
  if (route.table) out["table"] = *route.table;
  if (route.scope) out["scope"] = *route.scope;
  return out;
}

// ip4 or ip6 of versions up to 0.2.0: {ip, gateway, routes}. Null if the family has no address.
Out FamilyOut(const CniResult& result, int family) {
  for (const ResultAddress& address : result.addresses) {
    if (address.address.address.family() != family) continue;
    Out out = {{"ip", address.address.ToString()}};
    if (address.gateway) out["gateway"] = address.gateway->ToString();
    for (const ResultRoute& route : result.routes) {
      if (route.destination.address.family() != family) continue;
      out["routes"].push_back(RouteOut(route, SpecVersion::k020));
    }
    return out;
  }
  return nullptr;
}

// Versions from 0.3.0. `first_interface` is the number of interfaces that precede these.
Out ResultOut(const CniResult& result, SpecVersion version, size_t first_interface) {
  Out out = {{"cniVersion", std::string(ToString(version))}};
  for (const ResultInterface& interface : result.interfaces) {
    Out one = {{"name", interface.name}};
    if (!interface.mac.empty()) one["mac"] = interface.mac;
    if (version >= SpecVersion::k110 && interface.mtu != 0) one["mtu"] = interface.mtu;
    if (!interface.sandbox.empty()) one["sandbox"] = interface.sandbox;
    out["interfaces"].push_back(std::move(one));
  }
  for (const ResultAddress& address : result.addresses) {
    Out one = Out::object();
    if (version <= SpecVersion::k040) one["version"] = address.address.address.is_v4() ? "4" : "6";
    if (address.interface) one["interface"] = first_interface + *address.interface;
    one["address"] = address.address.ToString();
    if (address.gateway) one["gateway"] = address.gateway->ToString();
    out["ips"].push_back(std::move(one));
  }
  for (const ResultRoute& route : result.routes) {
    out["routes"].push_back(RouteOut(route, version));
  }
  if (!result.dns.empty()) out["dns"] = DnsOut(result.dns);
  return out;
}

absl::StatusOr<ResultAddress> ParseAddress(const Json& value, absl::string_view key) {
  const Json* text = Find(value, key);
  if (text == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("an address has no \"", key, "\""));
  }
  ASSIGN_OR_RETURN(const std::string prefix, AsString(*text, key));
  ResultAddress address;
  ASSIGN_OR_RETURN(address.address, IpPrefix::Parse(prefix));
  if (const Json* gateway = Find(value, "gateway")) {
    ASSIGN_OR_RETURN(const std::string via, AsString(*gateway, "gateway"));
    if (!via.empty()) {
      ASSIGN_OR_RETURN(address.gateway, IpAddress::Parse(via));
    }
  }
  return address;
}

absl::StatusOr<CniResult> ReadIpamResult(const Json& json) {
  if (const Json* version = Find(json, "cniVersion")) {
    ASSIGN_OR_RETURN(const std::string text, AsString(*version, "cniVersion"));
    if (!text.empty() && !ParseSpecVersion(text)) {
      return absl::InvalidArgumentError(absl::StrCat("cniVersion: unknown version ", text));
    }
  }
  CniResult result;
  if (const Json* ips = Find(json, "ips")) {  // from 0.3.0
    if (!ips->is_array()) {
      return absl::InvalidArgumentError(absl::StrCat("ips: not a list but ", Show(*ips)));
    }
    for (const Json& ip : *ips) {
      ASSIGN_OR_RETURN(ResultAddress address, ParseAddress(ip, "address"));
      result.addresses.push_back(std::move(address));
    }
  }
  if (const Json* routes = Find(json, "routes")) {
    ASSIGN_OR_RETURN(result.routes, AsRoutes(*routes));
  }
  for (const char* family : {"ip4", "ip6"}) {  // up to 0.2.0
    const Json* ip = Find(json, family);
    if (ip == nullptr) continue;
    ASSIGN_OR_RETURN(ResultAddress address, ParseAddress(*ip, "ip"));
    result.addresses.push_back(std::move(address));
    if (const Json* routes = Find(*ip, "routes")) {
      ASSIGN_OR_RETURN(const std::vector<ResultRoute> more, AsRoutes(*routes));
      result.routes.insert(result.routes.end(), more.begin(), more.end());
    }
  }
  if (const Json* dns = Find(json, "dns")) {
    ASSIGN_OR_RETURN(result.dns, AsDns(*dns));
  }
  return result;
}

absl::StatusOr<ResultInterface> ParseInterface(const Json& value) {
  ResultInterface interface;
  const Json* name = Find(value, "name");
  if (name == nullptr) return absl::InvalidArgumentError("an interface has no \"name\"");
  ASSIGN_OR_RETURN(interface.name, AsString(*name, "interfaces[].name"));
  if (const Json* mac = Find(value, "mac")) {
    ASSIGN_OR_RETURN(interface.mac, AsString(*mac, "interfaces[].mac"));
  }
  if (const Json* mtu = Find(value, "mtu")) {
    ASSIGN_OR_RETURN(interface.mtu, AsNumber(*mtu, "interfaces[].mtu", UINT32_MAX));
  }
  if (const Json* sandbox = Find(value, "sandbox")) {
    ASSIGN_OR_RETURN(interface.sandbox, AsString(*sandbox, "interfaces[].sandbox"));
  }
  return interface;
}

absl::StatusOr<CniResult> ReadResult(const Json& value) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("not an object but ", Show(value)));
  }
  ASSIGN_OR_RETURN(CniResult result, ReadIpamResult(value));
  if (const Json* interfaces = Find(value, "interfaces")) {
    if (!interfaces->is_array()) {
      return absl::InvalidArgumentError(
          absl::StrCat("interfaces: not a list but ", Show(*interfaces)));
    }
    for (const Json& one : *interfaces) {
      ASSIGN_OR_RETURN(ResultInterface interface, ParseInterface(one));
      result.interfaces.push_back(std::move(interface));
    }
  }
  if (const Json* ips = Find(value, "ips")) {
    for (size_t i = 0; i < ips->size(); ++i) {
      const Json* index = Find((*ips)[i], "interface");
      if (index == nullptr) continue;
      ASSIGN_OR_RETURN(result.addresses[i].interface,
                       AsNumber(*index, "ips[].interface", UINT32_MAX));
    }
  }
  return result;
}

}  // namespace

absl::StatusOr<CniResult> AsResult(const Json& value) {
  absl::StatusOr<CniResult> result = ReadResult(value);
  if (!result.ok()) return Annotate(result.status(), "prevResult");
  return result;
}

bool ResultRoute::IsDefault() const {
  return destination.length == 0 && table.value_or(RT_TABLE_MAIN) == RT_TABLE_MAIN;
}

std::optional<SpecVersion> ParseSpecVersion(absl::string_view text) {
  for (size_t i = 0; i < kSpecVersions.size(); ++i) {
    if (kSpecVersions[i] == text) return static_cast<SpecVersion>(i);
  }
  return std::nullopt;
}

std::string FormatResult(const CniResult& result, SpecVersion version) {
  if (version <= SpecVersion::k020) {
    Out out = {{"cniVersion", std::string(ToString(version))}};
    if (Out ip4 = FamilyOut(result, AF_INET); !ip4.is_null()) out["ip4"] = std::move(ip4);
    if (Out ip6 = FamilyOut(result, AF_INET6); !ip6.is_null()) out["ip6"] = std::move(ip6);
    if (!result.dns.empty()) out["dns"] = DnsOut(result.dns);
    return Text(out);
  }
  return Text(ResultOut(result, version, 0));
}

absl::Status CheckPreviousResult(absl::string_view previous) {
  absl::StatusOr<Json> object = ParseObject(previous, "prevResult");
  if (!object.ok()) return CniStatus(kCniInvalidConfig, object.status().message());
  for (const char* key : {"interfaces", "ips", "routes"}) {
    const Json* list = Find(*object, key);
    if (list == nullptr || list->is_array()) continue;
    return CniStatus(kCniInvalidConfig,
                     absl::StrCat("prevResult.", key, ": not a list but ", Show(*list)));
  }
  return absl::OkStatus();
}

std::string ExtendResult(absl::string_view previous, const CniResult& more, SpecVersion version) {
  Json result = ParseObject(previous, "prevResult").value_or(Json::object());
  result["cniVersion"] = std::string(ToString(version));
  if (version > SpecVersion::k020) {
    const Json* interfaces = Find(result, "interfaces");
    const Json ours = ResultOut(more, version, interfaces == nullptr ? 0 : interfaces->size());
    for (const char* key : {"interfaces", "ips", "routes"}) {
      const Json* list = Find(ours, key);
      if (list == nullptr) continue;
      for (const Json& one : *list) result[key].push_back(one);
    }
  }
  return result.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string WithoutDefaultRoutes(absl::string_view previous, int family) {
  Json result = ParseObject(previous, "prevResult").value_or(Json::object());
  const Json* routes = Find(result, "routes");
  if (routes == nullptr) return std::string(previous);
  Json kept = Json::array();
  for (const Json& one : *routes) {
    const absl::StatusOr<std::vector<ResultRoute>> route = AsRoutes(Json::array({one}));
    const bool dropped = route.ok() && route->front().IsDefault() &&
                         route->front().destination.address.family() == family;
    if (!dropped) kept.push_back(one);
  }
  result["routes"] = std::move(kept);
  return result.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<CniResult> ParseIpamResult(absl::string_view json) {
  ASSIGN_OR_RETURN(const Json object, ParseObject(json, "the IPAM plugin's result"));
  absl::StatusOr<CniResult> result = ReadIpamResult(object);
  if (!result.ok()) {
    return CniStatus(kCniInternal, Annotate(result.status(), "the IPAM plugin's result").message());
  }
  return result;
}

std::string FormatError(const CniError& error, SpecVersion version) {
  Out out = {
      {"cniVersion", std::string(ToString(version))}, {"code", error.code}, {"msg", error.msg}};
  if (!error.details.empty()) out["details"] = error.details;
  return Text(out);
}

std::optional<CniError> ParseError(absl::string_view json) {
  const absl::StatusOr<Json> object = ParseObject(json, "error");
  if (!object.ok()) return std::nullopt;
  const Json* code = Find(*object, "code");
  if (code == nullptr) return std::nullopt;
  const absl::StatusOr<uint32_t> number = AsNumber(*code, "code", UINT32_MAX);
  if (!number.ok() || *number == 0) return std::nullopt;
  CniError error;
  error.code = *number;
  if (const Json* msg = Find(*object, "msg")) error.msg = AsString(*msg, "msg").value_or("");
  if (const Json* details = Find(*object, "details")) {
    error.details = AsString(*details, "details").value_or("");
  }
  return error;
}

std::string FormatVersions(SpecVersion version) {
  Out out = {{"cniVersion", std::string(ToString(version))}, {"supportedVersions", Out::array()}};
  for (const absl::string_view one : kSpecVersions) {
    out["supportedVersions"].push_back(std::string(one));
  }
  return Text(out);
}

}  // namespace vxvde
