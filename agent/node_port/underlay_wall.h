// UnderlayWall: keeps pods from becoming members through the node's routing. Members accept each
// datagram that has a cloud's header and comes to one of its UDP ports, so a process in a pod that
// reaches such a port, on this node or through it on another one, would be a member of a cloud that
// its namespace may not join. The table "inet vxvde-underlay" drops such datagrams. It exists while
// a cloud is joined, with or without a node port.
//
// It drops datagrams that come in by an interface of pods and go
//   - to a port of this node's clouds, at this node;
//   - by an uplink, to a port that another member may have;
//   - by an uplink, from the address and port by which other members know this node, after
//     masquerading.
// An interface of pods is a veth or tap device (the node's ports in clouds are veth devices, too),
// or a bridge that has no ports but such devices. Uplinks and the loopback never count as one.
// Datagrams of the node itself, and those that it routes between the operator's networks, are not
// affected.
//
// No rule uses connection tracking, so a node without other rules for it does not need it. The
// reasons are in docs/decisions/0023.
// Not here: the datagrams that sockets accept; packets forwarded into a cloud (firewall.h).

#ifndef VXVDE_AGENT_NODE_PORT_UNDERLAY_WALL_H_
#define VXVDE_AGENT_NODE_PORT_UNDERLAY_WALL_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/derive.h"
#include "agent/base/log.h"
#include "agent/node_port/nft_keeper.h"
#include "plugin/base/ip_address.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/netlink.h"
#include "plugin/os/nftables.h"
#include "plugin/os/task_scope.h"

namespace vxvde {

// A joined cloud on the underlay.
struct UnderlayCloud {
  std::string uplink;
  int ttl = 1;  // of its datagrams; 1: its members are on the uplink's link
  uint16_t group_port = 0;
  uint16_t unicast_port = 0;
  uint16_t fast_port = 0;  // 0: it has none

  friend bool operator==(const UnderlayCloud&, const UnderlayCloud&) = default;
};

// The input of the rules. Lists are sorted and contain no element twice.
struct UnderlayState {
  std::vector<std::string> uplinks;      // of joined clouds; none: no rules
  std::vector<std::string> lan_bridges;  // bridges with a port that belongs to no pod
  std::vector<uint16_t> local_ports;     // at which this node receives datagrams of clouds
  std::vector<uint16_t> source_ports;    // those from which it sends
  std::vector<uint16_t> group_ports;
  std::vector<PortRange> member_ports;  // unicast and fast ports of other agents
  std::vector<IpPrefix> networks;       // where members are; none: anywhere

  friend bool operator==(const UnderlayState&, const UnderlayState&) = default;
};
// `unicast_ports`: the configured range, for this node and, because nodes are configured alike, for
// others.
UnderlayState MakeUnderlayState(const std::vector<UnderlayCloud>& clouds,
                                const PortRange& unicast_ports, const std::vector<LinkInfo>& links,
                                const std::vector<AddressInfo>& addresses);

// The table; none without uplinks.
NftTable UnderlayRules(const UnderlayState& state);

// The kernel of the calling thread's network namespace.
struct UnderlayView {
  std::function<absl::StatusOr<std::vector<LinkInfo>>()> links;
  std::function<absl::StatusOr<std::vector<AddressInfo>>()> addresses;
};
absl::StatusOr<UnderlayView> KernelUnderlayView();

class UnderlayWall {
 public:
  // Loop and log outlive it. Loop thread only. The destructor leaves the rules: the kernel forwards
  // while there is no agent.
  UnderlayWall(EventLoop* loop, const Log* log, NftKernel rules, UnderlayView view);
  UnderlayWall(const UnderlayWall&) = delete;
  UnderlayWall& operator=(const UnderlayWall&) = delete;

  // Sets the joined clouds. The rules are in place when it returns, or problem() gives the reason
  // and they are retried every NftKeeper::kRetry.
  void Follow(std::vector<UnderlayCloud> clouds, const PortRange& unicast_ports);

  // Called when any link or address of the namespace has changed. The rules follow after kSettle,
  // once for many changes.
  void OnLinkChange();
  static constexpr std::chrono::milliseconds kSettle{200};
  // Called when any rules of the namespace have changed: see NftKeeper.
  void OnRulesChange() { table_.OnChange(); }

  // The reason why pods may reach the ports of clouds; OK: they cannot.
  absl::Status problem() const;

 private:
  void Update();
  void UpdateIn(Duration delay);

  const Log* log_;
  NftKeeper table_;
  UnderlayView view_;
  std::vector<UnderlayCloud> clouds_;
  PortRange unicast_ports_;
  bool known_ = false;  // the table was set
  absl::Status problem_;
  Timer update_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_UNDERLAY_WALL_H_
