#include "agent/node_port/nft_table.h"

#include <utility>

#include "plugin/base/status.h"

namespace vxvde {

NftTable::NftTable(EventLoop* loop, const Log* log, std::string name, NftKernel kernel)
    : loop_(loop), log_(log), name_(std::move(name)), kernel_(std::move(kernel)) {}

NftTable::~NftTable() {
  if (check_.has_value()) loop_->Cancel(*check_);
}

absl::Status NftTable::Apply(const std::string& commands, bool none) {
  RETURN_IF_ERROR(kernel_.run(commands));
  // Read back in the words of the kernel and libnftables, for comparison.
  absl::StatusOr<std::string> listed = kernel_.list();
  if (!listed.ok()) {
    problem_ = std::string(listed.status().message());
    listed_.reset();
    CheckIn(kRetry);
    return absl::OkStatus();
  }
  problem_.clear();
  // Another program may have changed the tables before they were read. They are made once more
  // then; a kernel that never lists them as before is believed in the end.
  const bool made_before = commands_ == commands && listed_.has_value();
  const bool unlike = made_before ? *listed != *listed_ : listed->empty() && !none;
  if (unlike && ++unlike_ <= kMaxUnlike) {
    if (!made_before) listed_.reset();
    CheckIn(kSettle);
    return absl::OkStatus();
  }
  unlike_ = 0;
  listed_ = *std::move(listed);
  return absl::OkStatus();
}

absl::Status NftTable::Set(const std::string& commands, bool none) {
  if (problem_.empty() && commands_ == commands) return absl::OkStatus();
  // An earlier agent may have left a table. A kernel that cannot tell has none.
  const bool nothing_to_do = !commands_.has_value() && none && kernel_.list().value_or("").empty();
  if (!nothing_to_do) RETURN_IF_ERROR(Apply(commands, none));
  commands_ = commands;
  none_ = none;
  return absl::OkStatus();
}

void NftTable::OnChange() {
  if (!check_.has_value()) CheckIn(kSettle);
}

void NftTable::CheckIn(Duration delay) {
  if (check_.has_value()) loop_->Cancel(*check_);
  check_ = loop_->After(delay, [this] {
    check_.reset();
    Check();
  });
}

void NftTable::Check() {
  if (none_) return;
  const absl::StatusOr<std::string> now = kernel_.list();
  absl::Status status = now.status();
  if (now.ok()) {
    if (listed_ == *now && problem_.empty()) return;
    log_->Warn("nftables restored",
               {{"table", name_}, {"reason", now->empty() ? "it was gone" : "it was changed"}});
    status = Apply(*commands_, none_);
  }
  if (status.ok()) return;
  if (problem_ != status.message()) {
    problem_ = std::string(status.message());
    log_->Error("nftables not restored", {{"table", name_}, {"error", problem_}});
  }
  CheckIn(kRetry);
}

}  // namespace vxvde
