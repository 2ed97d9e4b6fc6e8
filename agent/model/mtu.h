// The MTU and the GSO size of a pod's interface, derived from the MTU of the uplink. Pure.

#ifndef VXVDE_AGENT_MODEL_MTU_H_
#define VXVDE_AGENT_MODEL_MTU_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

// Ethernet, vxvde and UDP headers and the outer IP header: 50 bytes over IPv4, 70 over IPv6.
int Encapsulation(const IpAddress& group);

inline constexpr int kMinPodMtu = 68;            // RFC 791, section 3.2
inline constexpr int kMinPodMtuWithIpv6 = 1280;  // RFC 8200, section 5
// One frame is one datagram of at most 65,507 bytes (IPv4), even if the wire fragments it.
inline constexpr int kMaxPodMtu = 65507 - 8 - 14;

// `requested`, else `of_cloud`, else the size that the uplink carries without fragments; 0 means
// "not given". A larger MTU than the uplink's is legal: real members send outer fragments. Refused
// (kMtuImpossible) outside [kMinPodMtu, kMaxPodMtu].
absl::StatusOr<int> PodMtu(uint32_t requested, int of_cloud, int uplink_mtu,
                           const IpAddress& group);

// IFLA_GSO_MAX_SIZE of a pod's interface: the largest size for which a TCP super-frame becomes at
// most 64 datagrams and 65,507 bytes, which is one UDP_SEGMENT send (Linux net/ipv4/udp.c,
// UDP_MAX_SEGMENTS). A larger super-frame would take two sends. `fast`: the cloud has a kernel
// datapath, which takes super-frames of the kernel's own size: 0.
uint32_t GsoMaxSize(int pod_mtu, bool fast);

}  // namespace vxvde

#endif  // VXVDE_AGENT_MODEL_MTU_H_
