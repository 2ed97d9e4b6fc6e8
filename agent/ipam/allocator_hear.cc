// What an allocator hears from its cloud, and what it says there by itself.

#include <algorithm>

#include "agent/ipam/allocator.h"

namespace vxvde {
namespace {

// How long an address that was heard is taken to be in use; how long one that somebody probed for
// is left to them.
constexpr std::chrono::seconds kInUseFor{120};
constexpr std::chrono::seconds kClaimedFor{2};
constexpr std::chrono::seconds kProbedFor{10};
constexpr size_t kMostSeen = 16'384;

constexpr std::chrono::seconds kAgentSilent{4};
constexpr std::chrono::minutes kAgentGone{5};
constexpr uint32_t kBeatsMissed = 2;
constexpr size_t kMostAgents = 4096;

// Of two probes by all's ears so soon after each other the second needs no answer of its own.
constexpr std::chrono::milliseconds kAgreeEvery{50};

constexpr std::chrono::milliseconds kTellAllWithin{300};
constexpr std::chrono::seconds kTellAllEvery{2};
constexpr size_t kTellAtOnce = 32;
constexpr std::chrono::milliseconds kTellPause{20};
constexpr size_t kBeatsForAll = 40;  // each address is announced once in so many heartbeats

constexpr std::chrono::seconds kWarnEvery{1};
constexpr std::chrono::seconds kDefendEvery{10};  // RFC 5227, section 1.1, DEFEND_INTERVAL
constexpr std::chrono::minutes kConflictShown{5};
constexpr size_t kMostConflicts = 4096;

}  // namespace

void Allocator::OnFrame(Instant now, const Neighbour& message) {
  if (message.source == options_.mac || message.mac == options_.mac) return;
  if (message.mark) Meet(now, message);
  switch (message.kind) {
    case Neighbour::Kind::kHas:
      return OnHas(now, message.address, message);
    case Neighbour::Kind::kProbe:
      return OnProbe(now, message);
    case Neighbour::Kind::kAsk: {
      if (message.asker) OnHas(now, *message.asker, message);
      // A pod answers for itself; for what nobody has yet, nobody else would.
      const auto held = held_.find(message.address);
      if (held == held_.end()) return;
      if (held->second.use != Use::kSpare && held->second.use != Use::kKept) return;
      frames_.push_back(
          BuildAnswer(options_.mac, held->second.mac, message, Mark(AgentMark::Kind::kHold)));
      return;
    }
  }
}

AgentMark Allocator::Mark(AgentMark::Kind kind) const {
  return {.kind = kind, .beat = beat_, .agents = agents_lately_};
}

void Allocator::CountAgents(Instant now) {
  counted_ = now;
  agents_lately_ = agents_expected_ = 1;
  for (const auto& [mac, agent] : agents_) {
    if (now - agent.last > kAgentSilent) continue;
    ++agents_lately_;
    agents_expected_ = std::max(agents_expected_, agent.agents);
  }
}

void Allocator::OnGone(const MacAddress& station) {
  if (agents_.erase(station) == 0) return;
  if (agents_lately_ > 1) --agents_lately_;
  for (auto& [mac, agent] : agents_) agent.agents = 0;  // they will have noticed, too
  agents_expected_ = 1;
}

// Another agent that was not heard for a while may have been cut off from us, and have given out
// meanwhile what we have.
void Allocator::Meet(Instant now, const Neighbour& message) {
  if (agents_.size() >= kMostAgents && !agents_.contains(message.source)) return;
  const auto [it, fresh] = agents_.try_emplace(message.source);
  Agent& agent = it->second;
  const uint32_t ahead = message.mark->beat - agent.beat;
  const bool silent = fresh || now - agent.last > kAgentSilent;
  const bool missed = silent || (ahead > kBeatsMissed && ahead < (uint32_t{1} << 31));
  agent = {.beat = message.mark->beat, .agents = message.mark->agents, .last = now};
  // All anew only once in a turn of the loop: a stranger may make up thousands of them.
  if (now != counted_) {
    CountAgents(now);
  } else {
    if (silent) ++agents_lately_;
    agents_expected_ = std::max(agents_expected_, agent.agents);
  }
  if (missed) TellAllSoon(now);
}

void Allocator::See(Instant now, const IpAddress& address, const MacAddress& mac, Duration busy) {
  if (PoolOf(address) == nullptr) return;
  if (seen_.size() >= kMostSeen && !seen_.contains(address)) return;
  Seen& seen = seen_[address];
  seen.mac = mac;
  seen.until = std::max(seen.until, now + busy);
}

void Allocator::OnHas(Instant now, const IpAddress& address, const Neighbour& message) {
  if (address.IsUnspecified()) return;
  if (tries_.contains(address)) return Lose(now, address, message.mac, message.source, kInUseFor);
  const auto held = held_.find(address);
  if (held == held_.end()) return See(now, address, message.mac, kInUseFor);
  if (held->second.mac == message.mac) return;
  if (held->second.use == Use::kLeased || held->second.use == Use::kOccupied) {
    return Notice(now, address, held->second, message);
  }
  // Nobody has it from us yet: who has it may keep it.
  held_.erase(held);
  See(now, address, message.mac, kInUseFor);
  Refill(now);
}

bool Allocator::AllAgree(Instant now, const IpAddress& address, const Try& probing) {
  // One that others have heard and we have not: it is busy, or we have only just come.
  bool all = agents_lately_ >= agents_expected_;
  for (const auto& [mac, agent] : agents_) {
    if (now - agent.last > kAgentSilent || probing.free.contains(mac)) continue;
    all = false;
    frames_.push_back(
        BuildProbe(options_.mac, address,
                   Mark(probing.need ? AgentMark::Kind::kNeed : AgentMark::Kind::kClaim), mac));
  }
  return all;
}

void Allocator::Agree(Instant now, const Neighbour& message) {
  if (!message.mark) return;
  const auto seen = seen_.find(message.address);
  if (seen != seen_.end()) {
    if (seen->second.mac == message.mac && now - seen->second.agreed < kAgreeEvery) return;
    seen->second.agreed = now;
  }
  frames_.push_back(
      BuildProbe(options_.mac, message.address, Mark(AgentMark::Kind::kFree), message.source));
}

void Allocator::OnProbe(Instant now, const Neighbour& message) {
  const IpAddress& address = message.address;
  if (message.mark && message.mark->kind == AgentMark::Kind::kFree) {
    const auto tried = tries_.find(address);
    if (tried != tries_.end()) tried->second.free.insert(message.source);
    return;
  }
  const auto held = held_.find(address);
  if (held != held_.end()) {
    const bool spare = held->second.use == Use::kSpare || held->second.use == Use::kKept;
    if (held->second.mac == message.mac) return;  // the pod's kernel makes sure for itself
    if (spare && message.mark && message.mark->kind == AgentMark::Kind::kNeed) {
      held_.erase(held);
      See(now, address, message.mac, kClaimedFor);
      return Agree(now, message);
    }
    frames_.push_back(
        BuildAnswer(options_.mac, held->second.mac, message, Mark(AgentMark::Kind::kHold)));
    return;
  }
  const auto tried = tries_.find(address);
  if (tried == tries_.end()) {
    See(now, address, message.mac, message.mark ? kClaimedFor : kProbedFor);
    return Agree(now, message);
  }
  // RFC 5227, section 2.1.1: another host that probes for it has it. Two agents need not both go.
  if (!message.mark) return Lose(now, address, message.mac, message.source, kProbedFor);
  // I4. By the MAC alone, so that a claim for several addresses wins or loses all of them.
  if (message.mac < options_.mac) {
    Lose(now, address, message.mac, message.source, kClaimedFor);
    return Agree(now, message);
  }
  frames_.push_back(
      BuildProbe(options_.mac, address, Mark(AgentMark::Kind::kClaim), message.source));
}

void Allocator::Notice(Instant now, const IpAddress& address, Holding& holding,
                       const Neighbour& message) {
  const auto key = std::pair(address, message.mac);
  if (conflicts_.size() >= kMostConflicts && !conflicts_.contains(key)) return;
  const auto [it, fresh] = conflicts_.try_emplace(key);
  Conflict& conflict = it->second;
  conflict.where = options_.where ? options_.where(message.source) : "";
  conflict.last = now;
  ++conflict.count;
  if (fresh) {
    conflict.first = now;
    ++conflicts_total_;
    new_conflicts_.push_back({.address = address,
                              .lease = holding.lease,
                              .mac = holding.mac,
                              .other = message.mac,
                              .where = conflict.where,
                              .count = 1});
  }
  if (now - holding.warned < (defend_ ? Duration(kDefendEvery) : Duration(kWarnEvery))) return;
  holding.warned = now;
  if (defend_) return Tell(address, AgentMark::Kind::kHold);
  // To them alone: what the others believe is left as it is.
  Neighbour theirs = message;
  theirs.kind = Neighbour::Kind::kHas;
  theirs.address = address;
  theirs.asker.reset();
  frames_.push_back(BuildAnswer(options_.mac, holding.mac, theirs, Mark(AgentMark::Kind::kHold)));
}

// ---- By itself ----

void Allocator::Tell(const IpAddress& address, AgentMark::Kind kind) {
  const auto held = held_.find(address);
  if (held == held_.end()) return;
  frames_.push_back(BuildHolds(options_.mac, held->second.mac, address, Mark(kind)));
}

void Allocator::TellAllSoon(Instant now) {
  if (tell_all_at_) return;
  tell_all_at_ = std::max(now + Jitter(kTellAllWithin) / 2, told_all_ + kTellAllEvery);
  told_all_ = *tell_all_at_;
}

void Allocator::TellSome(Instant now) {
  for (size_t i = 0; i < kTellAtOnce && !to_tell_.empty(); ++i) {
    Tell(to_tell_.front(), AgentMark::Kind::kHold);
    to_tell_.pop_front();
  }
  next_tell_ = now + kTellPause;
}

void Allocator::Beat(Instant now) {
  next_beat_ = now + Jitter(kBeatInterval);
  std::erase_if(held_, [&](const auto& one) {
    return one.second.use == Use::kKept && one.second.until <= now;
  });
  std::erase_if(seen_, [&](const auto& one) { return one.second.until <= now; });
  std::erase_if(agents_, [&](const auto& one) { return now - one.second.last > kAgentGone; });
  CountAgents(now);
  std::erase_if(conflicts_,
                [&](const auto& one) { return now - one.second.last > kConflictShown; });
  Refill(now);

  ++beat_;
  if (held_.empty()) return;
  size_t count = (held_.size() + kBeatsForAll - 1) / kBeatsForAll;
  for (size_t i = 0; i < count; ++i) {
    auto next = held_.upper_bound(told_last_);
    if (next == held_.end()) next = held_.begin();
    told_last_ = next->first;
    Tell(told_last_, i == 0 ? AgentMark::Kind::kBeat : AgentMark::Kind::kHold);
  }
}

}  // namespace vxvde
