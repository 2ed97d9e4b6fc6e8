// The networks that a pod's annotations ask for. Pure.
//
//   vxvde.io/cloud               the cloud of the first interface: PLACE
//   vxvde.io/allow               what its port may send beside what is its own: ALLOWED, ALLOWED
//   ... vxvde.io/networks            more of them: ENTRY, ENTRY ... or a JSON list
//   k8s.v1.cni.cncf.io/networks  the same as Multus reads it; what the agent does not know is
//                                another plugin's and left alone
//
// docs/OPERATIONS.md has the grammar. Source of the third: NPWG "Kubernetes Network Custom
// Resource Definition De-facto Standard" 1.3, section 4.1.2.

#ifndef VXVDE_CNI_NETWORKS_H_
#define VXVDE_CNI_NETWORKS_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cni/request.h"

namespace vxvde {

inline constexpr char kCloudAnnotation[] = "vxvde.io/cloud";
inline constexpr char kAllowAnnotation[] = "vxvde.io/allow";
inline constexpr char kNetworksAnnotation[] = "vxvde.io/networks";
inline constexpr char kNpwgAnnotation[] = "k8s.v1.cni.cncf.io/networks";
// For one pod, by all annotations together.
inline constexpr size_t kMaxNetworks = 32;

struct PodNetworks {
  std::optional<WantedNetwork> first;  // without an interface name
  std::vector<std::string> allow;      // of the first interface, whatever its cloud
  std::vector<WantedNetwork> others;   // in the order in which they are asked for
};

// `annotations` of the pod, others than these are ignored. `taken`: interface names that the
// pod has already; net1, net2 ... are given around them to entries without a name. An error
// names the annotation and the entry.
absl::StatusOr<PodNetworks> ParsePodNetworks(const std::map<std::string, std::string>& annotations,
                                             std::set<std::string> taken);

}  // namespace vxvde

#endif  // VXVDE_CNI_NETWORKS_H_
