#include "cni/error.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/optional.h"

namespace vxvde {
namespace {

// The payload is the text "CODE\nDETAILS".
constexpr char kPayload[] = "vxvde/cni";

}  // namespace

absl::Status CniStatus(uint32_t code, absl::string_view msg, absl::string_view details) {
  absl::Status status = absl::UnknownError(msg);
  status.SetPayload(kPayload, absl::Cord(absl::StrCat(code, "\n", details)));
  return status;
}

CniError ToCniError(const absl::Status& status) {
  CniError error;
  error.msg = std::string(status.message());
  if (const absl::optional<absl::Cord> payload = status.GetPayload(kPayload)) {
    const std::string text(*payload);
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(text, absl::MaxSplits('\n', 1));
    if (!absl::SimpleAtoi(parts.first, &error.code)) error.code = kCniInternal;
    error.details = parts.second;
    return error;
  }
  const bool later = absl::IsUnavailable(status) || absl::IsResourceExhausted(status);
  error.code = later ? kCniTryAgainLater : kCniInternal;
  return error;
}

absl::Status WithCode(const absl::Status& status, uint32_t code) {
  if (status.ok() || status.GetPayload(kPayload)) return status;
  return CniStatus(code, status.message());
}

absl::Status JoinErrors(const std::vector<absl::Status>& errors) {
  if (errors.empty()) return absl::OkStatus();
  if (errors.size() == 1) return errors[0];
  CniError all = ToCniError(errors[0]);
  for (size_t i = 1; i < errors.size(); ++i) {
    const CniError one = ToCniError(errors[i]);
    absl::StrAppend(&all.msg, "; ", one.msg);
    if (!one.details.empty()) {
      absl::StrAppend(&all.details, all.details.empty() ? "" : "; ", one.details);
    }
  }
  return CniStatus(all.code, all.msg, all.details);
}

}  // namespace vxvde
