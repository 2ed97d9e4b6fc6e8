// UnderlayWall: a pod is not a member by way of the node's routing. Members believe each datagram
// that has a cloud's header and comes to one of its UDP ports, so a process in a pod that reaches
// such a port, on this node or by it on another one, would be a member of a cloud that its
// namespace may not join. The table "inet vxvde-underlay" drops such datagrams. It is there while a
// cloud is joined, with or without a node port.
//
// Dropped is what comes in by an interface of pods:
//   - to a port of this node's clouds, at this node;
//   - by an uplink, to a port that another member may have;
//   - by an uplink, with the address and port that other members know this node by, which it has
//     after masquerading.
// An interface of pods is a veth or tap device (the node's ports in clouds are veth devices, too),
// or a bridge whose ports are such devices only. Uplinks and the loopback are none, whatever they
// are. Datagrams of the node itself, and those that it routes from one network of the operator's to
// another, are not touched.
//
// No rule uses connection tracking: a node that has no other rules for it does without. The reasons
// are in docs/decisions/0023.
// Not here: what sockets take by themselves; what is forwarded into a cloud (firewall.h).

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

// What the rules are made of. Lists are sorted and have no element twice.
struct UnderlayState {
  std::vector<std::string> uplinks;      // of joined clouds; none: no rules
  std::vector<std::string> lan_bridges;  // bridges with a port that is no pod's
  std::vector<uint16_t> local_ports;     // where this node takes datagrams of clouds
  std::vector<uint16_t> source_ports;    // those of them that it sends from
  std::vector<uint16_t> group_ports;
  std::vector<PortRange> member_ports;  // unicast and fast ports of other agents
  std::vector<IpPrefix> networks;       // where members are; none: anywhere

  friend bool operator==(const UnderlayState&, const UnderlayState&) = default;
};
// `unicast_ports` as the configuration says, for this node and, since nodes are configured alike,
// for others.
UnderlayState MakeUnderlayState(const std::vector<UnderlayCloud>& clouds,
                                const PortRange& unicast_ports, const std::vector<LinkInfo>& links,
                                const std::vector<AddressInfo>& addresses);

// The table; without uplinks there is none.
NftTable UnderlayRules(const UnderlayState& state);

// The kernel of the calling thread's network namespace.
struct UnderlayView {
  std::function<absl::StatusOr<std::vector<LinkInfo>>()> links;
  std::function<absl::StatusOr<std::vector<AddressInfo>>()> addresses;
};
absl::StatusOr<UnderlayView> KernelUnderlayView();

class UnderlayWall {
 public:
  // Loop and log outlive it. It belongs to the loop's thread. Its end leaves the rules: what the
  // kernel forwards needs them while there is no agent.
  UnderlayWall(EventLoop* loop, const Log* log, NftKernel rules, UnderlayView view);
  UnderlayWall(const UnderlayWall&) = delete;
  UnderlayWall& operator=(const UnderlayWall&) = delete;

  // These clouds are joined now. Makes the rules before it returns, or problem() says why not and
  // they are tried again every NftKeeper::kRetry.
  void Follow(std::vector<UnderlayCloud> clouds, const PortRange& unicast_ports);

  // Some link or address of the namespace has changed: the rules follow after kSettle, once for
  // many changes.
  void OnLinkChange();
  static constexpr std::chrono::milliseconds kSettle{200};
  // Some rules of the namespace have changed: see NftKeeper.
  void OnRulesChange() { table_.OnChange(); }

  // Why pods may reach the ports of clouds; OK when they cannot.
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
