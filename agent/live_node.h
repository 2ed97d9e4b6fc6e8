// LiveNode: the NodeView of a running agent. Loop thread only.

#ifndef VXVDE_AGENT_LIVE_NODE_H_
#define VXVDE_AGENT_LIVE_NODE_H_

#include <string>

#include "agent/address_claims.h"
#include "agent/attachments.h"
#include "agent/node.h"
#include "agent/node_ports.h"
#include "plugin/switch.h"

namespace vxvde {

class LiveNode final : public NodeView {
 public:
  // All of them outlive it.
  LiveNode(const EventLoop* loop, const Switch* the_switch, const Attachments* attachments,
           const AddressClaims* claims, const NodePorts* node_ports, GroupLookup group_id);

  NodeSnapshot Snapshot() const override;
  absl::StatusOr<Explanation> Explain(const std::string& cloud, const MacAddress& source,
                                      const MacAddress& destination) const override;

 private:
  const EventLoop* loop_;
  const Switch* switch_;
  const Attachments* attachments_;
  const AddressClaims* claims_;
  const NodePorts* node_ports_;
  GroupLookup group_id_;
  Instant started_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIVE_NODE_H_
