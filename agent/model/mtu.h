// What follows for a pod's interface from the MTU of the uplink. Pure.

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

#endif  // VXVDE_AGENT_MODEL_MTU_H_
