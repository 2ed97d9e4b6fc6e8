// Chooses the datapath of this node: the kernel's or the agent's own. Not here: the choice of each
// cloud (plugin/cloud).

#ifndef VXVDE_AGENT_NODE_FAST_PATH_H_
#define VXVDE_AGENT_NODE_FAST_PATH_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "plugin/switch.h"

namespace vxvde {

struct NodeFastPath {
  std::unique_ptr<FastPath> fast;  // nullptr: the agent forwards all frames itself
  std::string why_not;             // the reason if `fast` is nullptr; otherwise empty
};

// OpenKernelFastPath and RemoveKernelFastPath, or fakes of a test.
struct FastPathKernel {
  std::function<absl::StatusOr<std::unique_ptr<FastPath>>()> open;
  std::function<absl::Status()> remove;
};

// Fails only if `wanted` requires the kernel datapath. Without one, it removes the programs of an
// earlier agent.
absl::StatusOr<NodeFastPath> OpenFastPath(Datapath wanted, const FastPathKernel& kernel,
                                          const Log& log);

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_FAST_PATH_H_
