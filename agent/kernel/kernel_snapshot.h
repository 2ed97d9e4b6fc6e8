// KernelSnapshot: the kernel as it was seen for a comparison with what is attached
// (agent/attach/orphan_collector.h).

#ifndef VXVDE_AGENT_KERNEL_KERNEL_SNAPSHOT_H_
#define VXVDE_AGENT_KERNEL_KERNEL_SNAPSHOT_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// A namespace that the agent itself keeps alive, by the queue of the tap in it.
struct WatchedNetNs {
  std::string attachment;  // its id
  std::string path;
  std::string id;  // IdOfNetNs of what the path was
  int number = -1;
};

struct KernelSnapshot {
  // All of the agent's own namespace, at some moment of the last seconds.
  absl::StatusOr<std::vector<LinkInfo>> links;
  // Attachments of those that were asked about whose namespace nobody can come to any more: its
  // path is gone, or another's, while its folder is there, and no thread of the machine is in it. A
  // process that is being started may have been missed.
  std::set<std::string> dead = {};
};

// In the calling thread's network namespace. Takes as long as the kernel's locks make it.
KernelSnapshot TakeSnapshot(const std::vector<WatchedNetNs>& watched);

}  // namespace vxvde

#endif  // VXVDE_AGENT_KERNEL_KERNEL_SNAPSHOT_H_
