// Fdb: which port or peer a station (MAC) was last heard from.
//
// Invariants:
//   I1  An entry is static (a pod's own MAC on its port: never moved, never
//       expired) or learned (moved by any frame, expires).
//   I2  At most max_entries learned entries. Of these a port has at most max_at_port, and a peer no
//       more than are free when a station is new there: one peer alone gets half, and however many
//       flood, room is left for others. A station beyond that is not learned: its frames are
//       flooded, nobody who is active is evicted.
//   I3  Time never runs backwards between two calls.
//   I4  Every change of location is reported once to the listener; a refresh is not.
//   I5  For each station the listener hears kAdded first, then any kMoved, then one of
//       kRemoved and kExpired, then kAdded again: it may keep a copy of the table.
//   I6  Only ForgetPort, ForgetLearnedAt, ForEachAt and Rows take longer when the table is larger.
//       Entries that a peer leaves behind, and those that expire, are not found from then on, and
//       go when Sweep comes to them.
//   I7  A station that moved kHoldMoves times within kHoldWithin is taken back, with the next move,
//       to where it was before the first of them, and stays there for kHoldFor, whatever claims it
//       from elsewhere. So who repeats another's frames, in a loop or in bad faith, does not get
//       it. No peer can make a station move from one port to another: where most of the moves are
//       such, two of our ports show the station's frames in turn.
//
// Pure: time is passed in, nothing is allocated for a refresh.

#ifndef VXVDE_PLUGIN_FDB_FDB_H_
#define VXVDE_PLUGIN_FDB_FDB_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/hash/hash.h"
#include "plugin/base/ids.h"
#include "plugin/base/location.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

struct FdbEntry {
  Location where;
  bool is_static = false;
  Instant seen{};        // last frame from that station; meaningless when static
  Instant held_until{};  // I7
};

struct FdbChange {
  enum class Kind {
    kAdded,
    kMoved,
    kRemoved,
    kExpired,
    kHeld,  // I7 begins; a kMoved, if it is taken back, came before
  };
  Kind kind;
  MacAddress mac;
  Location where;  // the new place; the last one for kRemoved and kExpired
};

class Fdb {
 public:
  struct Options {
    Duration expiry;  // a learned entry dies this long after its last frame
    size_t max_entries = size_t{1} << 18;
    size_t max_at_port = 1024;
    size_t reserve = 1024;
  };
  // Called in the middle of a change: it must not call back into this Fdb.
  using Listener = std::function<void(const FdbChange&)>;

  enum class Learned {
    kAdded,       // new station (or one that had expired)
    kRefreshed,   // same place
    kMoved,       // another place than before
    kStatic,      // a static entry, heard where it belongs
    kConflict,    // claims a static station from another place: refused (I1)
    kFull,        // I2
    kHeld,        // I7: refused
    kCircles,     // I7 begins, and most of the moves were from one port to another
    kNotStation,  // group or zero address: never learned
  };

  static constexpr int kHoldMoves = 5;
  static constexpr Duration kHoldWithin = std::chrono::seconds(10);
  static constexpr Duration kHoldFor = std::chrono::seconds(10);

  explicit Fdb(const Options& options, Listener listener = {});

  // A frame from `mac` came in at `where`.
  Learned Learn(const MacAddress& mac, const Location& where, Instant now);

  // A pod's own MAC. Replaces a learned entry. False when the MAC is static on another port, or
  // no station's.
  bool AddStatic(const MacAddress& mac, PortId port);

  // nullptr when unknown or expired. Valid until the next non-const call.
  const FdbEntry* Find(const MacAddress& mac, Instant now) const;

  // Calls `visit` for each entry at `where`, in no order: those too that have expired, until Sweep
  // says so. It must not change this Fdb.
  using Visitor = absl::FunctionRef<void(const MacAddress&, const FdbEntry&)>;
  void ForEachAt(const Location& where, Visitor visit) const;
  // How many that are, static ones included.
  size_t CountAt(const Location& where) const;

  // Both return how many entries it had.
  size_t ForgetPeer(const Peer& peer);  // a leave; reported by Sweep
  size_t ForgetPort(PortId port);       // static ones too; reported at once
  size_t ForgetLearnedAt(PortId port);  // reported at once
  // A station that ForgetPeer(peer) took away is not reported yet.
  bool IsForgetting(const Peer& peer) const { return forgetting_.contains(peer); }

  // From now on Sweep looks for entries that have expired, once at each. To be called every second;
  // while it is under way it goes on.
  void StartSweep();
  struct Swept {
    size_t expired = 0;  // reported by this call
    size_t work = 0;     // of the budget; a little more where its end was met in the middle
    bool more = false;   // call again
  };
  // Reports what ForgetPeer took away, then who has expired. One entry that is looked at is one of
  // `budget`, one that is asked for or goes is kCost more.
  //
  // `ask` is for tables where others see frames, too: when they saw the station at `where` last;
  // nullopt: not at all. It is asked of learned entries that have no more than kAskBefore to live,
  // and one that was seen later than we know lives on. So with a sweep every second that is some
  // two or three times in the life of an entry, and one that is alive is never found expired.
  using Ask = absl::FunctionRef<std::optional<Instant>(const MacAddress&, const Location& where)>;
  static constexpr Duration kAskBefore = std::chrono::seconds(2);
  static constexpr size_t kCost = 16;
  Swept Sweep(Instant now, size_t budget, Ask ask);

  // What ForgetPeer has taken away is not counted, and what has expired until Sweep comes to it.
  size_t live() const { return index_of_.size() - gone_; }
  // Those that Sweep has not come to yet included.
  size_t size() const { return index_of_.size(); }
  size_t learned() const { return learned_; }
  uint64_t moves() const { return moves_; }
  uint64_t conflicts() const { return conflicts_; }
  uint64_t refused_full() const { return refused_full_; }
  uint64_t holds() const { return holds_; }  // how often I7 began

  struct Row {
    MacAddress mac;
    FdbEntry entry;
  };
  // The first `limit` live entries by MAC, of those behind `after`.
  std::vector<Row> Rows(Instant now, const std::optional<MacAddress>& after = std::nullopt,
                        size_t limit = ~size_t{0}) const;

 private:
  using Index = uint32_t;
  static constexpr Index kNone = ~Index{0};
  // Entries keep their place in memory, so that Sweep can go through them bit by bit.
  struct Slot {
    MacAddress mac = {};
    uint8_t moves = 0;                // since `moved`, when it went away from `home`
    uint8_t moves_between_ports = 0;  // of those
    bool used = false;
    Index place = kNone;
    Index before = kNone;  // of the same place
    Index next = kNone;    // the same; of a free slot: the next free one
    FdbEntry entry = {};
    Instant moved{};
    Location home = PortId::kNone;
  };
  static constexpr size_t kChunk = 1024;
  // absl of Debian 12 hashes its own variant only.
  struct HashOfLocation {
    size_t operator()(const Location& where) const {
      if (const Peer* peer = std::get_if<Peer>(&where)) return absl::Hash<Peer>()(*peer);
      return absl::Hash<PortId>()(std::get<PortId>(where));
    }
  };
  // A port or peer with stations. One that was forgotten is no longer in place_of_.
  struct Place {
    Location where = PortId::kNone;
    Index first = kNone;
    size_t count = 0;
    size_t learned = 0;
    bool forgotten = false;
  };

  Slot& At(Index index) { return chunks_[index / kChunk][index % kChunk]; }
  const Slot& At(Index index) const { return chunks_[index / kChunk][index % kChunk]; }
  bool Expired(const FdbEntry& entry, Instant now) const {
    return !entry.is_static && now - entry.seen >= options_.expiry;
  }
  bool Gone(const Slot& slot, Instant now) const {
    return places_[slot.place].forgotten || Expired(slot.entry, now);
  }
  void Report(FdbChange::Kind kind, const MacAddress& mac, const Location& where) const {
    if (listener_) listener_({kind, mac, where});
  }
  bool HasRoom(const Location& where) const;
  Index PlaceAt(const Location& where);
  void Link(Slot& slot, Index index, const Location& where);
  void Unlink(Slot& slot);
  void Move(Slot& slot, Index index, const Location& where);
  Slot& Add(const MacAddress& mac, const FdbEntry& entry);
  void Erase(Index index, FdbChange::Kind kind);
  void TakeHome(Slot& slot, Index index);
  Learned MoveTo(Slot& slot, Index index, const Location& where, Instant now);

  Options options_;
  Listener listener_;
  absl::flat_hash_map<MacAddress, Index> index_of_;
  std::vector<std::unique_ptr<Slot[]>> chunks_;
  Index used_slots_ = 0;  // ever
  Index free_slot_ = kNone;
  absl::flat_hash_map<Location, Index, HashOfLocation> place_of_;
  std::vector<Place> places_;
  std::vector<Index> free_places_;
  std::deque<Index> forgotten_;
  // Forgotten places that still have entries, by peer: one that returns and leaves has several.
  absl::flat_hash_map<Peer, size_t> forgetting_;
  bool sweeping_ = false;
  Index cursor_ = 0;
  size_t learned_ = 0;
  size_t gone_ = 0;  // at forgotten places
  uint64_t moves_ = 0;
  uint64_t conflicts_ = 0;
  uint64_t refused_full_ = 0;
  uint64_t holds_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FDB_FDB_H_
