// Network namespaces. A namespace belongs to a thread: the calling thread never changes its own.

#ifndef VXVDE_PLUGIN_OS_NETNS_H_
#define VXVDE_PLUGIN_OS_NETNS_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/os/fd.h"

namespace vxvde {

// NotFound if the path is missing; InvalidArgument if it is not a network namespace.
absl::StatusOr<UniqueFd> OpenNetNs(const std::string& path);
// The namespace of the calling thread.
absl::StatusOr<UniqueFd> CurrentNetNs();
// The identity of a namespace, "DEVICE:INODE". A later namespace may have the same one.
absl::StatusOr<std::string> IdOfNetNs(const UniqueFd& netns);
// Whether both are the same namespace (device and inode agree).
absl::StatusOr<bool> SameNetNs(const UniqueFd& a, const UniqueFd& b);

// Runs `function` on a thread of its own inside `netns` and waits for it. Sockets
// and taps opened there stay in that namespace wherever they are used later.
absl::Status RunInNetNs(const UniqueFd& netns, absl::FunctionRef<absl::Status()> function);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NETNS_H_
