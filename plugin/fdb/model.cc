#include "plugin/fdb/model.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "plugin/fdb/fdb.h"

namespace vxvde {
namespace {

using Kind = FdbChange::Kind;
using Learned = Fdb::Learned;

constexpr Duration kExpiry = std::chrono::seconds(128);
constexpr size_t kMaxEntries = 6;
constexpr size_t kMaxAtPort = 2;
constexpr int kStations = 12;
constexpr int kPlaces = 6;

// Station 0 is the zero address, 1 a group address, 2 the broadcast address.
MacAddress Mac(int n) {
  if (n == 2) return MacAddress::Broadcast();
  return MacAddress({static_cast<uint8_t>(n == 0   ? 0
                                          : n == 1 ? 1
                                                   : 2),
                     0, 0, 0, 0, static_cast<uint8_t>(n)});
}

PortId Port(int n) { return PortId{static_cast<uint32_t>(1 + n % 3)}; }

Peer PeerAt(int n) {
  return {n % 3 == 0 ? IpAddress::AnyV6() : IpAddress::V4(192, 0, 2, 1),
          static_cast<uint16_t>(1000 + n % 3)};
}

Location Place(int n) {
  if (n < kPlaces / 2) return Port(n);
  return PeerAt(n);
}

struct Station {
  Location where;
  bool is_static = false;
  Instant seen = {};
  bool forgotten = false;  // and not reported yet
  int moves = 0;
  int between_ports = 0;
  Instant moved = {};
  Instant held_until = {};
  Location home = PortId::kNone;
};
using Table = std::map<MacAddress, Station>;

class Model {
 public:
  Learned Learn(const MacAddress& mac, const Location& where, Instant now) {
    if ((mac.bytes()[0] & 1) != 0 || mac == MacAddress()) return Learned::kNotStation;
    if (!table.contains(mac)) {
      const size_t free = kMaxEntries - CountLearned();
      const size_t share = std::holds_alternative<PortId>(where) ? kMaxAtPort : free;
      if (free == 0 || CountLearnedAt(where) >= share) return Learned::kFull;
      table[mac] = {.where = where, .seen = now};
      return Learned::kAdded;
    }
    Station& station = table[mac];
    if (station.is_static) {
      return station.where == where ? Learned::kStatic : Learned::kConflict;
    }
    if (station.forgotten || now - station.seen >= kExpiry) {
      station = {.where = where, .seen = now};
      return Learned::kAdded;
    }
    if (station.where != where) {
      if (now < station.held_until) return Learned::kHeld;
      if (station.moves == 0 || now - station.moved >= Fdb::kHoldWithin) {
        station.moves = 0;
        station.between_ports = 0;
        station.moved = now;
        station.home = station.where;
      }
      if (station.where.index() == 0 && where.index() == 0) ++station.between_ports;
      if (station.moves == Fdb::kHoldMoves) {
        station.moves = 0;
        station.held_until = now + Fdb::kHoldFor;
        const bool home_is_left = std::holds_alternative<PortId>(station.home) &&
                                  !std::any_of(table.begin(), table.end(), [&](const auto& item) {
                                    return item.second.where == station.home;
                                  });
        if (station.where != station.home && !home_is_left) {
          station.where = station.home;
          ++taken_home;
        }
        ++holds;
        return station.between_ports >= 3 ? Learned::kCircles : Learned::kHeld;
      }
      ++station.moves;
    }
    const bool moved = station.where != where;
    station.where = where;
    station.seen = now;
    return moved ? Learned::kMoved : Learned::kRefreshed;
  }

  bool AddStatic(const MacAddress& mac, PortId port) {
    if ((mac.bytes()[0] & 1) != 0 || mac == MacAddress()) return false;
    if (table.contains(mac) && table[mac].is_static) return table[mac].where == Location(port);
    table[mac] = {.where = port, .is_static = true};
    return true;
  }

  template <typename Predicate>
  size_t Erase(Predicate dead) {
    return std::erase_if(table, [&](const auto& item) { return dead(item.second); });
  }
  size_t ForgetPort(PortId port) {
    return Erase([&](const Station& station) { return station.where == Location(port); });
  }
  size_t ForgetPeer(const Peer& peer) {
    size_t count = 0;
    for (auto& [mac, station] : table) {
      if (station.forgotten || station.where != Location(peer)) continue;
      station.forgotten = true;
      ++count;
    }
    return count;
  }
  // As an unlimited Sweep queries them, all stations first.
  template <typename Ask>
  size_t Sweep(Instant now, Ask ask) {
    Erase([&](const Station& station) { return station.forgotten; });
    for (auto& [mac, station] : table) {
      if (station.is_static || now - station.seen < kExpiry - Fdb::kAskBefore) continue;
      if (const std::optional<Instant> seen = ask(mac, station.where)) {
        station.seen = std::max(station.seen, std::min(*seen, now));
      }
    }
    return Erase([&](const Station& station) { return Dead(station, now); });
  }

  static bool Dead(const Station& station, Instant now) {
    return station.forgotten || (!station.is_static && now - station.seen >= kExpiry);
  }
  size_t CountLearned() const {
    return static_cast<size_t>(std::count_if(
        table.begin(), table.end(), [](const auto& item) { return !item.second.is_static; }));
  }
  size_t CountLearnedAt(const Location& where) const {
    return static_cast<size_t>(std::count_if(table.begin(), table.end(), [&](const auto& item) {
      return !item.second.is_static && !item.second.forgotten && item.second.where == where;
    }));
  }

  Table table;
  uint64_t holds = 0;
  uint64_t taken_home = 0;
};

// I4 and I5 of fdb.h: a copy of the table, built from the events that the listener receives.
struct Copy {
  std::map<MacAddress, Location> table;
  std::string error;
  uint64_t holds = 0;

  void Hear(const FdbChange& change) {
    const auto found = table.find(change.mac);
    const bool known = found != table.end();
    switch (change.kind) {
      case Kind::kAdded:
        if (known) error = "added twice";
        table[change.mac] = change.where;
        break;
      case Kind::kMoved:
        if (!known) error = "moved before it was added";
        if (known && found->second == change.where) error = "moved to where it was";
        table[change.mac] = change.where;
        break;
      case Kind::kRemoved:
      case Kind::kExpired:
        if (!known || found->second != change.where) error = "removed from where it was not";
        table.erase(change.mac);
        break;
      case Kind::kHeld:
        if (!known || found->second != change.where) error = "held where it was not";
        ++holds;
        break;
    }
  }
};

std::string Compare(const Fdb& fdb, const Model& model, const Copy& copy, Instant now) {
  if (!copy.error.empty()) return copy.error;
  if (fdb.size() != model.table.size()) return "size";
  if (fdb.learned() != model.CountLearned()) return "learned";
  if (copy.table.size() != model.table.size()) return "size of the listener's copy";
  size_t live = 0;
  for (const auto& [mac, station] : model.table) {
    const auto heard = copy.table.find(mac);
    if (heard == copy.table.end() || heard->second != station.where) return "the listener's copy";
    const FdbEntry* entry = fdb.Find(mac, now);
    if (Model::Dead(station, now)) {
      if (entry != nullptr) return "found a dead station";
      continue;
    }
    ++live;
    if (entry == nullptr) return "lost a live station";
    if (entry->where != station.where || entry->is_static != station.is_static) return "entry";
    if (!entry->is_static && entry->seen != station.seen) return "last frame";
  }
  const std::vector<Fdb::Row> rows = fdb.Rows(now);
  if (rows.size() != live) return "rows";
  if (live > 2) {
    const std::vector<Fdb::Row> two = fdb.Rows(now, rows[0].mac, 2);
    if (two.size() != 2 || two[0].mac != rows[1].mac || two[1].mac != rows[2].mac) {
      return "a page of rows";
    }
  }
  const auto forgotten = std::count_if(model.table.begin(), model.table.end(),
                                       [](const auto& item) { return item.second.forgotten; });
  if (fdb.live() + static_cast<size_t>(forgotten) != fdb.size()) return "how many live";
  for (int n = 0; n < kPlaces; ++n) {
    std::set<MacAddress> at, model_at;
    fdb.ForEachAt(Place(n), [&](const MacAddress& mac, const FdbEntry&) { at.insert(mac); });
    for (const auto& [mac, station] : model.table) {
      if (!station.forgotten && station.where == Place(n)) model_at.insert(mac);
    }
    if (fdb.CountAt(Place(n)) != model_at.size()) return "how many are at a place";
    if (at != model_at) return "who is at a place";
  }
  for (int n = 0; n < 3; ++n) {
    const bool forgetting =
        std::any_of(model.table.begin(), model.table.end(), [&](const auto& item) {
          return item.second.forgotten && item.second.where == Location(PeerAt(n));
        });
    if (fdb.IsForgetting(PeerAt(n)) != forgetting) return "who is forgotten bit by bit";
  }
  return "";
}

}  // namespace

std::string RunAgainstModel(std::span<const uint8_t> operations) {
  Copy copy;
  Fdb fdb({.expiry = kExpiry, .max_entries = kMaxEntries, .max_at_port = kMaxAtPort, .reserve = 0},
          [&](const FdbChange& change) { copy.Hear(change); });
  Model model;
  Instant now{std::chrono::hours(1)};
  uint64_t moves = 0, conflicts = 0, refused = 0;

  for (size_t i = 0; i + 3 <= operations.size(); i += 3) {
    const MacAddress mac = Mac(operations[i + 1] % kStations);
    const int n = operations[i + 2];
    const Location where = Place(n % kPlaces);
    std::string difference;
    switch (operations[i] % 8) {
      case 0:
      case 1:
      case 2: {
        const Learned learned = model.Learn(mac, where, now);
        if (fdb.Learn(mac, where, now) != learned) difference = "what was learned";
        moves += learned == Learned::kMoved;
        conflicts += learned == Learned::kConflict;
        refused += learned == Learned::kFull;
        break;
      }
      case 3: {
        const auto before = model.table.find(mac);
        const bool moved = before != model.table.end() && !before->second.is_static &&
                           !before->second.forgotten && before->second.where != Location(Port(n));
        moves += moved;
        if (fdb.AddStatic(mac, Port(n)) != model.AddStatic(mac, Port(n))) difference = "static";
        break;
      }
      case 4:
        if (n % 2 == 0) {
          if (fdb.ForgetPeer(PeerAt(n)) != model.ForgetPeer(PeerAt(n))) difference = "peer";
          break;
        }
        // Removes some of the forgotten entries, and no expired one.
        fdb.Sweep(now, /*budget=*/1 + static_cast<size_t>(n),
                  [](const MacAddress&, const Location&) { return std::nullopt; });
        std::erase_if(model.table, [&](const auto& item) {
          return item.second.forgotten && !copy.table.contains(item.first);
        });
        break;
      case 5:
        if (fdb.ForgetPort(Port(n)) != model.ForgetPort(Port(n))) difference = "port";
        break;
      case 6: {
        // If odd: others have seen some of them, some even after `now`.
        std::multiset<MacAddress> asked, model_asked;
        const auto ask = [&](std::multiset<MacAddress>& who) {
          return [&who, n, now](const MacAddress& of, const Location&) -> std::optional<Instant> {
            who.insert(of);
            if ((n & (1 << of.bytes()[5] % 8)) == 0) return std::nullopt;
            return now + std::chrono::seconds(1) - std::chrono::seconds(n);
          };
        };
        const auto nobody = [](const MacAddress&, const Location&) { return std::nullopt; };
        const auto sweep = [&](Fdb::Ask of) {
          size_t died = 0;
          fdb.StartSweep();
          for (bool more = true; more;) {
            const Fdb::Swept swept = fdb.Sweep(now, /*budget=*/1 + static_cast<size_t>(n), of);
            died += swept.expired;
            more = swept.more;
          }
          return died;
        };
        const size_t died = n % 2 != 0 ? sweep(ask(asked)) : sweep(nobody);
        const size_t should =
            n % 2 != 0 ? model.Sweep(now, ask(model_asked)) : model.Sweep(now, nobody);
        if (died != should) difference = "expired";
        if (asked != model_asked) difference = "who was asked for";
        break;
      }
      case 7:
        now += std::chrono::seconds(n);
        break;
    }
    if (difference.empty()) difference = Compare(fdb, model, copy, now);
    if (difference.empty() && (fdb.moves() != moves + model.taken_home ||
                               fdb.conflicts() != conflicts || fdb.refused_full() != refused ||
                               fdb.holds() != model.holds || copy.holds != model.holds)) {
      difference = "counters";
    }
    if (!difference.empty()) return absl::StrCat("operation at byte ", i, ": ", difference);
  }
  return "";
}

}  // namespace vxvde
