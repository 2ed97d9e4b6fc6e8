// Which interface a cloud uses, and what follows from its MTU. Not here: joining the group
// (plugin/os/udp.h). Pure but for the questions it asks of Links.

#ifndef VXVDE_AGENT_UPLINK_H_
#define VXVDE_AGENT_UPLINK_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "agent/links.h"
#include "plugin/base/ids.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

struct Uplink {
  IfIndex index = IfIndex::kNone;
  std::string name;
  int mtu = 0;
};

// `if=` of the locator wins, then `configured` (empty: nothing is), then the route to the
// group. Refused (kCannotJoin) with the remedy when none of them leads to an interface.
absl::StatusOr<Uplink> ChooseUplink(const CloudConfig& cloud, const std::string& configured,
                                    const Links& links);

// Ethernet, vxvde and UDP headers and the outer IP header: 50 bytes over IPv4, 70 over IPv6.
int Encapsulation(const IpAddress& group);

inline constexpr int kMinPodMtu = 68;            // RFC 791, section 3.2
inline constexpr int kMinPodMtuWithIpv6 = 1280;  // RFC 8200, section 5
// One frame is one datagram of at most 65,507 bytes (IPv4), whatever the wire carries in one piece.
inline constexpr int kMaxPodMtu = 65507 - 8 - 14;

// `requested`, or else `of_cloud`, or else what the uplink carries without fragments; 0 means
// "not said". More than the uplink carries is legal: real members do it, in outer fragments.
// Refused (kMtuImpossible) outside [kMinPodMtu, kMaxPodMtu].
absl::StatusOr<int> PodMtu(uint32_t requested, int of_cloud, int uplink_mtu,
                           const IpAddress& group);

// IFLA_GSO_MAX_SIZE of a pod's interface: the largest size for which a TCP super-frame becomes
// at most 64 datagrams and 65,507 bytes, so one UDP_SEGMENT send (Linux net/ipv4/udp.c,
// UDP_MAX_SEGMENTS). A larger one would still pass, in two sends.
// `fast`: the cloud has a fast path, which takes what the kernel makes: 0, its own size.
uint32_t GsoMaxSize(int pod_mtu, bool fast);

}  // namespace vxvde

#endif  // VXVDE_AGENT_UPLINK_H_
