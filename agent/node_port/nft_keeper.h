// NftKeeper: nftables tables of this project in one network namespace, kept as they were set.
//
// Invariant: after Set(), until its next call, the kernel has the tables that were set: if another
// program flushes or changes them, they are replaced within kSettle.
//
// Not here: the rules (firewall.h, underlay_wall.h, host_end_wall.h).

#ifndef VXVDE_AGENT_NODE_PORT_NFT_KEEPER_H_
#define VXVDE_AGENT_NODE_PORT_NFT_KEEPER_H_

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/nftables.h"
#include "plugin/os/task_scope.h"

namespace vxvde {

// The kernel interface of NftKeeper: KernelNft(), or a test's fakes.
struct NftKernel {
  std::function<absl::Status(const std::vector<NftTable>& tables)> replace;
  std::function<absl::StatusOr<std::string>(const std::vector<NftTable>& tables)> read;
};
// The kernel of the calling thread's network namespace.
NftKernel KernelNft();

// Returns whether a node with `problem` must refuse new pods. A node without the permission, or
// with a kernel without nftables, works without the tables.
bool BlocksPods(const absl::Status& problem);

class NftKeeper {
 public:
  // `name` is for the log. Loop and log outlive it. Loop thread only.
  NftKeeper(EventLoop* loop, const Log* log, std::string name, NftKernel kernel);
  NftKeeper(const NftKeeper&) = delete;
  NftKeeper& operator=(const NftKeeper&) = delete;

  // Replaces the tables, whatever they are, in one transaction. Names and families are the same in
  // each call; a table without chains is removed. An error leaves the tables as they were, and is
  // the problem until the kernel accepts them again. PermissionDenied: the agent may not change
  // nftables here.
  absl::Status Set(const std::vector<NftTable>& tables);

  // Called when any rules of the namespace have changed. Compares the tables after kSettle, once
  // for many changes, and every kRetry while that fails.
  void OnChange();
  static constexpr std::chrono::milliseconds kSettle{200};
  static constexpr std::chrono::seconds kRetry{2};

  // The reason why the tables are not as they should be; OK: they are.
  const absl::Status& problem() const { return problem_; }

 private:
  static constexpr int kMaxUnlike = 5;

  void Check();
  void CheckIn(Duration delay);
  void Fail(const absl::Status& why);
  absl::Status Apply(const std::vector<NftTable>& tables);

  const Log* log_;
  const std::string name_;
  NftKernel kernel_;
  std::optional<std::vector<NftTable>> tables_;  // nullopt: nothing was set yet
  // The kernel's form of tables_; nullopt: not known for certain.
  std::optional<std::string> read_;
  int unlike_ = 0;  // how often in a row the form differed right after the tables were made
  absl::Status problem_;
  Timer check_;  // the destructor leaves the tables: a restarted agent takes them over
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_NFT_KEEPER_H_
