// Why the agent says no to a CNI caller: an error code of the handoff (agent/api/attach.proto),
// what is wrong, and the remedy, carried in an absl::Status so that refusals pass through the
// usual macros.

#ifndef VXVDE_AGENT_BASE_REFUSAL_H_
#define VXVDE_AGENT_BASE_REFUSAL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/api/attachment_id.h"

namespace vxvde {

// Codes of the CNI specification 1.1 ("Error") that the agent answers with.
inline constexpr uint32_t kCniInvalidEnvironment = 4;
inline constexpr uint32_t kCniDecodeFailure = 6;
inline constexpr uint32_t kCniInvalidConfig = 7;
inline constexpr uint32_t kCniTryAgainLater = 11;
inline constexpr uint32_t kCniNotAvailable = 50;  // ADD could not be served
inline constexpr uint32_t kCniLimitedConnectivity =
    51;  // nor are the pods connected that are there

struct Refusal {
  uint32_t code = 0;
  std::string message;
  std::string remedy;
};

absl::Status Refuse(uint32_t code, absl::string_view message, absl::string_view remedy);
absl::Status Refuse(AttachError code, absl::string_view message, absl::string_view remedy);

// Of any error. One that was not made by Refuse is something that failed here, not the
// caller's mistake: "try again later", with the agent's log as the remedy.
Refusal RefusalOf(const absl::Status& error);

}  // namespace vxvde

#endif  // VXVDE_AGENT_BASE_REFUSAL_H_
