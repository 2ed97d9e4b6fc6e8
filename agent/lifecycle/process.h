// What a daemon needs of its process: the run-dir and its lock, signals as a descriptor, and
// the service manager's datagrams and descriptors (sd_notify(3), sd_listen_fds(3)). Not
// here: anything about clouds.

#ifndef VXVDE_AGENT_LIFECYCLE_PROCESS_H_
#define VXVDE_AGENT_LIFECYCLE_PROCESS_H_

#include <map>
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

// As many descriptors as this process may have: each port is one, and what starts a program by hand
// or in a container often allows 1024 unless it asks.
void RaiseFileLimit();

// Blocks SIGTERM, SIGINT and SIGHUP for this thread and all that it starts, ignores SIGPIPE, and
// returns a signalfd. Call before the first thread.
absl::StatusOr<UniqueFd> SignalFd();
// The next signal that waits, if any.
std::optional<int> NextSignal(const UniqueFd& signals);

// Sends `state`, such as "READY=1", to `notify_socket` ($NOTIFY_SOCKET; empty: nobody asked).
// `fd` goes with it, if there is one.
absl::Status NotifyServiceManager(const std::string& notify_socket, absl::string_view state,
                                  int fd = -1);

// Writes one newline to `fd` and closes it.
absl::Status WriteReady(UniqueFd fd);

// What the service manager passed (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES; descriptors from 3), by
// name. Several may have one. To be called once.
using InheritedFds = std::multimap<std::string, UniqueFd>;
InheritedFds TakeInherited(const std::string& listen_pid, const std::string& listen_fds,
                           const std::string& listen_fdnames);

// Of them, the descriptors that an agent before us had the service manager keep.
std::map<std::string, UniqueFd> TakeKept(InheritedFds& inherited);

// Of the rest, the SOCK_SEQPACKET unix socket that the service manager listens on for us at `path`,
// if it does. InvalidArgument: it passed something else.
absl::StatusOr<std::optional<UniqueFd>> InheritedSocket(InheritedFds inherited,
                                                        const std::string& path);

// sd_notify(3), FDSTORE: keeps a descriptor under a name, instead of what was, or drops it.
absl::Status StoreFd(const std::string& notify_socket, const std::string& name, int fd);
absl::Status UnstoreFd(const std::string& notify_socket, const std::string& name);

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_PROCESS_H_
