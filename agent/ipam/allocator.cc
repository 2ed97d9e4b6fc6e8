// Theory of operation
//
// The problem. Each pod needs an address that no other station on its cloud uses. A cloud has no
// server, and some of its members run no agent: plain VDE hosts and virtual machines choose their
// addresses themselves. So neither a table nor a division of the subnet among nodes can be the
// authority. The cloud itself is, asked in terms that each host understands (decision 0006).
//
// A claim. The agent sends probes for an address, as RFC 5227 (IPv4) and RFC 4862 (IPv6) have it,
// and a host that has the address answers. An answer ends the probe at once, and the claim goes on
// to its next candidate, so a crowded subnet costs round trips rather than timeouts. Silence after
// the last probe means that the address is free. The agent then holds the address: it announces it
// and answers each probe for it until the lease ends, whether the pod runs, hangs or has yet to
// start. Each owner has candidates in an order of its own that is the same on every node, so an
// owner that moves tends to keep its address.
//
// Why silence is enough. Frames get lost, and a busy agent answers late, so silence alone does not
// prove much. Three rules make it safe among agents (I2). The caller feeds all received frames
// before a decision. An agent that does not hold a probed address says "free", and the decision
// waits for each agent that was alive lately. And each frame of an agent tells how many agents it
// has heard, so an agent that has just joined learns that it does not know all of them yet. After
// 1.5 s silence is enough nevertheless: an agent may have crashed. Hosts without an agent have
// three probes to answer.
//
// A tie. If two agents probe for one address, each hears the other. The one with the smaller MAC
// goes on and the other abandons its probe (I4). The address plays no part in that, so that a
// claim for two addresses is not won by half on either side. A host without an agent does not know
// the rule, so an agent always yields to its probe. The agent's MAC is random, so no two are equal.
//
// Addresses ahead of need. An ADD cannot wait for probes each time. A few *spare* addresses of each
// subnet are therefore claimed in advance, and an address whose owner went away is *kept* for it
// for five minutes. Both are held but unassigned. They must never cause a refusal: a claim that
// finds no free address sends probes with "need", to which other agents give up unassigned
// addresses. An agent also gives one up to any station that simply uses it.
//
// A partition. A cloud that is cut in two is two clouds, and both may give out the same address. No
// protocol without a majority prevents that, and a cloud has none. It is detected afterwards: each
// agent announces its addresses in turn, all of them about once a minute, and at once when it hears
// an agent that is new, was silent or skipped heartbeats, since the two may have been apart.
// An agent that hears an announcement of a local pod's address with another MAC reports a conflict
// and tells the announcer, so both sides report it. Neither pod loses its address, because nothing
// here tells which one is right (decision 0007). With `defend` the agent announces its own binding
// again, once in 10 s.
//
// A restart. Leases are files, written before the caller learns the addresses, and are held again
// from the start. Spare and kept addresses are forgotten, and claimed anew.
//
// A hostile station can claim that each address is in use, which any host on a LAN can do. It
// cannot make the agent's memory grow: each table that frames fill has a limit.
//
// The parts: AddressPools (subnets, and how many spare addresses each wants), HeldAddresses (what
// this agent answers for), Prober (probes in progress), CandidateSearch (the order of one claim),
// AgentTable (other agents), InUseTable (what others use), ConflictTable (duplicates), Announcer
// (heartbeats and resyncs), Outbox (frames to send). Allocator connects them: a claim
// searches, its probes complete or are abandoned, frames decide which.

#include "agent/ipam/allocator.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/base/refusal.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// How long an address is left alone that a station uses, that an agent probes for, and that
// another station probes for.
constexpr std::chrono::seconds kUsedLifetime{120};
constexpr std::chrono::seconds kAgentProbeLifetime{2};
constexpr std::chrono::seconds kHostProbeLifetime{10};

constexpr std::chrono::seconds kReplyInterval{1};    // to a station in conflict
constexpr std::chrono::seconds kDefendInterval{10};  // RFC 5227, section 1.1, DEFEND_INTERVAL

bool SameWish(const AddressWish& wish, const HeldAddresses::Lease& lease) {
  if (wish.owner != lease.owner || wish.mac != lease.mac) return false;
  if (!wish.wanted.empty()) {
    return std::equal(wish.wanted.begin(), wish.wanted.end(), lease.addresses.begin(),
                      lease.addresses.end(),
                      [](const IpAddress& a, const IpPrefix& b) { return a == b.address; });
  }
  return std::equal(wish.subnets.begin(), wish.subnets.end(), lease.addresses.begin(),
                    lease.addresses.end(), [](const IpPrefix& subnet, const IpPrefix& address) {
                      return subnet.Contains(address.address);
                    });
}

}  // namespace

Allocator::Allocator(Options options)
    : options_(std::move(options)),
      cloud_(options_.cloud.ToString()),
      jitter_(options_.seed),
      outbox_(options_.mac, &agents_),
      pools_(cloud_, options_.mac.ToString()),
      held_(options_.mac),
      prober_(&jitter_, &agents_, &outbox_),
      announcer_(&jitter_, &held_, &outbox_) {}

// ---- Refusals ----

std::string Allocator::Where(const MacAddress& station) const {
  return options_.where ? options_.where(station) : "";
}

std::string Allocator::Describe(const MacAddress& mac, const MacAddress& source) const {
  const std::string where = Where(source);
  return where.empty() ? mac.ToString() : absl::StrCat(mac.ToString(), " at ", where);
}

absl::Status Allocator::InUse(const IpAddress& address, const std::string& station) const {
  return Refuse(AttachError::kAddressInUse,
                absl::StrCat("address ", address.ToString(), " is in use on cloud ", options_.name,
                             " by ", station),
                "request another address, or none to have one chosen");
}

absl::Status Allocator::Exhausted(const IpPrefix& subnet, int failures) const {
  return Refuse(
      AttachError::kPoolExhausted,
      absl::StrCat("no free address in ", subnet.ToString(), " on cloud ", options_.name, ": ",
                   UsableAddresses(subnet), " usable, ",
                   held_.Count(subnet, Use::kLeased) + held_.Count(subnet, Use::kOccupied),
                   " assigned on this node, ", failures, " found in use elsewhere"),
      "enlarge `subnets:` of the cloud on all nodes, or delete pods that are not needed; "
      "`vxvdectl ipam` lists the addresses in use");
}

absl::StatusOr<IpPrefix> Allocator::CheckWanted(const AddressWish& wish,
                                                const IpAddress& address) const {
  const auto subnet = std::find_if(wish.subnets.begin(), wish.subnets.end(),
                                   [&](const IpPrefix& one) { return IsUsable(one, address); });
  if (subnet == wish.subnets.end()) {
    return Refuse(kCniInvalidConfig,
                  absl::StrCat("address ", address.ToString(),
                               " is not a host address in a subnet of cloud ", options_.name, ": ",
                               absl::StrJoin(wish.subnets, ", ",
                                             [](std::string* out, const IpPrefix& one) {
                                               absl::StrAppend(out, one.ToString());
                                             })),
                  "request a host address in one of them");
  }
  const HeldAddresses::Entry* entry = held_.Find(address);
  if (entry != nullptr && entry->assigned()) {
    return InUse(address, absl::StrCat(entry->mac.ToString(), " on this node"));
  }
  const Prober::Purpose* purpose = prober_.Find(address);
  if (purpose != nullptr && !purpose->spare()) {
    return InUse(address, "another attachment on this node, which is claiming it now");
  }
  return *subnet;
}

// ---- Claims ----

void Allocator::SetPools(Instant now, const std::vector<IpPrefix>& subnets, bool defend) {
  defend_ = defend;
  pools_.Set(now, subnets);
  held_.GiveUpOutside(pools_);
  prober_.EndIf([&](const IpAddress& address, const Prober::Purpose& purpose) {
    return purpose.spare() && pools_.Find(address) == nullptr;
  });
  announcer_.Start(now);
  Refill(now);
}

absl::StatusOr<std::vector<Allocator::Slot>> Allocator::MakeSlots(const AddressWish& wish) const {
  std::vector<Slot> slots;
  if (wish.wanted.empty()) {
    for (const IpPrefix& subnet : wish.subnets) {
      slots.push_back({.subnet = subnet,
                       .wanted = {},
                       .search = CandidateSearch(subnet, cloud_, wish.owner),
                       .address = {}});
    }
  }
  for (const IpAddress& address : wish.wanted) {
    ASSIGN_OR_RETURN(const IpPrefix subnet, CheckWanted(wish, address));
    slots.push_back({.subnet = subnet, .wanted = address, .search = {}, .address = {}});
  }
  return slots;
}

void Allocator::Claim(Instant now, const AddressWish& wish) {
  const HeldAddresses::Lease* lease = held_.FindLease(wish.lease);
  if (lease != nullptr && lease->allocated && SameWish(wish, *lease)) {
    outcomes_.push_back({wish.lease, lease->addresses});
    return;
  }
  Release(now, wish.lease);

  absl::StatusOr<std::vector<Slot>> slots = MakeSlots(wish);
  if (!slots.ok()) {
    outcomes_.push_back({wish.lease, slots.status()});
    return;
  }
  PendingClaim& claim = claims_[wish.lease];
  claim = {.wish = wish, .slots = *std::move(slots), .deadline = now + kClaimDeadline};
  for (size_t i = 0; i < claim.slots.size(); ++i) {
    Slot& slot = claim.slots[i];
    if (TakeUnassigned(now, wish, slot, /*any_owner=*/false) || !slot.wanted) continue;
    // Another agent may hold it unassigned, and no other address will do.
    prober_.Start(now, *slot.wanted, {.lease = wish.lease, .slot = i, .need = true});
  }
  Advance(now, wish.lease);
  Refill(now);
}

void Allocator::Release(Instant now, const std::string& name) {
  if (const auto found = claims_.find(name); found != claims_.end()) {
    const PendingClaim claim = std::move(found->second);
    claims_.erase(found);
    Undo(now, claim);
    AdvanceWaiting(now);
  }
  for (const IpAddress& address : held_.RemoveLease(now, name, pools_)) conflicts_.Remove(address);
}

void Allocator::RegisterExternal(Instant now, const std::string& name, const MacAddress& mac,
                                 const std::vector<IpPrefix>& addresses) {
  if (const HeldAddresses::Lease* lease = held_.FindLease(name)) {
    // A lease that was restored, reported again by its attachment. Prefix lengths may differ.
    const bool same = std::equal(
        addresses.begin(), addresses.end(), lease->addresses.begin(), lease->addresses.end(),
        [](const IpPrefix& a, const IpPrefix& b) { return a.address == b.address; });
    if (same && lease->mac == mac) return;
  }
  Release(now, name);
  Hold(now, name, {.owner = "", .mac = mac, .addresses = addresses, .allocated = false});
}

void Allocator::Restore(Instant now, const LeaseRecord& record) {
  Hold(now, record.lease,
       {.owner = record.owner, .mac = record.mac, .addresses = record.addresses});
}

void Allocator::Hold(Instant now, const std::string& name, const HeldAddresses::Lease& lease) {
  for (const IpAddress& address : held_.RestoreLease(now, name, lease)) {
    if (!prober_.Contains(address)) continue;
    AbandonProbe(now, address, lease.mac, options_.mac, HeldAddresses::kKeptFor);
  }
}

bool Allocator::TakeUnassigned(Instant now, const AddressWish& wish, Slot& slot, bool any_owner) {
  slot.address =
      held_.TakeUnassigned(now, {.lease = wish.lease, .owner = wish.owner, .mac = wish.mac},
                           slot.subnet, slot.wanted, any_owner);
  return slot.address.has_value();
}

bool Allocator::Search(Instant now, PendingClaim& claim, size_t index) {
  using State = CandidateSearch::State;
  using Turn = CandidateSearch::Turn;
  Slot& slot = claim.slots[index];
  CandidateSearch& search = *slot.search;
  const auto state = [&](const IpAddress& address) {
    if (held_.Contains(address)) return State::kHeld;
    if (prober_.Contains(address)) return State::kProbed;
    return in_use_.InUse(now, address) ? State::kInUse : State::kUnknown;
  };
  while (true) {
    while (const std::optional<IpAddress> next = search.Next(state)) {
      prober_.Start(now, *next, {.lease = claim.wish.lease, .slot = index, .need = search.need()});
    }
    if (search.probing()) return true;
    if (TakeUnassigned(now, claim.wish, slot, /*any_owner=*/true)) return true;
    const Turn turn = search.EndWalk();
    if (turn != Turn::kAgain) return turn == Turn::kWait;
  }
}

void Allocator::Advance(Instant now, const std::string& lease) {
  const auto claim = claims_.find(lease);
  if (claim == claims_.end()) return;
  std::vector<Slot>& slots = claim->second.slots;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].address || slots[i].wanted) continue;
    if (Search(now, claim->second, i)) continue;
    pools_.SetExhausted(now, slots[i].subnet.address);
    ++exhausted_total_;
    return Fail(now, claim, Exhausted(slots[i].subnet, slots[i].failures()));
  }
  const auto done = [](const Slot& slot) { return slot.address.has_value(); };
  if (std::all_of(slots.begin(), slots.end(), done)) Finish(claim);
}

void Allocator::AdvanceWaiting(Instant now) {
  std::vector<std::string> waiting;
  for (const auto& [lease, claim] : claims_) {
    const auto waits = [](const Slot& slot) { return slot.waiting(); };
    if (std::any_of(claim.slots.begin(), claim.slots.end(), waits)) waiting.push_back(lease);
  }
  for (const std::string& lease : waiting) Advance(now, lease);
}

void Allocator::Finish(Claims::iterator found) {
  const PendingClaim claim = std::move(found->second);
  claims_.erase(found);
  std::vector<IpPrefix> addresses;
  for (const Slot& slot : claim.slots) {
    addresses.push_back({*slot.address, slot.subnet.length});
    pools_.ClearExhausted(*slot.address);
  }
  outcomes_.push_back({claim.wish.lease, addresses});
  held_.AddLease(
      claim.wish.lease,
      {.owner = claim.wish.owner, .mac = claim.wish.mac, .addresses = std::move(addresses)});
}

void Allocator::Fail(Instant now, Claims::iterator found, absl::Status why) {
  const PendingClaim claim = std::move(found->second);
  claims_.erase(found);
  Undo(now, claim);
  outcomes_.push_back({claim.wish.lease, std::move(why)});
  AdvanceWaiting(now);
}

void Allocator::Undo(Instant now, const PendingClaim& claim) {
  prober_.EndIf([&](const IpAddress&, const Prober::Purpose& purpose) {
    return purpose.lease == claim.wish.lease;
  });
  for (const Slot& slot : claim.slots) {
    if (!slot.address) continue;
    held_.Unassign(now, *slot.address, claim.wish.owner, pools_.Find(*slot.address));
    conflicts_.Remove(*slot.address);
  }
}

// ---- Probes ----

void Allocator::Refill(Instant now) {
  const auto have = [&](const IpPrefix& subnet) {
    return held_.Count(subnet, Use::kSpare) + prober_.CountSpare(subnet);
  };
  const auto skip = [&](const IpAddress& address) {
    return held_.Contains(address) || prober_.Contains(address) || in_use_.InUse(now, address);
  };
  for (const IpAddress& address : pools_.NextSpares(now, have, skip)) {
    prober_.Start(now, address, {});
  }
}

void Allocator::CompleteProbe(Instant now, const IpAddress& address) {
  const Prober::Purpose purpose = prober_.End(address);
  ++claims_total_;
  if (purpose.spare()) {
    held_.AddSpare(now, address);
    pools_.OnSpareFree(address);
    announcer_.Announce(address);
    return AdvanceWaiting(now);
  }
  PendingClaim& claim = claims_.at(purpose.lease);
  held_.Assign(now, address,
               {.lease = purpose.lease, .owner = claim.wish.owner, .mac = claim.wish.mac});
  claim.slots[purpose.slot].address = address;
  // Candidates that were probed side by side.
  prober_.EndIf([&](const IpAddress&, const Prober::Purpose& other) {
    return other.lease == purpose.lease && other.slot == purpose.slot;
  });
  announcer_.Announce(address);
  Advance(now, purpose.lease);
  AdvanceWaiting(now);
}

void Allocator::AbandonProbe(Instant now, const IpAddress& address, const MacAddress& station,
                             const MacAddress& source, Duration lifetime) {
  const Prober::Purpose purpose = prober_.End(address);
  ++taken_total_;
  NoteInUse(now, address, station, lifetime);
  if (purpose.spare()) {
    pools_.OnSpareInUse(now, address);
    Refill(now);
    return AdvanceWaiting(now);
  }
  const auto claim = claims_.find(purpose.lease);
  Slot& slot = claim->second.slots[purpose.slot];
  if (slot.wanted) return Fail(now, claim, InUse(address, Describe(station, source)));
  slot.search->OnInUse();
  Advance(now, purpose.lease);
  AdvanceWaiting(now);
}

// ---- Frames ----

void Allocator::OnFrame(Instant now, const Neighbour& message) {
  if (message.source == options_.mac || message.mac == options_.mac) return;
  if (message.mark && agents_.OnAgentSeen(now, message.source, *message.mark)) {
    announcer_.Resync(now);
  }
  switch (message.kind) {
    case Neighbour::Kind::kHas:
      return OnHas(now, message.address, message);
    case Neighbour::Kind::kProbe:
      return OnProbe(now, message);
    case Neighbour::Kind::kAsk: {
      if (message.asker) OnHas(now, *message.asker, message);
      // A pod answers for itself. No pod answers for an unassigned address.
      const HeldAddresses::Entry* entry = held_.Find(message.address);
      if (entry != nullptr && !entry->assigned()) outbox_.SendAnswer(message, entry->mac);
      return;
    }
  }
}

void Allocator::OnStationGone(const MacAddress& station) { agents_.OnAgentGone(station); }

void Allocator::OnHas(Instant now, const IpAddress& address, const Neighbour& message) {
  if (address.IsUnspecified()) return;
  if (prober_.Contains(address)) {
    return AbandonProbe(now, address, message.mac, message.source, kUsedLifetime);
  }
  const HeldAddresses::Entry* entry = held_.Find(address);
  if (entry == nullptr) return NoteInUse(now, address, message.mac, kUsedLifetime);
  if (entry->mac == message.mac) return;
  if (entry->assigned()) return OnConflict(now, address, *entry, message);
  held_.GiveUp(address);
  NoteInUse(now, address, message.mac, kUsedLifetime);
  Refill(now);
}

void Allocator::OnProbe(Instant now, const Neighbour& message) {
  const IpAddress& address = message.address;
  if (message.mark && message.mark->kind == AgentMark::Kind::kFree) {
    return prober_.OnFree(address, message.source);
  }
  if (const HeldAddresses::Entry* entry = held_.Find(address)) {
    if (entry->mac == message.mac) return;  // the pod's kernel detects duplicates, too
    if (!entry->assigned() && message.mark && message.mark->kind == AgentMark::Kind::kNeed) {
      held_.GiveUp(address);
      NoteInUse(now, address, message.mac, kAgentProbeLifetime);
      return SendFree(now, message);
    }
    return outbox_.SendAnswer(message, entry->mac);
  }
  if (!prober_.Contains(address)) {
    NoteInUse(now, address, message.mac, message.mark ? kAgentProbeLifetime : kHostProbeLifetime);
    return SendFree(now, message);
  }
  // RFC 5227, section 2.1.1: a probe of another host is as good as an answer.
  if (!message.mark) {
    return AbandonProbe(now, address, message.mac, message.source, kHostProbeLifetime);
  }
  // I4.
  if (message.mac < options_.mac) {
    AbandonProbe(now, address, message.mac, message.source, kAgentProbeLifetime);
    return SendFree(now, message);
  }
  outbox_.SendProbe(address, AgentMark::Kind::kClaim, message.source);
}

void Allocator::SendFree(Instant now, const Neighbour& message) {
  if (!message.mark || !in_use_.ShouldSendFree(now, message.address, message.mac)) return;
  outbox_.SendProbe(message.address, AgentMark::Kind::kFree, message.source);
}

void Allocator::NoteInUse(Instant now, const IpAddress& address, const MacAddress& station,
                          Duration lifetime) {
  if (pools_.Find(address) != nullptr) in_use_.NoteInUse(now, address, station, lifetime);
}

void Allocator::OnConflict(Instant now, const IpAddress& address, const HeldAddresses::Entry& entry,
                           const Neighbour& message) {
  if (!conflicts_.Note(now, address, entry.lease, entry.mac, message.mac, Where(message.source))) {
    return;
  }
  if (!held_.ShouldReply(now, address, defend_ ? kDefendInterval : kReplyInterval)) return;
  if (defend_) return announcer_.Announce(address);
  // To that station alone, so that the caches of all others stay as they are.
  Neighbour question = message;
  question.kind = Neighbour::Kind::kHas;
  question.address = address;
  question.asker.reset();
  outbox_.SendAnswer(question, entry.mac);
}

// ---- Time ----

void Allocator::OnTime(Instant now) {
  for (const IpAddress& address : prober_.Due(now)) {
    if (prober_.Advance(now, address)) CompleteProbe(now, address);
  }
  std::vector<std::string> late;
  for (const auto& [lease, claim] : claims_) {
    if (claim.deadline <= now) late.push_back(lease);
  }
  for (const std::string& lease : late) {
    const auto claim = claims_.find(lease);
    if (claim == claims_.end()) continue;  // addresses that the last one gave back sufficed
    const auto slot = std::find_if(claim->second.slots.begin(), claim->second.slots.end(),
                                   [](const Slot& one) { return !one.address.has_value(); });
    ++exhausted_total_;
    Fail(now, claim, Exhausted(slot->subnet, slot->failures()));
  }
  announcer_.OnTime(now);
  if (!announcer_.BeatDue(now)) return;
  held_.Expire(now);
  in_use_.Expire(now);
  agents_.Expire(now);
  conflicts_.Expire(now);
  Refill(now);
  announcer_.Beat(now);
}

Instant Allocator::NextTime() const {
  Instant next = announcer_.NextTime();
  if (const std::optional<Instant> probe = prober_.NextTime()) next = std::min(next, *probe);
  for (const auto& [lease, claim] : claims_) next = std::min(next, claim.deadline);
  return next;
}

// ---- Status ----

absl::Status Allocator::Ready(Instant now, const std::vector<IpPrefix>& subnets) const {
  for (const AddressPool& pool : pools_.all()) {
    if (std::find(subnets.begin(), subnets.end(), pool.subnet) == subnets.end()) continue;
    if (pool.exhausted_until <= now) continue;
    if (held_.Count(pool.subnet, Use::kSpare) + held_.Count(pool.subnet, Use::kKept) > 0) continue;
    return Exhausted(pool.subnet, 0);
  }
  return absl::OkStatus();
}

AllocatorSnapshot Allocator::Snapshot(Instant now) const {
  AllocatorSnapshot out;
  out.cloud = options_.cloud;
  for (const AddressPool& pool : pools_.all()) {
    out.pools.push_back({.subnet = pool.subnet,
                         .usable = UsableAddresses(pool.subnet),
                         .leased = held_.Count(pool.subnet, Use::kLeased),
                         .occupied = held_.Count(pool.subnet, Use::kOccupied),
                         .kept = held_.Count(pool.subnet, Use::kKept),
                         .spare = held_.Count(pool.subnet, Use::kSpare),
                         .others = in_use_.Count(now, pool.subnet),
                         .exhausted = now < pool.exhausted_until});
  }
  out.held = held_.Snapshot(now);
  out.conflicts = conflicts_.Snapshot(now);
  out.conflicts_total = conflicts_.total();
  out.claims = claims_total_;
  out.taken = taken_total_;
  out.exhausted = exhausted_total_;
  return out;
}

}  // namespace vxvde
