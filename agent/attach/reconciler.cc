#include "agent/attach/reconciler.h"

#include <system_error>
#include <utility>

namespace vxvde {

Reconciler::Reconciler(EventLoop* loop, Attachments* attachments, Look look)
    : loop_(loop), attachments_(attachments), look_(std::move(look)) {}

Reconciler::~Reconciler() {
  *alive_ = false;
  if (timer_.has_value()) loop_->Cancel(*timer_);
  if (thread_.joinable()) thread_.join();
}

void Reconciler::Start() { LookNow(); }

void Reconciler::LookIn(Duration delay) {
  timer_ = loop_->After(delay, [this] {
    timer_.reset();
    LookNow();
  });
}

void Reconciler::LookNow() {
  if (looking_) {
    once_more_ = true;
    return;
  }
  if (timer_.has_value()) loop_->Cancel(*timer_);
  timer_.reset();
  if (thread_.joinable()) thread_.join();  // it has said what it saw: it is at its end
  try {
    thread_ = std::thread([this, alive = alive_, watched = attachments_->Watched()] {
      const auto sight = std::make_shared<const KernelSnapshot>(look_(watched));
      loop_->Post([this, alive, sight] {
        if (*alive) OnSight(*sight);
      });
    });
    looking_ = true;
  } catch (const std::system_error&) {
    LookIn(kPeriod);  // no thread can be had now: the machine has other troubles
  }
}

void Reconciler::OnSight(const KernelSnapshot& sight) {
  looking_ = false;
  const bool soon = attachments_->Reconcile(sight);
  if (std::exchange(once_more_, false)) return LookNow();
  LookIn(soon ? Duration(kAgain) : Duration(kPeriod));
}

}  // namespace vxvde
