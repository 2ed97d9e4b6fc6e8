#include "agent/api/attach_socket.h"

#include <cstdint>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"
#include "plugin/os/unix_socket.h"

namespace vxvde {
namespace {

constexpr size_t kMaxReply = 64 * 1024;

// Every failure means that the agent did not answer.
absl::Status Unreachable(const absl::Status& status) {
  return absl::UnavailableError(status.message());
}

}  // namespace

absl::StatusOr<AttachSocket> AttachSocket::Connect(const std::string& path,
                                                   std::chrono::milliseconds timeout) {
  AttachSocket out;
  absl::StatusOr<UniqueFd> socket = ConnectUnix(path, timeout);
  if (absl::IsInvalidArgument(socket.status())) return Annotate(socket.status(), "agent");
  if (!socket.ok()) return Unreachable(socket.status());
  out.socket_ = *std::move(socket);
  return out;
}

absl::StatusOr<attach::v1::Reply> AttachSocket::Ask(attach::v1::Request request,
                                                    const UniqueFd& fd) const {
  request.set_protocol(kAttachProtocol);
  const int number = fd.get();
  const absl::Status sent = SendUnix(socket_, request.SerializeAsString(),
                                     fd ? std::span(&number, 1) : std::span<const int>());
  if (!sent.ok()) return Unreachable(sent);
  std::vector<uint8_t> answer(kMaxReply);
  const absl::StatusOr<UnixMessage> message = ReceiveUnix(socket_, answer);
  if (!message.ok()) return Unreachable(message.status());
  if (message->size == 0) return absl::UnavailableError("the agent closed the connection");
  attach::v1::Reply reply;
  if (message->truncated || !reply.ParseFromArray(answer.data(), static_cast<int>(message->size))) {
    return absl::DataLossError("the answer is not of attach.proto");
  }
  return reply;
}

}  // namespace vxvde
