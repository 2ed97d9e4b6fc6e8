// Connection tracking: the UDP flows that the calling thread's network namespace remembers, and
// their deletion. A remembered flow keeps the address translation of its first packet, so newer
// rules do not translate a flow that continues. Source: linux/netfilter/nfnetlink_conntrack.h,
// net/netfilter/nf_conntrack_netlink.c.

#ifndef VXVDE_PLUGIN_OS_CONNTRACK_H_
#define VXVDE_PLUGIN_OS_CONNTRACK_H_

#include <cstdint>
#include <set>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

struct UdpFlow {
  // Destination of its first packet.
  IpAddress destination;
  uint16_t port = 0;
  // Source of the answers: the same, unless the destination is translated.
  IpAddress target;
  uint16_t target_port = 0;
};

// Deletes the UDP flows to one of `ports` for which `stale` holds, and returns their number. For a
// single port the kernel filters the flows (since Linux 5.8); for several ports, all UDP flows are
// read.
absl::StatusOr<int> DeleteUdpFlows(const std::set<uint16_t>& ports,
                                   absl::FunctionRef<bool(const UdpFlow&)> stale);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_CONNTRACK_H_
