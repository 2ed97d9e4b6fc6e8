// FloodControl: limits the flooded frames of one cloud, and keeps ports that lead frames in a
// circle out of floods. Pure: time is passed in.
//
// A frame is flooded when it goes to more than one place: broadcast, multicast, unknown
// destinations. Nothing else is limited, because nothing else circles for long: only flooding
// multiplies a frame, and a known station is behind one place.
//
// The FDB learns from each frame, even from one that is dropped as part of a storm: it bounds the
// cost (I2, I7 there). It does not learn from a port in a loop, because the frames that come from
// there belong to other places.

#ifndef VXVDE_PLUGIN_CLOUD_FLOOD_CONTROL_H_
#define VXVDE_PLUGIN_CLOUD_FLOOD_CONTROL_H_

#include <chrono>
#include <cstdint>

#include "plugin/base/drop.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/options.h"
#include "plugin/cloud/token_bucket.h"
#include "plugin/fdb/fdb.h"

namespace vxvde {

// Tells the first refusal of a storm from the rest. A storm ends after kQuiet without a refusal.
class StormWatch {
 public:
  static constexpr Duration kQuiet = std::chrono::seconds(10);

  // A frame was refused. True: a storm begins.
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

// Finds the ports of a cloud that are in a loop. The sign of one: a port sends a frame whose source
// is the own station of another port. The evidence: the cloud's own Hello comes from the port, or a
// foreign station comes from two ports in turn (Fdb, I7). No peer can cause either.
//
// A loop has two ends. Blocking one of them opens the loop, but frames on their way still come from
// the other: for kPause no further port is blocked.
class LoopGuard {
 public:
  static constexpr int kSigns = 8;  // within kWithin: a single one may be a mistake
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

  // Both: true when the port is blocked from now on.
  bool OnSign(PortState& port, Instant now) {
    if (port.signs == 0 || now - port.first_sign >= kWithin) {
      port.signs = 0;
      port.first_sign = now;
    }
    return ++port.signs >= kSigns && Block(port, now);
  }
  bool OnEvidence(PortState& port, Instant now) { return Block(port, now); }

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

class FloodControl {
 public:
  // Half of the limit of all peers together is reserved for peers known for this long.
  static constexpr Duration kKnownAfter = std::chrono::seconds(10);
  // A second: frames from peers whose source is a pod of this node.
  static constexpr uint32_t kMaxConflicts = 100;

  // The cloud keeps these with the port and the peer.
  struct PortState {
    TokenBucket floods;
    StormWatch storm;
    LoopGuard::PortState loop;
  };
  struct PeerState {
    Instant first;  // frame
    TokenBucket floods;
  };
  // kNone: the frame may go on. `news`: a storm begins, or the port is blocked from now on.
  struct Ruling {
    Drop drop = Drop::kNone;
    bool news = false;
  };

  explicit FloodControl(const StormLimits& limits) : limits_(limits) {}
  void SetLimits(const StormLimits& limits) { limits_ = limits; }

  // Learns that `source` is at a port or peer. Another Ruling than kNone: it is not forwarded.
  Ruling Learn(Fdb& fdb, PortState& port, PortId id, const MacAddress& source, Instant now);
  Drop Learn(Fdb& fdb, const Peer& peer, const MacAddress& source, Instant now);
  // The cloud's own Hello to the group came from a port. The cloud sends it to no port, so it has
  // circled.
  bool OnOwnHello(PortState& port, Instant now) { return loops_.OnEvidence(port.loop, now); }

  // Decides about a flood of `frames` frames. nullptr: a peer beyond those in the PeerTable.
  Ruling Flood(PortState& port, uint32_t frames, Instant now);
  Ruling Flood(PeerState* peer, Instant now);
  // The programs of the kernel datapath refused frames of the port, by the same limit. True: a
  // storm begins.
  static bool OnRefused(PortState& port, Instant now) { return port.storm.Refused(now); }
  // Returns whether flooded frames may go to the port.
  static bool Takes(const PortState& port, Instant now) { return !port.loop.IsBlocked(now); }

 private:
  StormLimits limits_;
  TokenBucket floods_;  // of all peers
  TokenBucket floods_of_uncounted_;
  TokenBucket conflicts_;
  StormWatch storm_;
  LoopGuard loops_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_FLOOD_CONTROL_H_
