// The cloud's side of storm control and loop guard (storm.h): who may flood, and what is learned.
//
// Each frame teaches where its source is, also one that is dropped for a storm: what that may cost
// is bounded by the FDB (I2, I7 there). Only a port in a loop teaches nothing: what comes from it
// are the frames of others.

#include <algorithm>

#include "plugin/cloud/cloud.h"

namespace vxvde {

// Of a port in a loop, the frames of stations that were known there pass if they are for one
// station: the pod behind it goes on talking to whom it knows.
bool Cloud::LearnAt(Port& port, const MacAddress& source) {
  const Instant now = loop_->now();
  if (port.loop.IsBlocked(now)) {
    const FdbEntry* known = fdb_.Find(source, now);
    return known != nullptr && known->where == Location(port.id);
  }
  switch (fdb_.Learn(source, port.id, now)) {
    case Fdb::Learned::kConflict:
      if (loops_.Sign(port.loop, now)) ReportLoop(port);
      return false;
    case Fdb::Learned::kCircles:
      if (loops_.Proof(port.loop, now)) ReportLoop(port);
      return true;
    default:
      return true;
  }
}

// A frame of a pod of ours that comes from outside: a member leads it back to us, or makes it up. A
// few pass, so that two nodes of one name still hear of each other.
bool Cloud::LearnAt(const Peer& peer, const MacAddress& source) {
  const Instant now = loop_->now();
  if (fdb_.Learn(source, peer, now) != Fdb::Learned::kConflict) return true;
  return conflicts_.Take(1, kMostConflicts, now);
}

void Cloud::ReportLoop(const Port& port) {
  Report({.kind = SwitchEvent::Kind::kPortBlocked, .port = port.id});
}

// The Hello that we said to the group. It is not given to ports, so it has come in a circle.
void Cloud::OnHelloFromPort(Port& port, const MacAddress& source) {
  if (source != options_.agent_mac) return;
  if (loops_.Proof(port.loop, loop_->now())) ReportLoop(port);
}

Drop Cloud::MayFlood(Port& port, uint32_t frames) {
  const Instant now = loop_->now();
  if (port.loop.IsBlocked(now)) return Drop::kLoop;
  if (port.floods.Take(frames, options_.storm.port, now)) return Drop::kNone;
  if (port.storm.Refused(now)) {
    Report({.kind = SwitchEvent::Kind::kStorm, .port = port.id});
  }
  return Drop::kStorm;
}

bool Cloud::MayFlood(const Peer& from, PeerState* peer) {
  const Instant now = loop_->now();
  TokenBucket& own = peer != nullptr ? peer->floods : floods_of_uncounted_;
  const bool stranger = peer == nullptr || now - peer->first < kKnownAfter;
  if (own.Take(1, options_.storm.port, now) &&
      floods_.Take(1, options_.storm.cloud, now, /*leave_half=*/stranger)) {
    return true;
  }
  if (storm_.Refused(now)) Report({.kind = SwitchEvent::Kind::kStorm, .peer = from});
  return false;
}

// Each costs an answer, and often a look at routes.
bool Cloud::MaySayHello(PeerState* peer) {
  const Instant now = loop_->now();
  if (peer != nullptr && !peer->hellos.Take(1, kMostHellosOfPeer, now)) return false;
  if (peer != nullptr && peer->heard.has_value()) return true;
  return hellos_.Take(1, kMostHellos, now);
}

bool Cloud::TakesFloods(Port& port, uint32_t frames) {
  if (!port.loop.IsBlocked(loop_->now())) return true;
  port.drops.Add(Drop::kLoop, frames);
  return false;
}

}  // namespace vxvde
