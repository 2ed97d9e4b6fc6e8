#include "cni/netavark.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cni/capabilities.h"
#include "cni/error.h"
#include "cni/json.h"
#include "plugin/base/status.h"
#include "plugin/base/version.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {
namespace {

constexpr char kApiVersion[] = "1.0.0";
constexpr uint32_t kMaxMtu = 65535;
// After netavark's own default routes, which have 100: a bridge beside the cloud keeps its own.
constexpr uint32_t kDefaultMetric = 200;

std::string Text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<std::string> NeededString(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat(key, ": is missing"));
  ASSIGN_OR_RETURN(std::string text, AsString(*value, key));
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(key, ": is empty"));
  return text;
}

absl::StatusOr<const Json*> NeededObject(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value != nullptr && value->is_object()) return value;
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": ", value == nullptr ? "is missing" : "is not an object"));
}

absl::StatusOr<bool> AsBool(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value == nullptr) return false;
  if (!value->is_boolean()) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": neither true nor false but ", Show(*value)));
  }
  return value->get<bool>();
}

// nullptr: absent. An error when it is there and no list.
absl::StatusOr<const Json*> OptionalList(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value == nullptr || value->is_array()) return value;
  return absl::InvalidArgumentError(absl::StrCat(key, ": not a list but ", Show(*value)));
}

// ---- Options: of the network (`podman network create -o`), then of the container (`podman run
// --network NAME:KEY=VALUE`), which win ----

enum class Ports { kPublish, kRefuse, kIgnore };

struct Options {
  std::string cloud;  // at most one of the two
  std::string vnl;
  LinkMode mode = LinkMode::kVeth;
  uint32_t mtu = 0;
  std::string agent = Request().agent;
  bool no_default_route = false;
  uint32_t metric = kDefaultMetric;
  Ports ports = Ports::kPublish;
  std::vector<std::string> allow;
};

absl::Status BadOption(absl::string_view key, const std::string& value, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("option ", key, "=", value, ": ", why));
}

absl::Status SetVnl(const std::string& value, Options& options) {
  // Whether a Unix group exists is a question for each host, not for the network.
  const absl::StatusOr<CloudConfig> cloud =
      ParseVnl(value, [](absl::string_view) { return std::optional<uint32_t>(0); });
  if (!cloud.ok()) return BadOption("vnl", value, cloud.status().message());
  options.vnl = value;
  return absl::OkStatus();
}

absl::Status SetMode(const std::string& value, Options& options) {
  if (value != "veth" && value != "tap") return BadOption("mode", value, "use veth or tap");
  options.mode = value == "tap" ? LinkMode::kTap : LinkMode::kVeth;
  return absl::OkStatus();
}

absl::Status SetMtu(const std::string& value, Options& options) {
  if (absl::SimpleAtoi(value, &options.mtu) && options.mtu <= kMaxMtu) return absl::OkStatus();
  return BadOption("mtu", value, "use a number up to 65535; 0 is the cloud's");
}

absl::Status SetAgent(const std::string& value, Options& options) {
  if (!IsSocketPath(value)) {
    return BadOption("agent", value, "use the absolute path of the agent's handoff.sock");
  }
  options.agent = value;
  return absl::OkStatus();
}

absl::Status SetPorts(const std::string& value, Options& options) {
  if (value != "publish" && value != "refuse" && value != "ignore") {
    return BadOption("ports", value,
                     "use publish, refuse, or ignore if another network serves them");
  }
  options.ports = value == "publish"  ? Ports::kPublish
                  : value == "refuse" ? Ports::kRefuse
                                      : Ports::kIgnore;
  return absl::OkStatus();
}

// podman separates options by commas, so these are separated by spaces or ';'.
absl::Status SetAllow(const std::string& value, Options& options) {
  options.allow = absl::StrSplit(value, absl::ByAnyChar("; "), absl::SkipEmpty());
  return absl::OkStatus();
}

struct Option {
  absl::string_view key;
  absl::Status (*set)(const std::string& value, Options& options);
};

constexpr Option kOptions[] = {
    {"vnl", SetVnl},
    {"cloud",
     [](const std::string& value, Options& options) {
       if (value.empty()) return BadOption("cloud", value, "name a cloud of the agent's");
       options.cloud = value;
       return absl::OkStatus();
     }},
    {"mode", SetMode},
    {"mtu", SetMtu},
    {"agent", SetAgent},
    {"no_default_route",
     [](const std::string& value, Options& options) {
       if (absl::SimpleAtob(value, &options.no_default_route)) return absl::OkStatus();
       return BadOption("no_default_route", value, "use true or false");
     }},
    {"metric",
     [](const std::string& value, Options& options) {
       if (absl::SimpleAtoi(value, &options.metric)) return absl::OkStatus();
       return BadOption("metric", value, "use a whole number");
     }},
    {"ports", SetPorts},
    {"allow", SetAllow},
};

absl::Status ReadOptions(const Json& object, Options& options) {
  const Json* found = Find(object, "options");
  if (found == nullptr) return absl::OkStatus();
  if (!found->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("options: not an object but ", Show(*found)));
  }
  if (Find(*found, "vnl") != nullptr && Find(*found, "cloud") != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("options vnl=", Show(*Find(*found, "vnl")),
                                                   " and cloud=", Show(*Find(*found, "cloud")),
                                                   " exclude each other: keep one"));
  }
  for (const auto& item : found->items()) {
    const std::string& key = item.key();
    const auto* known = std::find_if(std::begin(kOptions), std::end(kOptions),
                                     [&](const Option& option) { return option.key == key; });
    if (known == std::end(kOptions)) {
      return absl::InvalidArgumentError(
          absl::StrCat("option ", Show(Json(key)), " is unknown; there are ",
                       absl::StrJoin(kOptions, ", ", [](std::string* out, const Option& option) {
                         absl::StrAppend(out, option.key);
                       })));
    }
    ASSIGN_OR_RETURN(const std::string text, AsString(item.value(), absl::StrCat("option ", key)));
    // One of the two that comes later takes the place of the other.
    if (key == "vnl") options.cloud.clear();
    if (key == "cloud") options.vnl.clear();
    RETURN_IF_ERROR(known->set(text, options));
  }
  return absl::OkStatus();
}

// ---- The network ----

struct Subnet {
  IpPrefix prefix;
  std::optional<IpAddress> gateway;
};

absl::StatusOr<std::optional<IpAddress>> OptionalAddress(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value == nullptr || *value == "") return std::optional<IpAddress>();
  ASSIGN_OR_RETURN(const std::string text, AsString(*value, key));
  const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
  if (!address.ok()) return Annotate(address.status(), key);
  return std::optional<IpAddress>(*address);
}

// Addresses of the subnet that must be in it when they are there.
absl::Status CheckInside(const IpPrefix& subnet, absl::string_view what,
                         const std::optional<IpAddress>& address) {
  if (!address || subnet.Contains(*address)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("subnet ", subnet.ToString(), ": ", what, " ",
                                                 address->ToString(), " is not in it"));
}

absl::StatusOr<Subnet> ReadSubnet(const Json& value) {
  ASSIGN_OR_RETURN(const std::string text, NeededString(value, "subnet"));
  Subnet subnet;
  ASSIGN_OR_RETURN(subnet.prefix, IpPrefix::Parse(text));
  subnet.prefix = subnet.prefix.Network();
  const IpAddress& first = subnet.prefix.address;
  if (first.IsMulticast() || first.IsLoopback() || subnet.prefix.length == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("subnet ", text, " holds no containers' addresses"));
  }
  ASSIGN_OR_RETURN(subnet.gateway, OptionalAddress(value, "gateway"));
  RETURN_IF_ERROR(CheckInside(subnet.prefix, "gateway", subnet.gateway));
  if (const Json* range = Find(value, "lease_range")) {
    for (const char* key : {"start_ip", "end_ip"}) {
      ASSIGN_OR_RETURN(const std::optional<IpAddress> end, OptionalAddress(*range, key));
      RETURN_IF_ERROR(CheckInside(subnet.prefix, key, end));
    }
  }
  return subnet;
}

absl::StatusOr<std::vector<Subnet>> ReadSubnets(const Json& network) {
  std::vector<Subnet> subnets;
  ASSIGN_OR_RETURN(const Json* list, OptionalList(network, "subnets"));
  if (list == nullptr) return subnets;
  for (const Json& value : *list) {
    ASSIGN_OR_RETURN(const Subnet subnet, ReadSubnet(value));
    for (const Subnet& other : subnets) {
      if (!other.prefix.Contains(subnet.prefix.address) &&
          !subnet.prefix.Contains(other.prefix.address)) {
        continue;
      }
      return absl::InvalidArgumentError(absl::StrCat("subnets ", other.prefix.ToString(), " and ",
                                                     subnet.prefix.ToString(), " overlap"));
    }
    subnets.push_back(subnet);
  }
  return subnets;
}

// Those of `podman network create --route`.
absl::StatusOr<std::vector<ResultRoute>> ReadRoutes(const Json& network) {
  std::vector<ResultRoute> routes;
  ASSIGN_OR_RETURN(const Json* list, OptionalList(network, "routes"));
  if (list == nullptr) return routes;
  for (const Json& value : *list) {
    ASSIGN_OR_RETURN(const std::string destination, NeededString(value, "destination"));
    ResultRoute route;
    ASSIGN_OR_RETURN(route.destination, IpPrefix::Parse(destination));
    ASSIGN_OR_RETURN(route.gateway, OptionalAddress(value, "gateway"));
    if (!route.gateway || route.gateway->family() != route.destination.address.family()) {
      return absl::InvalidArgumentError(
          absl::StrCat("route to ", destination, ": needs a gateway of its family"));
    }
    if (const Json* metric = Find(value, "metric")) {
      ASSIGN_OR_RETURN(route.priority, AsNumber(*metric, "routes[].metric", UINT32_MAX));
    }
    routes.push_back(route);
  }
  return routes;
}

// What podman's --ipam-driver says: "" when nothing.
absl::StatusOr<std::string> ReadIpamDriver(const Json& network) {
  const Json* options = Find(network, "ipam_options");
  const Json* driver = options == nullptr ? nullptr : Find(*options, "driver");
  if (driver == nullptr) return std::string();
  ASSIGN_OR_RETURN(std::string text, AsString(*driver, "ipam_options.driver"));
  if (text.empty() || text == "host-local" || text == "none") return text;
  return absl::InvalidArgumentError(absl::StrCat(
      "IPAM driver ", Show(*driver), " is not served by vxvde: use host-local or none"));
}

// ---- The container ----

// What names the attachment, of setup and teardown.
absl::Status ReadNames(absl::string_view netns, const Json& input, Request& request) {
  request.caller = Caller::kNetavark;
  request.netns = std::string(netns);
  ASSIGN_OR_RETURN(request.container_id, NeededString(input, "container_id"));
  if (!IsCniName(request.container_id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("container_id ", Show(Json(request.container_id)),
                     ": not letters, digits, '_', '.', '-' after one letter or digit"));
  }
  ASSIGN_OR_RETURN(const Json* network, NeededObject(input, "network"));
  ASSIGN_OR_RETURN(request.network, NeededString(*network, "name"));
  if (!IsCniName(request.network)) {
    return absl::InvalidArgumentError(
        absl::StrCat("network name ", Show(Json(request.network)),
                     ": not letters, digits, '_', '.', '-' after one letter or digit"));
  }
  ASSIGN_OR_RETURN(const Json* container, NeededObject(input, "network_options"));
  ASSIGN_OR_RETURN(request.ifname, NeededString(*container, "interface_name"));
  if (!IsInterfaceName(request.ifname)) {
    return absl::InvalidArgumentError(
        absl::StrCat("interface_name ", Show(Json(request.ifname)),
                     ": not 1 to 15 bytes without '/', ':' and spaces"));
  }
  return absl::OkStatus();
}

// N6: -p is ours. netavark hands them to each of the container's networks.
absl::Status ReadPorts(const Json& input, const Options& options, Request& request) {
  ASSIGN_OR_RETURN(const Json* mappings, OptionalList(input, "port_mappings"));
  if (mappings == nullptr || options.ports == Ports::kIgnore) return absl::OkStatus();
  ASSIGN_OR_RETURN(request.ports, AsPortRanges(*mappings));
  if (request.ports.empty() || options.ports == Ports::kPublish) return absl::OkStatus();
  const PublishedPort& first = request.ports[0];
  return CniStatus(
      kCniUnsupportedField,
      absl::StrCat("port mapping ", first.host_port, ":", first.container_port, "/", first.protocol,
                   ": the network's option is ports=refuse"),
      "leave -p out, or say --network NAME:ports=publish, or ports=ignore if another of the "
      "container's networks serves it");
}

// podman has filled in the addresses when the network has subnets. When it has none, they are
// those that the agent gave before: `podman network reload` asks for them again.
absl::Status ReadAddresses(const Json& container, const std::vector<Subnet>& subnets,
                           const std::string& ipam_driver, Request& request) {
  ASSIGN_OR_RETURN(const Json* list, OptionalList(container, "static_ips"));
  if (list == nullptr || list->empty()) {
    if (!subnets.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("the network has subnet ",
                                                     subnets[0].prefix.ToString(),
                                                     ", but static_ips names no address in it"));
    }
    request.ipam.kind = ipam_driver == "none" ? Ipam::Kind::kCaller : Ipam::Kind::kAgent;
    return absl::OkStatus();
  }
  const bool agents = subnets.empty() && ipam_driver != "none";
  request.ipam.kind = agents ? Ipam::Kind::kAgent : Ipam::Kind::kCaller;
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*list, "static_ips"));
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const IpAddress address, IpAddress::Parse(text));
    if (agents) {
      request.ips.push_back({address, std::nullopt});
      continue;
    }
    const auto subnet = std::find_if(subnets.begin(), subnets.end(), [&](const Subnet& one) {
      return one.prefix.Contains(address);
    });
    if (subnet == subnets.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("static_ips: ", text, " is in no subnet of the network",
                       subnets.empty() ? "; create it with --subnet" : ""));
    }
    request.ips.push_back({address, subnet->prefix.length});
  }
  return absl::OkStatus();
}

absl::Status ReadMac(const Json& container, Request& request) {
  const Json* mac = Find(container, "static_mac");
  if (mac == nullptr || *mac == "") return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, AsString(*mac, "static_mac"));
  const absl::StatusOr<MacAddress> address = MacAddress::Parse(text);
  if (!address.ok()) return Annotate(address.status(), "static_mac");
  if (!address->IsStation()) {
    return absl::InvalidArgumentError(
        absl::StrCat("static_mac ", text, " cannot be a station's address"));
  }
  request.mac = *address;
  return absl::OkStatus();
}

// A default route for each family that has an address and a gateway in its subnet.
void AddDefaultRoutes(const std::vector<Subnet>& subnets, const Options& options,
                      Request& request) {
  for (const int family : {AF_INET, AF_INET6}) {
    const auto usable = std::find_if(subnets.begin(), subnets.end(), [&](const Subnet& subnet) {
      return subnet.gateway && subnet.gateway->family() == family &&
             std::any_of(request.ips.begin(), request.ips.end(),
                         [&](const RequestedIp& ip) { return subnet.prefix.Contains(ip.address); });
    });
    if (usable == subnets.end()) continue;
    ResultRoute route;
    route.destination = {family == AF_INET ? IpAddress() : IpAddress::AnyV6(), 0};
    route.gateway = usable->gateway;
    route.priority = options.metric;
    request.routes.push_back(route);
  }
}

}  // namespace

absl::StatusOr<CreatedNetwork> CreateNetwork(absl::string_view network) {
  ASSIGN_OR_RETURN(Json json, ParseObject(network, "the network on standard input"));
  CreatedNetwork created;
  ASSIGN_OR_RETURN(const std::string name, NeededString(json, "name"));
  if (!IsCniName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("name ", Show(Json(name)),
                     ": not letters, digits, '_', '.', '-' after one letter or digit"));
  }
  RETURN_IF_ERROR(NeededString(json, "id").status());
  RETURN_IF_ERROR(NeededString(json, "driver").status());
  Options options;
  RETURN_IF_ERROR(ReadOptions(json, options));
  ASSIGN_OR_RETURN(const std::vector<Subnet> subnets, ReadSubnets(json));
  RETURN_IF_ERROR(ReadRoutes(json).status());
  ASSIGN_OR_RETURN(const std::string ipam_driver, ReadIpamDriver(json));
  if (ipam_driver == "none" && !subnets.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("IPAM driver none, but the network has subnet ",
                                                   subnets[0].prefix.ToString()));
  }
  ASSIGN_OR_RETURN(const bool internal, AsBool(json, "internal"));
  RETURN_IF_ERROR(AsBool(json, "dns_enabled").status());
  ASSIGN_OR_RETURN(const bool wants_ipv6, AsBool(json, "ipv6_enabled"));
  ASSIGN_OR_RETURN(const Json* dns_servers, OptionalList(json, "network_dns_servers"));
  if (dns_servers != nullptr && !dns_servers->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("network_dns_servers ", Show((*dns_servers)[0]),
                     ": a vxvde network has no name server that would ask it; give --dns to "
                     "podman run instead"));
  }
  const bool has_gateway =
      std::any_of(subnets.begin(), subnets.end(), [](const Subnet& one) { return one.gateway; });
  if (internal && has_gateway) {
    return absl::InvalidArgumentError(
        "the network is internal, but has a gateway: leave one of them out");
  }

  // N6: podman turns DNS on unless it is told not to; the answer is what it will be.
  json["dns_enabled"] = false;
  const bool ipv6 = std::any_of(subnets.begin(), subnets.end(),
                                [](const Subnet& one) { return one.prefix.address.is_v6(); });
  if (wants_ipv6 && !ipv6) {
    created.notes.push_back(
        "ipv6_enabled: there is no IPv6 subnet, so containers get no IPv6 "
        "address; give --subnet with an IPv6 prefix for one");
  }
  json["ipv6_enabled"] = ipv6;
  json["internal"] = internal;
  if (const Json* host = Find(json, "network_interface"); host != nullptr && *host != "") {
    created.notes.push_back(absl::StrCat(
        "network_interface ", Show(*host),
        " is not used; the uplink is named in the locator: -o vnl=vxvde://.../if=NAME"));
  }

  Json& kept = json["options"];
  if (kept.is_null()) kept = Json::object();
  if (options.vnl.empty() && options.cloud.empty()) kept["vnl"] = "vxvde://";
  if (!kept.contains("mode")) kept["mode"] = "veth";
  // After us, podman gives each subnet without a gateway its first address as one, where nobody
  // answers: a default route is for a gateway that somebody has named. Without subnets addresses
  // and gateway are the agent's.
  if (!kept.contains("no_default_route") && !subnets.empty()) {
    kept["no_default_route"] = has_gateway ? "false" : "true";
  }
  created.json = Text(json);
  return created;
}

absl::StatusOr<Request> ParseSetup(absl::string_view netns, absl::string_view input) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(input, "standard input"));
  Request request;
  request.command = Command::kAdd;
  if (netns.empty()) {
    return absl::InvalidArgumentError("the path of the container's network namespace is missing");
  }
  RETURN_IF_ERROR(ReadNames(netns, json, request));
  const Json& network = *Find(json, "network");
  const Json& container = *Find(json, "network_options");

  Options options;
  RETURN_IF_ERROR(ReadOptions(network, options));
  RETURN_IF_ERROR(ReadOptions(container, options));
  request.cloud = options.cloud;
  request.vnl = options.vnl;
  request.mode = options.mode;
  request.mtu = options.mtu;
  request.agent = options.agent;

  RETURN_IF_ERROR(ReadPorts(json, options, request));
  ASSIGN_OR_RETURN(const std::vector<Subnet> subnets, ReadSubnets(network));
  ASSIGN_OR_RETURN(const std::string ipam_driver, ReadIpamDriver(network));
  RETURN_IF_ERROR(ReadAddresses(container, subnets, ipam_driver, request));
  RETURN_IF_ERROR(ReadMac(container, request));
  ASSIGN_OR_RETURN(request.routes, ReadRoutes(network));
  ASSIGN_OR_RETURN(const bool internal, AsBool(network, "internal"));
  request.gateway_wanted = !internal && !options.no_default_route;
  request.gateway_metric = options.metric;
  request.allow = options.allow;
  if (request.gateway_wanted) AddDefaultRoutes(subnets, options, request);
  return request;
}

absl::StatusOr<Request> ParseTeardown(absl::string_view netns, absl::string_view input) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(input, "standard input"));
  Request request;
  request.command = Command::kDel;
  RETURN_IF_ERROR(ReadNames(netns, json, request));
  request.ipam.kind = Ipam::Kind::kCaller;
  // The agent that setup used; an impossible one has never been asked.
  for (const char* key : {"network", "network_options"}) {
    const Json* options = Find(*Find(json, key), "options");
    const Json* agent = options == nullptr ? nullptr : Find(*options, "agent");
    if (agent == nullptr || !agent->is_string()) continue;
    const auto& path = agent->get_ref<const std::string&>();
    if (IsSocketPath(path)) request.agent = path;
  }
  return request;
}

std::string FormatStatusBlock(const CniResult& result) {
  Json interfaces = Json::object();
  for (size_t i = 0; i < result.interfaces.size(); ++i) {
    const ResultInterface& interface = result.interfaces[i];
    if (interface.sandbox.empty()) continue;
    Json subnets = Json::array();
    for (const ResultAddress& address : result.addresses) {
      if (address.interface && *address.interface != i) continue;
      Json subnet = {{"ipnet", address.address.ToString()}};
      for (const ResultRoute& route : result.routes) {
        if (route.gateway && route.destination.length == 0 &&
            address.address.Contains(*route.gateway)) {
          subnet["gateway"] = route.gateway->ToString();
        }
      }
      subnets.push_back(std::move(subnet));
    }
    interfaces[interface.name] = {{"mac_address", interface.mac}, {"subnets", std::move(subnets)}};
  }
  return Text({{"dns_search_domains", result.dns.search},
               {"dns_server_ips", result.dns.nameservers},
               {"interfaces", std::move(interfaces)}});
}

std::string FormatNetavarkError(const absl::Status& error) {
  const CniError parts = ToCniError(error);
  return Text(
      {{"error", absl::StrCat(parts.msg, parts.details.empty() ? "" : "; ", parts.details)}});
}

std::string FormatNetavarkInfo() {
  return Text({{"version", kVersion}, {"api_version", kApiVersion}});
}

}  // namespace vxvde
