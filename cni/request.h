// What a runtime asks: environment and standard input -> Request, or a CNI error. Pure.
//
// Nothing has been touched when a request is refused here. What needs the kernel
// (is the namespace there, is the name free) is commands' question.
// Source: CNI SPEC 1.1.0, "Parameters" and section 1; CONVENTIONS.md for runtimeConfig, args and
// CNI_ARGS.

#ifndef VXVDE_CNI_REQUEST_H_
#define VXVDE_CNI_REQUEST_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cni/result.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

using Environment = std::map<std::string, std::string>;

enum class Command { kAbout, kAdd, kDel, kCheck, kGc, kStatus, kVersion };
enum class LinkMode { kVeth, kTap };
// Whose answer is printed, and for whom the agent keeps the attachment.
enum class Caller { kCni, kNetavark };

// An address that the runtime wants; without a length the IPAM plugin knows it.
struct RequestedIp {
  IpAddress address;
  std::optional<uint8_t> length;

  bool operator==(const RequestedIp&) const = default;
};

// A port of the node that leads to the pod.
struct PublishedPort {
  uint16_t host_port = 0;
  uint16_t container_port = 0;
  std::string protocol = "tcp";  // or "udp", "sctp"
  // At which of the node's addresses; absent: at all.
  std::optional<IpAddress> host_ip;

  bool operator==(const PublishedPort&) const = default;
};

struct BitRate {
  uint64_t rate = 0;   // bits a second
  uint64_t burst = 0;  // bits that may go at once

  bool operator==(const BitRate&) const = default;
};

struct Bandwidth {
  std::optional<BitRate> ingress;  // to the pod
  std::optional<BitRate> egress;   // from it

  bool operator==(const Bandwidth&) const = default;
};

// A network that a pod's annotation asks for (networks.h).
struct WantedNetwork {
  std::string asked_by;  // the annotation and its entry, for messages
  std::string cloud;     // exactly one of the two
  std::string vnl;
  std::string ifname;
  std::optional<MacAddress> mac;
  // Each with a length; none: layer 2 only. Absent: the agent's own, from the cloud's subnets.
  std::optional<std::vector<RequestedIp>> ips;
  std::vector<ResultRoute> routes;
  std::vector<std::string> allow;  // as Request has it
  // An unknown cloud is another plugin's network. Only once it is known that it is ours, a
  // `problem` with the entry matters.
  bool maybe_foreign = false;
  absl::Status problem;

  bool operator==(const WantedNetwork&) const = default;
};

struct Ipam {
  enum class Kind {
    kAgent,     // `ipam` absent: the agent's own, from the cloud's subnets
    kCaller,    // `ipam: {}`: the addresses that are asked for, or none
    kDelegate,  // `ipam.type`: another plugin
  };
  Kind kind = Kind::kAgent;
  std::string type;               // kDelegate: the plugin's file name
  std::vector<std::string> path;  // kDelegate: CNI_PATH, in order
};

// What a runtime knows an attachment by, beside the network.
struct ValidAttachment {
  std::string container_id;
  std::string ifname;

  auto operator<=>(const ValidAttachment&) const = default;
};

struct Request {
  Command command = Command::kAbout;
  Caller caller = Caller::kCni;
  // VERSION: that of the asking side, or the latest.
  SpecVersion version = kLatestSpecVersion;

  std::string container_id;
  std::string netns;  // empty: DEL of something whose namespace has gone
  std::string ifname;
  bool own_netns_allowed = false;  // CNI_NETNS_OVERRIDE

  std::string network;
  std::string agent = "/run/vxvde/handoff.sock";
  Ipam ipam;
  std::string config;  // standard input as it came, for the IPAM plugin

  CniResult previous;                  // CHECK only: what the list's ADD answered
  std::vector<ValidAttachment> valid;  // GC only: those that are to stay

  // ADD, CHECK and STATUS only.
  std::string cloud;  // at most one of the two
  std::string vnl;
  LinkMode mode = LinkMode::kVeth;
  uint32_t mtu = 0;  // 0: the cloud's

  // ADD only.
  std::optional<MacAddress> mac;
  std::vector<RequestedIp> ips;
  std::vector<ResultRoute> routes;  // beside those of the IPAM plugin
  // The agent's gateway, if it names one, is the way out of the pod.
  bool gateway_wanted = true;
  std::optional<uint32_t> gateway_metric;  // of that route
  std::vector<PublishedPort> ports;
  Bandwidth bandwidth;
  // What it may send beside what is its own, as it is written; the agent reads it.
  std::vector<std::string> allow;
  std::vector<std::string> allow_by_annotation;
  Dns dns;                    // empty: the IPAM plugin's
  std::string pod_namespace;  // the three are empty outside Kubernetes
  std::string pod_name;
  std::string pod_uid;

  // What the pod's annotations ask for beside, each with an interface of its own.
  std::vector<WantedNetwork> networks;
  // Chained: the result of the plugins before, who made `ifname`. Only `networks` are ours.
  std::optional<std::string> previous_result;
  // Of one that AttachmentsOf made from `networks`; empty: of the ADD itself.
  std::string main_ifname;
  // An annotation that named the cloud or locator; empty: the configuration did.
  std::string asked_by;
  bool maybe_foreign = false;
  absl::Status problem;
};

// What an ADD is to attach, each as a request of its own without networks: `ifname` unless
// chained, then those of `networks`. A key of the handoff names each.
std::vector<Request> AttachmentsOf(const Request& request);

// SPEC: ^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$, for network names and container ids.
bool IsCniName(absl::string_view text);
// As dev_valid_name() of the kernel (net/core/dev.c).
bool IsInterfaceName(absl::string_view text);
// Absolute, and short enough for sockaddr_un.
bool IsSocketPath(absl::string_view text);
// "192.0.2.7" or "192.0.2.7/24".
absl::StatusOr<RequestedIp> ParseRequestedIp(const std::string& text);
// A unicast MAC that is not zero.
absl::StatusOr<MacAddress> ParseStationMac(const std::string& text);

// Needs nothing but CNI_COMMAND; kAbout when that is empty or not set. An unknown one is
// kCniInvalidEnvironment.
absl::StatusOr<Command> ParseCommand(const Environment& environment);

// The version that an answer to `config` is written in: its own, or the latest when that cannot
// be told. Never fails, so that every failure can be answered.
SpecVersion AnswerVersion(absl::string_view config);

// The same configuration for a plugin that does not know the version in it.
absl::StatusOr<std::string> ConfigInVersion(absl::string_view config, SpecVersion version);

// The same configuration with `valid` for those that GC is to leave.
absl::StatusOr<std::string> ConfigWithValid(absl::string_view config,
                                            const std::vector<ValidAttachment>& valid);

// `config` is the standard input. Safe on any input.
absl::StatusOr<Request> ParseRequest(const Environment& environment, absl::string_view config);

}  // namespace vxvde

#endif  // VXVDE_CNI_REQUEST_H_
