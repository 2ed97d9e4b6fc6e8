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
    entries_.emplace(mac, FdbEntry{where, false, now});
    ++learned_;
    Report(FdbChange::Kind::kAdded, mac, where);
    return Learned::kAdded;
  }

  FdbEntry& entry = found->second;
  if (entry.is_static) {
    if (entry.where == where) return Learned::kStatic;
    ++conflicts_;
    return Learned::kConflict;
  }
  if (Expired(entry, now)) {
    const Location before = std::exchange(entry.where, where);
    entry.seen = now;
    Report(FdbChange::Kind::kExpired, mac, before);
    Report(FdbChange::Kind::kAdded, mac, where);
    return Learned::kAdded;
  }
  entry.seen = now;
  if (entry.where == where) return Learned::kRefreshed;
  entry.where = where;
  ++moves_;
  Report(FdbChange::Kind::kMoved, mac, where);
  return Learned::kMoved;
}

bool Fdb::AddStatic(const MacAddress& mac, PortId port) {
  if (!mac.IsStation()) return false;
  const Location where = port;

  const auto [found, added] = entries_.try_emplace(mac, FdbEntry{where, true, Instant{}});
  if (added) {
    Report(FdbChange::Kind::kAdded, mac, where);
    return true;
  }
  FdbEntry& entry = found->second;
  if (entry.is_static) return entry.where == where;

  entry.is_static = true;
  --learned_;
  if (entry.where == where) return true;
  entry.where = where;
  ++moves_;
  Report(FdbChange::Kind::kMoved, mac, where);
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
  absl::erase_if(entries_, [&](const Entries::value_type& item) {
    const auto& [mac, entry] = item;
    if (!dead(entry)) return false;
    ++erased;
    if (!entry.is_static) --learned_;
    Report(kind, mac, entry.where);
    return true;
  });
  return erased;
}

size_t Fdb::ForgetPeer(const Peer& peer) {
  const Location where = peer;
  return EraseIf(FdbChange::Kind::kRemoved,
                 [&](const FdbEntry& entry) { return entry.where == where; });
}

size_t Fdb::ForgetPort(PortId port) {
  const Location where = port;
  return EraseIf(FdbChange::Kind::kRemoved,
                 [&](const FdbEntry& entry) { return entry.where == where; });
}

size_t Fdb::Expire(Instant now) {
  return EraseIf(FdbChange::Kind::kExpired,
                 [&](const FdbEntry& entry) { return Expired(entry, now); });
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
