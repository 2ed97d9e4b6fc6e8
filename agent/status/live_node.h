// LiveNode: the NodeView of a running agent. Loop thread only.

#ifndef VXVDE_AGENT_STATUS_LIVE_NODE_H_
#define VXVDE_AGENT_STATUS_LIVE_NODE_H_

#include <string>

#include "agent/attach/attachments.h"
#include "agent/clouds/joined_clouds.h"
#include "agent/config/current_config.h"
#include "agent/ipam/address_claims.h"
#include "agent/node_port/node_ports.h"
#include "agent/status/node_view.h"
#include "plugin/switch.h"

namespace vxvde {

class LiveNode final : public NodeView {
 public:
  // All of these outlive it.
  struct Parts {
    const EventLoop* loop;
    const Switch* the_switch;
    const CurrentConfig* config;
    const JoinedClouds* clouds;
    const Attachments* attachments;
    const AddressClaims* claims;
    const NodePorts* node_ports;
  };
  // `why_not_fast`: why this node has no kernel datapath; empty if it has one. `rules`: the
  // state of all nftables of the agent.
  LiveNode(
      const Parts& parts, GroupLookup group_id, std::string why_not_fast,
      std::function<std::vector<RulesState>()> rules = [] { return std::vector<RulesState>(); });

  NodeSnapshot Snapshot() const override;
  std::string WhyNotReady() const override { return ProblemsOf(rules_(), /*all=*/false); }
  std::vector<StationSnapshot> Stations(const CloudKey& cloud,
                                        const std::optional<MacAddress>& after,
                                        size_t limit) const override {
    const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(cloud);
    return handle.ok() ? (*handle)->Stations(after, limit) : std::vector<StationSnapshot>();
  }
  absl::StatusOr<Explanation> Explain(const std::string& cloud, const MacAddress& source,
                                      const MacAddress& destination) const override;

 private:
  std::string WhyNotFast(const CloudSnapshot& cloud) const;
  // The problems as one text: `all`, or only those that keep pods off the node.
  static std::string ProblemsOf(const std::vector<RulesState>& rules, bool all);

  Parts parts_;
  GroupLookup group_id_;
  std::string why_not_fast_;
  std::function<std::vector<RulesState>()> rules_;
  Instant started_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_LIVE_NODE_H_
