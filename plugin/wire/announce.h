// Frames by which a station that has just arrived announces its location. Pure.

#ifndef VXVDE_PLUGIN_WIRE_ANNOUNCE_H_
#define VXVDE_PLUGIN_WIRE_ANNOUNCE_H_

#include <cstdint>
#include <vector>

#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

// IPv4: a gratuitous ARP request for `address` (RFC 5227, section 2.3), 42 bytes
// padded to 60. IPv6: an unsolicited neighbour advertisement to ff02::1 with the
// override flag and the target link-layer address option (RFC 4861, section 7.2.6).
std::vector<uint8_t> BuildAnnouncement(const MacAddress& mac, const IpAddress& address);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_ANNOUNCE_H_
