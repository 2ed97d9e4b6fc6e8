#include "agent/handoff/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/base/refusal.h"
#include "plugin/base/status.h"
#include "plugin/os/unix_socket.h"

namespace vxvde {
namespace {

bool SendAnswer(const UniqueFd& socket, const std::string& answer) {
  return SendUnix(socket, answer).ok();
}

}  // namespace

absl::StatusOr<UniqueFd> ListenForHandoff(const std::string& path) {
  absl::StatusOr<UniqueFd> socket = ListenUnix(path, SOMAXCONN);
  if (absl::IsInvalidArgument(socket.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat(socket.status().message(), "; use a shorter --run-dir"));
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
  if (!socket) return;  // the caller is gone, or no descriptor is free: the next turn tries again
  const auto refuse = [&](uint32_t code, const std::string& message, const std::string& remedy) {
    log_->Warn("handoff refused", {{"reason", message}});
    SendAnswer(socket, HandoffRefusal(code, message, remedy));
  };
  const absl::StatusOr<ucred> peer = UnixPeer(socket);
  if (!peer.ok() || (peer->uid != 0 && peer->uid != geteuid())) {
    refuse(kCniInvalidEnvironment,
           peer.ok() ? absl::StrCat("user ", peer->uid, " may not attach pods")
                     : std::string(peer.status().message()),
           "run the CNI plugin as root, or as the agent's own user");
    return;
  }
  if (connections_.size() >= kMaxConnections) {
    refuse(kCniTryAgainLater,
           absl::StrCat("the agent already serves ", kMaxConnections, " CNI calls"),
           "try again later");
    return;
  }
  const int fd = socket.get();
  auto connection = std::make_unique<Connection>(
      std::move(socket), service_, [this, fd](const std::string& answer) { Answer(fd, answer); });
  if (const absl::Status status = loop_->Watch(fd, EPOLLIN, [this, fd](uint32_t) { Read(fd); });
      !status.ok()) {
    log_->Error("handoff refused", {{"reason", std::string(status.message())}});
    return;
  }
  connections_.emplace(fd, std::move(connection));
}

void HandoffServer::Read(int fd) {
  Connection& connection = *connections_.at(fd);
  absl::StatusOr<UnixMessage> message = ReceiveUnix(connection.socket, buffer_);
  if (absl::IsDeadlineExceeded(message.status())) return;  // no message yet
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
  if (!SendAnswer(connection.socket, answer)) {
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
