// Firewall: the nftables table "inet vxvde". It decides about packets between the node's own ports
// in clouds and everything else: published ports (DNAT), masquerading, which cloud may be entered
// from where, and the node's loopback, which no cloud reaches. A pure function makes the rules from
// FirewallState.
//
// Invariants:
//   I1  After Set(), until the next, the table is what FirewallRules() made of the state.
//       NftKeeper keeps it so.
//
//   I2  No UDP flow that connection tracking remembers goes on by rules that are gone: NAT rules
//       are read for the first packet of a flow only.
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
  // At which of the node's addresses, of the target's family; absent: at all.
  std::optional<IpAddress> host_ip;
  IpAddress target;
  uint16_t target_port = 0;

  friend bool operator==(const FirewallMapping&, const FirewallMapping&) = default;
  friend auto operator<=>(const FirewallMapping&, const FirewallMapping&) = default;
};

struct FirewallState {
  std::vector<FirewallPort> ports;
  // Of two with one family, protocol and host_port, one names a host_ip that the other does not.
  std::vector<FirewallMapping> mappings;

  friend bool operator==(const FirewallState&, const FirewallState&) = default;
};

// The table; without ports there is none.
NftTable FirewallRules(const FirewallState& state);

// Whether `flow`, to an address of this node, goes elsewhere than the rules of `now` would send it.
// A port of `now` is for its target alone; the target of a port of `before` is for no flow any
// more.
bool IsStale(const UdpFlow& flow, const std::vector<FirewallMapping>& before,
             const std::vector<FirewallMapping>& now);

// What Firewall needs of the kernel; KernelFirewall(), or fakes of a test.
struct FirewallKernel {
  NftKernel rules;
  // Forgets the stale ones of the UDP flows to addresses of this node and one of `ports`.
  std::function<absl::Status(const std::set<uint16_t>& ports,
                             const std::function<bool(const UdpFlow&)>& stale)>
      forget = [](const auto&, const auto&) { return absl::OkStatus(); };
};

// The kernel of the calling thread's network namespace.
FirewallKernel KernelFirewall();

class Firewall {
 public:
  // Both outlive it. It belongs to the loop's thread.
  Firewall(EventLoop* loop, const Log* log, FirewallKernel kernel);
  Firewall(const Firewall&) = delete;
  Firewall& operator=(const Firewall&) = delete;

  // An error leaves the table and the state as they were. PermissionDenied: the agent may not
  // change nftables here.
  absl::Status Set(FirewallState state);
  const FirewallState& state() const { return state_; }

  // Some rules of the namespace have changed: see NftKeeper.
  void OnChange() { table_.OnChange(); }

  // Why the table is not as it should be; OK when it is.
  const absl::Status& problem() const { return table_.problem(); }

 private:
  absl::Status Replace(const std::vector<NftTable>& tables);
  // `before`: the mappings that flows may have begun by.
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
