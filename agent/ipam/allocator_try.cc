// How an allocator tries an address, for a claim or to be spare: probes, time, and what either end
// of it leads to.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "agent/ipam/allocator.h"

namespace vxvde {
namespace {

constexpr int kMostLost = 8;  // in a row, then refilling rests
constexpr std::chrono::seconds kRefillRest{30};

}  // namespace

void Allocator::Refill(Instant now) {
  for (Pool& pool : pools_) {
    if (now < pool.resume) continue;
    size_t have = CountUse(pool.subnet, Use::kSpare) + CountSpareTries(pool.subnet);
    while (have < pool.target) {
      const std::optional<IpAddress> next = pool.order.Next();
      if (!next) {
        pool.order =
            Candidates(pool.subnet, cloud_text_, absl::StrCat("spare ", options_.mac.ToString()));
        pool.resume = now + kRefillRest;
        break;
      }
      if (held_.contains(*next) || tries_.contains(*next) || IsSeen(now, *next)) continue;
      StartTry(now, *next, Try());
      ++have;
    }
  }
}

void Allocator::StartTry(Instant now, const IpAddress& address, Try probing) {
  probing.patient_until = now + kPatience;
  const auto [it, fresh] = tries_.insert_or_assign(address, std::move(probing));
  Probe(now, address, it->second);
}

void Allocator::Probe(Instant now, const IpAddress& address, Try& probing) {
  ++probing.sent;
  probing.due = now + Jitter(kProbeInterval);
  frames_.push_back(
      BuildProbe(options_.mac, address,
                 Mark(probing.need ? AgentMark::Kind::kNeed : AgentMark::Kind::kClaim)));
}

void Allocator::Win(Instant now, const IpAddress& address) {
  const auto found = tries_.find(address);
  const Try probing = std::move(found->second);
  tries_.erase(found);
  ++claims_total_;
  Holding holding{.use = Use::kSpare,
                  .lease = probing.lease,
                  .owner = "",
                  .mac = options_.mac,
                  .since = now,
                  .until = {},
                  .warned = {}};
  if (probing.lease.empty()) {
    held_[address] = std::move(holding);
    if (Pool* pool = PoolOf(address)) pool->lost = 0;
    Tell(address, AgentMark::Kind::kHold);
    return AdvanceWaiting(now);
  }
  Pending& pending = pending_.at(probing.lease);
  Slot& slot = pending.slots[probing.slot];
  holding.use = Use::kLeased;
  holding.owner = pending.wish.owner;
  holding.mac = pending.wish.mac;
  held_[address] = std::move(holding);
  slot.got = address;
  slot.trying = 0;
  std::erase_if(tries_, [&](const auto& one) {
    return one.second.lease == probing.lease && one.second.slot == probing.slot;
  });
  Tell(address, AgentMark::Kind::kHold);
  Advance(now, probing.lease);
  AdvanceWaiting(now);
}

void Allocator::Lose(Instant now, const IpAddress& address, const MacAddress& to,
                     const MacAddress& source, Duration busy) {
  const auto found = tries_.find(address);
  const Try probing = std::move(found->second);
  tries_.erase(found);
  ++taken_total_;
  See(now, address, to, busy);
  if (probing.lease.empty()) {
    Pool* pool = PoolOf(address);
    if (pool != nullptr && ++pool->lost >= kMostLost) {
      pool->lost = 0;
      pool->resume = now + kRefillRest;
    }
    Refill(now);
    return AdvanceWaiting(now);
  }
  const auto pending = pending_.find(probing.lease);
  Slot& slot = pending->second.slots[probing.slot];
  --slot.trying;
  ++slot.lost;
  if (slot.wanted) return Fail(now, pending, InUse(address, Describe(to, source)));
  Advance(now, probing.lease);
  AdvanceWaiting(now);
}

// ---- Time ----

void Allocator::OnTime(Instant now) {
  std::vector<IpAddress> due;
  for (const auto& [address, probing] : tries_) {
    if (probing.due <= now) due.push_back(address);
  }
  for (const IpAddress& address : due) {
    const auto found = tries_.find(address);
    if (found == tries_.end()) continue;  // ended with another
    Try& probing = found->second;
    if (probing.sent < kProbes) {
      Probe(now, address, probing);
    } else if (probing.patient_until <= now || AllAgree(now, address, probing)) {
      Win(now, address);
    } else {
      probing.due = now + kAskAgain;
    }
  }
  std::vector<std::string> late;
  for (const auto& [lease, pending] : pending_) {
    if (pending.deadline <= now) late.push_back(lease);
  }
  for (const std::string& lease : late) {
    const auto pending = pending_.find(lease);
    const auto slot = std::find_if(pending->second.slots.begin(), pending->second.slots.end(),
                                   [](const Slot& one) { return !one.got.has_value(); });
    ++exhausted_total_;
    Fail(now, pending, Exhausted(slot->subnet, slot->lost));
  }
  if (tell_all_at_ && *tell_all_at_ <= now) {
    tell_all_at_.reset();
    to_tell_.clear();
    for (const auto& [address, holding] : held_) to_tell_.push_back(address);
    next_tell_ = now;
  }
  if (!to_tell_.empty() && next_tell_ <= now) TellSome(now);
  if (next_beat_ <= now) Beat(now);
}

bool Allocator::WouldDecide(Instant now) const {
  return std::any_of(tries_.begin(), tries_.end(), [&](const auto& one) {
    return one.second.sent == kProbes && one.second.due <= now;
  });
}

Instant Allocator::NextTime() const {
  Instant next = next_beat_;
  if (tell_all_at_) next = std::min(next, *tell_all_at_);
  if (!to_tell_.empty()) next = std::min(next, next_tell_);
  for (const auto& [address, probing] : tries_) next = std::min(next, probing.due);
  for (const auto& [lease, pending] : pending_) next = std::min(next, pending.deadline);
  return next;
}

}  // namespace vxvde
