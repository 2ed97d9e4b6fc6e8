// AttachSocket: the client side of a connection to an agent's handoff.sock (attach.proto).

#ifndef VXVDE_AGENT_API_ATTACH_SOCKET_H_
#define VXVDE_AGENT_API_ATTACH_SOCKET_H_

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/api/attach.pb.h"
#include "plugin/os/fd.h"

namespace vxvde {

class AttachSocket {
 public:
  AttachSocket() = default;  // not connected

  // `timeout`, not zero, limits each of connect, request and answer. Unavailable: no agent answers
  // in time; the message names the step.
  static absl::StatusOr<AttachSocket> Connect(const std::string& path,
                                              std::chrono::milliseconds timeout);

  // Sends `request`, with `fd` if it is valid. Unavailable as above. DataLoss: the answer is not a
  // message of attach.proto. An Error is an answer like any other.
  absl::StatusOr<attach::v1::Reply> Ask(attach::v1::Request request, const UniqueFd& fd) const;

 private:
  UniqueFd socket_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_API_ATTACH_SOCKET_H_
