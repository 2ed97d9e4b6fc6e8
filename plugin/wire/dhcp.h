// What a DHCP server's answer says of an address: that a station may use it from now on (RFC 2131,
// DHCPACK). Nothing else of DHCP. Bytes in, values out.

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

// False, with `out` untouched: a frame of another kind, or one that is malformed. `checksum`: the
// UDP checksum is complete and must be right, unless it is zero. Safe on any input; frames with
// VLAN tags and IP fragments are of another kind.
bool ParseDhcpAck(std::span<const uint8_t> frame, bool checksum, DhcpAck& out);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_DHCP_H_
