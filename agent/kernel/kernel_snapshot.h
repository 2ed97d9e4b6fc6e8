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
  std::string attachment;  // the attachment's id
  std::string path;
  std::string id;  // IdOfNetNs of the namespace to which the path led
  int number = -1;
};

struct KernelSnapshot {
  // All links of the agent's own namespace, as of a moment in the last seconds.
  absl::StatusOr<std::vector<LinkInfo>> links;
  // The queried attachments whose namespace cannot be reached any more: its path is gone or leads
  // elsewhere, while the folder of the path exists, and no thread of the machine is in it. A
  // process that is just starting may have been missed.
  std::set<std::string> dead = {};
};

// In the calling thread's network namespace. Takes as long as the kernel's locks require.
KernelSnapshot TakeSnapshot(const std::vector<WatchedNetNs>& watched);

}  // namespace vxvde

#endif  // VXVDE_AGENT_KERNEL_KERNEL_SNAPSHOT_H_
