#include "agent/api/attach_socket.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr size_t kMaxReply = 64 * 1024;

absl::Status NotThere(const char* what, int error) {
  const bool late = error == EAGAIN;  // of a socket with a timeout
  return absl::UnavailableError(
      absl::StrCat(what, ": ", late ? "no answer in time" : strerror(error)));
}

}  // namespace

absl::StatusOr<AttachSocket> AttachSocket::Connect(const std::string& path,
                                                   std::chrono::milliseconds timeout) {
  AttachSocket out;
  out.socket_.Reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!out.socket_) return ErrnoStatus(errno, "make a unix socket");
  // Of connect, too: a full backlog makes it wait (net/unix/af_unix.c).
  const timeval limit = {.tv_sec = timeout.count() / 1000,
                         .tv_usec = timeout.count() % 1000 * 1000};
  if (setsockopt(out.socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0 ||
      setsockopt(out.socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0) {
    return ErrnoStatus(errno, "set a socket's timeout");
  }
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("agent: ", path, " is too long for a socket"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (connect(out.socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
      0) {
    return NotThere("connect", errno);
  }
  return out;
}

absl::StatusOr<attach::v1::Reply> AttachSocket::Ask(attach::v1::Request request,
                                                    const UniqueFd& fd) const {
  request.set_protocol(kAttachProtocol);
  std::string bytes = request.SerializeAsString();
  iovec part = {bytes.data(), bytes.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  if (fd) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = fd.get();
    std::memcpy(CMSG_DATA(header), &number, sizeof(number));
  }
  ssize_t n;
  do {
    n = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return NotThere("send", errno);

  std::string answer(kMaxReply, '\0');
  do {
    n = recv(socket_.get(), answer.data(), answer.size(), MSG_TRUNC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return NotThere("receive", errno);
  if (n == 0) return NotThere("receive", ECONNRESET);
  attach::v1::Reply reply;
  if (static_cast<size_t>(n) > answer.size() ||
      !reply.ParseFromArray(answer.data(), static_cast<int>(n))) {
    return absl::DataLossError("the answer is not of attach.proto");
  }
  return reply;
}

}  // namespace vxvde
