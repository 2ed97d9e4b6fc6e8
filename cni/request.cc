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

absl::string_view Get(const Environment& environment, const char* key) {
  const auto it = environment.find(key);
  return it == environment.end() ? absl::string_view() : absl::string_view(it->second);
}

// E3: one message names all variables that are missing.
absl::Status CheckPresent(const Environment& environment, const std::vector<const char*>& needed) {
  std::vector<absl::string_view> missing;
  for (const char* key : needed) {
    if (Get(environment, key).empty()) missing.push_back(key);
  }
  if (missing.empty()) return absl::OkStatus();
  return CniStatus(kCniInvalidEnvironment,
                   absl::StrCat("missing in the environment: ", absl::StrJoin(missing, ", ")));
}

// Of ADD, DEL and CHECK.
absl::StatusOr<Container> ReadContainer(const Environment& environment, bool netns_needed) {
  std::vector<const char*> needed = {"CNI_CONTAINERID", "CNI_IFNAME"};
  if (netns_needed) needed.insert(needed.begin() + 1, "CNI_NETNS");
  RETURN_IF_ERROR(CheckPresent(environment, needed));
  Container container{.id = std::string(Get(environment, "CNI_CONTAINERID")),
                      .netns = std::string(Get(environment, "CNI_NETNS")),
                      .ifname = std::string(Get(environment, "CNI_IFNAME"))};
  RETURN_IF_ERROR(WithCode(CheckCniName("CNI_CONTAINERID", container.id), kCniInvalidEnvironment));
  RETURN_IF_ERROR(
      WithCode(CheckInterfaceName("CNI_IFNAME", container.ifname), kCniInvalidEnvironment));
  return container;
}

bool IsOwnNetNsAllowed(const Environment& environment) {
  const absl::string_view value = Get(environment, "CNI_NETNS_OVERRIDE");
  return value == "1" || absl::EqualsIgnoreCase(value, "true");
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
                     absl::StrCat("the configuration has ", Show(*value), ", this plugin supports ",
                                  absl::StrJoin(kSpecVersions, ", ")));
  }
  return *version;
}

// What the `ipam` section says.
struct IpamSection {
  AddressSource source = AddressSource::kAgent;
  std::optional<IpamDelegate> delegate;  // kIpamPlugin
};

absl::StatusOr<IpamSection> ReadIpam(const Environment& environment, const Json& config) {
  IpamSection ipam;
  const Json* section = Find(config, "ipam");
  if (section == nullptr) return ipam;
  if (!section->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("ipam: not an object but ", Show(*section)));
  }
  if (section->empty()) {
    ipam.source = AddressSource::kCaller;
    return ipam;
  }
  const Json* type = Find(*section, "type");
  if (type == nullptr) {
    return absl::InvalidArgumentError(
        "ipam: \"type\" is missing: write the name of a plugin, or \"ipam\": {} for no IPAM");
  }
  IpamDelegate delegate;
  ASSIGN_OR_RETURN(delegate.type, AsString(*type, "ipam.type"));
  // P1: a file name to look for in CNI_PATH, never a path.
  if (delegate.type.empty() || delegate.type == "." || delegate.type == ".." ||
      absl::StrContains(delegate.type, '/') || absl::StrContains(delegate.type, '\0')) {
    return absl::InvalidArgumentError(
        absl::StrCat("ipam.type: ", Show(*type), " is not a plugin's file name"));
  }
  delegate.path = absl::StrSplit(Get(environment, "CNI_PATH"), ':', absl::SkipEmpty());
  if (delegate.path.empty()) {
    return CniStatus(kCniInvalidEnvironment,
                     absl::StrCat("missing in the environment: CNI_PATH, the directories to search "
                                  "for the IPAM plugin ",
                                  delegate.type));
  }
  ipam.source = AddressSource::kIpamPlugin;
  ipam.delegate = std::move(delegate);
  return ipam;
}

// Which cloud, and how an interface is attached to it: of ADD, CHECK and STATUS.
struct LinkSection {
  CloudChoice cloud;
  LinkMode mode = LinkMode::kVeth;
  uint32_t mtu = 0;
};

absl::StatusOr<LinkSection> ReadLink(const Json& config) {
  LinkSection link;
  const Json* cloud = Find(config, "cloud");
  if (cloud != nullptr) {
    ASSIGN_OR_RETURN(link.cloud.name, AsString(*cloud, "cloud"));
  }
  const Json* vnl = Find(config, "vnl");
  if (vnl != nullptr) {
    ASSIGN_OR_RETURN(link.cloud.vnl, AsString(*vnl, "vnl"));
  }
  if (!link.cloud.name.empty() && !link.cloud.vnl.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("\"cloud\": ", Show(*cloud), " and \"vnl\": ",
                                                   Show(*vnl), " exclude each other: keep one"));
  }
  if (const Json* mode = Find(config, "mode")) {
    ASSIGN_OR_RETURN(const std::string text, AsString(*mode, "mode"));
    if (text == "tap") {
      link.mode = LinkMode::kTap;
    } else if (text != "veth" && !text.empty()) {
      return CniStatus(kCniUnsupportedField,
                       absl::StrCat("\"mode\": ", Show(*mode), " is neither \"veth\" nor \"tap\""));
    }
  }
  if (const Json* mtu = Find(config, "mtu")) {
    ASSIGN_OR_RETURN(link.mtu, AsNumber(*mtu, "mtu", kMaxMtu));
  }
  return link;
}

absl::Status ReadMac(const std::string& text, absl::string_view where, uint32_t code,
                     Attachment& attachment) {
  const absl::StatusOr<MacAddress> mac = ParseStationMac(text);
  if (!mac.ok()) return CniStatus(code, Annotate(mac.status(), where).message());
  attachment.mac = *mac;
  return absl::OkStatus();
}

absl::Status ReadIps(const std::vector<std::string>& texts, absl::string_view where, uint32_t code,
                     Attachment& attachment) {
  for (const std::string& text : texts) {
    const absl::StatusOr<RequestedIp> ip = ParseRequestedIp(text);
    if (!ip.ok()) return CniStatus(code, Annotate(ip.status(), where).message());
    attachment.ips.push_back(*ip);
  }
  return absl::OkStatus();
}

absl::Status ReadCapabilities(const Json& runtime, LinkMode mode, Attachment& attachment) {
  if (const Json* ranges = FindNoCase(runtime, "ipRanges");
      ranges != nullptr && !ranges->empty() &&
      attachment.address_source != AddressSource::kIpamPlugin) {
    return CniStatus(kCniUnsupportedField,
                     "\"runtimeConfig.ipRanges\" needs an IPAM plugin, and \"ipam\" names none",
                     "remove \"ipRanges\" from \"capabilities\": the agent allocates from "
                     "`subnets:` of the cloud; or name a plugin, \"ipam\": {\"type\": "
                     "\"host-local\"}");
  }
  if (const Json* ports = FindNoCase(runtime, "portMappings")) {
    ASSIGN_OR_RETURN(attachment.ports, AsPortMappings(*ports));
  }
  if (const Json* bandwidth = FindNoCase(runtime, "bandwidth")) {
    ASSIGN_OR_RETURN(attachment.bandwidth, AsBandwidth(*bandwidth));
  }
  if (mode != LinkMode::kTap || !attachment.bandwidth.ingress) return absl::OkStatus();
  return CniStatus(
      kCniUnsupportedField,
      absl::StrCat("\"runtimeConfig.bandwidth\": ingressRate ", attachment.bandwidth.ingress->rate,
                   " is not supported with \"mode\": \"tap\""),
      "frames written to a tap pass through no queue: use \"mode\": \"veth\", or limit egress "
      "only");
}

// The dns capability has other keys than the result: servers, searches, options.
absl::StatusOr<Dns> AsDnsCapability(const Json& value) {
  Dns dns;
  if (const Json* list = FindNoCase(value, "servers")) {
    ASSIGN_OR_RETURN(dns.nameservers, AsStrings(*list, "runtimeConfig.dns.servers"));
  }
  if (const Json* list = FindNoCase(value, "searches")) {
    ASSIGN_OR_RETURN(dns.search, AsStrings(*list, "runtimeConfig.dns.searches"));
  }
  if (const Json* list = FindNoCase(value, "options")) {
    ASSIGN_OR_RETURN(dns.options, AsStrings(*list, "runtimeConfig.dns.options"));
  }
  return dns;
}

// A7: runtimeConfig takes precedence over args.cni, which takes precedence over CNI_ARGS.
absl::Status ReadDetails(const CniArgs& cni_args, const Json& config, LinkMode mode,
                         Attachment& attachment) {
  const Json none = Json::object();
  const Json* found = Find(config, "runtimeConfig");
  const Json& runtime = found != nullptr ? *found : none;
  found = Find(config, "args");
  if (found != nullptr) found = Find(*found, "cni");
  const Json& args = found != nullptr ? *found : none;

  RETURN_IF_ERROR(ReadCapabilities(runtime, mode, attachment));
  if (const Json* mac = FindNoCase(runtime, "mac"); mac != nullptr && *mac != "") {
    ASSIGN_OR_RETURN(const std::string text, AsString(*mac, "runtimeConfig.mac"));
    RETURN_IF_ERROR(ReadMac(text, "runtimeConfig.mac", kCniInvalidConfig, attachment));
  } else if (const Json* mac = Find(args, "mac"); mac != nullptr && *mac != "") {
    ASSIGN_OR_RETURN(const std::string text, AsString(*mac, "args.cni.mac"));
    RETURN_IF_ERROR(ReadMac(text, "args.cni.mac", kCniInvalidConfig, attachment));
  } else if (!cni_args.mac.empty()) {
    RETURN_IF_ERROR(ReadMac(cni_args.mac, "CNI_ARGS MAC", kCniInvalidEnvironment, attachment));
  }
  if (const Json* ips = FindNoCase(runtime, "ips"); ips != nullptr && !ips->empty()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*ips, "runtimeConfig.ips"));
    RETURN_IF_ERROR(ReadIps(texts, "runtimeConfig.ips", kCniInvalidConfig, attachment));
  } else if (const Json* ips = Find(args, "ips"); ips != nullptr && !ips->empty()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*ips, "args.cni.ips"));
    RETURN_IF_ERROR(ReadIps(texts, "args.cni.ips", kCniInvalidConfig, attachment));
  } else {
    RETURN_IF_ERROR(ReadIps(cni_args.ips, "CNI_ARGS IP", kCniInvalidEnvironment, attachment));
  }
  if (const Json* mtu = FindNoCase(runtime, "mtu")) {
    ASSIGN_OR_RETURN(attachment.mtu, AsNumber(*mtu, "runtimeConfig.mtu", kMaxMtu));
  }
  if (const Json* dns = Find(config, "dns")) {
    ASSIGN_OR_RETURN(attachment.dns, AsDns(*dns));
  }
  if (const Json* dns = FindNoCase(runtime, "dns")) {
    ASSIGN_OR_RETURN(const Dns requested, AsDnsCapability(*dns));
    if (!requested.empty()) attachment.dns = requested;
  }
  if (const Json* allow = Find(config, "allow")) {
    ASSIGN_OR_RETURN(attachment.allow, AsStrings(*allow, "allow"));
  }
  if (const Json* routes = Find(config, "routes")) {
    ASSIGN_OR_RETURN(attachment.routes, AsRoutes(*routes));
  }
  if (const Json* no = Find(config, "noDefaultRoute")) {
    ASSIGN_OR_RETURN(const bool unwanted, AsBool(*no, "noDefaultRoute"));
    attachment.default_route_wanted = !unwanted;
  }
  return absl::OkStatus();
}

// A7: an address that no party can complete is refused before anything happens.
absl::Status CheckIps(const Attachment& attachment) {
  if (attachment.address_source != AddressSource::kCaller) return absl::OkStatus();
  for (const RequestedIp& ip : attachment.ips) {
    if (ip.length) continue;
    return CniStatus(kCniInvalidConfig,
                     absl::StrCat("address ", ip.address.ToString(), " has no prefix length"),
                     absl::StrCat("request, for example, ", ip.address.ToString(),
                                  ip.address.is_v4() ? "/24" : "/64",
                                  ": with \"ipam\": {} the caller supplies the length"));
  }
  return absl::OkStatus();
}

// The version that introduced a command; skel of libcni refuses older ones in the same way.
absl::Status CheckCommandVersion(absl::string_view command, SpecVersion version,
                                 SpecVersion since) {
  if (version >= since) return absl::OkStatus();
  return CniStatus(kCniIncompatibleVersion,
                   absl::StrCat("cniVersion ", ToString(version), " does not have ", command),
                   absl::StrCat(command, " exists since ", ToString(since),
                                ": raise \"cniVersion\" in the configuration"));
}

absl::StatusOr<CniResult> ReadPrevious(const Json& config) {
  const Json* previous = Find(config, "prevResult");
  if (previous != nullptr) return AsResult(*previous);
  return CniStatus(kCniInvalidConfig, "CHECK: the configuration has no \"prevResult\"",
                   "the runtime must keep the result of ADD and pass it here");
}

// G1: without a list of what remains, nothing is removed.
absl::StatusOr<std::vector<ValidAttachment>> ReadValid(const Json& config) {
  const char* const before = "cni.dev/attachments";  // in drafts of 1.1.0
  const char* key = "cni.dev/valid-attachments";
  // Go writes an empty list that was never assigned as null: libcni means "none".
  const bool present = config.contains(key) || config.contains(before);
  const Json* list = Find(config, key);
  if (list == nullptr) list = Find(config, key = before);
  std::vector<ValidAttachment> valid;
  if (list == nullptr && present) return valid;
  if (list == nullptr) {
    return CniStatus(kCniInvalidConfig,
                     "GC: the configuration has no \"cni.dev/valid-attachments\"",
                     "the runtime must list the attachments that remain; [] for none");
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
    ValidAttachment attachment;
    ASSIGN_OR_RETURN(attachment.container_id, AsString(*container, "containerID"));
    ASSIGN_OR_RETURN(attachment.ifname, AsString(*ifname, "ifname"));
    valid.push_back(std::move(attachment));
  }
  return valid;
}

// The pod's interfaces that earlier plugins of the list made.
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

// M2. containerd passes null for a pod without annotations.
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

// Reads `name`, `agent` and `ipam`, which every command about a network needs.
struct Common {
  Network network;
  AddressSource address_source = AddressSource::kAgent;
};

absl::StatusOr<Common> ReadCommon(const Environment& environment, const Json& config,
                                  absl::string_view text, SpecVersion version) {
  Common common;
  Network& network = common.network;
  network.version = version;
  const Json* name = Find(config, "name");
  if (name == nullptr) return absl::InvalidArgumentError("the configuration has no \"name\"");
  ASSIGN_OR_RETURN(network.name, AsString(*name, "name"));
  RETURN_IF_ERROR(CheckCniName("name", network.name));
  if (const Json* agent = Find(config, "agent")) {
    ASSIGN_OR_RETURN(network.agent, AsString(*agent, "agent"));
    if (!IsSocketPath(network.agent)) {
      return absl::InvalidArgumentError(
          absl::StrCat("agent: ", Show(*agent),
                       " is not the absolute path of a socket, at most 107 bytes long"));
    }
  }
  ASSIGN_OR_RETURN(IpamSection ipam, ReadIpam(environment, config));
  common.address_source = ipam.source;
  network.ipam = std::move(ipam.delegate);
  if (network.ipam) {
    network.ipam->config = std::string(text);
    network.ipam->version = version;
  }
  return common;
}

// ---- ADD ----

// The chain's `prevResult`, if there is one, and the interface names that are taken.
absl::StatusOr<std::set<std::string>> ReadChain(const Json& config, AddRequest& request) {
  std::set<std::string> taken = {"lo", request.container.ifname};
  const Json* previous = Find(config, "prevResult");
  if (previous == nullptr) return taken;
  request.previous_result = previous->dump(-1, ' ', false, Json::error_handler_t::replace);
  RETURN_IF_ERROR(CheckPreviousResult(*request.previous_result));
  ASSIGN_OR_RETURN(const std::set<std::string> names, PodInterfaces(*previous));
  taken.insert(names.begin(), names.end());
  return taken;
}

// Chained: the first interface belongs to another plugin, and annotations must not ask for it.
absl::Status CheckChained(const AddRequest& request, const PodNetworks& networks) {
  if (!networks.others.empty() && request.network.version < SpecVersion::k030) {
    return absl::InvalidArgumentError(absl::StrCat(networks.others[0].asked_by, ": cniVersion ",
                                                   ToString(request.network.version),
                                                   " cannot be chained; set 0.3.0 or later"));
  }
  std::string annotation;
  if (!networks.allow.empty()) annotation = absl::StrCat("annotation ", kAllowAnnotation);
  if (annotation.empty() && networks.first) annotation = networks.first->asked_by;
  if (annotation.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(annotation, ": on this node another plugin makes ", request.container.ifname,
                   "; use the annotation ", kNetworksAnnotation, " for a cloud in addition to it"));
}

absl::StatusOr<AddRequest> ReadAdd(const Environment& environment, const Json& config,
                                   Common common, Container container) {
  // DEL takes any name: an ADD that was refused needs one, too.
  RETURN_IF_ERROR(
      WithCode(CheckNewInterfaceName("CNI_IFNAME", container.ifname), kCniInvalidEnvironment));
  AddRequest request;
  request.network = std::move(common.network);
  request.container = std::move(container);
  request.own_netns_allowed = IsOwnNetNsAllowed(environment);
  ASSIGN_OR_RETURN(const LinkSection link, ReadLink(config));
  request.mode = link.mode;

  ASSIGN_OR_RETURN(const CniArgs cni_args, ParseCniArgs(Get(environment, "CNI_ARGS")));
  // podman sets K8S_POD_NAME alone, to the container's name.
  if (!cni_args.pod_namespace.empty() || !cni_args.pod_uid.empty()) {
    request.pod = {
        .name_space = cni_args.pod_namespace, .name = cni_args.pod_name, .uid = cni_args.pod_uid};
  }
  ASSIGN_OR_RETURN(std::set<std::string> taken, ReadChain(config, request));
  ASSIGN_OR_RETURN(const auto annotations, PodAnnotations(config));
  ASSIGN_OR_RETURN(PodNetworks networks, ParsePodNetworks(annotations, std::move(taken)));
  if (request.previous_result) {
    // A4: the plugin that made the first interface serves the requests for it.
    RETURN_IF_ERROR(CheckChained(request, networks));
    request.attachments = std::move(networks.others);
    if (link.cloud != CloudChoice()) {
      request.notes.push_back(
          absl::StrCat("chained: another plugin makes ", request.container.ifname,
                       "; \"cloud\" and \"vnl\" of the configuration have no effect"));
    }
    return request;
  }

  Attachment main;
  main.ifname = request.container.ifname;
  main.cloud = link.cloud;
  main.mtu = link.mtu;
  main.address_source = common.address_source;
  main.allow_by_annotation = std::move(networks.allow);
  if (networks.first) {
    main.cloud = networks.first->cloud;
    main.asked_by = networks.first->asked_by;
  }
  RETURN_IF_ERROR(ReadDetails(cni_args, config, request.mode, main));
  RETURN_IF_ERROR(CheckIps(main));
  request.attachments.push_back(std::move(main));
  for (Attachment& other : networks.others) request.attachments.push_back(std::move(other));
  return request;
}

absl::StatusOr<Request> ReadRequest(Command command, const Environment& environment,
                                    absl::string_view text) {
  Container container;
  if (command == Command::kAdd || command == Command::kDel || command == Command::kCheck) {
    ASSIGN_OR_RETURN(container, ReadContainer(environment, command != Command::kDel));
  }
  ASSIGN_OR_RETURN(const Json config, ParseObject(text, "the configuration on standard input"));
  ASSIGN_OR_RETURN(const SpecVersion version, ReadVersion(config));
  if (command == Command::kCheck) {
    RETURN_IF_ERROR(CheckCommandVersion("CHECK", version, SpecVersion::k040));
  }
  if (command == Command::kGc) {
    RETURN_IF_ERROR(CheckCommandVersion("GC", version, SpecVersion::k110));
  }
  ASSIGN_OR_RETURN(Common common, ReadCommon(environment, config, text, version));
  switch (command) {
    case Command::kAdd:
      return ReadAdd(environment, config, std::move(common), std::move(container));
    case Command::kDel:
      // Reads no more, so that an error elsewhere in the configuration does not prevent it.
      return DelRequest{.network = std::move(common.network), .container = std::move(container)};
    case Command::kCheck: {
      CheckRequest check{.network = std::move(common.network),
                         .container = std::move(container),
                         .own_netns_allowed = IsOwnNetNsAllowed(environment),
                         .mode = LinkMode::kVeth,
                         .previous = {}};
      ASSIGN_OR_RETURN(const LinkSection link, ReadLink(config));
      check.mode = link.mode;
      ASSIGN_OR_RETURN(check.previous, ReadPrevious(config));
      return check;
    }
    case Command::kGc: {
      GcRequest gc{.network = std::move(common.network), .valid = {}};
      ASSIGN_OR_RETURN(gc.valid, ReadValid(config));
      return gc;
    }
    case Command::kStatus: {
      StatusRequest status{.network = std::move(common.network), .cloud = {}};
      ASSIGN_OR_RETURN(const LinkSection link, ReadLink(config));
      // STATUS has no prevResult, by which ADD knows that it is chained. A section that makes eth0
      // has an IPAM section or a cloud: the default cloud has no addresses of its own.
      if (link.cloud != CloudChoice() || Find(config, "ipam") != nullptr) status.cloud = link.cloud;
      return status;
    }
    case Command::kVersion:
      break;
  }
  return VersionRequest{.version = version};
}

}  // namespace

absl::StatusOr<std::optional<Command>> ParseCommand(const Environment& environment) {
  const absl::string_view text = Get(environment, "CNI_COMMAND");
  if (text.empty()) return std::nullopt;
  if (text == "ADD") return Command::kAdd;
  if (text == "DEL") return Command::kDel;
  if (text == "CHECK") return Command::kCheck;
  if (text == "GC") return Command::kGc;
  if (text == "STATUS") return Command::kStatus;
  if (text == "VERSION") return Command::kVersion;
  return CniStatus(kCniInvalidEnvironment, absl::StrCat("CNI_COMMAND ", text, " is unknown"),
                   "use ADD, DEL, CHECK, GC, STATUS or VERSION");
}

SpecVersion AnswerVersion(absl::string_view config) {
  const absl::StatusOr<Json> json = ParseObject(config, "configuration");
  if (!json.ok() || Find(*json, "cniVersion") == nullptr) return kLatestSpecVersion;
  return ReadVersion(*json).value_or(kLatestSpecVersion);
}

absl::StatusOr<std::string> ConfigInVersion(absl::string_view config, SpecVersion version) {
  ASSIGN_OR_RETURN(Json json, ParseObject(config, "configuration"));
  json["cniVersion"] = std::string(ToString(version));
  // A plugin that checks the result reads it in its own version (Debian 12's static does).
  if (Find(json, "prevResult") != nullptr && json["prevResult"].is_object()) {
    json["prevResult"]["cniVersion"] = std::string(ToString(version));
  }
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

absl::StatusOr<Request> ParseRequest(Command command, const Environment& environment,
                                     absl::string_view config) {
  if (command == Command::kVersion) return VersionRequest{.version = AnswerVersion(config)};
  absl::StatusOr<Request> request = ReadRequest(command, environment, config);
  if (!request.ok()) return WithCode(request.status(), kCniInvalidConfig);
  return request;
}

}  // namespace vxvde
