// Firewall: the nftables table "inet vxvde". It decides about packets between the node's own ports
// in clouds and everything else: published ports (DNAT), masquerading, the sources that may enter a
// cloud, and the protection of the node's loopback from clouds. A pure function makes the rules
// from FirewallState.
//
// Invariants:
//   I1  After Set(), until its next call, the table has the rules that FirewallRules() made of the
//       state. NftKeeper restores it.
//
//   I2  No tracked UDP flow continues by rules that no longer exist, although the kernel evaluates
//       NAT rules only for the first packet of a flow.
//
// The reasons for the rules are in docs/decisions/0008, 0009 and 0023. Not here: which ports and
// publications there are (host_ports).

#ifndef VXVDE_AGENT_NODE_PORT_FIREWALL_H_
#define VXVDE_AGENT_NODE_PORT_FIREWALL_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/base/log.h"
#include "agent/node_port/nft_keeper.h"
#include "plugin/base/ip_address.h"
#include "plugin/os/conntrack.h"
#include "plugin/os/event_loop.h"

namespace vxvde {

// A node's own port in a cloud.
struct FirewallPort {
  std::string ifname;
  std::vector<IpPrefix> subnets = {};  // of the cloud
  bool masquerade = false;
  bool routed = false;                    // packets from outside the clouds may enter this one
  std::vector<std::string> reaches = {};  // interfaces of the ports whose clouds this one may enter

  friend bool operator==(const FirewallPort&, const FirewallPort&) = default;
};

struct FirewallMapping {
  std::string protocol = "tcp";  // or "udp", "sctp"
  uint16_t host_port = 0;
  // The address of the node, of the target's family; absent: all of them.
  std::optional<IpAddress> host_ip;
  IpAddress target;
  uint16_t target_port = 0;

  friend bool operator==(const FirewallMapping&, const FirewallMapping&) = default;
  friend auto operator<=>(const FirewallMapping&, const FirewallMapping&) = default;
};

struct FirewallState {
  std::vector<FirewallPort> ports;
  // Two mappings of one family, protocol and host_port differ in host_ip, which one of them may
  // lack.
  std::vector<FirewallMapping> mappings;

  friend bool operator==(const FirewallState&, const FirewallState&) = default;
};

// The table; none without ports.
NftTable FirewallRules(const FirewallState& state);

// Returns whether `flow`, to an address of this node, has another destination than the rules of
// `now` give it. A port of `now` leads to its target only; no flow leads to the target of a port of
// `before` any more.
bool IsStale(const UdpFlow& flow, const std::vector<FirewallMapping>& before,
             const std::vector<FirewallMapping>& now);

// The kernel interface of Firewall: KernelFirewall(), or a test's fakes.
struct FirewallKernel {
  NftKernel rules;
  // Deletes the stale ones of the UDP flows to addresses of this node and one of `ports`.
  std::function<absl::Status(const std::set<uint16_t>& ports,
                             const std::function<bool(const UdpFlow&)>& stale)>
      forget = [](const auto&, const auto&) { return absl::OkStatus(); };
};

// The kernel of the calling thread's network namespace.
FirewallKernel KernelFirewall();

class Firewall {
 public:
  // Both outlive it. Loop thread only.
  Firewall(EventLoop* loop, const Log* log, FirewallKernel kernel);
  Firewall(const Firewall&) = delete;
  Firewall& operator=(const Firewall&) = delete;

  // An error leaves the table and the state as they were. PermissionDenied: the agent may not
  // change nftables here.
  absl::Status Set(FirewallState state);
  const FirewallState& state() const { return state_; }

  // Called when any rules of the namespace have changed: see NftKeeper.
  void OnChange() { table_.OnChange(); }

  // The reason why the table is not as it should be; OK: it is.
  const absl::Status& problem() const { return table_.problem(); }

 private:
  absl::Status Replace(const std::vector<NftTable>& tables);
  // `before`: the mappings by which flows may have begun.
  void ForgetFlows(const std::vector<FirewallMapping>& before,
                   const std::vector<FirewallMapping>& now);

  const Log* log_;
  FirewallKernel kernel_;
  NftKeeper table_;
  FirewallState state_;
  const FirewallState* next_ = nullptr;  // during Set
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_FIREWALL_H_
