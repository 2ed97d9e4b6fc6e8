#include "agent/ipam/agent_table.h"

#include <algorithm>

namespace vxvde {

bool AgentTable::OnAgentSeen(Instant now, const MacAddress& mac, const AgentMark& mark) {
  if (agents_.size() >= kMaxAgents && !agents_.contains(mac)) return false;
  const auto [it, fresh] = agents_.try_emplace(mac);
  Agent& agent = it->second;
  // Modulo 2^32. A number that is behind belongs to a frame that was overtaken.
  const uint32_t ahead = mark.beat - agent.beat;
  const bool silent = fresh || now - agent.last > kAliveTimeout;
  const bool skipped = ahead > kMaxMissedBeats && ahead < (uint32_t{1} << 31);
  agent = {.beat = mark.beat, .agents = mark.agents, .last = now};
  // A hostile station can make up thousands of agents in one turn of the event loop, so a recount,
  // which visits all of them, happens once a turn.
  if (now != recounted_) {
    Recount(now);
  } else {
    if (silent) ++alive_;
    expected_ = std::max(expected_, agent.agents);
  }
  return silent || skipped;
}

void AgentTable::OnAgentGone(const MacAddress& mac) {
  if (agents_.erase(mac) == 0) return;
  if (alive_ > 1) --alive_;
  // The others' counts include the agent that left. Their next frames bring new ones.
  for (auto& [other, agent] : agents_) agent.agents = 0;
  expected_ = 1;
}

void AgentTable::Expire(Instant now) {
  std::erase_if(agents_, [&](const auto& one) { return now - one.second.last > kForgetTimeout; });
  Recount(now);
}

void AgentTable::Recount(Instant now) {
  recounted_ = now;
  alive_ = expected_ = 1;
  for (const auto& [mac, agent] : agents_) {
    if (now - agent.last > kAliveTimeout) continue;
    ++alive_;
    expected_ = std::max(expected_, agent.agents);
  }
}

std::vector<MacAddress> AgentTable::Alive(Instant now) const {
  std::vector<MacAddress> alive;
  for (const auto& [mac, agent] : agents_) {
    if (now - agent.last <= kAliveTimeout) alive.push_back(mac);
  }
  return alive;
}

}  // namespace vxvde
