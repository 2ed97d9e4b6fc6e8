#include "cni/agent_client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "cni/error.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr size_t kMaxReply = 64 * 1024;

absl::Status NotThere(const std::string& path, const char* what, int error) {
  const bool late = error == EAGAIN;  // of a socket with a timeout
  return CniStatus(
      kCniTryAgainLater,
      absl::StrCat("the agent at ", path, " cannot be reached: ", what, ": ",
                   late ? "no answer in time" : strerror(error)),
      "is vxvde-agent running on this node? (systemctl status vxvde-agent; \"agent\" in the CNI "
      "configuration is the path of its handoff.sock)");
}

std::string IdOf(const attach::v1::AttachmentKey& key) {
  return AttachmentId(key.network(), key.container_id(), key.ifname());
}

absl::Status Unexpected(const std::string& path) {
  return CniStatus(
      static_cast<uint32_t>(AttachError::kVersionMismatch),
      absl::StrCat("the agent at ", path, " gave an answer that does not fit the question"),
      "install vxvde and vxvde-agent of one version");
}

}  // namespace

absl::Status SocketAgentClient::Connect() {
  socket_.Reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket_) return ErrnoStatus(errno, "make a unix socket");
  // Of connect, too: a full backlog makes it wait (net/unix/af_unix.c).
  const timeval timeout = {.tv_sec = timeout_.count() / 1000,
                           .tv_usec = timeout_.count() % 1000 * 1000};
  if (setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0 ||
      setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0) {
    return ErrnoStatus(errno, "set a socket's timeout");
  }
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("agent: ", path_, " is too long for a socket"));
  }
  std::memcpy(address.sun_path, path_.data(), path_.size());
  if (connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return NotThere(path_, "connect", errno);
  }
  return absl::OkStatus();
}

absl::StatusOr<attach::v1::Reply> SocketAgentClient::Ask(attach::v1::Request request,
                                                         const UniqueFd& tap) {
  request.set_protocol(kAttachProtocol);
  std::string bytes = request.SerializeAsString();
  iovec part = {bytes.data(), bytes.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  if (tap) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = tap.get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  ssize_t n;
  do {
    n = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return NotThere(path_, "send", errno);

  std::string answer(kMaxReply, '\0');
  do {
    n = recv(socket_.get(), answer.data(), answer.size(), MSG_TRUNC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return NotThere(path_, "receive", errno);
  if (n == 0) return NotThere(path_, "receive", ECONNRESET);
  attach::v1::Reply reply;
  if (static_cast<size_t>(n) > answer.size() ||
      !reply.ParseFromArray(answer.data(), static_cast<int>(n))) {
    return Unexpected(path_);
  }
  if (reply.has_error()) {
    const attach::v1::Error& error = reply.error();
    return CniStatus(error.code() != 0 ? error.code() : kCniInternal, error.message(),
                     error.details());
  }
  return reply;
}

absl::StatusOr<attach::v1::Planned> SocketAgentClient::Plan(const attach::v1::Plan& plan) {
  RETURN_IF_ERROR(Connect());
  attach::v1::Request request;
  *request.mutable_plan() = plan;
  ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, UniqueFd()));
  if (!reply.has_planned()) return Unexpected(path_);
  plans_[IdOf(plan.key())] = std::move(socket_);
  return reply.planned();
}

absl::Status SocketAgentClient::Commit(const std::string& id, const attach::v1::Commit& commit,
                                       const UniqueFd& tap) {
  const auto plan = plans_.find(id);
  if (plan == plans_.end()) {
    return absl::FailedPreconditionError(absl::StrCat("attachment ", id, " is not planned"));
  }
  socket_ = std::move(plan->second);
  plans_.erase(plan);
  attach::v1::Request request;
  *request.mutable_commit() = commit;
  ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, tap));
  return reply.has_committed() ? absl::OkStatus() : Unexpected(path_);
}

absl::Status SocketAgentClient::Detach(const attach::v1::AttachmentKey& key) {
  plans_.erase(IdOf(key));
  attach::v1::Detach detach;
  *detach.mutable_key() = key;
  return Detach(detach);
}

absl::Status SocketAgentClient::DetachAll(const attach::v1::AttachmentKey& key) {
  plans_.clear();
  attach::v1::Detach detach;
  *detach.mutable_key() = key;
  detach.set_with_others(true);
  return Detach(detach);
}

absl::Status SocketAgentClient::Detach(const attach::v1::Detach& detach) {
  RETURN_IF_ERROR(Connect());  // closes the old connection first
  attach::v1::Request request;
  *request.mutable_detach() = detach;
  ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, UniqueFd()));
  return reply.has_detached() ? absl::OkStatus() : Unexpected(path_);
}

absl::Status SocketAgentClient::Ping() {
  RETURN_IF_ERROR(Connect());
  attach::v1::Request request;
  request.mutable_ping();
  ASSIGN_OR_RETURN(const attach::v1::Reply reply, Ask(request, UniqueFd()));
  return reply.has_pong() ? absl::OkStatus() : Unexpected(path_);
}

}  // namespace vxvde
