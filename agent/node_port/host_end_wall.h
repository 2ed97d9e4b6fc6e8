// HostEndWall: a pod's link ends at the cloud, not at the node. A packet socket copies the frames
// of a host end and does not take them, so the node's stack sees each of them as well: it would
// answer ARP there and route what a pod sends. In the other direction the stack would send its own
// on a host end: multicast listener reports, for one, where the node forwards IPv6.
//
// Two things keep both apart, and neither depends on a running agent:
//   - every host end is in the interface group kHostEndGroup, from the message that creates it on
//     (cni/links, node_link);
//   - nftables drop all that the stack gets from or sends to that group, in their first and last
//     hooks: IPv4, IPv6 and ARP. No other protocol is bound to a host end.
//
// What passes between a pod and the cloud meets neither: packet sockets read before these hooks and
// write behind them, and the kernel datapath redirects frames before and after them. So does a
// program of somebody else on the interface: frames that the bandwidth plugin sends around an ifb
// device meet the rules like all others. That, and that another plugin can still add its own
// ingress qdisc, is why no tc filter is used here (docs/decisions/0026).
//
// Not here: who may reach what through the node's own ports (firewall.h).

#ifndef VXVDE_AGENT_NODE_PORT_HOST_END_WALL_H_
#define VXVDE_AGENT_NODE_PORT_HOST_END_WALL_H_

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "agent/node_port/nft_keeper.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/netlink.h"
#include "plugin/os/nftables.h"
#include "plugin/os/task_scope.h"

namespace vxvde {

// The tables "inet vxvde-wall" and "arp vxvde-wall"; without `wanted` there are none.
std::vector<NftTable> HostEndRules(bool wanted);

// What HostEndWall needs of the kernel beside nftables.
struct HostEndLinks {
  std::function<absl::StatusOr<std::vector<LinkInfo>>()> list;
  std::function<absl::Status(IfIndex host_end)> mark;  // puts it into kHostEndGroup
};

// The kernel of the calling thread's network namespace.
absl::StatusOr<HostEndLinks> KernelHostEndLinks();

class HostEndWall {
 public:
  // Both outlive it; everything happens on the loop's thread. Its end leaves everything as it is:
  // pods outlive an agent.
  HostEndWall(EventLoop* loop, const Log* log, NftKernel rules, HostEndLinks links);
  HostEndWall(const HostEndWall&) = delete;
  HostEndWall& operator=(const HostEndWall&) = delete;

  // Whether host ends may be made. Then the rules stand before this returns, or they are tried
  // again every NftKeeper::kRetry; without the permission from the first host end on. They go when
  // none is wanted and none is left.
  void Want(bool wanted);

  // Some rules of the namespace have changed: those of the wall are back after NftKeeper::kSettle.
  void OnRulesChange() { rules_.OnChange(); }

  // Some link of the namespace has changed. After kSettle, once for many changes, it looks which
  // host ends there are, and puts those into the group that are not there: an older plugin made
  // them, or somebody has changed them.
  void OnLinkChange();
  static constexpr std::chrono::seconds kSettle{1};
  // The same at once.
  void MarkLinks();

  // Why frames may pass; OK when they cannot, or the permission is missing and no host end is
  // there.
  absl::Status problem() const;

 private:
  void Apply();
  // Without host ends nothing is wrong with a rootless agent, which has taps only.
  bool DoesWithoutRules() const;

  const Log* log_;
  NftKeeper rules_;
  HostEndLinks links_;
  bool wanted_ = false;
  bool host_ends_ = false;  // there are some
  // Of the last Set(), and of it in the log.
  absl::Status rules_problem_;
  absl::Status said_;
  absl::Status links_problem_;
  Timer retry_;
  Timer mark_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_HOST_END_WALL_H_
