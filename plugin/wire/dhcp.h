// DHCPACK (RFC 2131), by which a DHCP server assigns an address to a station. No other message of
// DHCP. Bytes in, values out.

#ifndef VXVDE_PLUGIN_WIRE_DHCP_H_
#define VXVDE_PLUGIN_WIRE_DHCP_H_

#include <cstdint>
#include <span>

#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

struct DhcpAck {
  IpAddress address;  // "yiaddr"
  MacAddress client;  // "chaddr"
};

// False, with `out` unchanged: a frame of another kind, or a malformed one. `checksum`: the UDP
// checksum is complete and must be correct, unless it is zero. Safe on any input. Frames with VLAN
// tags and IP fragments are frames of another kind.
bool ParseDhcpAck(std::span<const uint8_t> frame, bool checksum, DhcpAck& out);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_DHCP_H_
