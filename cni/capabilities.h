// Two wishes of a runtime for the first interface: ports of the node that lead to it, and how fast
// it may be. JSON -> values; pure. Source: CNI CONVENTIONS.md ("portMappings", "bandwidth") and
// netavark's plugin-API.md (PortMapping). Errors are InvalidArgument.

#ifndef VXVDE_CNI_CAPABILITIES_H_
#define VXVDE_CNI_CAPABILITIES_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "cni/json.h"
#include "cni/request.h"

namespace vxvde {

// Of CNI: keys in any case. At most kMaxPublishedPorts.
absl::StatusOr<std::vector<PublishedPort>> AsPortMappings(const Json& list);
// Of netavark, whose mappings may stand for `range` ports each.
absl::StatusOr<std::vector<PublishedPort>> AsPortRanges(const Json& list);
inline constexpr size_t kMaxPublishedPorts = 1024;

// {ingressRate, ingressBurst, egressRate, egressBurst}, in any case; rates in bits a second, bursts
// in bits. 0 is absent. A rate needs its burst, and a burst its rate.
absl::StatusOr<Bandwidth> AsBandwidth(const Json& value);

}  // namespace vxvde

#endif  // VXVDE_CNI_CAPABILITIES_H_
