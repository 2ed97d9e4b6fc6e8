// Fdb: the port or peer from which a station (MAC) was last heard.
//
// Invariants:
//   I1  An entry is static (a pod's own MAC on its port: never moved, never expired) or learned
//       (moved by any frame, expires).
//   I2  There are at most max_entries learned entries. A port has at most max_at_port of them, and
//       a peer at most as many as are free when it adds one: one peer alone gets half of the table,
//       and however many peers flood, room remains for others. A station beyond these limits is not
//       learned and its frames are flooded; no active station is evicted.
//   I3  Time never runs backwards between two calls.
//   I4  Every change of location is reported once to the listener; a refresh is not.
//   I5  For each station the listener hears kAdded first, then any kMoved, then one of kRemoved and
//       kExpired, then kAdded again: it may keep a copy of the table.
//   I6  Only the time of ForgetPort, ForgetLearnedAt, ForEachAt and Rows grows with the table. Find
//       no longer returns the entries of a forgotten peer or expired entries, and Sweep removes
//       them in steps.
//   I7  The next move of a station that moved kHoldMoves times within kHoldWithin returns it to the
//       location before the first of these moves, and it stays there for kHoldFor, whichever port
//       or peer claims it. A port or peer that repeats the frames of others, in a loop or in bad
//       faith, therefore does not capture the station. No peer can make a station move from one
//       port to another: if most of the moves are of that kind, two ports of this node alternately
//       deliver the station's frames.
//
// Pure: time is an argument, and a refresh allocates nothing.

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
  Instant seen{};        // last frame from that station; unused if static
  Instant held_until{};  // I7
};

struct FdbChange {
  enum class Kind {
    kAdded,
    kMoved,
    kRemoved,
    kExpired,
    kHeld,  // I7 begins; if a move is taken back, its kMoved came before
  };
  Kind kind;
  MacAddress mac;
  Location where;  // the new location; the last one for kRemoved and kExpired
};

class Fdb {
 public:
  struct Options {
    Duration expiry;  // a learned entry expires this long after its last frame
    size_t max_entries = size_t{1} << 18;
    size_t max_at_port = 1024;
    size_t reserve = 1024;
  };
  // Called during a change, so it must not call this Fdb.
  using Listener = std::function<void(const FdbChange&)>;

  enum class Learned {
    kAdded,       // new station (or an expired one)
    kRefreshed,   // same location
    kMoved,       // from another location than before
    kStatic,      // a static entry, heard at its own location
    kConflict,    // claims a static station from another location: refused (I1)
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

  // A pod's own MAC. Replaces a learned entry. False if the MAC is static on another port, or
  // cannot be the address of a station.
  bool AddStatic(const MacAddress& mac, PortId port);

  // nullptr if unknown or expired. Valid until the next non-const call.
  const FdbEntry* Find(const MacAddress& mac, Instant now) const;

  // Calls `visit` for each entry at `where`, in no particular order, including expired entries that
  // Sweep has not reported yet. `visit` must not change this Fdb.
  using Visitor = absl::FunctionRef<void(const MacAddress&, const FdbEntry&)>;
  void ForEachAt(const Location& where, Visitor visit) const;
  // The number of entries at `where`, static ones included.
  size_t CountAt(const Location& where) const;

  // Each returns the number of entries at that location.
  size_t ForgetPeer(const Peer& peer);  // after a leave; Sweep reports the entries
  size_t ForgetPort(PortId port);       // static ones too; reported at once
  size_t ForgetLearnedAt(PortId port);  // reported at once
  // Whether Sweep has yet to report a station that ForgetPeer(peer) removed.
  bool IsForgetting(const Peer& peer) const { return forgetting_.contains(peer); }

  // From now on Sweep checks each entry once for expiry. To be called every second; has no effect
  // while a sweep is in progress.
  void StartSweep();
  struct Swept {
    size_t expired = 0;  // reported by this call
    size_t work = 0;     // used of the budget; may exceed it slightly
    bool more = false;   // call again
  };
  // Reports the entries that ForgetPeer removed, then the expired ones. Each visited entry costs
  // one unit of `budget`, and each query or removal kCost more. `ask` is for tables of which others
  // also see frames: it returns when they last saw the station at `where`, or nullopt. It is called
  // for learned entries that expire within kAskBefore, and an entry that was seen later than this
  // table knows lives on. With a sweep every second that is two or three times in the life of an
  // entry, so a living entry never expires.
  using Ask = absl::FunctionRef<std::optional<Instant>(const MacAddress&, const Location& where)>;
  static constexpr Duration kAskBefore = std::chrono::seconds(2);
  static constexpr size_t kCost = 16;
  Swept Sweep(Instant now, size_t budget, Ask ask);

  // Excludes entries that ForgetPeer removed; includes expired ones until Sweep reports them.
  size_t live() const { return index_of_.size() - gone_; }
  // Includes entries that Sweep has yet to report.
  size_t size() const { return index_of_.size(); }
  size_t learned() const { return learned_; }
  uint64_t moves() const { return moves_; }
  uint64_t conflicts() const { return conflicts_; }
  uint64_t refused_full() const { return refused_full_; }
  uint64_t holds() const { return holds_; }  // the number of times that I7 began

  struct Row {
    MacAddress mac;
    FdbEntry entry;
  };
  // The first `limit` live entries by MAC, after `after`.
  std::vector<Row> Rows(Instant now, const std::optional<MacAddress>& after = std::nullopt,
                        size_t limit = ~size_t{0}) const;

 private:
  using Index = uint32_t;
  static constexpr Index kNone = ~Index{0};
  // Entries keep their place in memory, so that Sweep can visit them in steps.
  struct Slot {
    MacAddress mac = {};
    uint8_t moves = 0;                // since `moved`, when it left `home`
    uint8_t moves_between_ports = 0;  // of those
    bool used = false;
    Index place = kNone;
    Index before = kNone;  // at the same location
    Index next = kNone;    // at the same location; of a free slot: the next free one
    FdbEntry entry = {};
    Instant moved{};
    Location home = PortId::kNone;
  };
  static constexpr size_t kChunk = 1024;
  // absl of Debian 12 hashes only its own variant.
  struct HashOfLocation {
    size_t operator()(const Location& where) const {
      if (const Peer* peer = std::get_if<Peer>(&where)) return absl::Hash<Peer>()(*peer);
      return absl::Hash<PortId>()(std::get<PortId>(where));
    }
  };
  // A port or peer with stations. A forgotten one is no longer in place_of_.
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
  Index used_slots_ = 0;  // in total
  Index free_slot_ = kNone;
  absl::flat_hash_map<Location, Index, HashOfLocation> place_of_;
  std::vector<Place> places_;
  std::vector<Index> free_places_;
  std::deque<Index> forgotten_;
  // Forgotten locations that still have entries, by peer: a peer that returned and left again has
  // several.
  absl::flat_hash_map<Peer, size_t> forgetting_;
  bool sweeping_ = false;
  Index cursor_ = 0;
  size_t learned_ = 0;
  size_t gone_ = 0;  // at forgotten locations
  uint64_t moves_ = 0;
  uint64_t conflicts_ = 0;
  uint64_t refused_full_ = 0;
  uint64_t holds_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FDB_FDB_H_
