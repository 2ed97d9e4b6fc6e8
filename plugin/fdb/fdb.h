// Fdb: which port or peer a station (MAC) was last heard from.
//
// Invariants:
//   I1  An entry is static (a pod's own MAC on its port: never moved, never
//       expired) or learned (moved by any frame, expires).
//   I2  At most max_entries learned entries; a new station beyond that is not
//       learned: its frames are flooded, nobody who is active is evicted.
//   I3  Time never runs backwards between two calls.
//   I4  Every change of location is reported once to the listener; a refresh is not.
//   I5  For each station the listener hears kAdded first, then any kMoved, then one of
//       kRemoved and kExpired, then kAdded again: it may keep a copy of the table.
//
// Pure: time is passed in, nothing is allocated for a refresh.

#ifndef VXVDE_PLUGIN_FDB_FDB_H_
#define VXVDE_PLUGIN_FDB_FDB_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

using Location = std::variant<PortId, Peer>;

struct FdbEntry {
  Location where;
  bool is_static = false;
  Instant seen;  // last frame from that station; meaningless when static
};

struct FdbChange {
  enum class Kind { kAdded, kMoved, kRemoved, kExpired };
  Kind kind;
  MacAddress mac;
  Location where;  // the new place; the last one for kRemoved and kExpired
};

class Fdb {
 public:
  struct Options {
    Duration expiry;  // a learned entry dies this long after its last frame
    size_t max_entries = size_t{1} << 18;
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
    kNotStation,  // group or zero address: never learned
  };

  explicit Fdb(const Options& options, Listener listener = {});

  // A frame from `mac` came in at `where`.
  Learned Learn(const MacAddress& mac, const Location& where, Instant now);

  // A pod's own MAC. Replaces a learned entry. False when the MAC is static on another port, or
  // no station's.
  bool AddStatic(const MacAddress& mac, PortId port);

  // nullptr when unknown or expired. Valid until the next non-const call.
  const FdbEntry* Find(const MacAddress& mac, Instant now) const;

  // Calls `visit` for each entry at `where` that the listener has heard of and not yet seen go
  // (I5), in no order: those too that have expired, until Expire() says so. It must not change this
  // Fdb.
  using Visitor = absl::FunctionRef<void(const MacAddress&, const FdbEntry&)>;
  void ForEachAt(const Location& where, Visitor visit) const;

  // Each returns how many entries died.
  size_t ForgetPeer(const Peer& peer);  // a leave
  size_t ForgetPort(PortId port);       // static ones too
  size_t ForgetLearnedAt(PortId port);
  size_t Expire(Instant now);
  // The same where others see frames, too. `ask` says when they saw the station at `where` last;
  // nullopt: not at all. It is asked of learned entries that have no more than kAskBefore to live,
  // and one that was seen later than we know lives on. So with a call every second that is some
  // two or three times in the life of an entry, and one that is alive is never found expired.
  using Ask = absl::FunctionRef<std::optional<Instant>(const MacAddress&, const Location& where)>;
  static constexpr Duration kAskBefore = std::chrono::seconds(2);
  size_t Expire(Instant now, Ask ask);

  size_t size() const { return entries_.size(); }
  size_t learned() const { return learned_; }
  uint64_t moves() const { return moves_; }
  uint64_t conflicts() const { return conflicts_; }
  uint64_t refused_full() const { return refused_full_; }

  struct Row {
    MacAddress mac;
    FdbEntry entry;
  };
  // All live entries, sorted by MAC.
  std::vector<Row> Rows(Instant now) const;

 private:
  using Entries = absl::flat_hash_map<MacAddress, FdbEntry>;

  bool Expired(const FdbEntry& entry, Instant now) const {
    return !entry.is_static && now - entry.seen >= options_.expiry;
  }
  void Report(FdbChange::Kind kind, const MacAddress& mac, const FdbEntry& entry) const {
    if (listener_) listener_({kind, mac, entry.where});
  }
  size_t ForgetAt(const Location& where);
  // `dead` may change the entry that it is asked of.
  template <typename Predicate>
  size_t EraseIf(FdbChange::Kind kind, Predicate dead);

  Options options_;
  Listener listener_;
  Entries entries_;
  size_t learned_ = 0;
  uint64_t moves_ = 0;
  uint64_t conflicts_ = 0;
  uint64_t refused_full_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FDB_FDB_H_
