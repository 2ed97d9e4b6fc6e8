// NftWatch: reports changes of nftables in the namespace by any program. It asks again a kernel
// that cannot report them now, because rules that other programs destroy are not restored
// meanwhile.

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
  // Loop and log outlive it. `open`: NftMonitor::Open, or a test's fake.
  NftWatch(EventLoop* loop, const Log* log, Opener open, std::function<void()> changed);
  ~NftWatch();
  NftWatch(const NftWatch&) = delete;
  NftWatch& operator=(const NftWatch&) = delete;

  // Begins to watch, now or by a retry. Without the permission there is nothing to watch.
  void Start();
  static constexpr std::chrono::seconds kRetry{2};

  // The reason why changes are not noticed; OK: they are.
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
