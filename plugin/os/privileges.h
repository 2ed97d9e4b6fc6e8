// What this process may ask of the kernel: capabilities (capabilities(7)) and system calls
// (seccomp(2)). What is given up is never had again. docs/OPERATIONS.md says which the agent keeps,
// and why.

#ifndef VXVDE_PLUGIN_OS_PRIVILEGES_H_
#define VXVDE_PLUGIN_OS_PRIVILEGES_H_

#include <initializer_list>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace vxvde {

// Numbers of <linux/capability.h>.
using Capabilities = std::initializer_list<int>;

// Of what the calling thread has, it keeps `capabilities`; so do the threads and processes that it
// starts from now on. Other threads are as they were.
absl::Status KeepCapabilities(Capabilities capabilities);

// Runs `function` on a thread of its own that has kept `capabilities`, and waits for it. Threads
// that are started there, and by those, have no more.
absl::Status RunWithCapabilities(Capabilities capabilities,
                                 absl::FunctionRef<absl::Status()> function);

// From now on, in all threads: EPERM for the system calls by which a program that was taken over
// gets further (other programs, namespaces, mounts, processes, modules, keys and the like), and for
// bpf(2) without `with_bpf`. An error where the kernel has no seccomp.
absl::Status RefuseSystemCalls(bool with_bpf);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_PRIVILEGES_H_
