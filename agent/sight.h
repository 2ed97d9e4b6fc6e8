// Sight: the kernel as it was seen for a comparison with what is attached (Attachments::Reconcile).

#ifndef VXVDE_AGENT_SIGHT_H_
#define VXVDE_AGENT_SIGHT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "plugin/os/netlink.h"

namespace vxvde {

struct Sight {
  // All of the agent's own namespace, at some moment of the last seconds.
  absl::StatusOr<std::vector<LinkInfo>> links;
};

// In the calling thread's network namespace. Takes as long as the kernel's locks make it.
Sight LookAround();

}  // namespace vxvde

#endif  // VXVDE_AGENT_SIGHT_H_
