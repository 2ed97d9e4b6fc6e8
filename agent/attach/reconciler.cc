#include "agent/attach/reconciler.h"

#include <memory>
#include <system_error>
#include <utility>

namespace vxvde {

Reconciler::Reconciler(EventLoop* loop, OrphanCollector* orphans, Look look)
    : orphans_(orphans), look_(std::move(look)), timer_(loop), tasks_(loop) {}

Reconciler::~Reconciler() {
  if (thread_.joinable()) thread_.join();
}

void Reconciler::Start() { LookNow(); }

void Reconciler::LookIn(Duration delay) {
  timer_.After(delay, [this] { LookNow(); });
}

void Reconciler::LookNow() {
  if (looking_) {
    once_more_ = true;
    return;
  }
  timer_.Cancel();
  if (thread_.joinable()) thread_.join();  // it has posted its result
  try {
    thread_ = std::thread([this, watched = orphans_->Watched()] {
      const auto snapshot = std::make_shared<const KernelSnapshot>(look_(watched));
      tasks_.Post([this, snapshot] { OnSnapshot(*snapshot); });
    });
    looking_ = true;
  } catch (const std::system_error&) {
    LookIn(kPeriod);  // the process is out of threads
  }
}

void Reconciler::OnSnapshot(const KernelSnapshot& snapshot) {
  looking_ = false;
  const bool soon = orphans_->Reconcile(snapshot);
  if (std::exchange(once_more_, false)) return LookNow();
  LookIn(soon ? Duration(kAgain) : Duration(kPeriod));
}

}  // namespace vxvde
