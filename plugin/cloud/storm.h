// Storm control and loop guard: how many flooded frames one place may cause, and which port is to
// be kept out of floods because it leads frames in a circle. Pure: time is passed in.
//
// Flooded is what goes to more than one place: broadcast, multicast, unknown destinations. Nothing
// else is limited here, and nothing else can go in a circle for long: a frame is multiplied only
// by flooding, and a known station is behind one place.

#ifndef VXVDE_PLUGIN_CLOUD_STORM_H_
#define VXVDE_PLUGIN_CLOUD_STORM_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "plugin/base/time.h"

namespace vxvde {

// Flooded frames a second; 0: no limit. A super-frame counts as the frames that it stands for.
struct StormLimits {
  uint32_t port = 20'000;   // of one port, and of one peer
  uint32_t cloud = 50'000;  // of all peers together

  friend bool operator==(const StormLimits&, const StormLimits&) = default;
};

// A token bucket that holds what flows in in kDepth, but kLeast at the least, and is full at first.
class TokenBucket {
 public:
  static constexpr Duration kDepth = std::chrono::milliseconds(500);
  static constexpr uint32_t kLeast = 64;  // more than a super-frame of Ethernet frames stands for

  // Takes `count`, or nothing when they are not there: false. `rate`: tokens a second, 0: no limit.
  // With `leave_half` those in the lower half are not there.
  bool Take(uint32_t count, uint32_t rate, Instant now, bool leave_half = false) {
    if (rate == 0) return true;
    const Duration one = Duration(std::chrono::seconds(1)) / rate;
    const Duration depth = std::max(kDepth, one * kLeast) / (leave_half ? 2 : 1);
    const Instant full_at = std::max(full_at_, now) + one * count;
    if (full_at - now > depth) return false;
    full_at_ = full_at;
    return true;
  }

 private:
  Instant full_at_{};
};

// Tells the first refusal of a storm from the rest: a storm is over when nothing was refused for
// kQuiet.
class StormWatch {
 public:
  static constexpr Duration kQuiet = std::chrono::seconds(10);

  // Something was refused. True: a storm begins.
  bool Refused(Instant now) {
    const bool begins = !ever_ || now - last_ >= kQuiet;
    ever_ = true;
    last_ = now;
    return begins;
  }

 private:
  bool ever_ = false;
  Instant last_{};
};

// Which ports of a cloud are in a loop. The sign of one: a frame whose source is another port's own
// station comes from a port. The proof: our own Hello comes from it, or a station of others comes
// from two ports in turn (Fdb, I7). No peer can bring about that a port is taken for one.
//
// A loop has two ends. As soon as one is blocked there is no loop, but what is on its way still
// comes from the other: so for kPause no further port is blocked.
class LoopGuard {
 public:
  static constexpr int kSigns = 8;  // within kWithin: one alone may be a mistake
  static constexpr Duration kWithin = std::chrono::seconds(1);
  static constexpr Duration kBlocked = std::chrono::seconds(30);
  static constexpr Duration kPause = std::chrono::seconds(1);

  struct PortState {
    int signs = 0;
    Instant first_sign{};
    Instant blocked_until{};
    uint64_t blocks = 0;

    bool IsBlocked(Instant now) const { return now < blocked_until; }
  };

  // True: the port is blocked from now on.
  bool Sign(PortState& port, Instant now) {
    if (port.signs == 0 || now - port.first_sign >= kWithin) {
      port.signs = 0;
      port.first_sign = now;
    }
    return ++port.signs >= kSigns && Block(port, now);
  }
  // The same for a sign that leaves no doubt.
  bool Proof(PortState& port, Instant now) { return Block(port, now); }

 private:
  bool Block(PortState& port, Instant now) {
    if (port.IsBlocked(now) || now < none_before_) return false;
    none_before_ = now + kPause;
    port.signs = 0;
    port.blocked_until = now + kBlocked;
    ++port.blocks;
    return true;
  }

  Instant none_before_{};
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_STORM_H_
