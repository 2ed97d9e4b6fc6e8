// Admission: the policy for ADDs. Chooses the cloud of a request, decides whether the request may
// use it, chooses MAC, MTU and addresses, and determines the frames that its port may send. Pure:
// no system calls, no switch; other attachments are an argument.
//
// Errors are refusals (refusal.h). confinement.h has the limits of callers with a Kubernetes
// namespace.

#ifndef VXVDE_AGENT_ATTACH_ADMISSION_H_
#define VXVDE_AGENT_ATTACH_ADMISSION_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/attach/attach_service.h"
#include "agent/config/config.h"
#include "agent/ipam/address_claims.h"
#include "agent/model/attachment.h"
#include "agent/store/store.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

// The configured cloud `name`, or the cloud of the locator `vnl`, or the default cloud if both are
// empty. The locator of a configured cloud selects that cloud, with its policy and options.
absl::StatusOr<CloudConfig> ChooseCloud(const Config& config, const GroupLookup& group_id,
                                        const std::string& name, const std::string& vnl);

// Decides whether the request may join `cloud`, a result of ChooseCloud, and allow its port the
// listed entries. kForbidden names the rule.
absl::Status CheckPolicy(const Config& config, const PlanRequest& request,
                         const CloudConfig& cloud);

// The MTU of the pod's interface on a cloud that is joined over an uplink of `uplink_mtu`.
absl::StatusOr<int> ChooseMtu(const Config& config, const PlanRequest& request,
                              const CloudConfig& cloud, int uplink_mtu);

// The requested MAC, or one that is derived from the request. `others` are the other attachments of
// this node on the cloud.
absl::StatusOr<MacAddress> ChooseMac(const PlanRequest& request,
                                     const std::vector<const AttachmentRecord*>& others);

// The addresses that the agents of `cloud` are to allocate for the attachment `id`, or to claim
// for its caller. nullopt: none, because the cloud has no subnets or the caller brings addresses
// that no agent claims.
absl::StatusOr<std::optional<AddressWish>> ChooseAddresses(const Config& config,
                                                           const PlanRequest& request,
                                                           const CloudConfig& cloud,
                                                           const std::string& id,
                                                           const MacAddress& mac);

// Decides whether the attachment may commit with `addresses`. In a cloud with subnets, those of a
// confined attachment must be among `claimed`.
absl::Status CheckCommit(const Config& config, const AttachmentRecord& record,
                         const CloudConfig& cloud, const std::vector<IpPrefix>& addresses,
                         const std::vector<IpAddress>& claimed);

// Refuses addresses that another attachment on `cloud`, or a port of this node (`node_ports`, on
// any cloud), already has.
absl::Status CheckAddressesFree(const Config& config, const CloudConfig& cloud,
                                const std::vector<IpPrefix>& addresses,
                                const std::vector<const AttachmentRecord*>& others,
                                const std::vector<AttachmentInfo>& node_ports);

// The frames that the port of an attachment may send.
PortGuard GuardFor(const Config& config, const CloudKey& cloud, const AttachmentRecord& record);

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_ADMISSION_H_
