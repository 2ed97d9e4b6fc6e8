// HostEndWall: separates host ends of pods from the node's network stack. A packet socket copies
// the frames of a host end and does not consume them, so the stack receives each of them as well:
// it would answer ARP there and route packets of a pod. In the other direction the stack would send
// packets of its own on a host end, for example multicast listener reports where the node forwards
// IPv6.
//
// Two measures separate them, and neither depends on a running agent:
//   - every host end is created in the interface group kHostEndGroup (cni/links, node_link);
//   - nftables rules drop all packets that the stack receives from or sends to that group, in the
//     first and last hooks: IPv4, IPv6 and ARP. No other protocol is bound to a host end.
//
// Frames between a pod and the cloud do not pass these hooks: packet sockets read before them and
// write after them, and the kernel datapath redirects frames before and after them. Frames that
// another program redirects do pass them, for example those that the bandwidth plugin sends through
// an ifb device. For that reason, and because another plugin can still add its own ingress qdisc,
// no tc filter is used here (docs/decisions/0026).
//
// Not here: access through the node's own ports (firewall.h).

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

// The tables "inet vxvde-wall" and "arp vxvde-wall"; none unless `wanted`.
std::vector<NftTable> HostEndRules(bool wanted);

// The kernel interface of HostEndWall for links.
struct HostEndLinks {
  std::function<absl::StatusOr<std::vector<LinkInfo>>()> list;
  std::function<absl::Status(IfIndex host_end)> mark;  // puts it into kHostEndGroup
};

// The kernel of the calling thread's network namespace.
absl::StatusOr<HostEndLinks> KernelHostEndLinks();

class HostEndWall {
 public:
  // Both outlive it. Loop thread only. The destructor changes nothing, because pods outlive an
  // agent.
  HostEndWall(EventLoop* loop, const Log* log, NftKernel rules, HostEndLinks links);
  HostEndWall(const HostEndWall&) = delete;
  HostEndWall& operator=(const HostEndWall&) = delete;

  // `wanted`: host ends may be created. The rules are in place when this returns, or are retried
  // every NftKeeper::kRetry; without the permission, only once there is a host end. They are
  // removed when no host end is wanted and none is left.
  void Want(bool wanted);

  // Called when any rules of the namespace have changed. The wall's are restored after
  // NftKeeper::kSettle.
  void OnRulesChange() { rules_.OnChange(); }

  // Called when any link of the namespace has changed. After kSettle, once for many changes, it
  // lists the host ends and puts those outside the group into it: those of an older plugin, and
  // those that another program has changed.
  void OnLinkChange();
  static constexpr std::chrono::seconds kSettle{1};
  // Does the same at once.
  void MarkLinks();

  // The reason why frames may pass; OK: they cannot, or the permission is missing and there is no
  // host end.
  absl::Status problem() const;

 private:
  void Apply();
  // Without host ends, missing rules do no harm: a rootless agent has only taps.
  bool DoesWithoutRules() const;

  const Log* log_;
  NftKeeper rules_;
  HostEndLinks links_;
  bool wanted_ = false;
  bool host_ends_ = false;  // there are some
  // The results of the last Set(): the present one, and the last one in the log.
  absl::Status rules_problem_;
  absl::Status said_;
  absl::Status links_problem_;
  Timer retry_;
  Timer mark_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_HOST_END_WALL_H_
