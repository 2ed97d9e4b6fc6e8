// AttachService: what the handoff server asks of the agent, in values that have been checked.
// Attachments implements it; tests and fuzz targets give their own.

#ifndef VXVDE_AGENT_ATTACH_ATTACH_SERVICE_H_
#define VXVDE_AGENT_ATTACH_ATTACH_SERVICE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/model/allowed.h"
#include "agent/model/attachment.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/os/fd.h"

namespace vxvde {

// attach.proto, Plan.
struct PlanRequest {
  AttachmentKey key;
  std::string cloud;  // at most one of these two
  std::string vnl;
  bool tap = false;
  std::string netns;
  std::string pod_namespace;
  std::string pod_name;
  std::string pod_uid;
  std::optional<MacAddress> mac;
  uint32_t mtu = 0;
  bool addresses_by_caller = false;
  std::string caller = "cni";  // or "netavark"
  std::string main_ifname;     // empty: key.ifname
  bool by_annotation = false;
  std::vector<IpAddress> addresses;
  std::vector<IpPrefix> brought;  // with addresses_by_caller: those that are known already
  std::vector<PortMapping> port_mappings;
  std::vector<Allowed> allow;
  std::vector<Allowed> allow_by_annotation;
};

// One plan, which is rolled back or committed once; never used again.
enum class PlanTicket : uint64_t {};

// attach.proto, Planned.
struct PlannedAttachment {
  PlanTicket ticket{};
  std::string id;
  MacAddress mac;
  int mtu = 0;
  std::string host_ifname;
  std::string alias;
  uint32_t gso_max_size = 0;
  std::string cloud;
  std::string vnl;
};

// What a plan had to wait for: addresses and gateways of attach.proto, Planned.
struct SettledPlan {
  std::vector<IpPrefix> addresses;
  std::vector<IpAddress> gateways;
};

// attach.proto, Checked.
struct CheckedAttachment {
  MacAddress mac;
  int mtu = 0;
  bool tap = false;
};

// attach.proto, Listed.
struct ListedAttachment {
  AttachmentKey key;
  std::string id;
  std::string main_ifname;
  std::string caller;
  std::string netns;
  bool tap = false;
  bool planned = false;
  bool ended = false;
};

// Errors carry a Refusal (refusal.h).
class AttachService {
 public:
  virtual ~AttachService() = default;

  virtual absl::StatusOr<PlannedAttachment> Plan(const PlanRequest& request) = 0;
  // Once for each plan, before Commit. `done` is called once, in this turn or a later one; never
  // after Rollback. An error leaves the plan to be rolled back.
  using Settled = std::function<void(absl::StatusOr<SettledPlan>)>;
  virtual void Settle(PlanTicket ticket, Settled done) = 0;
  // `tap` holds a descriptor exactly when the plan is for a tap. The plan is over, whatever
  // the answer: an error leaves nothing behind.
  virtual absl::StatusOr<PortId> Commit(PlanTicket ticket, const std::vector<IpPrefix>& addresses,
                                        UniqueFd tap) = 0;
  // Does nothing when the plan is over already.
  virtual void Rollback(PlanTicket ticket) = 0;
  // True when there was something to detach.
  virtual absl::StatusOr<bool> Detach(const AttachmentKey& key) = 0;
  // The same, of all attachments of its ADD: those with `key.ifname` as their main_ifname. Tries
  // each; the error is the first one.
  virtual absl::StatusOr<bool> DetachAll(const AttachmentKey& key) = 0;
  // Forgets what has ended without a DEL; false: there is no such, or it lives.
  virtual absl::StatusOr<bool> ForgetEnded(const AttachmentKey& key) = 0;

  // attach.proto, Check.
  virtual absl::StatusOr<CheckedAttachment> Check(const AttachmentKey& key) = 0;
  // attach.proto, List: all of one network, or of every one when it is empty; by id.
  virtual std::vector<ListedAttachment> ListNetwork(const std::string& network) const = 0;
  // attach.proto, Ping: a refusal with code 50 or 51 when an ADD to that cloud could not be served.
  virtual absl::Status Ready(const std::string& cloud, const std::string& vnl) = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ATTACH_SERVICE_H_
