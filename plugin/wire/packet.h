// A read-only view of the headers of an inner frame: Ethernet (up to two VLAN tags), IPv4, IPv6
// (extension headers are not followed), TCP, UDP. Pure.

#ifndef VXVDE_PLUGIN_WIRE_PACKET_H_
#define VXVDE_PLUGIN_WIRE_PACKET_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "plugin/base/mac_address.h"

namespace vxvde {

inline constexpr uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr uint16_t kEtherTypeArp = 0x0806;
inline constexpr uint16_t kEtherTypeVlan = 0x8100;
inline constexpr uint16_t kEtherTypeQinQ = 0x88a8;
inline constexpr uint16_t kEtherTypeIpv6 = 0x86dd;
inline constexpr uint8_t kProtocolTcp = 6;
inline constexpr uint8_t kProtocolUdp = 17;
inline constexpr uint8_t kProtocolIcmpv6 = 58;

// Unaligned big-endian access.
inline uint16_t LoadBe16(const uint8_t* p) { return static_cast<uint16_t>(p[0] << 8 | p[1]); }
inline uint32_t LoadBe32(const uint8_t* p) {
  return static_cast<uint32_t>(LoadBe16(p)) << 16 | LoadBe16(p + 2);
}
inline void StoreBe16(uint8_t* p, uint16_t v) {
  p[0] = static_cast<uint8_t>(v >> 8);
  p[1] = static_cast<uint8_t>(v);
}
inline void StoreBe32(uint8_t* p, uint32_t v) {
  StoreBe16(p, static_cast<uint16_t>(v >> 16));
  StoreBe16(p + 2, static_cast<uint16_t>(v));
}

// Destination and source of a frame of at least 12 bytes.
inline MacAddress DestinationMac(std::span<const uint8_t> frame) {
  return MacAddress::FromWire(frame.data());
}
inline MacAddress SourceMac(std::span<const uint8_t> frame) {
  return MacAddress::FromWire(frame.data() + 6);
}

// Offsets are from the first byte of the frame. All of [0, payload) lies inside the frame.
struct PacketView {
  enum class L3 : uint8_t { kOther, kIpv4, kIpv6 };
  enum class L4 : uint8_t { kOther, kTcp, kUdp };

  uint16_t ethertype = 0;  // after the VLAN tags
  L3 l3 = L3::kOther;
  L4 l4 = L4::kOther;      // kOther for fragments
  uint16_t l3_offset = 0;  // 14, 18 or 22
  uint16_t l4_offset = 0;  // l3 != kOther
  uint16_t payload = 0;  // l4 != kOther: first byte after the TCP (options included) or UDP header
  // Bytes from l3_offset according to IP: the IPv4 total length, or 40 + the IPv6 payload length.
  // May be less than the frame has (padding), or more (a truncated frame, or a super-frame of 64
  // KiB and above, whose field is 0).
  uint32_t ip_length = 0;
};

// False, with `out` unchanged, if a header that the frame announces is cut short or contradicts
// itself (IHL < 5, TCP data offset < 5 ...). A frame of another ethertype, or an IP packet of
// another protocol, is not an error.
bool ParsePacket(std::span<const uint8_t> frame, PacketView& out);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_PACKET_H_
