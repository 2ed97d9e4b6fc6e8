#include "plugin/os/unix_socket.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// Room for descriptors of one message. No protocol here passes more than one. The kernel closes
// those that do not fit and sets MSG_CTRUNC (unix(7)).
constexpr size_t kMaxFds = 8;

absl::StatusOr<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("socket path ", path, " is longer than ",
                                                   sizeof(address.sun_path) - 1, " bytes"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* Generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

absl::Status Failed(int error, const std::string& what) {
  if (error == EAGAIN)
    return absl::DeadlineExceededError(absl::StrCat(what, ": no answer in time"));
  return ErrnoStatus(error, what);
}

}  // namespace

absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, int backlog) {
  ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return ErrnoStatus(errno, "open a unix socket");
  struct stat old = {};
  if (lstat(path.c_str(), &old) == 0 && S_ISSOCK(old.st_mode)) unlink(path.c_str());
  // The mode is set before any process can connect: bind() creates the file with the socket's mode.
  if (fchmod(socket.get(), 0600) != 0 ||
      bind(socket.get(), Generic(address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind a unix socket to ", path));
  }
  if (listen(socket.get(), backlog) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listen on ", path));
  }
  return socket;
}

absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path, std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return ErrnoStatus(errno, "open a unix socket");
  // SO_SNDTIMEO bounds connect() as well, which waits while the backlog is full.
  const timeval limit = {.tv_sec = timeout.count() / 1000,
                         .tv_usec = timeout.count() % 1000 * 1000};
  for (const int option : {SO_SNDTIMEO, SO_RCVTIMEO}) {
    if (setsockopt(socket.get(), SOL_SOCKET, option, &limit, sizeof(limit)) != 0) {
      return ErrnoStatus(errno, "set the timeout of a unix socket");
    }
  }
  if (connect(socket.get(), Generic(address), sizeof(address)) != 0) {
    return Failed(errno, absl::StrCat("connect to ", path));
  }
  return socket;
}

absl::StatusOr<ucred> UnixPeer(const UniqueFd& socket) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return ErrnoStatus(errno, "get the peer of a unix socket");
  }
  return peer;
}

absl::Status SendUnix(const UniqueFd& socket, absl::string_view bytes, std::span<const int> fds) {
  iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
  std::vector<char> control(fds.empty() ? 0 : CMSG_SPACE(fds.size_bytes()));
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  while (sendmsg(socket.get(), &message, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) return Failed(errno, "send to a unix socket");
  }
  return absl::OkStatus();
}

absl::StatusOr<UnixMessage> ReceiveUnix(const UniqueFd& socket, std::span<uint8_t> buffer) {
  iovec part = {buffer.data(), buffer.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  ssize_t size;
  do {
    size = recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return Failed(errno, "receive from a unix socket");
  UnixMessage message;
  message.size = static_cast<size_t>(size);
  message.truncated = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
      message.fds.emplace_back(fd);
    }
  }
  return message;
}

}  // namespace vxvde
