// One hash table over slots that never move, and a list of slots for each location. Learn and Find
// are one lookup each; operations on many stations are deferred to Sweep.

#include "plugin/fdb/fdb.h"

#include <algorithm>
#include <utility>

namespace vxvde {

Fdb::Fdb(const Options& options, Listener listener)
    : options_(options), listener_(std::move(listener)) {
  index_of_.reserve(options_.reserve);
}

// ---------------------------------------------------------------- slots and locations

bool Fdb::HasRoom(const Location& where) const {
  if (learned_ >= options_.max_entries) return false;
  const auto found = place_of_.find(where);
  const size_t here = found != place_of_.end() ? places_[found->second].learned : 0;
  if (std::holds_alternative<PortId>(where)) return here < options_.max_at_port;
  return here < options_.max_entries - learned_;
}

Fdb::Index Fdb::PlaceAt(const Location& where) {
  const auto [found, added] = place_of_.try_emplace(where, kNone);
  if (!added) return found->second;
  if (free_places_.empty()) {
    free_places_.push_back(static_cast<Index>(places_.size()));
    places_.emplace_back();
  }
  found->second = free_places_.back();
  free_places_.pop_back();
  places_[found->second] = {.where = where};
  return found->second;
}

void Fdb::Link(Slot& slot, Index index, const Location& where) {
  slot.entry.where = where;
  slot.place = PlaceAt(where);
  Place& place = places_[slot.place];
  slot.before = kNone;
  slot.next = std::exchange(place.first, index);
  if (slot.next != kNone) At(slot.next).before = index;
  ++place.count;
  if (!slot.entry.is_static) ++place.learned;
}

void Fdb::Unlink(Slot& slot) {
  Place& place = places_[slot.place];
  (slot.before == kNone ? place.first : At(slot.before).next) = slot.next;
  if (slot.next != kNone) At(slot.next).before = slot.before;
  if (!slot.entry.is_static) --place.learned;
  if (place.forgotten) --gone_;
  if (--place.count != 0) return;
  if (place.forgotten) {  // Sweep ends the location itself
    const auto found = forgetting_.find(std::get<Peer>(place.where));
    if (--found->second == 0) forgetting_.erase(found);
    return;
  }
  place_of_.erase(place.where);
  free_places_.push_back(slot.place);
}

void Fdb::Move(Slot& slot, Index index, const Location& where) {
  const Location to = where;  // may refer to the slot's own
  Unlink(slot);
  Link(slot, index, to);
}

Fdb::Slot& Fdb::Add(const MacAddress& mac, const FdbEntry& entry) {
  Index index = free_slot_;
  if (index != kNone) {
    free_slot_ = At(index).next;
  } else {
    index = used_slots_++;
    if (index % kChunk == 0) chunks_.push_back(std::make_unique<Slot[]>(kChunk));
  }
  Slot& slot = At(index);
  slot = {.mac = mac, .used = true, .entry = entry};
  index_of_.emplace(mac, index);
  if (!entry.is_static) ++learned_;
  Link(slot, index, entry.where);
  return slot;
}

void Fdb::Erase(Index index, FdbChange::Kind kind) {
  Slot& slot = At(index);
  const MacAddress mac = slot.mac;
  const Location where = slot.entry.where;
  Unlink(slot);
  if (!slot.entry.is_static) --learned_;
  index_of_.erase(mac);
  slot = {.next = std::exchange(free_slot_, index)};
  Report(kind, mac, where);
}

// ---------------------------------------------------------------- learning from frames

Fdb::Learned Fdb::Learn(const MacAddress& mac, const Location& where, Instant now) {
  if (!mac.IsStation()) return Learned::kNotStation;

  const auto found = index_of_.find(mac);
  if (found == index_of_.end()) {
    if (!HasRoom(where)) {
      ++refused_full_;
      return Learned::kFull;
    }
    Add(mac, {.where = where, .seen = now});
    Report(FdbChange::Kind::kAdded, mac, where);
    return Learned::kAdded;
  }

  const Index index = found->second;
  Slot& slot = At(index);
  FdbEntry& entry = slot.entry;
  if (entry.is_static) {
    if (entry.where == where) return Learned::kStatic;
    ++conflicts_;
    return Learned::kConflict;
  }
  if (Gone(slot, now)) {
    const bool forgotten = places_[slot.place].forgotten;
    const Location before = entry.where;
    entry.seen = now;
    entry.held_until = {};
    slot.moves = 0;
    Move(slot, index, where);
    Report(forgotten ? FdbChange::Kind::kRemoved : FdbChange::Kind::kExpired, mac, before);
    Report(FdbChange::Kind::kAdded, mac, where);
    return Learned::kAdded;
  }
  if (entry.where == where) {
    entry.seen = now;
    return Learned::kRefreshed;
  }
  return MoveTo(slot, index, where, now);
}

// A peer may have left since, but its address is still a location; a port that was removed is none.
void Fdb::TakeHome(Slot& slot, Index index) {
  if (slot.entry.where == slot.home) return;
  if (std::holds_alternative<PortId>(slot.home) && !place_of_.contains(slot.home)) return;
  ++moves_;
  Move(slot, index, slot.home);
  Report(FdbChange::Kind::kMoved, slot.mac, slot.home);
}

Fdb::Learned Fdb::MoveTo(Slot& slot, Index index, const Location& where, Instant now) {
  if (now < slot.entry.held_until) return Learned::kHeld;
  if (slot.moves == 0 || now - slot.moved >= kHoldWithin) {
    slot.moves = 0;
    slot.moves_between_ports = 0;
    slot.moved = now;
    slot.home = slot.entry.where;
  }
  if (std::holds_alternative<PortId>(slot.entry.where) && std::holds_alternative<PortId>(where)) {
    ++slot.moves_between_ports;
  }
  if (slot.moves == kHoldMoves) {
    slot.moves = 0;
    slot.entry.held_until = now + kHoldFor;
    TakeHome(slot, index);
    ++holds_;
    Report(FdbChange::Kind::kHeld, slot.mac, slot.entry.where);
    return slot.moves_between_ports > kHoldMoves / 2 ? Learned::kCircles : Learned::kHeld;
  }
  ++slot.moves;
  ++moves_;
  slot.entry.seen = now;
  Move(slot, index, where);
  Report(FdbChange::Kind::kMoved, slot.mac, where);
  return Learned::kMoved;
}

bool Fdb::AddStatic(const MacAddress& mac, PortId port) {
  if (!mac.IsStation()) return false;
  const Location where = port;

  const auto found = index_of_.find(mac);
  if (found == index_of_.end()) {
    Add(mac, {.where = where, .is_static = true});
    Report(FdbChange::Kind::kAdded, mac, where);
    return true;
  }
  const Index index = found->second;
  Slot& slot = At(index);
  FdbEntry& entry = slot.entry;
  if (entry.is_static) return entry.where == where;

  const bool forgotten = places_[slot.place].forgotten;
  const Location before = entry.where;
  Unlink(slot);
  entry.is_static = true;
  entry.held_until = {};
  --learned_;
  Link(slot, index, where);
  if (forgotten) {
    Report(FdbChange::Kind::kRemoved, mac, before);
    Report(FdbChange::Kind::kAdded, mac, where);
  } else if (before != where) {
    ++moves_;
    Report(FdbChange::Kind::kMoved, mac, where);
  }
  return true;
}

const FdbEntry* Fdb::Find(const MacAddress& mac, Instant now) const {
  const auto found = index_of_.find(mac);
  if (found == index_of_.end() || Gone(At(found->second), now)) return nullptr;
  return &At(found->second).entry;
}

// ---------------------------------------------------------------- operations on many stations

size_t Fdb::ForgetPort(PortId port) {
  const auto found = place_of_.find(Location(port));
  if (found == place_of_.end()) return 0;
  const Index at = found->second;
  const size_t count = places_[at].count;
  for (size_t i = 0; i < count; ++i) Erase(places_[at].first, FdbChange::Kind::kRemoved);
  return count;
}

size_t Fdb::ForgetPeer(const Peer& peer) {
  const auto found = place_of_.find(Location(peer));
  if (found == place_of_.end()) return 0;
  const Index at = found->second;
  place_of_.erase(found);
  places_[at].forgotten = true;
  gone_ += places_[at].count;
  ++forgetting_[peer];
  forgotten_.push_back(at);
  return places_[at].count;
}

void Fdb::StartSweep() {
  if (sweeping_) return;
  sweeping_ = true;
  cursor_ = 0;
}

size_t Fdb::ForgetLearnedAt(PortId port) {
  const auto found = place_of_.find(Location(port));
  if (found == place_of_.end()) return 0;
  size_t erased = 0;
  for (Index at = places_[found->second].first; at != kNone;) {
    const Index next = At(at).next;
    if (!At(at).entry.is_static) {
      Erase(at, FdbChange::Kind::kRemoved);
      ++erased;
    }
    at = next;
  }
  return erased;
}

Fdb::Swept Fdb::Sweep(Instant now, size_t budget, Ask ask) {
  Swept out;
  while (!forgotten_.empty() && out.work < budget) {
    const Index at = forgotten_.front();
    ++out.work;
    if (places_[at].first != kNone) {
      out.work += kCost;
      Erase(places_[at].first, FdbChange::Kind::kRemoved);
    } else {
      forgotten_.pop_front();
      free_places_.push_back(at);
    }
  }
  while (sweeping_ && out.work < budget) {
    if (cursor_ == used_slots_) {
      sweeping_ = false;
      break;
    }
    const Index index = cursor_++;
    Slot& slot = At(index);
    FdbEntry& entry = slot.entry;
    ++out.work;
    if (!slot.used || entry.is_static || places_[slot.place].forgotten) continue;
    if (now - entry.seen < options_.expiry - kAskBefore) continue;
    out.work += kCost;
    // A frame that was seen in this turn of the loop may be later than its `now` (I3).
    if (const auto seen = ask(slot.mac, entry.where)) {
      entry.seen = std::max(entry.seen, std::min(*seen, now));
    }
    if (!Expired(entry, now)) continue;
    Erase(index, FdbChange::Kind::kExpired);
    ++out.expired;
  }
  out.more = sweeping_ || !forgotten_.empty();
  return out;
}

void Fdb::ForEachAt(const Location& where, Visitor visit) const {
  const auto found = place_of_.find(where);
  if (found == place_of_.end()) return;
  for (Index at = places_[found->second].first; at != kNone; at = At(at).next) {
    visit(At(at).mac, At(at).entry);
  }
}

size_t Fdb::CountAt(const Location& where) const {
  const auto found = place_of_.find(where);
  return found != place_of_.end() ? places_[found->second].count : 0;
}

std::vector<Fdb::Row> Fdb::Rows(Instant now, const std::optional<MacAddress>& after,
                                size_t limit) const {
  std::vector<const Slot*> found;
  found.reserve(index_of_.size());
  for (Index at = 0; at < used_slots_; ++at) {
    const Slot& slot = At(at);
    if (!slot.used || Gone(slot, now) || (after.has_value() && slot.mac <= *after)) continue;
    found.push_back(&slot);
  }
  const auto by_mac = [](const Slot* a, const Slot* b) { return a->mac < b->mac; };
  if (limit < found.size()) {
    std::nth_element(found.begin(), found.begin() + static_cast<ptrdiff_t>(limit), found.end(),
                     by_mac);
    found.resize(limit);
  }
  std::sort(found.begin(), found.end(), by_mac);
  std::vector<Row> rows;
  rows.reserve(found.size());
  for (const Slot* slot : found) rows.push_back({slot->mac, slot->entry});
  return rows;
}

}  // namespace vxvde
