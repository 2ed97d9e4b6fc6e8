// What a caller with a Kubernetes namespace may ask of a cloud while `confineNamespaces` holds.
// Pure.
//
// A network's configuration is the operator's only where the operator alone writes such files. With
// Multus a user of a namespace writes them too (a NetworkAttachmentDefinition), and the agent
// cannot tell the two apart: both arrive as a Plan with the pod's namespace. So these rules bind
// every caller that has one. docs/decisions/0024 names each wish and its limit; `namespaces` and
// `allowByAnnotation` of a cloud are checked elsewhere (Attachments::CheckPolicy).

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

// Do the rules below bind a caller of this namespace? Empty: a caller outside Kubernetes.
bool IsConfined(const Config& config, const std::string& pod_namespace);

// Each error is a refusal, kForbidden, with the rule. `named` is the configured cloud that the
// request leads to; nullptr: the configuration has none, and only `cloud` tells which it would be.
absl::Status CheckConfinedPlan(const PlanRequest& request, const NamedCloud* named,
                               absl::string_view cloud);

// `mtu` is requested, `most` is what the cloud gives to a pod that requests nothing.
absl::Status CheckConfinedMtu(const std::string& pod_namespace, absl::string_view cloud, int mtu,
                              int most);

// `addresses` that the pod is about to have. In a cloud with subnets all of them must have been
// claimed for it, by the agent's choice or by name (`claimed`).
absl::Status CheckConfinedAddresses(const std::string& pod_namespace, const NamedCloud& named,
                                    const std::vector<IpPrefix>& addresses,
                                    const std::vector<IpAddress>& claimed);

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_CONFINEMENT_H_
