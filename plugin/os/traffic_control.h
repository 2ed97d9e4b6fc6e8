// Traffic control of a link: its queueing disciplines and classifiers (tc(8)).

#ifndef VXVDE_PLUGIN_OS_TRAFFIC_CONTROL_H_
#define VXVDE_PLUGIN_OS_TRAFFIC_CONTROL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// A classifier of a link's clsact or ingress qdisc.
struct FilterInfo {
  std::string kind;       // "bpf", "u32" ...
  uint16_t priority = 0;  // classifiers run in ascending order
  uint16_t protocol = 0;  // ETH_P_ALL, ETH_P_IP ...
  uint32_t handle = 0;    // 0: the classifier as a whole, which the kernel also lists
  std::string program;    // its name, for kind "bpf"
  uint32_t program_id = 0;
};
enum class Direction { kIngress, kEgress };

// A queueing discipline of a link.
struct QdiscInfo {
  std::string kind;     // "tbf", "clsact", "ingress" ...
  uint32_t parent = 0;  // TC_H_ROOT, TC_H_INGRESS (clsact too) or a class
};

// Limits the rate at which a link sends, by a token bucket (tc-tbf(8)).
struct Shape {
  uint64_t rate = 0;  // bits a second, at least 8
  uint64_t burst =
      0;  // bits that may be sent at once; at least one frame of the link, less than 2^35
};

// The qdiscs at the root and at ingress of one link, without those that the kernel makes by itself
// (noqueue).
absl::StatusOr<std::vector<QdiscInfo>> ListQdiscs(Netlink& netlink, IfIndex index);

// The classifiers of chain 0 in the order in which they run; none without such a qdisc.
absl::StatusOr<std::vector<FilterInfo>> ListFilters(Netlink& netlink, IfIndex index,
                                                    Direction direction);

// Frames that the link sends wait for their turn, at most 25 ms behind a whole burst; more are
// dropped. Replaces the root qdisc.
absl::Status ShapeLink(Netlink& netlink, IfIndex index, const Shape& shape);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_TRAFFIC_CONTROL_H_
