// The agent as a process: the lock of its run-dir, signals as a descriptor, and the service manager
// (sd_notify(3), sd_listen_fds(3)). Not here: anything about clouds.

#ifndef VXVDE_AGENT_LIFECYCLE_PROCESS_H_
#define VXVDE_AGENT_LIFECYCLE_PROCESS_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Creates the folder and its parents with mode 0755 and takes its lock, which lasts as long as the
// descriptor. AlreadyExists: another agent has the lock; the message names its process.
absl::StatusOr<UniqueFd> LockRunDir(const std::string& run_dir);

// Raises the limit of open descriptors to the maximum. Each port takes one, and the limit of a
// shell or container is often 1024.
void RaiseFileLimit();

// Blocks SIGTERM, SIGINT and SIGHUP for this thread and those that it starts, ignores SIGPIPE, and
// returns a signalfd. To be called before the first thread starts.
absl::StatusOr<UniqueFd> SignalFd();
// The next pending signal, if any.
std::optional<int> NextSignal(const UniqueFd& signals);

// Sends `state`, such as "READY=1", with `fd` unless it is negative (sd_notify(3)). Also OK if
// there is no service manager: $NOTIFY_SOCKET is not set.
absl::Status NotifyServiceManager(const std::string& state, int fd = -1);

// Writes one newline to `fd` and closes it.
absl::Status WriteReady(UniqueFd fd);

// The descriptors that the service manager passed (sd_listen_fds(3)), by name, which is not unique.
// To be called once.
using InheritedFds = std::multimap<std::string, UniqueFd>;
absl::StatusOr<InheritedFds> TakeInherited();

// Those of them that an earlier agent stored with the service manager.
std::map<std::string, UniqueFd> TakeKept(InheritedFds& inherited);

// The SOCK_SEQPACKET unix socket among the rest on which the service manager listens at `path`, if
// there is one. InvalidArgument: there is anything else.
absl::StatusOr<std::optional<UniqueFd>> InheritedSocket(InheritedFds inherited,
                                                        const std::string& path);

// Stores a descriptor with the service manager under a name, replacing a previous one, or removes
// it (sd_notify(3), FDSTORE).
absl::Status StoreFd(const std::string& name, int fd);
absl::Status UnstoreFd(const std::string& name);

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_PROCESS_H_
