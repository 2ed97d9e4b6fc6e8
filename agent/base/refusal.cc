#include "agent/base/refusal.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace vxvde {
namespace {

constexpr char kCodeUrl[] = "vxvde/refusal-code";
constexpr char kRemedyUrl[] = "vxvde/refusal-remedy";

}  // namespace

absl::Status Refuse(uint32_t code, absl::string_view message, absl::string_view remedy) {
  absl::Status status = absl::FailedPreconditionError(message);
  status.SetPayload(kCodeUrl, absl::Cord(absl::StrCat(code)));
  status.SetPayload(kRemedyUrl, absl::Cord(remedy));
  return status;
}

absl::Status Refuse(AttachError code, absl::string_view message, absl::string_view remedy) {
  return Refuse(static_cast<uint32_t>(code), message, remedy);
}

Refusal RefusalOf(const absl::Status& error) {
  Refusal refusal;
  refusal.message = std::string(error.message());
  const auto code = error.GetPayload(kCodeUrl);
  if (!code.has_value() || !absl::SimpleAtoi(std::string(*code), &refusal.code)) {
    refusal.code = kCniTryAgainLater;
    refusal.remedy = "retry; the agent's log on this node has details";
    return refusal;
  }
  if (const auto remedy = error.GetPayload(kRemedyUrl); remedy.has_value()) {
    refusal.remedy = std::string(*remedy);
  }
  return refusal;
}

}  // namespace vxvde
