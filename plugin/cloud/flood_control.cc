#include "plugin/cloud/flood_control.h"

namespace vxvde {

// Unicast of stations that were known at a port before it was blocked passes, so the pod behind it
// still reaches the stations that it knows.
FloodControl::Ruling FloodControl::Learn(Fdb& fdb, PortState& port, PortId id,
                                         const MacAddress& source, Instant now) {
  if (port.loop.IsBlocked(now)) {
    const FdbEntry* known = fdb.Find(source, now);
    const bool is_here = known != nullptr && known->where == Location(id);
    return {.drop = is_here ? Drop::kNone : Drop::kLoop};
  }
  switch (fdb.Learn(source, id, now)) {
    case Fdb::Learned::kConflict:
      return {.drop = Drop::kLoop, .news = loops_.OnSign(port.loop, now)};
    case Fdb::Learned::kCircles:
      return {.news = loops_.OnEvidence(port.loop, now)};
    default:
      return {};
  }
}

// A frame with the source of a local pod comes from outside: a member returns it, or forges it. A
// few pass, so that two nodes that use one address still notice each other.
Drop FloodControl::Learn(Fdb& fdb, const Peer& peer, const MacAddress& source, Instant now) {
  if (fdb.Learn(source, peer, now) != Fdb::Learned::kConflict) return Drop::kNone;
  return conflicts_.Take(1, kMaxConflicts, now) ? Drop::kNone : Drop::kLoop;
}

FloodControl::Ruling FloodControl::Flood(PortState& port, uint32_t frames, Instant now) {
  if (port.loop.IsBlocked(now)) return {.drop = Drop::kLoop};
  if (port.floods.Take(frames, limits_.port, now)) return {};
  return {.drop = Drop::kStorm, .news = port.storm.Refused(now)};
}

FloodControl::Ruling FloodControl::Flood(PeerState* peer, Instant now) {
  TokenBucket& own = peer != nullptr ? peer->floods : floods_of_uncounted_;
  const bool stranger = peer == nullptr || now - peer->first < kKnownAfter;
  if (own.Take(1, limits_.port, now) &&
      floods_.Take(1, limits_.cloud, now, /*leave_half=*/stranger)) {
    return {};
  }
  return {.drop = Drop::kStorm, .news = storm_.Refused(now)};
}

}  // namespace vxvde
