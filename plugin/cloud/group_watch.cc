#include "plugin/cloud/group_watch.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vxvde {

void GroupWatch::Reset(Instant now) {
  agents_.clear();
  sent_ = echo_ = heard_ = next_join_ = now;
  pause_ = kRejoin;
  unheard_ = 0;
  had_agents_ = false;
}

void GroupWatch::Hello(const MacAddress& mac, const Peer& from, bool by_group, Instant now) {
  auto at = agents_.find(mac);
  if (at == agents_.end()) {
    if (agents_.size() >= kMaxAgents) return;
    at = agents_.try_emplace(mac, Agent{.peer = from, .heard = now, .by_group = now}).first;
  }
  Agent& agent = at->second;
  agent.peer = from;
  agent.heard = now;
  if (by_group) agent.by_group = now;
}

void GroupWatch::Left(const Peer& peer) {
  if (absl::erase_if(agents_, [&](const auto& item) { return item.second.peer == peer; }) == 0) {
    return;
  }
  if (agents_.empty()) had_agents_ = false;
}

GroupWatch::Advice GroupWatch::Tick(Instant now) {
  Advice advice;
  absl::erase_if(agents_, [&](const auto& item) { return now - item.second.heard >= kForget; });
  unheard_ = 0;
  for (auto& [mac, agent] : agents_) {
    if (agent.heard - agent.by_group >= kSilence) ++unheard_;
    if (now - agent.by_group < kAskAfter || now - agent.asked < kAskPeriod) continue;
    if (advice.ask.size() >= kMaxAsked) continue;
    agent.asked = now;
    advice.ask.push_back(agent.peer);
  }
  had_agents_ = had_agents_ || !agents_.empty();

  const bool bad = NoEcho(now) || unheard_ > 0;
  advice.changed = bad != bad_;
  bad_ = bad;
  // When all agents fall silent they may have ended, or may not hear the group either.
  const bool silent = had_agents_ && now - heard_ >= kSilence;
  if (!bad && !silent) {
    pause_ = kRejoin;
    next_join_ = now;
  } else if (now >= next_join_) {
    advice.rejoin = true;
    ++rejoins_;
    next_join_ = now + pause_;
    pause_ = std::min(2 * pause_, kMaxRejoin);
  }
  return advice;
}

std::string GroupWatch::Problem(Instant now) const {
  if (!bad_) return "";
  if (NoEcho(now)) {
    return absl::StrCat(
        "nothing that this node sends to the group has come back for ",
        std::chrono::duration_cast<std::chrono::seconds>(now - echo_).count(),
        " s: the uplink's membership is lost, or a firewall drops UDP to the group");
  }
  return absl::StrCat(
      unheard_, " of ", agents_.size(),
      " agents are not heard by group, but by unicast: a switch on the way snoops IGMP or MLD "
      "where "
      "nobody asks (give it a querier, or switch its snooping off), or a firewall drops UDP to the "
      "group");
}

}  // namespace vxvde
