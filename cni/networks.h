// Parses a pod's annotations into the attachments that they request. Pure.
//
//   vxvde.io/cloud               the cloud of the first interface: PLACE
//   vxvde.io/allow               exceptions from port security for it: ALLOWED, ALLOWED ...
//   vxvde.io/networks            further interfaces: ENTRY, ENTRY ... or a JSON list
//   k8s.v1.cni.cncf.io/networks  the same in the syntax that Multus reads; entries that name no
//                                cloud of the agent are for another plugin and are skipped
//
// This room does not decide whether the pod may have them: the agent does. Specification:
// docs/OPERATIONS.md, "Networks by annotation", has the grammar; the last annotation is that of
// NPWG, "Kubernetes Network Custom Resource Definition De-facto Standard" 1.3, section 4.1.2.

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
// For one pod, in all annotations together.
inline constexpr size_t kMaxNetworks = 32;

struct PodNetworks {
  struct First {
    CloudChoice cloud;  // exactly one of the two is set
    std::string asked_by;
  };
  std::optional<First> first;
  std::vector<std::string> allow;  // for the first interface, whichever its cloud
  // In the order of the annotations. Each has an interface name, and exactly one of the two names
  // of a cloud.
  std::vector<Attachment> others;
};

// Ignores all `annotations` but the four above. `taken` are interface names that the pod already
// has; entries without a name get net1, net2 ... except these. An error names the annotation and
// the entry.
absl::StatusOr<PodNetworks> ParsePodNetworks(const std::map<std::string, std::string>& annotations,
                                             std::set<std::string> taken);

}  // namespace vxvde

#endif  // VXVDE_CNI_NETWORKS_H_
