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
// Higher than the 100 of netavark's bridges, so that a bridge network of the same container keeps
// the default route.
constexpr uint32_t kDefaultMetric = 200;

std::string Text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<std::string> NeededString(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value == nullptr) return absl::InvalidArgumentError(absl::StrCat(key, " is missing"));
  ASSIGN_OR_RETURN(std::string text, AsString(*value, key));
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(key, " is empty"));
  return text;
}

absl::StatusOr<const Json*> NeededObject(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value != nullptr && value->is_object()) return value;
  return absl::InvalidArgumentError(
      absl::StrCat(key, value == nullptr ? " is missing" : " is not an object"));
}

absl::StatusOr<bool> OptionalBool(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value == nullptr) return false;
  return AsBool(*value, key);
}

// nullptr: absent.
absl::StatusOr<const Json*> OptionalList(const Json& object, const char* key) {
  const Json* value = Find(object, key);
  if (value == nullptr || value->is_array()) return value;
  return absl::InvalidArgumentError(absl::StrCat(key, ": not a list but ", Show(*value)));
}

// ---- Options: those of the container (`podman run --network NAME:KEY=VALUE`) override those of
// the network (`podman network create -o`) ----

enum class Ports { kPublish, kRefuse, kIgnore };

struct Options {
  CloudChoice cloud;
  LinkMode mode = LinkMode::kVeth;
  uint32_t mtu = 0;
  std::string agent = Network().agent;
  bool no_default_route = false;
  uint32_t metric = kDefaultMetric;
  Ports ports = Ports::kPublish;
  std::vector<std::string> allow;
};

absl::Status BadOption(absl::string_view key, const std::string& value, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("option ", key, "=", value, ": ", why));
}

absl::Status SetVnl(const std::string& value, Options& options) {
  // Whether a Unix group exists differs between hosts, so it is not checked here.
  const absl::StatusOr<CloudConfig> cloud =
      ParseVnl(value, [](absl::string_view) { return std::optional<uint32_t>(0); });
  if (!cloud.ok()) return BadOption("vnl", value, cloud.status().message());
  options.cloud = {.name = "", .vnl = value};
  return absl::OkStatus();
}

absl::Status SetMode(const std::string& value, Options& options) {
  if (value != "veth" && value != "tap") return BadOption("mode", value, "use veth or tap");
  options.mode = value == "tap" ? LinkMode::kTap : LinkMode::kVeth;
  return absl::OkStatus();
}

absl::Status SetMtu(const std::string& value, Options& options) {
  if (absl::SimpleAtoi(value, &options.mtu) && options.mtu <= kMaxMtu) return absl::OkStatus();
  return BadOption("mtu", value, "use a number up to 65535; 0 selects the cloud's MTU");
}

absl::Status SetAgent(const std::string& value, Options& options) {
  if (!IsSocketPath(value)) {
    return BadOption("agent", value, "use the absolute path of the agent's handoff.sock");
  }
  options.agent = value;
  return absl::OkStatus();
}

absl::Status SetNoDefaultRoute(const std::string& value, Options& options) {
  if (absl::SimpleAtob(value, &options.no_default_route)) return absl::OkStatus();
  return BadOption("no_default_route", value, "use true or false");
}

absl::Status SetPorts(const std::string& value, Options& options) {
  if (value != "publish" && value != "refuse" && value != "ignore") {
    return BadOption(
        "ports", value,
        "use publish, refuse, or ignore if another network of the container publishes them");
  }
  options.ports = value == "publish"  ? Ports::kPublish
                  : value == "refuse" ? Ports::kRefuse
                                      : Ports::kIgnore;
  return absl::OkStatus();
}

// podman separates options by commas, so the entries are separated by spaces or ';'.
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
       if (value.empty()) {
         return BadOption("cloud", value, "write the name of a cloud of the agent's configuration");
       }
       options.cloud = {.name = value, .vnl = ""};
       return absl::OkStatus();
     }},
    {"mode", SetMode},
    {"mtu", SetMtu},
    {"agent", SetAgent},
    {"no_default_route", SetNoDefaultRoute},
    {"noDefaultRoute", SetNoDefaultRoute},  // as in a CNI configuration
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
          absl::StrCat("option ", Show(Json(key)), " is unknown; use ",
                       absl::StrJoin(kOptions, ", ", [](std::string* out, const Option& option) {
                         absl::StrAppend(out, option.key);
                       })));
    }
    ASSIGN_OR_RETURN(const std::string text, AsString(item.value(), absl::StrCat("option ", key)));
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

// `address`, if present, must be in `subnet`.
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
        absl::StrCat("subnet ", text, " cannot hold addresses of containers"));
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

// `podman network create --route`.
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
          absl::StrCat("route to ", destination, " needs a gateway of its own family"));
    }
    if (const Json* metric = Find(value, "metric")) {
      ASSIGN_OR_RETURN(route.priority, AsNumber(*metric, "routes[].metric", UINT32_MAX));
    }
    routes.push_back(route);
  }
  return routes;
}

// podman's --ipam-driver; "" without.
absl::StatusOr<std::string> ReadIpamDriver(const Json& network) {
  const Json* options = Find(network, "ipam_options");
  const Json* driver = options == nullptr ? nullptr : Find(*options, "driver");
  if (driver == nullptr) return std::string();
  ASSIGN_OR_RETURN(std::string text, AsString(*driver, "ipam_options.driver"));
  if (text.empty() || text == "host-local" || text == "none") return text;
  return absl::InvalidArgumentError(
      absl::StrCat("IPAM driver ", Show(*driver), " is not supported: use host-local or none"));
}

// ---- The container ----

// The names of an attachment: of setup and teardown.
struct Names {
  std::string network;
  Container container;
};

absl::StatusOr<Names> ReadNames(absl::string_view netns, const Json& input) {
  Names names;
  names.container.netns = std::string(netns);
  ASSIGN_OR_RETURN(names.container.id, NeededString(input, "container_id"));
  RETURN_IF_ERROR(CheckCniName("container_id", names.container.id));
  ASSIGN_OR_RETURN(const Json* network, NeededObject(input, "network"));
  ASSIGN_OR_RETURN(names.network, NeededString(*network, "name"));
  RETURN_IF_ERROR(CheckCniName("network name", names.network));
  ASSIGN_OR_RETURN(const Json* options, NeededObject(input, "network_options"));
  ASSIGN_OR_RETURN(names.container.ifname, NeededString(*options, "interface_name"));
  RETURN_IF_ERROR(CheckInterfaceName("interface_name", names.container.ifname));
  return names;
}

// N6: the plugin publishes the ports of -p. netavark passes them to each network of the container.
absl::StatusOr<std::vector<PublishedPort>> ReadPorts(const Json& input, const Options& options) {
  std::vector<PublishedPort> ports;
  ASSIGN_OR_RETURN(const Json* mappings, OptionalList(input, "port_mappings"));
  if (mappings == nullptr || options.ports == Ports::kIgnore) return ports;
  ASSIGN_OR_RETURN(ports, AsPortRanges(*mappings));
  if (ports.empty() || options.ports == Ports::kPublish) return ports;
  return CniStatus(
      kCniUnsupportedField,
      absl::StrCat("port mapping ", ports[0].host_port, ":", ports[0].container_port, "/",
                   ports[0].protocol, " is refused: the network has the option ports=refuse"),
      "omit -p, or use --network NAME:ports=publish, or ports=ignore if another network of the "
      "container publishes it");
}

// podman supplies the addresses if the network has subnets. If it has none, static_ips are those
// that the agent allocated before: `podman network reload` passes them again.
absl::Status ReadAddresses(const Json& container, const std::vector<Subnet>& subnets,
                           const std::string& ipam_driver, Attachment& attachment) {
  const bool from_agent = subnets.empty() && ipam_driver != "none";
  attachment.address_source = from_agent ? AddressSource::kAgent : AddressSource::kCaller;
  ASSIGN_OR_RETURN(const Json* list, OptionalList(container, "static_ips"));
  if (list == nullptr || list->empty()) {
    if (subnets.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("the network has subnet ",
                                                   subnets[0].prefix.ToString(),
                                                   ", but static_ips has no address in it"));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*list, "static_ips"));
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const IpAddress address, IpAddress::Parse(text));
    if (from_agent) {
      attachment.ips.push_back({address, std::nullopt});
      continue;
    }
    const auto subnet = std::find_if(subnets.begin(), subnets.end(), [&](const Subnet& one) {
      return one.prefix.Contains(address);
    });
    if (subnet == subnets.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("static_ips: ", text, " is in no subnet of the network",
                       subnets.empty() ? "; create the network with --subnet" : ""));
    }
    attachment.ips.push_back({address, subnet->prefix.length});
  }
  return absl::OkStatus();
}

absl::Status ReadMac(const Json& container, Attachment& attachment) {
  const Json* mac = Find(container, "static_mac");
  if (mac == nullptr || *mac == "") return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, AsString(*mac, "static_mac"));
  const absl::StatusOr<MacAddress> address = ParseStationMac(text);
  if (!address.ok()) return Annotate(address.status(), "static_mac");
  attachment.mac = *address;
  return absl::OkStatus();
}

// One default route for each family that has an address and a gateway in the same subnet.
void AddDefaultRoutes(const std::vector<Subnet>& subnets, const Options& options,
                      Attachment& attachment) {
  for (const int family : {AF_INET, AF_INET6}) {
    const auto usable = std::find_if(subnets.begin(), subnets.end(), [&](const Subnet& subnet) {
      return subnet.gateway && subnet.gateway->family() == family &&
             std::any_of(attachment.ips.begin(), attachment.ips.end(),
                         [&](const RequestedIp& ip) { return subnet.prefix.Contains(ip.address); });
    });
    if (usable == subnets.end()) continue;
    ResultRoute route;
    route.destination = {family == AF_INET ? IpAddress() : IpAddress::AnyV6(), 0};
    route.gateway = usable->gateway;
    route.priority = options.metric;
    attachment.routes.push_back(route);
  }
}

}  // namespace

absl::StatusOr<CreatedNetwork> CreateNetwork(absl::string_view network) {
  ASSIGN_OR_RETURN(Json json, ParseObject(network, "the network on standard input"));
  CreatedNetwork created;
  ASSIGN_OR_RETURN(const std::string name, NeededString(json, "name"));
  RETURN_IF_ERROR(CheckCniName("name", name));
  RETURN_IF_ERROR(NeededString(json, "id").status());
  RETURN_IF_ERROR(NeededString(json, "driver").status());
  Options options;
  RETURN_IF_ERROR(ReadOptions(json, options));
  ASSIGN_OR_RETURN(const std::vector<Subnet> subnets, ReadSubnets(json));
  RETURN_IF_ERROR(ReadRoutes(json).status());
  ASSIGN_OR_RETURN(const std::string ipam_driver, ReadIpamDriver(json));
  if (ipam_driver == "none" && !subnets.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the IPAM driver is none, but the network has subnet ", subnets[0].prefix.ToString()));
  }
  ASSIGN_OR_RETURN(const bool internal, OptionalBool(json, "internal"));
  RETURN_IF_ERROR(OptionalBool(json, "dns_enabled").status());
  ASSIGN_OR_RETURN(const bool wants_ipv6, OptionalBool(json, "ipv6_enabled"));
  ASSIGN_OR_RETURN(const Json* dns_servers, OptionalList(json, "network_dns_servers"));
  if (dns_servers != nullptr && !dns_servers->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("network_dns_servers ", Show((*dns_servers)[0]),
                     ": a vxvde network has no name server that could forward to it; use --dns of "
                     "podman run"));
  }
  const bool has_gateway =
      std::any_of(subnets.begin(), subnets.end(), [](const Subnet& one) { return one.gateway; });
  if (internal && has_gateway) {
    return absl::InvalidArgumentError(
        "the network is internal and has a gateway: omit one of them");
  }

  // N6: podman enables DNS by default. The answer is the truth: it is not served.
  json["dns_enabled"] = false;
  const bool ipv6 = std::any_of(subnets.begin(), subnets.end(),
                                [](const Subnet& one) { return one.prefix.address.is_v6(); });
  if (wants_ipv6 && !ipv6) {
    created.notes.push_back(
        "ipv6_enabled: the network has no IPv6 subnet, so containers get no IPv6 "
        "address; add --subnet with an IPv6 prefix");
  }
  json["ipv6_enabled"] = ipv6;
  json["internal"] = internal;
  if (const Json* host = Find(json, "network_interface"); host != nullptr && *host != "") {
    created.notes.push_back(
        absl::StrCat("network_interface ", Show(*host),
                     " has no effect; the locator names the uplink: -o vnl=vxvde://.../if=NAME"));
  }

  Json& kept = json["options"];
  if (kept.is_null()) kept = Json::object();
  if (options.cloud == CloudChoice()) kept["vnl"] = "vxvde://";
  if (!kept.contains("mode")) kept["mode"] = "veth";
  // podman later sets the first address of each subnet without a gateway as its gateway, where no
  // host answers. So only a gateway that the user named gets a default route. Without subnets the
  // agent supplies addresses and gateway.
  if (!kept.contains("no_default_route") && !kept.contains("noDefaultRoute") && !subnets.empty()) {
    kept["no_default_route"] = has_gateway ? "false" : "true";
  }
  created.json = Text(json);
  return created;
}

absl::StatusOr<AddRequest> ParseSetup(absl::string_view netns, absl::string_view input) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(input, "standard input"));
  if (netns.empty()) {
    return absl::InvalidArgumentError("the path of the container's network namespace is missing");
  }
  ASSIGN_OR_RETURN(Names names, ReadNames(netns, json));
  RETURN_IF_ERROR(CheckNewInterfaceName("interface_name", names.container.ifname));
  const Json& network = *Find(json, "network");
  const Json& container = *Find(json, "network_options");
  Options options;
  RETURN_IF_ERROR(ReadOptions(network, options));
  RETURN_IF_ERROR(ReadOptions(container, options));

  Attachment attachment;
  attachment.ifname = names.container.ifname;
  attachment.cloud = options.cloud;
  attachment.mtu = options.mtu;
  attachment.allow = options.allow;
  ASSIGN_OR_RETURN(attachment.ports, ReadPorts(json, options));
  ASSIGN_OR_RETURN(const std::vector<Subnet> subnets, ReadSubnets(network));
  ASSIGN_OR_RETURN(const std::string ipam_driver, ReadIpamDriver(network));
  RETURN_IF_ERROR(ReadAddresses(container, subnets, ipam_driver, attachment));
  RETURN_IF_ERROR(ReadMac(container, attachment));
  ASSIGN_OR_RETURN(attachment.routes, ReadRoutes(network));
  ASSIGN_OR_RETURN(const bool internal, OptionalBool(network, "internal"));
  attachment.default_route_wanted = !internal && !options.no_default_route;
  attachment.gateway_metric = options.metric;
  if (attachment.default_route_wanted) AddDefaultRoutes(subnets, options, attachment);

  AddRequest request;
  request.caller = Caller::kNetavark;
  request.network.name = std::move(names.network);
  request.network.agent = options.agent;
  request.container = std::move(names.container);
  request.mode = options.mode;
  request.attachments.push_back(std::move(attachment));
  return request;
}

absl::StatusOr<DelRequest> ParseTeardown(absl::string_view netns, absl::string_view input) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(input, "standard input"));
  ASSIGN_OR_RETURN(Names names, ReadNames(netns, json));
  DelRequest request;
  request.network.name = std::move(names.network);
  request.container = std::move(names.container);
  // The agent that setup used. An impossible path is ignored, as setup cannot have used it.
  for (const char* key : {"network", "network_options"}) {
    const Json* options = Find(*Find(json, key), "options");
    const Json* agent = options == nullptr ? nullptr : Find(*options, "agent");
    if (agent == nullptr || !agent->is_string()) continue;
    const auto& path = agent->get_ref<const std::string&>();
    if (IsSocketPath(path)) request.network.agent = path;
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
