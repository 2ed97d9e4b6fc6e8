// Outbox: the frames that an allocator wants sent. It builds them with the agent's MAC and mark and
// keeps them until they are taken. Pure.
// The frames: docs/PROTOCOL.md, "Claims".

#ifndef VXVDE_AGENT_IPAM_OUTBOX_H_
#define VXVDE_AGENT_IPAM_OUTBOX_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "agent/ipam/agent_table.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/wire/neighbour.h"

namespace vxvde {

class Outbox {
 public:
  // `agents` outlives it.
  Outbox(const MacAddress& mac, const AgentTable* agents) : mac_(mac), agents_(agents) {}

  // The agent's own MAC.
  const MacAddress& mac() const { return mac_; }
  // Frames from now on carry the number of the next heartbeat.
  void CountBeat() { ++beat_; }

  // kClaim or kNeed asks whether `address` is free; kFree says that it is.
  void SendProbe(const IpAddress& address, AgentMark::Kind kind,
                 const MacAddress& to = MacAddress::Broadcast()) {
    frames_.push_back(BuildProbe(mac_, address, Mark(kind), to));
  }
  // "`address` is at `holder`", to all.
  void SendAnnouncement(const IpAddress& address, const MacAddress& holder, AgentMark::Kind kind) {
    frames_.push_back(BuildHolds(mac_, holder, address, Mark(kind)));
  }
  // The same, to the sender of `question`.
  void SendAnswer(const Neighbour& question, const MacAddress& holder) {
    frames_.push_back(BuildAnswer(mac_, holder, question, Mark(AgentMark::Kind::kHold)));
  }

  std::vector<std::vector<uint8_t>> Take() { return std::exchange(frames_, {}); }

 private:
  AgentMark Mark(AgentMark::Kind kind) const {
    return {.kind = kind, .beat = beat_, .agents = agents_->count()};
  }

  MacAddress mac_;
  const AgentTable* agents_;
  uint32_t beat_ = 0;
  std::vector<std::vector<uint8_t>> frames_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_OUTBOX_H_
