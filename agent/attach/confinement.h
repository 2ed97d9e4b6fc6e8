// The limits of a caller with a Kubernetes namespace while `confineNamespaces` is true. Pure.
//
// A network's configuration is the operator's only where the operator alone writes such files. With
// Multus a user of a namespace writes them too (a NetworkAttachmentDefinition), and the agent
// cannot tell the two apart: both arrive as a Plan with the pod's namespace. Therefore these rules
// bind every caller that has one. docs/decisions/0024 lists each wish and its limit; admission.h
// has the rules `namespaces` and `allowByAnnotation` of a cloud.

#ifndef VXVDE_AGENT_ATTACH_CONFINEMENT_H_
#define VXVDE_AGENT_ATTACH_CONFINEMENT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "agent/attach/attach_service.h"
#include "agent/config/config.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

// True: the rules below bind a caller of this namespace. An empty one is outside Kubernetes.
bool IsConfined(const Config& config, const std::string& pod_namespace);

// Each error is a refusal, kForbidden, that names the rule. `named` is the configured cloud of the
// request; nullptr: the cloud is not configured, and `cloud` is its locator.
absl::Status CheckConfinedPlan(const PlanRequest& request, const NamedCloud* named,
                               absl::string_view cloud);

// `mtu` is the requested MTU, and `most` that of a pod that requests none.
absl::Status CheckConfinedMtu(const std::string& pod_namespace, absl::string_view cloud, int mtu,
                              int most);

// `addresses` are those that the pod is to have. In a cloud with subnets each must be one of
// `claimed`, which the agent has claimed for it on the cloud.
absl::Status CheckConfinedAddresses(const std::string& pod_namespace, const NamedCloud& named,
                                    const std::vector<IpPrefix>& addresses,
                                    const std::vector<IpAddress>& claimed);

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_CONFINEMENT_H_
