// Holder: a tiny process that keeps an agent's descriptors while no agent runs, where no service
// manager does that. The first agent of a run-dir forks it before it has any thread, into a session
// of its own. It listens on RUNDIR/hold.sock for the next agent, and frames wait in the kernel's
// queues meanwhile.
//
// It ends when its socket is gone from the run-dir, when it has neither an agent nor descriptors,
// or after a limit without an agent: senders to the pods must then see that the node is gone.
//
// Messages (SOCK_SEQPACKET, one agent at a time, the same user only): a letter, then a name.
//   agent  -> holder  K NAME  with a descriptor: keep it under that name, replacing a previous one
//                     D NAME  drop it
//                     L       list all
//   holder -> agent   F NAME  with a descriptor, one message for each
//                     E 1     end of the list; the number is the version of this protocol

#ifndef VXVDE_AGENT_LIFECYCLE_HOLDER_H_
#define VXVDE_AGENT_LIFECYCLE_HOLDER_H_

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "agent/lifecycle/kept_fds.h"

namespace vxvde {

// The time without an agent after which it ends.
inline constexpr std::chrono::seconds kHolderPatience = std::chrono::minutes(10);

// Connects to the holder of `run_dir`, or starts one. A holder that does not answer correctly is
// killed. The caller has locked the run-dir. To be called before this process has any thread.
absl::StatusOr<FdKeeper> OpenHolder(const std::string& run_dir,
                                    std::chrono::seconds patience = kHolderPatience);

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_HOLDER_H_
