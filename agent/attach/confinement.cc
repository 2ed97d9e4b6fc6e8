#include "agent/attach/confinement.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/base/refusal.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

absl::Status Forbidden(const std::string& pod_namespace, absl::string_view what,
                       absl::string_view remedy) {
  return Refuse(AttachError::kForbidden,
                absl::StrCat("pods of namespace \"", pod_namespace, "\" may not ", what,
                             ": the rule is confineNamespaces: true"),
                remedy);
}

std::string SubnetsOf(const NamedCloud& named) {
  return absl::StrJoin(named.subnets, ", ", [](std::string* out, const IpPrefix& subnet) {
    absl::StrAppend(out, subnet.ToString());
  });
}

// With a shorter prefix, the link would have a larger subnet than the cloud.
bool IsInside(const NamedCloud& named, const IpPrefix& address) {
  return std::any_of(named.subnets.begin(), named.subnets.end(), [&](const IpPrefix& subnet) {
    return subnet.Contains(address.address) && address.length >= subnet.length;
  });
}

absl::Status CheckInside(const std::string& pod_namespace, const NamedCloud& named,
                         const IpPrefix& address) {
  if (IsInside(named, address)) return absl::OkStatus();
  return Forbidden(pod_namespace,
                   absl::StrCat("have the address ", address.ToString(), " on cloud \"", named.name,
                                "\", whose subnets are [", SubnetsOf(named), "]"),
                   "request an address of these subnets, or none");
}

}  // namespace

bool IsConfined(const Config& config, const std::string& pod_namespace) {
  return config.confine_namespaces && !pod_namespace.empty();
}

absl::Status CheckConfinedPlan(const PlanRequest& request, const NamedCloud* named,
                               absl::string_view cloud) {
  const std::string& pod_namespace = request.pod_namespace;
  if (named == nullptr) {
    return Forbidden(
        pod_namespace, absl::StrCat("join ", cloud, ", which is not in the agent's configuration"),
        "name a cloud of the agent's configuration (\"cloud\": \"NAME\"), add this one "
        "to its `clouds:`, or set confineNamespaces: false there");
  }
  if (named->subnets.empty()) {
    if (request.port_mappings.empty()) return absl::OkStatus();
    // The node would have to take an address of a prefix that the caller chose.
    return Forbidden(
        pod_namespace,
        absl::StrCat("publish port ", request.port_mappings[0].host_port, " on cloud \"",
                     named->name, "\", which has no subnets"),
        "add `subnets:` to the cloud in the agent's configuration, or publish no port");
  }
  for (const IpPrefix& address : request.brought) {
    RETURN_IF_ERROR(CheckInside(pod_namespace, *named, address));
  }
  return absl::OkStatus();
}

absl::Status CheckConfinedMtu(const std::string& pod_namespace, absl::string_view cloud, int mtu,
                              int most) {
  if (mtu <= most) return absl::OkStatus();
  return Forbidden(
      pod_namespace,
      absl::StrCat("have an MTU of ", mtu, " on cloud \"", cloud, "\", which gives ", most),
      "request at most that (\"mtu\": 0 is the cloud's MTU), or raise `mtu:` of the cloud in the "
      "agent's configuration");
}

absl::Status CheckConfinedAddresses(const std::string& pod_namespace, const NamedCloud& named,
                                    const std::vector<IpPrefix>& addresses,
                                    const std::vector<IpAddress>& claimed) {
  if (named.subnets.empty()) return absl::OkStatus();
  for (const IpPrefix& address : addresses) {
    RETURN_IF_ERROR(CheckInside(pod_namespace, named, address));
    if (std::find(claimed.begin(), claimed.end(), address.address) != claimed.end()) continue;
    // An IPAM plugin chose it, and no agent has tested on the cloud whether it is free.
    return Forbidden(
        pod_namespace,
        absl::StrCat("have ", address.ToString(), " from an IPAM plugin on cloud \"", named.name,
                     "\", whose addresses the agents allocate"),
        "remove \"ipam\" from the network's configuration, or set \"ipam\": {} and request "
        "the address by the capability \"ips\" or an annotation");
  }
  return absl::OkStatus();
}

}  // namespace vxvde
