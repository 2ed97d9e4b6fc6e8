// Holder: a tiny process of our own that keeps an agent's descriptors while there is no agent,
// where no service manager does it. It is forked from the first agent of a run-dir before that has
// any thread, into a session of its own, and listens on RUNDIR/hold.sock for the next one. Frames
// wait in the kernel's queues meanwhile.
//
// It ends when its socket is gone from the run-dir, when it is alone and has nothing, and when it
// has been alone for too long: then whoever sends to the pods shall see that nobody is there.
//
// Messages (SOCK_SEQPACKET, one agent at a time, only of our own user): a letter, then a name.
//   agent  -> holder  K NAME  with a descriptor: keep it under that name, instead of what was
//                     D NAME  drop it
//                     L       say what there is
//   holder -> agent   F NAME  with a descriptor, one for each that there is
//                     E 1     that was all; the number is that of this protocol

#ifndef VXVDE_AGENT_LIFECYCLE_HOLDER_H_
#define VXVDE_AGENT_LIFECYCLE_HOLDER_H_

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "agent/lifecycle/kept_fds.h"

namespace vxvde {

// Alone for longer than this, it ends.
inline constexpr std::chrono::seconds kHolderPatience = std::chrono::minutes(10);

// The holder of `run_dir`, which is locked: the one that is there, or a new one. One that is there
// and does not answer as it should is killed. To be called before this process has any thread.
absl::StatusOr<FdKeeper> OpenHolder(const std::string& run_dir,
                                    std::chrono::seconds patience = kHolderPatience);

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_HOLDER_H_
