// What is asked of an allocator: claims and releases. How an address is tried is in
// allocator_try.cc, what is heard from the cloud in allocator_hear.cc.

#include "agent/ipam/allocator.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/base/derive.h"
#include "agent/base/refusal.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr size_t kMostSpare = 8;  // and at most a 32nd of the subnet
constexpr size_t kMostKept = 32;  // and at most a 16th
constexpr int kMostTries = 16;    // of one claim, side by side
// For so long STATUS says that nothing is free; only another ADD can tell whether it still is so.
constexpr std::chrono::seconds kExhaustedFor{15};

size_t Share(const IpPrefix& subnet, uint64_t part, size_t most) {
  return static_cast<size_t>(std::min<uint64_t>(most, UsableAddresses(subnet) / part));
}

bool SameWish(const AddressWish& wish, const std::string& owner, const MacAddress& mac,
              const std::vector<IpPrefix>& addresses) {
  if (wish.owner != owner || wish.mac != mac) return false;
  if (!wish.wanted.empty()) {
    return std::equal(wish.wanted.begin(), wish.wanted.end(), addresses.begin(), addresses.end(),
                      [](const IpAddress& a, const IpPrefix& b) { return a == b.address; });
  }
  return std::equal(wish.subnets.begin(), wish.subnets.end(), addresses.begin(), addresses.end(),
                    [](const IpPrefix& subnet, const IpPrefix& address) {
                      return subnet.Contains(address.address);
                    });
}

}  // namespace

Allocator::Allocator(Options options)
    : options_(std::move(options)),
      cloud_text_(options_.cloud.ToString()),
      random_(options_.seed) {}

Duration Allocator::Jitter(Duration around) {
  return around * 3 / 4 + around * (random_() % 512) / 1024;
}

Allocator::Pool* Allocator::PoolOf(const IpAddress& address) {
  const auto found = std::find_if(pools_.begin(), pools_.end(),
                                  [&](const Pool& p) { return p.subnet.Contains(address); });
  return found == pools_.end() ? nullptr : &*found;
}

size_t Allocator::CountUse(const IpPrefix& subnet, Use use) const {
  return static_cast<size_t>(std::count_if(held_.begin(), held_.end(), [&](const auto& one) {
    return one.second.use == use && subnet.Contains(one.first);
  }));
}

size_t Allocator::CountSpareTries(const IpPrefix& subnet) const {
  return static_cast<size_t>(std::count_if(tries_.begin(), tries_.end(), [&](const auto& one) {
    return one.second.lease.empty() && subnet.Contains(one.first);
  }));
}

bool Allocator::IsSeen(Instant now, const IpAddress& address) const {
  const auto found = seen_.find(address);
  return found != seen_.end() && now < found->second.until;
}

std::string Allocator::Describe(const MacAddress& mac, const MacAddress& source) const {
  const std::string where = options_.where ? options_.where(source) : "";
  return where.empty() ? mac.ToString() : absl::StrCat(mac.ToString(), " at ", where);
}

absl::Status Allocator::InUse(const IpAddress& address, const std::string& holder) const {
  return Refuse(AttachError::kAddressInUse,
                absl::StrCat("address ", address.ToString(), " is in use on cloud ", options_.name,
                             " by ", holder),
                "ask for another address, or for none to have one chosen");
}

absl::Status Allocator::Exhausted(const IpPrefix& subnet, int lost) const {
  return Refuse(
      AttachError::kPoolExhausted,
      absl::StrCat("no address of ", subnet.ToString(), " on cloud ", options_.name,
                   " was found free: it has ", UsableAddresses(subnet), ", this node holds ",
                   CountUse(subnet, Use::kLeased) + CountUse(subnet, Use::kOccupied), ", ", lost,
                   " were answered for by others"),
      "enlarge `subnets:` of the cloud on all nodes, or end what is not needed; vxvdectl ipam "
      "shows who has what");
}

absl::StatusOr<IpPrefix> Allocator::CheckWanted(const AddressWish& wish,
                                                const IpAddress& address) const {
  const auto subnet = std::find_if(wish.subnets.begin(), wish.subnets.end(),
                                   [&](const IpPrefix& one) { return IsUsable(one, address); });
  if (subnet == wish.subnets.end()) {
    return Refuse(kCniInvalidConfig,
                  absl::StrCat("address ", address.ToString(), " cannot be a pod's on cloud ",
                               options_.name, ", whose subnets are ",
                               absl::StrJoin(wish.subnets, ", ",
                                             [](std::string* out, const IpPrefix& one) {
                                               absl::StrAppend(out, one.ToString());
                                             })),
                  "ask for an address of a host in one of them");
  }
  const auto held = held_.find(address);
  if (held != held_.end() &&
      (held->second.use == Use::kLeased || held->second.use == Use::kOccupied)) {
    return InUse(address, absl::StrCat(held->second.mac.ToString(), " on this node"));
  }
  const auto tried = tries_.find(address);
  if (tried != tries_.end() && !tried->second.lease.empty()) {
    return InUse(address, "another attachment of this node, which is just claiming it");
  }
  return *subnet;
}

// ---- What is asked for ----

void Allocator::SetPools(Instant now, const std::vector<IpPrefix>& subnets, bool defend) {
  defend_ = defend;
  std::vector<Pool> pools;
  for (const IpPrefix& subnet : subnets) {
    const auto same = std::find_if(pools_.begin(), pools_.end(),
                                   [&](const Pool& pool) { return pool.subnet == subnet; });
    if (same != pools_.end()) {
      pools.push_back(std::move(*same));
    } else {
      pools.push_back({.subnet = subnet,
                       .target = Share(subnet, 32, kMostSpare),
                       .order = Candidates(subnet, cloud_text_,
                                           absl::StrCat("spare ", options_.mac.ToString())),
                       .lost = 0,
                       .resume = now,
                       .exhausted_until = {}});
    }
  }
  pools_ = std::move(pools);
  std::erase_if(held_, [&](const auto& one) {
    return (one.second.use == Use::kSpare || one.second.use == Use::kKept) &&
           PoolOf(one.first) == nullptr;
  });
  std::erase_if(tries_, [&](const auto& one) {
    return one.second.lease.empty() && PoolOf(one.first) == nullptr;
  });
  if (next_beat_ == Instant{}) next_beat_ = now + Jitter(kBeatInterval);
  Refill(now);
}

void Allocator::Claim(Instant now, const AddressWish& wish) {
  if (const auto lease = leases_.find(wish.lease); lease != leases_.end()) {
    const Lease& old = lease->second;
    if (old.ours && SameWish(wish, old.owner, old.mac, old.addresses)) {
      outcomes_.push_back({wish.lease, old.addresses});
      return;
    }
  }
  Release(now, wish.lease);

  Pending pending{.wish = wish, .slots = {}, .deadline = now + kClaimDeadline};
  if (wish.wanted.empty()) {
    for (const IpPrefix& subnet : wish.subnets) {
      Slot slot;
      slot.subnet = subnet;
      slot.order = Candidates(subnet, cloud_text_, wish.owner);
      pending.slots.push_back(std::move(slot));
    }
  }
  for (const IpAddress& address : wish.wanted) {
    const absl::StatusOr<IpPrefix> subnet = CheckWanted(wish, address);
    if (!subnet.ok()) {
      outcomes_.push_back({wish.lease, subnet.status()});
      return;
    }
    Slot slot;
    slot.subnet = *subnet;
    slot.wanted = address;
    pending.slots.push_back(std::move(slot));
  }
  Pending& placed = pending_[wish.lease] = std::move(pending);
  for (size_t i = 0; i < placed.slots.size(); ++i) {
    Slot& slot = placed.slots[i];
    if (TakeHeld(now, wish, slot, /*any=*/false) || !slot.wanted) continue;
    Try probing;
    probing.lease = wish.lease;
    probing.slot = i;
    probing.need = true;  // it must be this one, whoever has it in store
    StartTry(now, *slot.wanted, std::move(probing));
    ++slot.trying;
  }
  Advance(now, wish.lease);
  Refill(now);
}

void Allocator::Release(Instant now, const std::string& name) {
  if (const auto pending = pending_.find(name); pending != pending_.end()) {
    const Pending ended = std::move(pending->second);
    pending_.erase(pending);
    Abandon(now, ended);
    AdvanceWaiting(now);
  }
  const auto found = leases_.find(name);
  if (found == leases_.end()) return;
  const Lease lease = std::move(found->second);
  leases_.erase(found);
  for (const IpPrefix& address : lease.addresses) {
    const auto held = held_.find(address.address);
    if (held == held_.end() || held->second.lease != name) continue;
    if (lease.ours) {
      Free(now, address.address, lease.owner);
    } else {
      held_.erase(held);
    }
    std::erase_if(conflicts_, [&](const auto& one) { return one.first.first == address.address; });
  }
}

void Allocator::Occupy(Instant now, const std::string& name, const MacAddress& mac,
                       const std::vector<IpPrefix>& addresses) {
  if (const auto lease = leases_.find(name); lease != leases_.end()) {
    // Leased before a restart, and said once more by whoever has it. Lengths are the caller's.
    const bool same =
        std::equal(addresses.begin(), addresses.end(), lease->second.addresses.begin(),
                   lease->second.addresses.end(),
                   [](const IpPrefix& a, const IpPrefix& b) { return a.address == b.address; });
    if (same && lease->second.mac == mac) return;
  }
  Release(now, name);
  Restore(now, {.lease = name, .cloud = {}, .owner = "", .mac = mac, .addresses = addresses});
  leases_.at(name).ours = false;
  for (const IpPrefix& address : addresses) {
    const auto held = held_.find(address.address);
    if (held != held_.end() && held->second.lease == name) held->second.use = Use::kOccupied;
  }
}

void Allocator::Restore(Instant now, const LeaseRecord& record) {
  leases_[record.lease] = {
      .owner = record.owner, .mac = record.mac, .addresses = record.addresses, .ours = true};
  for (const IpPrefix& address : record.addresses) {
    Holding& holding = held_[address.address];
    if (holding.use == Use::kLeased || holding.use == Use::kOccupied) continue;
    holding = {.use = Use::kLeased,
               .lease = record.lease,
               .owner = record.owner,
               .mac = record.mac,
               .since = now,
               .until = {},
               .warned = {}};
    if (tries_.contains(address.address))
      Lose(now, address.address, record.mac, options_.mac, kKeepFor);
  }
}

// ---- Searching ----

bool Allocator::TakeHeld(Instant now, const AddressWish& wish, Slot& slot, bool any) {
  // What is kept for this owner, else what is kept for another (only if `any`), else the spare one
  // that was held longest. 0: not to be had.
  const auto rank = [&](const Holding& holding) {
    if (holding.use == Use::kSpare) return 1;
    if (holding.use != Use::kKept) return 0;
    return holding.owner == wish.owner ? 3 : any || slot.wanted ? 2 : 0;
  };
  auto best = held_.end();
  for (auto one = held_.begin(); one != held_.end(); ++one) {
    if (slot.wanted ? one->first != *slot.wanted : !slot.subnet.Contains(one->first)) continue;
    const int its = rank(one->second);
    if (its == 0) continue;
    if (best == held_.end() || its > rank(best->second) ||
        (its == rank(best->second) && one->second.since < best->second.since)) {
      best = one;
    }
  }
  if (best == held_.end()) return false;
  best->second = {.use = Use::kLeased,
                  .lease = wish.lease,
                  .owner = wish.owner,
                  .mac = wish.mac,
                  .since = now,
                  .until = {},
                  .warned = {}};
  slot.got = best->first;
  return true;
}

bool Allocator::Search(Instant now, Pending& pending, size_t index) {
  Slot& slot = pending.slots[index];
  const int most = slot.need ? kMostTries : std::min(kMostTries, 1 + slot.lost / 4);
  while (slot.trying < most) {
    const std::optional<IpAddress> next = slot.order->Next();
    if (!next) break;
    if (held_.contains(*next)) continue;
    if (tries_.contains(*next)) {
      slot.skipped = true;
      continue;
    }
    // What was heard may be over; but first those of which nothing was heard.
    if (!slot.need && IsSeen(now, *next)) continue;
    Try probing;
    probing.lease = pending.wish.lease;
    probing.slot = index;
    probing.need = slot.need;
    StartTry(now, *next, std::move(probing));
    ++slot.trying;
  }
  if (slot.trying > 0) return true;
  if (TakeHeld(now, pending.wish, slot, /*any=*/true)) return true;
  if (slot.need && !slot.skipped) return false;
  const bool wait = slot.need;
  slot.need = true;
  slot.skipped = false;
  slot.order = Candidates(slot.subnet, cloud_text_, pending.wish.owner);
  return wait || Search(now, pending, index);
}

void Allocator::Advance(Instant now, const std::string& lease) {
  const auto pending = pending_.find(lease);
  if (pending == pending_.end()) return;
  std::vector<Slot>& slots = pending->second.slots;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].got || slots[i].wanted) continue;
    if (Search(now, pending->second, i)) continue;
    if (Pool* pool = PoolOf(slots[i].subnet.address)) pool->exhausted_until = now + kExhaustedFor;
    ++exhausted_total_;
    return Fail(now, pending, Exhausted(slots[i].subnet, slots[i].lost));
  }
  if (std::all_of(slots.begin(), slots.end(), [](const Slot& s) { return s.got.has_value(); })) {
    Finish(now, pending);
  }
}

void Allocator::AdvanceWaiting(Instant now) {
  std::vector<std::string> waiting;
  for (const auto& [lease, pending] : pending_) {
    const auto waits = [](const Slot& slot) {
      return !slot.got && !slot.wanted && slot.trying == 0;
    };
    if (std::any_of(pending.slots.begin(), pending.slots.end(), waits)) waiting.push_back(lease);
  }
  for (const std::string& lease : waiting) Advance(now, lease);
}

void Allocator::Finish(Instant, PendingMap::iterator found) {
  const Pending pending = std::move(found->second);
  pending_.erase(found);
  Lease lease{.owner = pending.wish.owner, .mac = pending.wish.mac, .addresses = {}, .ours = true};
  for (const Slot& slot : pending.slots) {
    lease.addresses.push_back({*slot.got, slot.subnet.length});
    if (Pool* pool = PoolOf(*slot.got)) pool->exhausted_until = {};
  }
  outcomes_.push_back({pending.wish.lease, lease.addresses});
  leases_[pending.wish.lease] = std::move(lease);
}

void Allocator::Fail(Instant now, PendingMap::iterator found, absl::Status why) {
  const Pending pending = std::move(found->second);
  pending_.erase(found);
  Abandon(now, pending);
  outcomes_.push_back({pending.wish.lease, std::move(why)});
  AdvanceWaiting(now);
}

void Allocator::Abandon(Instant now, const Pending& pending) {
  std::erase_if(tries_, [&](const auto& one) { return one.second.lease == pending.wish.lease; });
  for (const Slot& slot : pending.slots) {
    if (slot.got && held_.contains(*slot.got)) Free(now, *slot.got, pending.wish.owner);
  }
}

void Allocator::Free(Instant now, const IpAddress& address, const std::string& owner) {
  const Pool* pool = PoolOf(address);
  Holding free{.use = Use::kSpare,
               .lease = "",
               .owner = "",
               .mac = options_.mac,
               .since = now,
               .until = {},
               .warned = {}};
  held_.erase(address);
  if (pool == nullptr) return;
  // Its owner may come back: a pod of a StatefulSet, a container that is started again.
  if (CountUse(pool->subnet, Use::kKept) < Share(pool->subnet, 16, kMostKept)) {
    free.use = Use::kKept;
    free.owner = owner;
    free.until = now + kKeepFor;
  } else if (CountUse(pool->subnet, Use::kSpare) >= pool->target) {
    return;
  }
  held_[address] = std::move(free);
}

// ---- What people ask ----

absl::Status Allocator::Ready(Instant now, const std::vector<IpPrefix>& subnets) const {
  for (const Pool& pool : pools_) {
    if (std::find(subnets.begin(), subnets.end(), pool.subnet) == subnets.end()) continue;
    if (pool.exhausted_until <= now) continue;
    if (CountUse(pool.subnet, Use::kSpare) + CountUse(pool.subnet, Use::kKept) > 0) continue;
    return Exhausted(pool.subnet, 0);
  }
  return absl::OkStatus();
}

AllocatorSnapshot Allocator::Snapshot(Instant now) const {
  AllocatorSnapshot out;
  out.cloud = options_.cloud;
  for (const Pool& pool : pools_) {
    PoolSnapshot one{.subnet = pool.subnet,
                     .usable = UsableAddresses(pool.subnet),
                     .leased = CountUse(pool.subnet, Use::kLeased),
                     .occupied = CountUse(pool.subnet, Use::kOccupied),
                     .kept = CountUse(pool.subnet, Use::kKept),
                     .spare = CountUse(pool.subnet, Use::kSpare),
                     .others = 0,
                     .exhausted = now < pool.exhausted_until};
    for (const auto& [address, seen] : seen_) {
      if (now < seen.until && pool.subnet.Contains(address)) ++one.others;
    }
    out.pools.push_back(one);
  }
  for (const auto& [address, holding] : held_) {
    out.held.push_back({.address = address,
                        .use = holding.use,
                        .lease = holding.lease,
                        .owner = holding.owner,
                        .mac = holding.mac,
                        .age = now - holding.since});
  }
  for (const auto& [key, conflict] : conflicts_) {
    const auto held = held_.find(key.first);
    if (held == held_.end()) continue;
    out.conflicts.push_back({.address = key.first,
                             .lease = held->second.lease,
                             .mac = held->second.mac,
                             .other = key.second,
                             .where = conflict.where,
                             .count = conflict.count,
                             .first = now - conflict.first,
                             .last = now - conflict.last});
  }
  out.conflicts_total = conflicts_total_;
  out.claims = claims_total_;
  out.taken = taken_total_;
  out.exhausted = exhausted_total_;
  return out;
}

}  // namespace vxvde
