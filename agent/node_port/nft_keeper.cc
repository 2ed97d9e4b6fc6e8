#include "agent/node_port/nft_keeper.h"

#include <algorithm>
#include <utility>

#include "plugin/base/status.h"

namespace vxvde {
namespace {

bool AreNone(const std::vector<NftTable>& tables) {
  return std::all_of(tables.begin(), tables.end(),
                     [](const NftTable& table) { return table.chains.empty(); });
}

}  // namespace

NftKernel KernelNft() { return {.replace = ReplaceNftTables, .read = ReadNftTables}; }

bool BlocksPods(const absl::Status& problem) {
  return !problem.ok() && !absl::IsPermissionDenied(problem) && !absl::IsUnimplemented(problem);
}

NftKeeper::NftKeeper(EventLoop* loop, const Log* log, std::string name, NftKernel kernel)
    : log_(log), name_(std::move(name)), kernel_(std::move(kernel)), check_(loop) {}

absl::Status NftKeeper::Apply(const std::vector<NftTable>& tables) {
  RETURN_IF_ERROR(kernel_.replace(tables));
  // Reads the tables back in the kernel's form, for comparison.
  absl::StatusOr<std::string> read = kernel_.read(tables);
  if (!read.ok()) {
    read_.reset();
    Fail(read.status());
    return absl::OkStatus();
  }
  problem_ = absl::OkStatus();
  // Another program may have changed the tables before they were read, so they are written again.
  // After kMaxUnlike differences in a row, the kernel's form is accepted as the new one.
  const bool made_before = tables_ == tables && read_.has_value();
  const bool unlike = made_before ? *read != *read_ : read->empty() && !AreNone(tables);
  if (unlike && ++unlike_ <= kMaxUnlike) {
    if (!made_before) read_.reset();
    CheckIn(kSettle);
    return absl::OkStatus();
  }
  unlike_ = 0;
  read_ = *std::move(read);
  return absl::OkStatus();
}

absl::Status NftKeeper::Set(const std::vector<NftTable>& tables) {
  if (problem_.ok() && tables_ == tables) return absl::OkStatus();
  // An earlier agent may have left a table. A kernel that cannot list tables has none.
  const bool nothing_to_do =
      !tables_.has_value() && AreNone(tables) && kernel_.read(tables).value_or("").empty();
  if (!nothing_to_do) {
    const absl::Status status = Apply(tables);
    if (BlocksPods(status)) Fail(status);
    RETURN_IF_ERROR(status);
  }
  tables_ = tables;
  return absl::OkStatus();
}

void NftKeeper::OnChange() {
  if (!check_.pending()) CheckIn(kSettle);
}

void NftKeeper::Fail(const absl::Status& why) {
  problem_ = why;
  CheckIn(kRetry);
}

void NftKeeper::CheckIn(Duration delay) {
  check_.After(delay, [this] { Check(); });
}

void NftKeeper::Check() {
  // While no table is wanted, tables of these names belong to another program.
  if (!tables_.has_value() || (AreNone(*tables_) && problem_.ok())) return;
  const absl::StatusOr<std::string> now = kernel_.read(*tables_);
  absl::Status status = now.status();
  if (now.ok()) {
    if (read_ == *now && problem_.ok()) return;
    status = Apply(*tables_);
  }
  if (status.ok()) {
    log_->Warn("nftables restored",
               {{"table", name_}, {"reason", now->empty() ? "it was gone" : "it was changed"}});
    return;
  }
  if (problem_ != status) {
    log_->Error("nftables not restored",
                {{"table", name_}, {"error", std::string(status.message())}});
  }
  Fail(status);
}

}  // namespace vxvde
