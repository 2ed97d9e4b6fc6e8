// Walks once from the Ethernet header down. Each step checks that its header is complete before it
// reads it. Formats: IEEE 802.1Q, RFC 791, RFC 8200, RFC 9293, RFC 768.

#include "plugin/wire/packet.h"

#include "plugin/base/frame.h"

namespace vxvde {
namespace {

constexpr size_t kVlanTagSize = 4;
constexpr int kMaxVlanTags = 2;
constexpr size_t kIpv4HeaderSize = 20;
constexpr size_t kIpv6HeaderSize = 40;
constexpr size_t kTcpHeaderSize = 20;
constexpr size_t kUdpHeaderSize = 8;
constexpr uint16_t kIpv4FragmentBits = 0x3fff;  // MF and the offset; not DF

bool IsVlan(uint16_t ethertype) {
  return ethertype == kEtherTypeVlan || ethertype == kEtherTypeQinQ;
}

// `view` has l4_offset. `end` is the end of the packet according to IP, or 0 if IP does not give
// it.
bool ParseTransport(std::span<const uint8_t> frame, uint8_t protocol, size_t end,
                    PacketView& view) {
  const std::span<const uint8_t> l4 = frame.subspan(view.l4_offset);
  if (protocol == kProtocolTcp) {
    if (l4.size() < kTcpHeaderSize) return false;
    const size_t size = size_t{l4[12]} >> 4 << 2;
    if (size < kTcpHeaderSize || size > l4.size()) return false;
    view.l4 = PacketView::L4::kTcp;
    view.payload = static_cast<uint16_t>(view.l4_offset + size);
  } else if (protocol == kProtocolUdp) {
    if (l4.size() < kUdpHeaderSize) return false;
    view.l4 = PacketView::L4::kUdp;
    view.payload = static_cast<uint16_t>(view.l4_offset + kUdpHeaderSize);
  }
  return view.l4 == PacketView::L4::kOther || end == 0 || view.payload <= end;
}

bool ParseIpv4(std::span<const uint8_t> frame, PacketView& view) {
  const std::span<const uint8_t> ip = frame.subspan(view.l3_offset);
  if (ip.size() < kIpv4HeaderSize || ip[0] >> 4 != 4) return false;
  const size_t size = size_t{ip[0] & 0xfu} << 2;
  if (size < kIpv4HeaderSize || size > ip.size()) return false;

  view.l3 = PacketView::L3::kIpv4;
  view.l4_offset = static_cast<uint16_t>(view.l3_offset + size);
  view.ip_length = LoadBe16(&ip[2]);
  // Zero stands for "64 KiB and above" in a super-frame (Linux, BIG TCP).
  if (view.ip_length != 0 && view.ip_length < size) return false;
  const size_t end = view.ip_length == 0 ? 0 : view.l3_offset + view.ip_length;
  if ((LoadBe16(&ip[6]) & kIpv4FragmentBits) != 0)
    return true;  // the L4 header may be in another fragment
  return ParseTransport(frame, ip[9], end, view);
}

bool ParseIpv6(std::span<const uint8_t> frame, PacketView& view) {
  const std::span<const uint8_t> ip = frame.subspan(view.l3_offset);
  if (ip.size() < kIpv6HeaderSize || ip[0] >> 4 != 6) return false;

  view.l3 = PacketView::L3::kIpv6;
  view.l4_offset = static_cast<uint16_t>(view.l3_offset + kIpv6HeaderSize);
  view.ip_length = static_cast<uint32_t>(kIpv6HeaderSize) + LoadBe16(&ip[4]);
  const size_t end = view.ip_length == kIpv6HeaderSize ? 0 : view.l3_offset + view.ip_length;
  return ParseTransport(frame, ip[6], end, view);
}

}  // namespace

bool ParsePacket(std::span<const uint8_t> frame, PacketView& out) {
  if (frame.size() < kEthernetHeaderSize) return false;
  PacketView view;
  size_t offset = kEthernetHeaderSize;
  view.ethertype = LoadBe16(&frame[offset - 2]);
  for (int tags = 0; tags < kMaxVlanTags && IsVlan(view.ethertype); ++tags) {
    offset += kVlanTagSize;
    if (frame.size() < offset) return false;
    view.ethertype = LoadBe16(&frame[offset - 2]);
  }
  view.l3_offset = static_cast<uint16_t>(offset);

  bool whole = true;
  if (view.ethertype == kEtherTypeIpv4) {
    whole = ParseIpv4(frame, view);
  } else if (view.ethertype == kEtherTypeIpv6) {
    whole = ParseIpv6(frame, view);
  }
  if (whole) out = view;
  return whole;
}

}  // namespace vxvde
