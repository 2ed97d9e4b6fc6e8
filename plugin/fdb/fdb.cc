// One hash table. Learn and Find are one lookup each; what is rare (leave, expiry, a look at
// everything) walks it.

#include "plugin/fdb/fdb.h"

#include <algorithm>
#include <utility>

namespace vxvde {

Fdb::Fdb(const Options& options, Listener listener)
    : options_(options), listener_(std::move(listener)) {
  entries_.reserve(options_.reserve);
}

Fdb::Learned Fdb::Learn(const MacAddress& mac, const Location& where, Instant now) {
  if (!mac.IsStation()) return Learned::kNotStation;

  const auto found = entries_.find(mac);
  if (found == entries_.end()) {
    if (learned_ >= options_.max_entries) {
      ++refused_full_;
      return Learned::kFull;
    }
    const auto added = entries_.emplace(mac, FdbEntry{where, false, now}).first;
    ++learned_;
    Report(FdbChange::Kind::kAdded, mac, added->second);
    return Learned::kAdded;
  }

  FdbEntry& entry = found->second;
  if (entry.is_static) {
    if (entry.where == where) return Learned::kStatic;
    ++conflicts_;
    return Learned::kConflict;
  }
  if (Expired(entry, now)) {
    const FdbEntry before = std::exchange(entry, FdbEntry{where, false, now});
    Report(FdbChange::Kind::kExpired, mac, before);
    Report(FdbChange::Kind::kAdded, mac, entry);
    return Learned::kAdded;
  }
  entry.seen = now;
  if (entry.where == where) return Learned::kRefreshed;
  entry.where = where;
  ++moves_;
  Report(FdbChange::Kind::kMoved, mac, entry);
  return Learned::kMoved;
}

bool Fdb::AddStatic(const MacAddress& mac, PortId port) {
  if (!mac.IsStation()) return false;
  const Location where = port;

  const auto [found, added] = entries_.try_emplace(mac, FdbEntry{where, true, Instant{}});
  FdbEntry& entry = found->second;
  if (added) {
    Report(FdbChange::Kind::kAdded, mac, entry);
    return true;
  }
  if (entry.is_static) return entry.where == where;

  entry.is_static = true;
  --learned_;
  if (entry.where == where) return true;
  entry.where = where;
  ++moves_;
  Report(FdbChange::Kind::kMoved, mac, entry);
  return true;
}

const FdbEntry* Fdb::Find(const MacAddress& mac, Instant now) const {
  const auto found = entries_.find(mac);
  if (found == entries_.end() || Expired(found->second, now)) return nullptr;
  return &found->second;
}

template <typename Predicate>
size_t Fdb::EraseIf(FdbChange::Kind kind, Predicate dead) {
  size_t erased = 0;
  absl::erase_if(entries_, [&](Entries::value_type& item) {
    auto& [mac, entry] = item;
    if (!dead(mac, entry)) return false;
    ++erased;
    if (!entry.is_static) --learned_;
    Report(kind, mac, entry);
    return true;
  });
  return erased;
}

size_t Fdb::ForgetAt(const Location& where) {
  return EraseIf(FdbChange::Kind::kRemoved,
                 [&](const MacAddress&, const FdbEntry& entry) { return entry.where == where; });
}

size_t Fdb::ForgetPeer(const Peer& peer) { return ForgetAt(peer); }

size_t Fdb::ForgetPort(PortId port) { return ForgetAt(port); }

size_t Fdb::ForgetLearnedAt(PortId port) {
  return EraseIf(FdbChange::Kind::kRemoved, [&](const MacAddress&, const FdbEntry& entry) {
    return !entry.is_static && entry.where == Location(port);
  });
}

size_t Fdb::Expire(Instant now) {
  return Expire(now, [](const MacAddress&, const Location&) { return std::nullopt; });
}

size_t Fdb::Expire(Instant now, Ask ask) {
  return EraseIf(FdbChange::Kind::kExpired, [&](const MacAddress& mac, FdbEntry& entry) {
    if (entry.is_static || now - entry.seen < options_.expiry - kAskBefore) return false;
    // What was seen in this turn of the loop may be later than its `now` (I3).
    if (const auto seen = ask(mac, entry.where)) {
      entry.seen = std::max(entry.seen, std::min(*seen, now));
    }
    return Expired(entry, now);
  });
}

void Fdb::ForEachAt(const Location& where, Visitor visit) const {
  for (const auto& [mac, entry] : entries_) {
    if (entry.where == where) visit(mac, entry);
  }
}

std::vector<Fdb::Row> Fdb::Rows(Instant now) const {
  std::vector<Row> rows;
  rows.reserve(entries_.size());
  for (const auto& [mac, entry] : entries_) {
    if (!Expired(entry, now)) rows.push_back({mac, entry});
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.mac < b.mac; });
  return rows;
}

}  // namespace vxvde
