// AgentTable: the other agents of one cloud, as their frames show them: which are alive, whose
// announcements may have been missed, and whether this agent has heard all of them. Pure.

#ifndef VXVDE_AGENT_IPAM_AGENT_TABLE_H_
#define VXVDE_AGENT_IPAM_AGENT_TABLE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/wire/neighbour.h"

namespace vxvde {

class AgentTable {
 public:
  // An agent that was silent for longer is not waited for.
  static constexpr std::chrono::seconds kAliveTimeout{4};
  static constexpr std::chrono::minutes kForgetTimeout{5};
  static constexpr uint32_t kMaxMissedBeats = 2;
  // Any station can invent agents, so their number is bounded. A full table ignores new ones.
  static constexpr size_t kMaxAgents = 4096;

  // A frame with `mark` came from `agent`. True: the agent is new, was silent, or skipped
  // heartbeats, so the two may have been cut off from each other and may hold the same address.
  bool OnAgentSeen(Instant now, const MacAddress& agent, const AgentMark& mark);
  // `agent` left the cloud.
  void OnAgentGone(const MacAddress& agent);
  // Forgets agents and recounts the living. To be called once a heartbeat.
  void Expire(Instant now);

  // The number of living agents, including this one.
  uint16_t count() const { return alive_; }
  // No living agent has heard of more agents than this one has.
  bool complete() const { return alive_ >= expected_; }
  std::vector<MacAddress> Alive(Instant now) const;

 private:
  struct Agent {
    uint32_t beat = 0;
    uint16_t agents = 0;  // its count()
    Instant last;
  };

  void Recount(Instant now);

  std::map<MacAddress, Agent> agents_;
  uint16_t alive_ = 1;
  uint16_t expected_ = 1;  // the largest count() of the living
  Instant recounted_{};
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_AGENT_TABLE_H_
