// NftWatch: tells when any program changes nftables of the namespace. A kernel that cannot tell it
// now is asked again, because what other programs destroy is not restored meanwhile.

#ifndef VXVDE_AGENT_NODE_PORT_NFT_WATCH_H_
#define VXVDE_AGENT_NODE_PORT_NFT_WATCH_H_

#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/base/log.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/nftables.h"
#include "plugin/os/task_scope.h"

namespace vxvde {

class NftWatch {
 public:
  using Opener = std::function<absl::StatusOr<NftMonitor>()>;
  // Loop and log outlive it. `open`: NftMonitor::Open, or a test's own.
  NftWatch(EventLoop* loop, const Log* log, Opener open, std::function<void()> changed);
  ~NftWatch();
  NftWatch(const NftWatch&) = delete;
  NftWatch& operator=(const NftWatch&) = delete;

  // Begins, now or by a retry. Without the permission there is nothing to be watched either.
  void Start();
  static constexpr std::chrono::seconds kRetry{2};

  // Why changes are not noticed; OK when they are.
  absl::Status problem() const;

 private:
  absl::Status Open();

  EventLoop* loop_;
  const Log* log_;
  Opener open_;
  std::function<void()> changed_;
  std::optional<NftMonitor> monitor_;
  absl::Status problem_;
  Timer retry_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_NFT_WATCH_H_
