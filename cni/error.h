// CNI error codes, carried in absl::Status. Pure.
//
// An operation of cni/ whose failure has a CNI code returns CniStatus(); any other Status gets a
// code at the end, in ToCniError(). This file does not format errors: result.h and netavark.h do.
// Specification: codes below 100 are those of CNI SPEC 1.1.0, "Error", and of libcni's skel; codes
// from 100 are this project's (agent/api/attachment_id.h, docs/OPERATIONS.md).

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
  std::string msg;      // the error, with the value
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
// STATUS: in addition, existing containers are cut off.
inline constexpr uint32_t kCniLimitedConnectivity = 51;
inline constexpr uint32_t kCniInternal = 999;  // skel: every error without a code

// Never OK.
absl::Status CniStatus(uint32_t code, absl::string_view msg, absl::string_view details = "");

// `status` is not OK. One without a code gets kCniTryAgainLater if it is Unavailable or
// ResourceExhausted, else kCniInternal.
CniError ToCniError(const absl::Status& status);

// `status` with the code `code` unless it already has one; OK stays OK.
absl::Status WithCode(const absl::Status& status, uint32_t code);

// OK if `errors` is empty; else one error with the code of the first and all messages.
absl::Status JoinErrors(const std::vector<absl::Status>& errors);

}  // namespace vxvde

#endif  // VXVDE_CNI_ERROR_H_
