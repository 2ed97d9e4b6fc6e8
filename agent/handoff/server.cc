#include "agent/handoff/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/base/refusal.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// Room for descriptors of one message. One is the most that is ever right; the kernel itself
// closes what finds no room here (unix(7), SCM_RIGHTS) and says MSG_CTRUNC.
constexpr size_t kFdRoom = 8;

struct Message {
  size_t size = 0;
  bool truncated = false;
  std::vector<UniqueFd> fds;
};

// Unavailable: nothing waits. A size of 0 is the end of the connection.
absl::StatusOr<Message> Receive(int socket, std::span<uint8_t> buffer) {
  alignas(cmsghdr) char control[CMSG_SPACE(kFdRoom * sizeof(int))];
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return absl::UnavailableError("nothing waits");
  if (n < 0) return ErrnoStatus(errno, "read from a handoff connection");
  Message message;
  message.size = static_cast<size_t>(n);
  message.truncated = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
      message.fds.emplace_back(fd);
    }
  }
  return message;
}

bool SendAnswer(int socket, const std::string& answer) {
  return send(socket, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL) ==
         static_cast<ssize_t>(answer.size());
}

}  // namespace

absl::StatusOr<UniqueFd> ListenForHandoff(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path ", path, " is longer than ",
                                                   sizeof address.sun_path - 1,
                                                   " bytes; use a shorter --run-dir"));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return ErrnoStatus(errno, "open the handoff socket");
  struct stat there {};
  if (lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode)) unlink(path.c_str());
  // The mode before anyone can connect: bind() makes the file with that of the socket.
  if (fchmod(socket.get(), 0600) != 0 ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind the handoff socket to ", path));
  }
  if (listen(socket.get(), SOMAXCONN) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listen on ", path));
  }
  return socket;
}

HandoffServer::HandoffServer(EventLoop* loop, AttachService* service, const Log* log,
                             UniqueFd listener)
    : loop_(loop), service_(service), log_(log), listener_(std::move(listener)) {}

absl::StatusOr<std::unique_ptr<HandoffServer>> HandoffServer::Start(EventLoop* loop,
                                                                    AttachService* service,
                                                                    const Log* log,
                                                                    UniqueFd listener) {
  std::unique_ptr<HandoffServer> server(new HandoffServer(loop, service, log, std::move(listener)));
  RETURN_IF_ERROR(loop->Watch(server->listener_.get(), EPOLLIN,
                              [self = server.get()](uint32_t) { self->Accept(); }));
  return server;
}

HandoffServer::~HandoffServer() {
  loop_->Unwatch(listener_.get());
  for (const auto& [fd, connection] : connections_) loop_->Unwatch(fd);
}

void HandoffServer::Accept() {
  UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;  // it went away; or no descriptors are left, and the next turn tries again
  const auto turn_away = [&](uint32_t code, const std::string& message, const std::string& remedy) {
    log_->Warn("handoff refused", {{"why", message}});
    SendAnswer(socket.get(), HandoffRefusal(code, message, remedy));
  };
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      (peer.uid != 0 && peer.uid != geteuid())) {
    turn_away(kCniInvalidEnvironment, absl::StrCat("user ", peer.uid, " may not attach pods"),
              "call the CNI plugin as root, or as the agent's own user");
    return;
  }
  if (connections_.size() >= kMaxConnections) {
    turn_away(kCniTryAgainLater,
              absl::StrCat("the agent serves ", kMaxConnections, " CNI calls already"),
              "try again later");
    return;
  }
  const int fd = socket.get();
  auto connection = std::make_unique<Connection>(
      std::move(socket), service_, [this, fd](const std::string& answer) { Answer(fd, answer); });
  if (const absl::Status status = loop_->Watch(fd, EPOLLIN, [this, fd](uint32_t) { Read(fd); });
      !status.ok()) {
    log_->Error("handoff refused", {{"why", std::string(status.message())}});
    return;
  }
  connections_.emplace(fd, std::move(connection));
}

void HandoffServer::Read(int fd) {
  Connection& connection = *connections_.at(fd);
  absl::StatusOr<Message> message = Receive(fd, buffer_);
  if (absl::IsUnavailable(message.status())) return;
  if (!message.ok() || message->size == 0) {
    Close(fd);
    return;
  }
  const std::optional<std::string> answer = connection.session.Handle(
      std::span(buffer_).first(message->size), std::move(message->fds), message->truncated);
  if (answer.has_value()) Answer(fd, *answer);
}

void HandoffServer::Answer(int fd, const std::string& answer) {
  Connection& connection = *connections_.at(fd);
  if (!SendAnswer(fd, answer)) {
    connection.session.Undelivered();
    Close(fd);
  } else if (connection.session.Ended()) {
    Close(fd);
  }
}

void HandoffServer::Close(int fd) {
  loop_->Unwatch(fd);
  connections_.erase(fd);
}

}  // namespace vxvde
