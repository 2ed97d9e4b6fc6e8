// JSON of two capabilities, published ports and bandwidth, in the forms of both callers. Pure.
//
// This room does not decide who serves them. Errors are InvalidArgument. Specification: CNI
// CONVENTIONS.md ("portMappings", "bandwidth") and netavark's plugin-API.md (PortMapping).

#ifndef VXVDE_CNI_CAPABILITIES_H_
#define VXVDE_CNI_CAPABILITIES_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "cni/json.h"
#include "cni/values.h"

namespace vxvde {

inline constexpr size_t kMaxPublishedPorts = 1024;

// CNI's form: keys in any case (A9). At most kMaxPublishedPorts.
absl::StatusOr<std::vector<PublishedPort>> AsPortMappings(const Json& list);
// netavark's form, in which each mapping stands for `range` consecutive ports.
absl::StatusOr<std::vector<PublishedPort>> AsPortRanges(const Json& list);

// {ingressRate, ingressBurst, egressRate, egressBurst}, keys in any case; rates in bits per second,
// bursts in bits. 0 means absent. A rate and its burst must be given together.
absl::StatusOr<Bandwidth> AsBandwidth(const Json& value);

}  // namespace vxvde

#endif  // VXVDE_CNI_CAPABILITIES_H_
