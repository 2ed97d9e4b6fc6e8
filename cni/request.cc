#include "cni/request.h"

#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cni/capabilities.h"
#include "cni/cni_args.h"
#include "cni/error.h"
#include "cni/json.h"
#include "cni/networks.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr size_t kMaxIfName = 15;       // IFNAMSIZ - 1
constexpr size_t kMaxSocketPath = 107;  // sockaddr_un.sun_path with its NUL
constexpr uint32_t kMaxMtu = 65535;

absl::string_view Get(const Environment& environment, const char* key) {
  const auto it = environment.find(key);
  return it == environment.end() ? absl::string_view() : absl::string_view(it->second);
}

absl::Status ReadEnvironment(const Environment& environment, Request& request) {
  std::vector<absl::string_view> needed;
  switch (request.command) {
    case Command::kAdd:
    case Command::kCheck:
      needed = {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"};
      break;
    case Command::kDel:
      needed = {"CNI_CONTAINERID", "CNI_IFNAME"};
      break;
    case Command::kAbout:
    case Command::kGc:
    case Command::kStatus:
    case Command::kVersion:
      return absl::OkStatus();
  }
  std::vector<absl::string_view> missing;
  for (const absl::string_view key : needed) {
    if (Get(environment, key.data()).empty()) missing.push_back(key);
  }
  if (!missing.empty()) {
    return CniStatus(kCniInvalidEnvironment,
                     absl::StrCat("missing in the environment: ", absl::StrJoin(missing, ", ")));
  }
  request.container_id = std::string(Get(environment, "CNI_CONTAINERID"));
  request.netns = std::string(Get(environment, "CNI_NETNS"));
  request.ifname = std::string(Get(environment, "CNI_IFNAME"));
  const absl::string_view own = Get(environment, "CNI_NETNS_OVERRIDE");
  request.own_netns_allowed = own == "1" || absl::EqualsIgnoreCase(own, "true");
  if (!IsCniName(request.container_id)) {
    return CniStatus(
        kCniInvalidEnvironment,
        absl::StrCat("CNI_CONTAINERID \"", request.container_id,
                     "\": not letters, digits, '_', '.', '-' after one letter or digit"));
  }
  if (!IsInterfaceName(request.ifname)) {
    return CniStatus(kCniInvalidEnvironment,
                     absl::StrCat("CNI_IFNAME \"", request.ifname,
                                  "\": not 1 to 15 bytes without '/', ':' and spaces"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SpecVersion> ReadVersion(const Json& config) {
  const Json* value = Find(config, "cniVersion");
  if (value == nullptr) return SpecVersion::k010;  // SPEC 0.1.0 had no such key
  ASSIGN_OR_RETURN(const std::string text, AsString(*value, "cniVersion"));
  if (text.empty()) return SpecVersion::k010;
  const std::optional<SpecVersion> version = ParseSpecVersion(text);
  if (!version) {
    return CniStatus(kCniIncompatibleVersion,
                     absl::StrCat("cniVersion ", Show(*value), " is not supported"),
                     absl::StrCat("the configuration asks for ", Show(*value),
                                  ", this plugin speaks ", absl::StrJoin(kSpecVersions, ", ")));
  }
  return *version;
}

absl::Status ReadIpam(const Environment& environment, const Json& config, Ipam& ipam) {
  const Json* section = Find(config, "ipam");
  if (section == nullptr) return absl::OkStatus();
  if (!section->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("ipam: not an object but ", Show(*section)));
  }
  if (section->empty()) {
    ipam.kind = Ipam::Kind::kCaller;
    return absl::OkStatus();
  }
  const Json* type = Find(*section, "type");
  if (type == nullptr) {
    return absl::InvalidArgumentError(
        "ipam: has no \"type\" (a plugin's name; {} for no addresses at all)");
  }
  ASSIGN_OR_RETURN(ipam.type, AsString(*type, "ipam.type"));
  // P1: a name to be looked up in CNI_PATH, never a path.
  if (ipam.type.empty() || ipam.type == "." || ipam.type == ".." ||
      absl::StrContains(ipam.type, '/') || absl::StrContains(ipam.type, '\0')) {
    return absl::InvalidArgumentError(
        absl::StrCat("ipam.type: ", Show(*type), " is not a plugin's file name"));
  }
  ipam.kind = Ipam::Kind::kDelegate;
  ipam.path = absl::StrSplit(Get(environment, "CNI_PATH"), ':', absl::SkipEmpty());
  if (ipam.path.empty()) {
    return CniStatus(kCniInvalidEnvironment,
                     absl::StrCat("missing in the environment: CNI_PATH, where the IPAM plugin ",
                                  ipam.type, " is looked for"));
  }
  return absl::OkStatus();
}

// What says where and how: of ADD and STATUS.
absl::Status ReadCloud(const Json& config, Request& request) {
  if (const Json* cloud = Find(config, "cloud")) {
    ASSIGN_OR_RETURN(request.cloud, AsString(*cloud, "cloud"));
  }
  if (const Json* vnl = Find(config, "vnl")) {
    ASSIGN_OR_RETURN(request.vnl, AsString(*vnl, "vnl"));
  }
  if (!request.cloud.empty() && !request.vnl.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("\"cloud\": ", Show(*Find(config, "cloud")),
                                                   " and \"vnl\": ", Show(*Find(config, "vnl")),
                                                   " exclude each other: keep one"));
  }
  if (const Json* mode = Find(config, "mode")) {
    ASSIGN_OR_RETURN(const std::string text, AsString(*mode, "mode"));
    if (text == "tap") {
      request.mode = LinkMode::kTap;
    } else if (text != "veth" && !text.empty()) {
      return CniStatus(kCniUnsupportedField,
                       absl::StrCat("\"mode\": ", Show(*mode), " is neither \"veth\" nor \"tap\""));
    }
  }
  if (const Json* mtu = Find(config, "mtu")) {
    ASSIGN_OR_RETURN(request.mtu, AsNumber(*mtu, "mtu", kMaxMtu));
  }
  return absl::OkStatus();
}

absl::Status ReadMac(const std::string& text, absl::string_view where, uint32_t code,
                     Request& request) {
  const absl::StatusOr<MacAddress> mac = ParseStationMac(text);
  if (!mac.ok()) return CniStatus(code, Annotate(mac.status(), where).message());
  request.mac = *mac;
  return absl::OkStatus();
}

absl::Status ReadIps(const std::vector<std::string>& texts, absl::string_view where, uint32_t code,
                     Request& request) {
  for (const std::string& text : texts) {
    const absl::StatusOr<RequestedIp> ip = ParseRequestedIp(text);
    if (!ip.ok()) return CniStatus(code, Annotate(ip.status(), where).message());
    request.ips.push_back(*ip);
  }
  return absl::OkStatus();
}

absl::Status ReadCapabilities(const Json& runtime, Request& request) {
  if (const Json* ranges = FindNoCase(runtime, "ipRanges");
      ranges != nullptr && !ranges->empty() && request.ipam.kind != Ipam::Kind::kDelegate) {
    return CniStatus(kCniUnsupportedField,
                     "\"runtimeConfig.ipRanges\" is for an IPAM plugin, and none is named",
                     "take \"ipRanges\" out of \"capabilities\": the agent's own addresses come "
                     "from `subnets:` of the cloud; or name a plugin, \"ipam\": {\"type\": "
                     "\"host-local\"}");
  }
  if (const Json* ports = FindNoCase(runtime, "portMappings")) {
    ASSIGN_OR_RETURN(request.ports, AsPortMappings(*ports));
  }
  if (const Json* bandwidth = FindNoCase(runtime, "bandwidth")) {
    ASSIGN_OR_RETURN(request.bandwidth, AsBandwidth(*bandwidth));
  }
  if (request.mode != LinkMode::kTap || !request.bandwidth.ingress) return absl::OkStatus();
  return CniStatus(
      kCniUnsupportedField,
      absl::StrCat("\"runtimeConfig.bandwidth\": ingressRate ", request.bandwidth.ingress->rate,
                   " is not supported with \"mode\": \"tap\""),
      "what is written to a tap waits in no queue; use mode veth, or limit egress only");
}

// A7: runtimeConfig before args.cni before CNI_ARGS.
absl::Status ReadWishes(const CniArgs& cni_args, const Json& config, Request& request) {
  const Json none = Json::object();
  const Json* found = Find(config, "runtimeConfig");
  const Json& runtime = found != nullptr ? *found : none;
  found = Find(config, "args");
  if (found != nullptr) found = Find(*found, "cni");
  const Json& args = found != nullptr ? *found : none;

  RETURN_IF_ERROR(ReadCapabilities(runtime, request));
  if (const Json* mac = FindNoCase(runtime, "mac"); mac != nullptr && *mac != "") {
    ASSIGN_OR_RETURN(const std::string text, AsString(*mac, "runtimeConfig.mac"));
    RETURN_IF_ERROR(ReadMac(text, "runtimeConfig.mac", kCniInvalidConfig, request));
  } else if (const Json* mac = Find(args, "mac"); mac != nullptr && *mac != "") {
    ASSIGN_OR_RETURN(const std::string text, AsString(*mac, "args.cni.mac"));
    RETURN_IF_ERROR(ReadMac(text, "args.cni.mac", kCniInvalidConfig, request));
  } else if (!cni_args.mac.empty()) {
    RETURN_IF_ERROR(ReadMac(cni_args.mac, "CNI_ARGS MAC", kCniInvalidEnvironment, request));
  }
  if (const Json* ips = FindNoCase(runtime, "ips"); ips != nullptr && !ips->empty()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*ips, "runtimeConfig.ips"));
    RETURN_IF_ERROR(ReadIps(texts, "runtimeConfig.ips", kCniInvalidConfig, request));
  } else if (const Json* ips = Find(args, "ips"); ips != nullptr && !ips->empty()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*ips, "args.cni.ips"));
    RETURN_IF_ERROR(ReadIps(texts, "args.cni.ips", kCniInvalidConfig, request));
  } else {
    RETURN_IF_ERROR(ReadIps(cni_args.ips, "CNI_ARGS IP", kCniInvalidEnvironment, request));
  }
  if (const Json* mtu = FindNoCase(runtime, "mtu")) {
    ASSIGN_OR_RETURN(request.mtu, AsNumber(*mtu, "runtimeConfig.mtu", kMaxMtu));
  }
  if (const Json* dns = Find(config, "dns")) {
    ASSIGN_OR_RETURN(request.dns, AsDns(*dns));
  }
  // The dns capability has other names than the result: servers, searches, options.
  if (const Json* dns = FindNoCase(runtime, "dns")) {
    Dns wish;
    if (const Json* list = FindNoCase(*dns, "servers")) {
      ASSIGN_OR_RETURN(wish.nameservers, AsStrings(*list, "runtimeConfig.dns.servers"));
    }
    if (const Json* list = FindNoCase(*dns, "searches")) {
      ASSIGN_OR_RETURN(wish.search, AsStrings(*list, "runtimeConfig.dns.searches"));
    }
    if (const Json* list = FindNoCase(*dns, "options")) {
      ASSIGN_OR_RETURN(wish.options, AsStrings(*list, "runtimeConfig.dns.options"));
    }
    if (!wish.empty()) request.dns = wish;
  }
  if (const Json* allow = Find(config, "allow")) {
    ASSIGN_OR_RETURN(request.allow, AsStrings(*allow, "allow"));
  }
  if (const Json* routes = Find(config, "routes")) {
    ASSIGN_OR_RETURN(request.routes, AsRoutes(*routes));
  }
  return absl::OkStatus();
}

// A7: an address that nobody here could give is refused before anything happens.
absl::Status CheckIps(const Request& request) {
  if (request.ipam.kind != Ipam::Kind::kCaller) return absl::OkStatus();
  for (const RequestedIp& ip : request.ips) {
    if (ip.length) continue;
    return CniStatus(
        kCniInvalidConfig, absl::StrCat("address ", ip.address.ToString(), " has no prefix length"),
        absl::StrCat("ask for ", ip.address.ToString(), ip.address.is_v4() ? "/24" : "/64",
                     " or the like: with \"ipam\": {} nobody else knows it"));
  }
  return absl::OkStatus();
}

// The version that a command came with (as skel of libcni refuses them).
absl::Status CheckCommandVersion(const Request& request) {
  const SpecVersion least = request.command == Command::kCheck ? SpecVersion::k040
                            : request.command == Command::kGc  ? SpecVersion::k110
                                                               : SpecVersion::k010;
  if (request.version >= least) return absl::OkStatus();
  return CniStatus(kCniIncompatibleVersion,
                   absl::StrCat("cniVersion ", ToString(request.version), " does not have ",
                                request.command == Command::kCheck ? "CHECK" : "GC"),
                   absl::StrCat("it came with ", ToString(least),
                                ": raise \"cniVersion\" in the configuration"));
}

absl::Status ReadPrevious(const Json& config, Request& request) {
  const Json* previous = Find(config, "prevResult");
  if (previous == nullptr) {
    return CniStatus(kCniInvalidConfig, "CHECK: the configuration has no \"prevResult\"",
                     "the runtime must keep the result of ADD and pass it here");
  }
  ASSIGN_OR_RETURN(request.previous, AsResult(*previous));
  return absl::OkStatus();
}

// G1. Nothing is removed unless it is said what is to stay.
absl::Status ReadValid(const Json& config, Request& request) {
  const char* const before = "cni.dev/attachments";  // until 1.1.0 was done
  const char* key = "cni.dev/valid-attachments";
  // Null is how Go writes a list that nobody put anything in: with it libcni says "none".
  const bool said = config.contains(key) || config.contains(before);
  const Json* list = Find(config, key);
  if (list == nullptr) list = Find(config, key = before);
  if (list == nullptr && said) return absl::OkStatus();
  if (list == nullptr) {
    return CniStatus(kCniInvalidConfig,
                     "GC: the configuration has no \"cni.dev/valid-attachments\"",
                     "the runtime must list the attachments that are to stay; [] for none");
  }
  if (!list->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": not a list but ", Show(*list)));
  }
  for (const Json& one : *list) {
    const Json* container = Find(one, "containerID");
    const Json* ifname = Find(one, "ifname");
    if (container == nullptr || ifname == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, ": an entry has no \"containerID\" or no \"ifname\""));
    }
    ValidAttachment valid;
    ASSIGN_OR_RETURN(valid.container_id, AsString(*container, "containerID"));
    ASSIGN_OR_RETURN(valid.ifname, AsString(*ifname, "ifname"));
    request.valid.push_back(std::move(valid));
  }
  return absl::OkStatus();
}

// Interfaces that the pod has from the plugins before.
absl::StatusOr<std::set<std::string>> PodInterfaces(const Json& previous) {
  std::set<std::string> names;
  const Json* interfaces = Find(previous, "interfaces");
  if (interfaces == nullptr) return names;
  for (const Json& one : *interfaces) {
    const Json* sandbox = Find(one, "sandbox");
    const Json* name = Find(one, "name");
    if (name == nullptr || sandbox == nullptr || *sandbox == "") continue;
    ASSIGN_OR_RETURN(std::string text, AsString(*name, "prevResult.interfaces[].name"));
    names.insert(std::move(text));
  }
  return names;
}

// M2. containerd says null for a pod without annotations.
absl::StatusOr<std::map<std::string, std::string>> PodAnnotations(const Json& config) {
  std::map<std::string, std::string> annotations;
  const Json* runtime = Find(config, "runtimeConfig");
  const Json* all =
      runtime == nullptr ? nullptr : FindNoCase(*runtime, "io.kubernetes.cri.pod-annotations");
  if (all == nullptr) return annotations;
  if (!all->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "runtimeConfig.io.kubernetes.cri.pod-annotations: not an object but ", Show(*all)));
  }
  for (const char* key :
       {kCloudAnnotation, kAllowAnnotation, kNetworksAnnotation, kNpwgAnnotation}) {
    const Json* value = Find(*all, key);
    if (value == nullptr) continue;
    ASSIGN_OR_RETURN(annotations[key], AsString(*value, absl::StrCat("annotation ", key)));
  }
  return annotations;
}

absl::Status ReadNetworks(const Json& config, Request& request) {
  std::set<std::string> taken = {"lo", request.ifname};
  if (const Json* previous = Find(config, "prevResult")) {
    request.previous_result = previous->dump(-1, ' ', false, Json::error_handler_t::replace);
    RETURN_IF_ERROR(CheckPreviousResult(*request.previous_result));
    ASSIGN_OR_RETURN(const std::set<std::string> names, PodInterfaces(*previous));
    taken.insert(names.begin(), names.end());
  }
  ASSIGN_OR_RETURN(const auto annotations, PodAnnotations(config));
  ASSIGN_OR_RETURN(PodNetworks networks, ParsePodNetworks(annotations, std::move(taken)));
  request.networks = std::move(networks.others);
  if (request.previous_result && !request.networks.empty() && request.version < SpecVersion::k030) {
    return absl::InvalidArgumentError(absl::StrCat(request.networks[0].asked_by, ": cniVersion ",
                                                   ToString(request.version),
                                                   " cannot be chained; set 0.3.0 or later"));
  }
  const auto not_ours = [&](absl::string_view annotation) {
    return absl::InvalidArgumentError(absl::StrCat(annotation, ": ", request.ifname,
                                                   " is another plugin's on this node; ask with ",
                                                   kNetworksAnnotation, " for a cloud beside"));
  };
  if (request.previous_result && !networks.allow.empty()) {
    return not_ours(absl::StrCat("annotation ", kAllowAnnotation));
  }
  request.allow_by_annotation = std::move(networks.allow);
  if (!networks.first) return absl::OkStatus();
  if (request.previous_result) return not_ours(networks.first->asked_by);
  request.cloud = networks.first->cloud;
  request.vnl = networks.first->vnl;
  request.asked_by = networks.first->asked_by;
  return absl::OkStatus();
}

absl::Status ReadConfig(const Environment& environment, const Json& config, Request& request) {
  const Json* name = Find(config, "name");
  if (name == nullptr) return absl::InvalidArgumentError("the configuration has no \"name\"");
  ASSIGN_OR_RETURN(request.network, AsString(*name, "name"));
  if (!IsCniName(request.network)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "name ", Show(*name), ": not letters, digits, '_', '.', '-' after one letter or digit"));
  }
  if (const Json* agent = Find(config, "agent")) {
    ASSIGN_OR_RETURN(request.agent, AsString(*agent, "agent"));
    if (!IsSocketPath(request.agent)) {
      return absl::InvalidArgumentError(absl::StrCat("agent: ", Show(*agent),
                                                     " is not an absolute path of at most ",
                                                     kMaxSocketPath, " bytes"));
    }
  }
  RETURN_IF_ERROR(ReadIpam(environment, config, request.ipam));
  // DEL needs no more, and a configuration that became worse must not keep it from its work.
  if (request.command == Command::kDel) return absl::OkStatus();

  if (request.command == Command::kGc) return ReadValid(config, request);

  RETURN_IF_ERROR(ReadCloud(config, request));
  if (request.command == Command::kStatus) return absl::OkStatus();
  if (request.command == Command::kCheck) return ReadPrevious(config, request);

  ASSIGN_OR_RETURN(const CniArgs cni_args, ParseCniArgs(Get(environment, "CNI_ARGS")));
  // K8S_POD_NAME alone is podman, which says the container's name there.
  if (!cni_args.pod_namespace.empty() || !cni_args.pod_uid.empty()) {
    request.pod_namespace = cni_args.pod_namespace;
    request.pod_name = cni_args.pod_name;
    request.pod_uid = cni_args.pod_uid;
  }
  RETURN_IF_ERROR(ReadNetworks(config, request));
  // A4: what is wished for the first interface is for the plugin that made it.
  if (request.previous_result) return absl::OkStatus();
  RETURN_IF_ERROR(ReadWishes(cni_args, config, request));
  return CheckIps(request);
}

}  // namespace

bool IsCniName(absl::string_view text) {
  if (text.empty() || !absl::ascii_isalnum(text[0])) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(c) && c != '_' && c != '.' && c != '-') return false;
  }
  return true;
}

bool IsInterfaceName(absl::string_view text) {
  if (text.empty() || text.size() > kMaxIfName || text == "." || text == "..") return false;
  for (const char c : text) {
    if (c == '/' || c == ':' || absl::ascii_isspace(c)) return false;
  }
  return true;
}

bool IsSocketPath(absl::string_view text) {
  return absl::StartsWith(text, "/") && text.size() <= kMaxSocketPath &&
         !absl::StrContains(text, '\0');
}

absl::StatusOr<RequestedIp> ParseRequestedIp(const std::string& text) {
  RequestedIp ip;
  if (absl::StrContains(text, '/')) {
    ASSIGN_OR_RETURN(const IpPrefix prefix, IpPrefix::Parse(text));
    ip.address = prefix.address;
    ip.length = prefix.length;
    return ip;
  }
  ASSIGN_OR_RETURN(ip.address, IpAddress::Parse(text));
  return ip;
}

absl::StatusOr<MacAddress> ParseStationMac(const std::string& text) {
  ASSIGN_OR_RETURN(const MacAddress mac, MacAddress::Parse(text));
  if (!mac.IsStation()) {
    return absl::InvalidArgumentError(absl::StrCat(text, " cannot be a station's address"));
  }
  return mac;
}

std::vector<Request> AttachmentsOf(const Request& request) {
  std::vector<Request> attachments;
  Request main = request;
  main.networks.clear();
  main.previous_result.reset();
  if (!request.previous_result) attachments.push_back(main);
  for (const WantedNetwork& network : request.networks) {
    Request one = main;
    one.main_ifname = request.ifname;
    one.ifname = network.ifname;
    one.asked_by = network.asked_by;
    one.cloud = network.cloud;
    one.vnl = network.vnl;
    one.mtu = 0;
    one.mac = network.mac;
    one.ipam = Ipam();
    if (network.ips) one.ipam.kind = Ipam::Kind::kCaller;
    one.ips = network.ips.value_or(std::vector<RequestedIp>());
    one.routes = network.routes;
    one.ports.clear();
    one.bandwidth = Bandwidth();
    one.dns = Dns();
    one.allow.clear();
    one.allow_by_annotation = network.allow;
    one.maybe_foreign = network.maybe_foreign;
    one.problem = network.problem;
    attachments.push_back(std::move(one));
  }
  return attachments;
}

absl::StatusOr<Command> ParseCommand(const Environment& environment) {
  const absl::string_view text = Get(environment, "CNI_COMMAND");
  if (text.empty()) return Command::kAbout;
  if (text == "ADD") return Command::kAdd;
  if (text == "DEL") return Command::kDel;
  if (text == "CHECK") return Command::kCheck;
  if (text == "GC") return Command::kGc;
  if (text == "STATUS") return Command::kStatus;
  if (text == "VERSION") return Command::kVersion;
  return CniStatus(kCniInvalidEnvironment, absl::StrCat("CNI_COMMAND ", text, " is not known"),
                   "there are ADD, DEL, CHECK, GC, STATUS and VERSION");
}

SpecVersion AnswerVersion(absl::string_view config) {
  const absl::StatusOr<Json> json = ParseObject(config, "configuration");
  if (!json.ok() || Find(*json, "cniVersion") == nullptr) return kLatestSpecVersion;
  return ReadVersion(*json).value_or(kLatestSpecVersion);
}

absl::StatusOr<std::string> ConfigInVersion(absl::string_view config, SpecVersion version) {
  ASSIGN_OR_RETURN(Json json, ParseObject(config, "configuration"));
  json["cniVersion"] = std::string(ToString(version));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<std::string> ConfigWithValid(absl::string_view config,
                                            const std::vector<ValidAttachment>& valid) {
  ASSIGN_OR_RETURN(Json json, ParseObject(config, "configuration"));
  Json list = Json::array();
  for (const ValidAttachment& one : valid) {
    list.push_back({{"containerID", one.container_id}, {"ifname", one.ifname}});
  }
  json["cni.dev/valid-attachments"] = list;
  json["cni.dev/attachments"] = std::move(list);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<Request> ParseRequest(const Environment& environment, absl::string_view config) {
  Request request;
  ASSIGN_OR_RETURN(request.command, ParseCommand(environment));
  if (request.command == Command::kAbout) return request;
  if (request.command == Command::kVersion) {
    request.version = AnswerVersion(config);
    return request;
  }
  RETURN_IF_ERROR(ReadEnvironment(environment, request));
  ASSIGN_OR_RETURN(const Json json, ParseObject(config, "the configuration on standard input"));
  absl::StatusOr<SpecVersion> version = ReadVersion(json);
  if (!version.ok()) return WithCode(version.status(), kCniInvalidConfig);
  request.version = *version;
  request.config = std::string(config);
  RETURN_IF_ERROR(CheckCommandVersion(request));
  RETURN_IF_ERROR(WithCode(ReadConfig(environment, json, request), kCniInvalidConfig));
  return request;
}

}  // namespace vxvde
