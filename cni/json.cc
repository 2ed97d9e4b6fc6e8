#include "cni/json.h"

#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cni/error.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr int kMaxDepth = 100;

// Reads `key` of `object` into `out` if it is present.
absl::Status ReadOptionalNumber(const Json& object, absl::string_view key,
                                std::optional<uint32_t>& out) {
  const Json* value = Find(object, key);
  if (value == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(out, AsNumber(*value, absl::StrCat("routes[].", key), UINT32_MAX));
  return absl::OkStatus();
}

absl::StatusOr<ResultRoute> AsRoute(const Json& value) {
  const Json* dst = Find(value, "dst");
  if (dst == nullptr) return absl::InvalidArgumentError("a route has no \"dst\"");
  ASSIGN_OR_RETURN(const std::string destination, AsString(*dst, "routes[].dst"));
  ResultRoute route;
  ASSIGN_OR_RETURN(route.destination, IpPrefix::Parse(destination));
  if (const Json* gw = Find(value, "gw")) {
    ASSIGN_OR_RETURN(const std::string gateway, AsString(*gw, "routes[].gw"));
    if (!gateway.empty()) {
      ASSIGN_OR_RETURN(route.gateway, IpAddress::Parse(gateway));
    }
  }
  if (route.gateway && route.gateway->family() != route.destination.address.family()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "route to ", destination, " via ", route.gateway->ToString(), ": the families differ"));
  }
  RETURN_IF_ERROR(ReadOptionalNumber(value, "mtu", route.mtu));
  RETURN_IF_ERROR(ReadOptionalNumber(value, "advmss", route.advmss));
  RETURN_IF_ERROR(ReadOptionalNumber(value, "priority", route.priority));
  RETURN_IF_ERROR(ReadOptionalNumber(value, "table", route.table));
  if (const Json* scope = Find(value, "scope")) {
    ASSIGN_OR_RETURN(const uint32_t number, AsNumber(*scope, "routes[].scope", 255));
    route.scope = static_cast<uint8_t>(number);
  }
  return route;
}

}  // namespace

absl::StatusOr<Json> ParseObject(absl::string_view text, absl::string_view what) {
  // nlohmann reports the position of an error by an exception. Excessive depth is refused in the
  // same way, because dump() is recursive.
  const auto check_depth = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) throw std::length_error("nested too deeply");
    return true;
  };
  try {
    Json json = Json::parse(text.begin(), text.end(), check_depth);
    if (!json.is_object()) {
      return CniStatus(kCniBadJson, absl::StrCat(what, ": not a JSON object but ", Show(json)));
    }
    return json;
  } catch (const std::exception& e) {
    return CniStatus(kCniBadJson, absl::StrCat(what, ": ", e.what()));
  }
}

const Json* Find(const Json& object, absl::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(std::string(key));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

const Json* FindNoCase(const Json& object, absl::string_view key) {
  if (const Json* exact = Find(object, key)) return exact;
  if (!object.is_object()) return nullptr;
  for (const auto& [name, value] : object.items()) {
    if (absl::EqualsIgnoreCase(name, key) && !value.is_null()) return &value;
  }
  return nullptr;
}

std::string Show(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  constexpr size_t kEnough = 80;
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kEnough) {
    text.resize(kEnough);
    text += "...";
  }
  return text;
}

absl::StatusOr<std::string> AsString(const Json& value, absl::string_view key) {
  if (!value.is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": not a string but ", Show(value)));
  }
  return value.get_ref<const std::string&>();
}

absl::StatusOr<std::vector<std::string>> AsStrings(const Json& value, absl::string_view key) {
  if (!value.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": not a list of strings but ", Show(value)));
  }
  std::vector<std::string> strings;
  for (const Json& one : value) {
    ASSIGN_OR_RETURN(std::string text, AsString(one, key));
    strings.push_back(std::move(text));
  }
  return strings;
}

absl::StatusOr<bool> AsBool(const Json& value, absl::string_view key) {
  if (value.is_boolean()) return value.get<bool>();
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": neither true nor false but ", Show(value)));
}

absl::StatusOr<uint32_t> AsNumber(const Json& value, absl::string_view key, uint32_t max) {
  // nlohmann stores a non-negative integer as unsigned, and -1 and 1.5 otherwise.
  if (!value.is_number_unsigned() || value.get<uint64_t>() > max) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": not a whole number from 0 to ", max, " but ", Show(value)));
  }
  return static_cast<uint32_t>(value.get<uint64_t>());
}

absl::StatusOr<Dns> AsDns(const Json& value) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("dns: not an object but ", Show(value)));
  }
  Dns dns;
  if (const Json* list = Find(value, "nameservers")) {
    ASSIGN_OR_RETURN(dns.nameservers, AsStrings(*list, "dns.nameservers"));
  }
  if (const Json* domain = Find(value, "domain")) {
    ASSIGN_OR_RETURN(dns.domain, AsString(*domain, "dns.domain"));
  }
  if (const Json* list = Find(value, "search")) {
    ASSIGN_OR_RETURN(dns.search, AsStrings(*list, "dns.search"));
  }
  if (const Json* list = Find(value, "options")) {
    ASSIGN_OR_RETURN(dns.options, AsStrings(*list, "dns.options"));
  }
  return dns;
}

absl::StatusOr<std::vector<ResultRoute>> AsRoutes(const Json& value) {
  if (!value.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat("routes: not a list but ", Show(value)));
  }
  std::vector<ResultRoute> routes;
  for (const Json& one : value) {
    ASSIGN_OR_RETURN(ResultRoute route, AsRoute(one));
    routes.push_back(std::move(route));
  }
  return routes;
}

}  // namespace vxvde
