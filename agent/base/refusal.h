// A refusal of the agent to a CNI caller: an error code of the handoff (agent/api/attach.proto), a
// message and a remedy, carried in an absl::Status so that refusals pass through the usual macros.

#ifndef VXVDE_AGENT_BASE_REFUSAL_H_
#define VXVDE_AGENT_BASE_REFUSAL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/api/attachment_id.h"

namespace vxvde {

// Codes of CNI SPEC 1.1.0, "Error", that the agent uses.
inline constexpr uint32_t kCniInvalidEnvironment = 4;
inline constexpr uint32_t kCniDecodeFailure = 6;
inline constexpr uint32_t kCniInvalidConfig = 7;
inline constexpr uint32_t kCniTryAgainLater = 11;
inline constexpr uint32_t kCniNotAvailable = 50;  // ADD cannot be served
inline constexpr uint32_t kCniLimitedConnectivity =
    51;  // in addition, the existing pods are cut off

struct Refusal {
  uint32_t code = 0;
  std::string message;
  std::string remedy;
};

absl::Status Refuse(uint32_t code, absl::string_view message, absl::string_view remedy);
absl::Status Refuse(AttachError code, absl::string_view message, absl::string_view remedy);

// The refusal for any error. An error that Refuse did not make is a failure of the agent, not a
// mistake of the caller: its code is "try again later", and its remedy points to the agent's log.
Refusal RefusalOf(const absl::Status& error);

}  // namespace vxvde

#endif  // VXVDE_AGENT_BASE_REFUSAL_H_
