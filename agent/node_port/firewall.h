// Firewall: the nftables table "inet vxvde", which is ours alone. What this node does to packets
// between its own ports in clouds and the rest of the world: published ports (DNAT), masquerading,
// and keeping a cloud's hands off the node's loopback. Rules are text, made from FirewallState by a
// pure function; nobody else's table is touched.
//
// Invariant: after Set(), until the next, the table is what FirewallRules() made of the state,
// whoever flushes or changes it: within kSettle of the change it is replaced.
//
// The rules' reasons are in docs/decisions/0008 and 0009. Not here: who has which port
// (node_ports, attachments).

#ifndef VXVDE_AGENT_NODE_PORT_FIREWALL_H_
#define VXVDE_AGENT_NODE_PORT_FIREWALL_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "plugin/base/ip_address.h"
#include "plugin/os/event_loop.h"

namespace vxvde {

// A node's own port in a cloud.
struct FirewallPort {
  std::string ifname;
  std::vector<IpPrefix> subnets;  // of the cloud
  bool masquerade = false;

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
  // No two of one family, protocol and host_port, unless both name a host_ip, and not the same.
  std::vector<FirewallMapping> mappings;

  friend bool operator==(const FirewallState&, const FirewallState&) = default;
};

// Commands that make the table from nothing or from whatever it is, in one transaction. Without
// ports they remove it.
std::string FirewallRules(const FirewallState& state);

// What Firewall needs of the kernel; plugin/os/nftables.h, or a test's own.
struct FirewallKernel {
  std::function<absl::Status(const std::string& commands)> run;
  std::function<absl::StatusOr<std::string>()> list;  // the table; empty: there is none
};

// The kernel of the calling thread's network namespace.
FirewallKernel KernelFirewall();
// Where there is none, or it is not ours to change: everything fails with `why`. (libnftables
// would end the process, or write to its stderr.)
FirewallKernel NoFirewall(const absl::Status& why);

class Firewall {
 public:
  // Both outlive it; everything happens on the loop's thread.
  Firewall(EventLoop* loop, const Log* log, FirewallKernel kernel);
  // Leaves the table as it is: a restarted agent takes it over.
  ~Firewall();

  // An error leaves the table and the state as they were. PermissionDenied: the agent may not
  // change nftables here.
  absl::Status Set(FirewallState state);
  const FirewallState& state() const { return state_; }

  // Somebody changed some rules. Looks at the table after kSettle, once for many changes, and tries
  // again every kRetry while that fails.
  void OnChange();
  static constexpr std::chrono::milliseconds kSettle{200};
  static constexpr std::chrono::seconds kRetry{2};

  // Why the table is not as it should be; empty when it is.
  const std::string& problem() const { return problem_; }

 private:
  void Check();
  void CheckIn(Duration delay);
  absl::Status Apply(const FirewallState& state);

  EventLoop* loop_;
  const Log* log_;
  FirewallKernel kernel_;
  FirewallState state_;
  bool known_ = false;  // whether the kernel's table is that of state_
  std::string listed_;  // the table as it was right after it was made
  std::string problem_;
  std::optional<EventLoop::TimerId> check_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_FIREWALL_H_
