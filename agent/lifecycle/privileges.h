// The privileges of the agent while it starts and while it runs. docs/OPERATIONS.md gives the
// reasons ("What the agent may do"); plugin/os/privileges.h asks the kernel.

#ifndef VXVDE_AGENT_LIFECYCLE_PRIVILEGES_H_
#define VXVDE_AGENT_LIFECYCLE_PRIVILEGES_H_

#include <linux/capability.h>

#include "absl/status/status.h"
#include "agent/base/log.h"
#include "plugin/os/privileges.h"

namespace vxvde {

inline constexpr Capabilities kCapabilitiesToStart = {
    CAP_NET_ADMIN, CAP_NET_RAW,    CAP_NET_BIND_SERVICE, CAP_BPF,
    CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH};
inline constexpr Capabilities kCapabilitiesToRun = {CAP_NET_ADMIN, CAP_NET_RAW,
                                                    CAP_NET_BIND_SERVICE, CAP_BPF};

// Gives up the privileges that only the start needs, once the kernel datapath is loaded and the
// taps in the namespaces of pods are open. `taps_wait`: some could not be opened; the next attempt
// enters namespaces again, so nothing is given up. `with_bpf`: the agent will change eBPF maps.
absl::Status DropPrivileges(bool taps_wait, bool with_bpf, const Log& log);

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_PRIVILEGES_H_
