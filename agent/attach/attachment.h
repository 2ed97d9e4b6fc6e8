// Attachment: one attachment of this node as the agent holds it in memory. The part that outlives
// the agent is its record (agent/store/store.h).

#ifndef VXVDE_AGENT_ATTACH_ATTACHMENT_H_
#define VXVDE_AGENT_ATTACH_ATTACHMENT_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/attach/attach_service.h"
#include "agent/ipam/address_claims.h"
#include "agent/kernel/links.h"
#include "agent/model/attachment.h"
#include "agent/store/store.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/os/task_scope.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

// A plan between Plan and Commit.
struct PendingPlan {
  PlanTicket ticket{};
  AttachService::PlanDone done;     // empty once the plan has its result
  std::vector<IpPrefix> brought;    // PlanRequest
  std::optional<AddressWish> wish;  // addresses to allocate, or to claim for the caller
  PlannedAttachment result;
};

struct Attachment {
  enum class State {
    kPlanned,   // a CNI call is in progress
    kAttached,  // it has a port
    kWaiting,   // it has a record but, after a restart of the agent, no port yet
  };
  State state = State::kPlanned;
  AttachmentRecord record;
  CloudConfig cloud;                    // as it was joined
  PortId port = PortId::kNone;          // kAttached
  IfIndex host_end = IfIndex::kNone;    // of a veth pair that has a port
  TapNetNs netns;                       // of a tap that has a port
  std::unique_ptr<Timer> announcement;  // the second announcement of its addresses
  std::string problem;                  // kWaiting: the reason
  std::optional<PendingPlan> plan;      // kPlanned
};

std::string IdOfKey(const AttachmentKey& key);
// The id of the main attachment (that of CNI_IFNAME) of the ADD that made this one.
std::string MainIdOf(const AttachmentRecord& record);
// For messages: "container c1 interface eth0 of network net (pod shop/web-0)".
std::string HolderOf(const AttachmentRecord& record);

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ATTACHMENT_H_
