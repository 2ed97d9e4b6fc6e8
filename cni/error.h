// CNI error codes on their way through absl::Status. Pure.
//
// An operation of this room that fails for a reason with a CNI code returns
// CniStatus(); any other Status becomes a code at the very end, in ToCniError().
// Codes below 100 are the specification's (CNI SPEC 1.1.0, "Error", and skel),
// those from 100 are ours (agent/api/attachment_id.h, docs/OPERATIONS.md).

#ifndef VXVDE_CNI_ERROR_H_
#define VXVDE_CNI_ERROR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vxvde {

struct CniError {
  uint32_t code = 0;
  std::string msg;      // what is wrong, with the value
  std::string details;  // the remedy; may be empty
};

inline constexpr uint32_t kCniIncompatibleVersion = 1;
inline constexpr uint32_t kCniUnsupportedField = 2;
inline constexpr uint32_t kCniInvalidEnvironment = 4;
inline constexpr uint32_t kCniIoFailure = 5;
inline constexpr uint32_t kCniBadJson = 6;
inline constexpr uint32_t kCniInvalidConfig = 7;
inline constexpr uint32_t kCniInvalidNetNs = 8;  // skel: the plugin's own namespace
inline constexpr uint32_t kCniTryAgainLater = 11;
inline constexpr uint32_t kCniNotAvailable = 50;  // STATUS: ADD cannot be served
inline constexpr uint32_t kCniInternal = 999;     // skel: everything without a code of its own

// Not OK, whatever `code` is.
absl::Status CniStatus(uint32_t code, absl::string_view msg, absl::string_view details = "");

// `status` is not OK. Without a code of its own: kCniTryAgainLater for Unavailable and
// ResourceExhausted, else kCniInternal.
CniError ToCniError(const absl::Status& status);

// `status` with the code `code` unless it has one already; OK stays OK.
absl::Status WithCode(const absl::Status& status, uint32_t code);

// OK when `errors` is empty; else one error with the first one's code and all messages.
absl::Status JoinErrors(const std::vector<absl::Status>& errors);

}  // namespace vxvde

#endif  // VXVDE_CNI_ERROR_H_
