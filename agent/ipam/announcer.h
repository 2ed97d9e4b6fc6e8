// Announcer: the announcements of an allocator on its own: a heartbeat, each held address in turn,
// and all of them soon after another agent may have missed some (docs/decisions/0007). Pure.

#ifndef VXVDE_AGENT_IPAM_ANNOUNCER_H_
#define VXVDE_AGENT_IPAM_ANNOUNCER_H_

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>

#include "agent/ipam/held_addresses.h"
#include "agent/ipam/jitter.h"
#include "agent/ipam/outbox.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/time.h"

namespace vxvde {

class Announcer {
 public:
  static constexpr std::chrono::milliseconds kBeatInterval{1500};
  static constexpr size_t kBeatsPerRound = 40;  // in which each held address is announced once
  // A resync begins within this time, and not more often.
  static constexpr std::chrono::milliseconds kResyncDelay{300};
  static constexpr std::chrono::seconds kMinResyncInterval{2};
  // A resync is sent in bursts, so that it does not overrun the receivers.
  static constexpr size_t kBurst = 32;
  static constexpr std::chrono::milliseconds kBurstInterval{20};

  // All of which outlive it.
  Announcer(Jitter* jitter, const HeldAddresses* held, Outbox* outbox)
      : jitter_(jitter), held_(held), outbox_(outbox) {}

  // Starts the heartbeats. Does nothing when called again.
  void Start(Instant now);
  // Announces `address` now, if it is held.
  void Announce(const IpAddress& address, AgentMark::Kind kind = AgentMark::Kind::kHold);
  // Announces all held addresses soon.
  void Resync(Instant now);

  // Continues a resync.
  void OnTime(Instant now);
  bool BeatDue(Instant now) const { return next_beat_ <= now; }
  // Announces the next of the held addresses.
  void Beat(Instant now);
  Instant NextTime() const;

 private:
  Jitter* jitter_;
  const HeldAddresses* held_;
  Outbox* outbox_;
  Instant next_beat_{};
  IpAddress last_;  // in the rotation
  std::optional<Instant> resync_at_;
  Instant last_resync_{};
  std::deque<IpAddress> queue_;  // of the resync in progress
  Instant next_burst_{};
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_ANNOUNCER_H_
