// AttachService: the operations on attachments that the handoff server calls, with values that it
// has checked. Attachments implements it; tests and fuzz targets have a fake.

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
  std::vector<IpPrefix> brought;  // with addresses_by_caller: those that the caller knows already
  std::vector<PortMapping> port_mappings;
  std::vector<Allowed> allow;
  std::vector<Allowed> allow_by_annotation;
};

// Names one plan. A ticket is never used again.
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
  std::vector<IpPrefix> addresses;  // that the agent allocated
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
  bool ended = false;  // without a DEL
};

// Errors carry a Refusal (refusal.h).
class AttachService {
 public:
  virtual ~AttachService() = default;

  // Calls `done` once with the plan's result, in this call or in a later turn of the loop. An error
  // ends the plan and leaves nothing behind. After Rollback `done` is not called any more. `done`
  // may call the service.
  using PlanDone = std::function<void(absl::StatusOr<PlannedAttachment>)>;
  virtual PlanTicket Plan(const PlanRequest& request, PlanDone done) = 0;
  // After a plan's result. `tap` holds a descriptor exactly when the plan is for a tap. Ends the
  // plan in any case; an error leaves nothing behind.
  virtual absl::StatusOr<PortId> Commit(PlanTicket ticket, const std::vector<IpPrefix>& addresses,
                                        UniqueFd tap) = 0;
  // Replaces the addresses of an attached attachment. An error leaves it attached.
  virtual absl::Status SetAddresses(const AttachmentKey& key,
                                    const std::vector<IpPrefix>& addresses) = 0;
  // Cancels a plan that waits for its result, and undoes one that has it. Does nothing if the plan
  // has ended.
  virtual void Rollback(PlanTicket ticket) = 0;
  // False: there was nothing to detach.
  virtual absl::StatusOr<bool> Detach(const AttachmentKey& key) = 0;
  // Detaches all attachments of one ADD, those with `key.ifname` as their main_ifname. Tries each
  // of them, and returns the first error.
  virtual absl::StatusOr<bool> DetachAll(const AttachmentKey& key) = 0;
  // Forgets an attachment that ended without a DEL. False: there is none, or it is attached.
  virtual absl::StatusOr<bool> ForgetEnded(const AttachmentKey& key) = 0;

  // attach.proto, Check.
  virtual absl::StatusOr<CheckedAttachment> Check(const AttachmentKey& key) = 0;
  // attach.proto, List: all attachments of `network`, or of all networks if it is empty, by id.
  virtual std::vector<ListedAttachment> ListNetwork(const std::string& network) const = 0;
  // attach.proto, Ping: a refusal with code 50 or 51 if an ADD to that cloud would fail.
  virtual absl::Status Ready(const std::string& cloud, const std::string& vnl) = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ATTACH_SERVICE_H_
