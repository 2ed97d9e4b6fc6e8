// What a runtime asks for: one type for each command. Pure.
//
// These are values only. request.cc reads CNI's form (environment and standard input), netavark.h
// reads netavark's; commands.h acts on them. When a reader refuses, nothing has been changed yet.
// Questions to the kernel (does the namespace exist, is the interface name free) are not asked
// here. Specification: CNI SPEC 1.1.0, "Parameters" and section 1; CONVENTIONS.md for
// runtimeConfig, args and CNI_ARGS.

#ifndef VXVDE_CNI_REQUEST_H_
#define VXVDE_CNI_REQUEST_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cni/result.h"
#include "cni/values.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

using Environment = std::map<std::string, std::string>;

enum class LinkMode { kVeth, kTap };
// Decides the form of ADD's answer; the agent records it with the attachment.
enum class Caller { kCni, kNetavark };

// An IPAM plugin to run (SPEC section 4, "Plugin Delegation").
struct IpamDelegate {
  std::string type;                          // the plugin's file name
  std::vector<std::string> path;             // CNI_PATH, in search order
  std::string config;                        // standard input, unchanged
  SpecVersion version = kLatestSpecVersion;  // of `config`
};

// The network configuration, as far as every command needs it.
struct Network {
  std::string name;
  std::string agent = "/run/vxvde/handoff.sock";
  SpecVersion version = kLatestSpecVersion;  // of the answer
  std::optional<IpamDelegate> ipam;
};

// The container's side of ADD, DEL and CHECK.
struct Container {
  std::string id;
  std::string netns;  // path; empty: DEL after the namespace has gone
  std::string ifname;
};

// The pod in Kubernetes; all empty for other runtimes.
struct Pod {
  std::string name_space;
  std::string name;
  std::string uid;
};

enum class AddressSource {
  kAgent,   // `ipam` is absent: the agent allocates from the cloud's subnets
  kCaller,  // `ipam: {}`: the requested addresses, or none
  kIpamPlugin,
};

// One interface that an ADD makes, on one cloud.
struct Attachment {
  std::string ifname;
  // The annotation that names the cloud, and its entry, for messages; empty: the network
  // configuration names the cloud.
  std::string asked_by;
  CloudChoice cloud;
  uint32_t mtu = 0;  // 0: the cloud's
  std::optional<MacAddress> mac;
  AddressSource address_source = AddressSource::kAgent;
  // kCaller: each has a length.
  std::vector<RequestedIp> ips;
  std::vector<ResultRoute> routes;  // in addition to the IPAM plugin's
  // Default routes of the IPAM plugin, or through the agent's gateway, if it has one.
  bool default_route_wanted = true;
  std::optional<uint32_t> gateway_metric;  // of the route through the agent's gateway
  // The default routes among `routes` replace those of all other networks.
  bool replaces_default_route = false;
  std::vector<PublishedPort> ports;
  Bandwidth bandwidth;
  Dns dns;  // empty: the IPAM plugin's
  // Exceptions from port security, as written; the agent parses them.
  std::vector<std::string> allow;
  std::vector<std::string> allow_by_annotation;
  // If the agent does not know `cloud`, the entry is for another plugin and is skipped. `problem`
  // is an error in the entry that counts only if the agent knows the cloud.
  bool maybe_foreign = false;
  absl::Status problem;
  // For the log, if the agent knows the cloud: keys of the entry that have no effect.
  std::vector<std::string> notes;
};

struct AddRequest {
  Network network;
  Container container;
  bool own_netns_allowed = false;  // CNI_NETNS_OVERRIDE
  Caller caller = Caller::kCni;
  Pod pod;
  LinkMode mode = LinkMode::kVeth;
  // First that of `container.ifname`, unless chained, then those of annotations. Only the first may
  // take its addresses from `network.ipam`.
  std::vector<Attachment> attachments;
  // Chained: the result of the plugins before this one, one of which made `container.ifname`.
  std::optional<std::string> previous_result;
  // For the log: keys that have no effect.
  std::vector<std::string> notes;
};

struct DelRequest {
  Network network;
  Container container;
};

struct CheckRequest {
  Network network;
  Container container;
  bool own_netns_allowed = false;  // CNI_NETNS_OVERRIDE
  LinkMode mode = LinkMode::kVeth;
  CniResult previous;  // the result of the whole list's ADD
};

// A runtime's name for an attachment, within a network.
struct ValidAttachment {
  std::string container_id;
  std::string ifname;

  auto operator<=>(const ValidAttachment&) const = default;
};

struct GcRequest {
  Network network;
  std::vector<ValidAttachment> valid;  // those that remain
};

struct StatusRequest {
  Network network;
  // nullopt: the section attaches nothing by itself. After another plugin only annotations request
  // clouds, and the pods without them need no agent.
  std::optional<CloudChoice> cloud;
};

struct VersionRequest {
  SpecVersion version = kLatestSpecVersion;  // of the answer
};

using Request =
    std::variant<AddRequest, DelRequest, CheckRequest, GcRequest, StatusRequest, VersionRequest>;

enum class Command { kAdd, kDel, kCheck, kGc, kStatus, kVersion };

// nullopt when CNI_COMMAND is empty or not set (E2). An unknown command is kCniInvalidEnvironment.
absl::StatusOr<std::optional<Command>> ParseCommand(const Environment& environment);

// `config` is the standard input. Safe on any input. VERSION reads no other variable, and accepts
// any standard input (V1).
absl::StatusOr<Request> ParseRequest(Command command, const Environment& environment,
                                     absl::string_view config);

// The version in which an answer to `config` is written: that of `config`, or the latest if
// `config` has none that can be read. Never fails, so that every error can be answered.
SpecVersion AnswerVersion(absl::string_view config);

// `config` and its prevResult with another cniVersion, for a plugin that does not know the original
// one.
absl::StatusOr<std::string> ConfigInVersion(absl::string_view config, SpecVersion version);

// `config` with `valid` as the attachments that GC keeps.
absl::StatusOr<std::string> ConfigWithValid(absl::string_view config,
                                            const std::vector<ValidAttachment>& valid);

}  // namespace vxvde

#endif  // VXVDE_CNI_REQUEST_H_
