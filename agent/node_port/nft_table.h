// NftTable: nftables tables of this project in one network namespace, kept as they were set.
//
// Invariant: after Set(), until the next, the kernel's tables are those that the commands made,
// whoever flushes or changes them: within kSettle of a change they are replaced.
//
// Not here: what the rules say (firewall.h, host_end_wall.h).

#ifndef VXVDE_AGENT_NODE_PORT_NFT_TABLE_H_
#define VXVDE_AGENT_NODE_PORT_NFT_TABLE_H_

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "plugin/os/event_loop.h"

namespace vxvde {

// What NftTable needs of the kernel; plugin/os/nftables.h, or a test's own.
struct NftKernel {
  std::function<absl::Status(const std::string& commands)> run;
  std::function<absl::StatusOr<std::string>()> list;  // the tables; empty: there are none
};

class NftTable {
 public:
  // `name` is for the log. Loop and log outlive it; everything happens on the loop's thread.
  NftTable(EventLoop* loop, const Log* log, std::string name, NftKernel kernel);
  // Leaves the tables as they are: a restarted agent takes them over.
  ~NftTable();
  NftTable(const NftTable&) = delete;
  NftTable& operator=(const NftTable&) = delete;

  // `commands` replace the tables, whatever they are, in one transaction; `none`: they only remove
  // them. An error leaves the tables as they were. PermissionDenied: the agent may not change
  // nftables here.
  absl::Status Set(const std::string& commands, bool none);

  // Some rules of the namespace have changed. Compares the tables after kSettle, once for many
  // changes, and tries again every kRetry while that fails.
  void OnChange();
  static constexpr std::chrono::milliseconds kSettle{200};
  static constexpr std::chrono::seconds kRetry{2};

  // Why the tables are not as they should be; empty when they are.
  const std::string& problem() const { return problem_; }

 private:
  static constexpr int kMaxUnlike = 5;

  void Check();
  void CheckIn(Duration delay);
  absl::Status Apply(const std::string& commands, bool none);

  EventLoop* loop_;
  const Log* log_;
  const std::string name_;
  NftKernel kernel_;
  std::optional<std::string> commands_;  // that made the tables; nullopt: nothing was set yet
  bool none_ = true;
  // The tables as `commands_` make them; nullopt: not known for certain.
  std::optional<std::string> listed_;
  int unlike_ = 0;  // how often in a row they were others right after they were made
  std::string problem_;
  std::optional<EventLoop::TimerId> check_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_NFT_TABLE_H_
