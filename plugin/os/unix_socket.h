// Unix sockets of type SOCK_SEQPACKET, and messages that carry descriptors. Only this file uses
// SCM_RIGHTS. Not here: the meaning of messages.

#ifndef VXVDE_PLUGIN_OS_UNIX_SOCKET_H_
#define VXVDE_PLUGIN_OS_UNIX_SOCKET_H_

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Listens at `path` with mode 0600, replacing an existing socket. accept() does not block.
// InvalidArgument: the path is too long.
absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, int backlog);

// `timeout`, not zero, limits each of connect, send and receive. DeadlineExceeded: it has passed.
absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path, std::chrono::milliseconds timeout);

// The process at the other end, as of its connect() or listen().
absl::StatusOr<ucred> UnixPeer(const UniqueFd& socket);

// Sends `bytes`, which must not be empty, and duplicates of `fds` as one message. DeadlineExceeded:
// the socket has no room and has a timeout, or does not block.
absl::Status SendUnix(const UniqueFd& socket, absl::string_view bytes,
                      std::span<const int> fds = {});

struct UnixMessage {
  size_t size = 0;         // received bytes; 0 at the end of the connection
  bool truncated = false;  // bytes or descriptors did not fit
  std::vector<UniqueFd> fds;
};

// Receives one message into `buffer`. DeadlineExceeded: no message arrived, and the socket has a
// timeout or does not block.
absl::StatusOr<UnixMessage> ReceiveUnix(const UniqueFd& socket, std::span<uint8_t> buffer);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_UNIX_SOCKET_H_
