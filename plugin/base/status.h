// Two macros over absl::Status, and nothing else: Abseil of 2022 has none.
//
// The code of a Status tells the caller what to do; the message tells what was attempted, with the
// values.

#ifndef VXVDE_PLUGIN_BASE_STATUS_H_
#define VXVDE_PLUGIN_BASE_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vxvde {

// `status` with "`what`: " before its message. OK stays OK.
inline absl::Status Annotate(const absl::Status& status, absl::string_view what) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(what, ": ", status.message()));
}

}  // namespace vxvde

#define VXVDE_CONCAT_INNER_(a, b) a##b
#define VXVDE_CONCAT_(a, b) VXVDE_CONCAT_INNER_(a, b)

// Returns the Status of `expression` unless it is OK.
#define RETURN_IF_ERROR(expression)                                       \
  do {                                                                    \
    if (absl::Status vxvde_status_ = (expression); !vxvde_status_.ok()) { \
      return vxvde_status_;                                               \
    }                                                                     \
  } while (false)

// ASSIGN_OR_RETURN(auto x, F()): x = *F(), or returns the Status of F.
#define ASSIGN_OR_RETURN(lhs, expression) \
  VXVDE_ASSIGN_OR_RETURN_(VXVDE_CONCAT_(vxvde_or_, __LINE__), lhs, expression)
#define VXVDE_ASSIGN_OR_RETURN_(result, lhs, expression) \
  auto result = (expression);                            \
  if (!result.ok()) return std::move(result).status();   \
  lhs = *std::move(result)

#endif  // VXVDE_PLUGIN_BASE_STATUS_H_
