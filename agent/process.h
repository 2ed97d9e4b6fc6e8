// What a daemon needs of its process: the run-dir and its lock, signals as a descriptor, and
// the service manager's two datagrams and one descriptor (sd_notify(3), sd_listen_fds(3)). Not
// here: anything about clouds.

#ifndef VXVDE_AGENT_PROCESS_H_
#define VXVDE_AGENT_PROCESS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Makes the folder (and those above it) with mode 0755 and takes its lock, which lasts as long as
// the descriptor. AlreadyExists: another agent has it; the message names its process.
absl::StatusOr<UniqueFd> LockRunDir(const std::string& run_dir);

// Blocks SIGTERM, SIGINT and SIGHUP for this thread and all that it starts, ignores SIGPIPE, and
// returns a signalfd. Call before the first thread.
absl::StatusOr<UniqueFd> SignalFd();
// The next signal that waits, if any.
std::optional<int> NextSignal(const UniqueFd& signals);

// Sends `state`, such as "READY=1", to `notify_socket` ($NOTIFY_SOCKET; empty: nobody asked).
absl::Status NotifyServiceManager(const std::string& notify_socket, absl::string_view state);

// Writes one newline to `fd` and closes it.
absl::Status WriteReady(UniqueFd fd);

// The SOCK_SEQPACKET unix socket that the service manager listens on for us at `path`, if it does
// (LISTEN_PID and LISTEN_FDS, descriptors from 3). InvalidArgument: it passed something else.
absl::StatusOr<std::optional<UniqueFd>> InheritedSocket(const std::string& listen_pid,
                                                        const std::string& listen_fds,
                                                        const std::string& path);

}  // namespace vxvde

#endif  // VXVDE_AGENT_PROCESS_H_
