#include "agent/ipam/announcer.h"

#include <algorithm>
#include <vector>

namespace vxvde {

void Announcer::Start(Instant now) {
  if (next_beat_ == Instant{}) next_beat_ = now + (*jitter_)(kBeatInterval);
}

void Announcer::Announce(const IpAddress& address, AgentMark::Kind kind) {
  if (const HeldAddresses::Entry* entry = held_->Find(address)) {
    outbox_->SendAnnouncement(address, entry->mac, kind);
  }
}

void Announcer::Resync(Instant now) {
  if (resync_at_) return;
  resync_at_ = std::max(now + (*jitter_)(kResyncDelay) / 2, last_resync_ + kMinResyncInterval);
  last_resync_ = *resync_at_;
}

void Announcer::OnTime(Instant now) {
  if (resync_at_ && *resync_at_ <= now) {
    resync_at_.reset();
    const std::vector<IpAddress> all = held_->All();
    queue_.assign(all.begin(), all.end());
    next_burst_ = now;
  }
  if (queue_.empty() || now < next_burst_) return;
  for (size_t i = 0; i < kBurst && !queue_.empty(); ++i) {
    Announce(queue_.front());
    queue_.pop_front();
  }
  next_burst_ = now + kBurstInterval;
}

void Announcer::Beat(Instant now) {
  next_beat_ = now + (*jitter_)(kBeatInterval);
  outbox_->CountBeat();
  if (held_->empty()) return;
  const size_t count = (held_->size() + kBeatsPerRound - 1) / kBeatsPerRound;
  for (size_t i = 0; i < count; ++i) {
    last_ = held_->After(last_);
    Announce(last_, i == 0 ? AgentMark::Kind::kBeat : AgentMark::Kind::kHold);
  }
}

Instant Announcer::NextTime() const {
  Instant next = next_beat_;
  if (resync_at_) next = std::min(next, *resync_at_);
  if (!queue_.empty()) next = std::min(next, next_burst_);
  return next;
}

}  // namespace vxvde
