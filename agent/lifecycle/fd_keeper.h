// Selects the keeper of descriptors (kept_fds.h): the service manager if it offers to keep some,
// else a holder (holder.h).

#ifndef VXVDE_AGENT_LIFECYCLE_FD_KEEPER_H_
#define VXVDE_AGENT_LIFECYCLE_FD_KEEPER_H_

#include <map>
#include <string>

#include "agent/base/log.h"
#include "agent/lifecycle/kept_fds.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Whether the service manager keeps descriptors: it listens ($NOTIFY_SOCKET) and has room for some
// ($FDSTORE, which systemd sets since version 254; for older ones the unit file does).
bool ServiceManagerKeepsFds();

// The keeper for `run_dir`, which is locked. `passed`: descriptors that the service manager kept.
// Without any keeper the agent still runs, with a line in the log. To be called before this process
// has any thread.
FdKeeper OpenFdKeeper(const std::string& run_dir, std::map<std::string, UniqueFd> passed,
                      const Log& log);

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_FD_KEEPER_H_
