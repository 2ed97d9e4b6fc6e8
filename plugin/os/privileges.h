// The privileges of this process: capabilities (capabilities(7)) and system calls (seccomp(2)). A
// dropped privilege cannot be regained. docs/OPERATIONS.md lists those that the agent keeps, with
// reasons.

#ifndef VXVDE_PLUGIN_OS_PRIVILEGES_H_
#define VXVDE_PLUGIN_OS_PRIVILEGES_H_

#include <initializer_list>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace vxvde {

// Numbers of <linux/capability.h>.
using Capabilities = std::initializer_list<int>;

// The calling thread, and the threads and processes that it starts from now on, keep only those of
// its capabilities that are in `capabilities`. Other threads do not change.
absl::Status KeepCapabilities(Capabilities capabilities);

// Runs `function` on a thread of its own that has kept `capabilities`, and waits for it. Threads
// that start there, directly or indirectly, have no more.
absl::Status RunWithCapabilities(Capabilities capabilities,
                                 absl::FunctionRef<absl::Status()> function);

// From now on, in all threads, the system calls by which a compromised program gains ground (other
// programs, namespaces, mounts, processes, modules, keys and similar) fail with EPERM, and so does
// bpf(2) without `with_bpf`. An error if the kernel has no seccomp.
absl::Status RefuseSystemCalls(bool with_bpf);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_PRIVILEGES_H_
