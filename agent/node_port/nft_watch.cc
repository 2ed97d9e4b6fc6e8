#include "agent/node_port/nft_watch.h"

#include <sys/epoll.h>

#include <string>
#include <utility>

#include "agent/node_port/nft_keeper.h"
#include "plugin/base/status.h"

namespace vxvde {

NftWatch::NftWatch(EventLoop* loop, const Log* log, Opener open, std::function<void()> changed)
    : loop_(loop), log_(log), open_(std::move(open)), changed_(std::move(changed)), retry_(loop) {}

NftWatch::~NftWatch() {
  if (monitor_.has_value()) loop_->Unwatch(monitor_->fd());
}

absl::Status NftWatch::Open() {
  ASSIGN_OR_RETURN(NftMonitor monitor, open_());
  RETURN_IF_ERROR(loop_->Watch(monitor.fd(), EPOLLIN, [this](uint32_t) {
    monitor_->Drain();
    changed_();
  }));
  monitor_ = std::move(monitor);
  return absl::OkStatus();
}

void NftWatch::Start() {
  const absl::Status was = std::exchange(problem_, Open());
  if (problem_.ok()) {
    if (!was.ok()) changed_();  // rules may have changed meanwhile
    return;
  }
  const std::string error(problem_.message());
  if (!BlocksPods(problem_)) {
    log_->Info("no nftables", {{"error", error}, {"without", "gateways and published ports"}});
    return;
  }
  if (problem_ != was) log_->Warn("changes of nftables not watched", {{"error", error}});
  retry_.After(kRetry, [this] { Start(); });
}

absl::Status NftWatch::problem() const {
  if (!BlocksPods(problem_)) return absl::OkStatus();
  return Annotate(problem_, "nftables that another program destroys are not restored");
}

}  // namespace vxvde
