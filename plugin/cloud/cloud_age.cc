// The cloud's side of time: leaves, and stations and peers that have fallen silent. However many
// they are, a turn of the loop does so much of it and no more (I6); what is left is posted to the
// next.

#include <algorithm>
#include <memory>

#include "plugin/cloud/cloud.h"

namespace vxvde {

void Cloud::Tick(Instant now) {
  fdb_.StartSweep();
  expiring_ = true;
  Sweep(now);
  TickFast(now);
  TickSnooper(now);
  TickGroup(now);
}

void Cloud::OnLeave(const Peer& from) {
  fdb_.ForgetPeer(from);
  if (PeerState* peer = FindPeer(from)) SlowDown(from, *peer);
  Sweep(loop_->now());
  if (peers_.erase(from) == 0) return;
  group_watch_.Left(from);
  Report({.kind = SwitchEvent::Kind::kPeerGone, .peer = from});
}

void Cloud::Sweep(Instant now) {
  if (sweep_turn_ != now) {
    sweep_turn_ = now;
    sweep_left_ = kSweepPerTurn;
  }
  const Fdb::Swept swept = fdb_.Sweep(
      now, sweep_left_,
      [&](const MacAddress& mac, const Location& where) { return LastSeen(mac, where, now); });
  sweep_left_ -= std::min(sweep_left_, swept.work);
  absl::erase_if(stopped_, [&](const Peer& peer) {
    if (fdb_.IsForgetting(peer)) return false;
    fast_->ForgetPeer(peer);
    return true;
  });
  if (!swept.more) {
    if (expiring_) ForgetSilentPeers(now);
    expiring_ = false;
    return;
  }
  if (sweep_posted_) return;
  sweep_posted_ = true;
  loop_->Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    sweep_posted_ = false;
    Sweep(loop_->now());
  });
}

// After the stations: asking for them has told which peers are silent only to us.
void Cloud::ForgetSilentPeers(Instant now) {
  absl::erase_if(peers_, [&](const auto& item) {
    if (now - item.second->last < options_.config.expiry) return false;
    SlowDown(item.first, *item.second);
    Report({.kind = SwitchEvent::Kind::kPeerGone, .peer = item.first});
    return true;
  });
}

}  // namespace vxvde
