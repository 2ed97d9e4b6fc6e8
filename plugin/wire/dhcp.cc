#include "plugin/wire/dhcp.h"

#include <algorithm>
#include <array>
#include <optional>

#include "plugin/base/frame.h"
#include "plugin/wire/checksum.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

constexpr uint16_t kServerPort = 67;
constexpr uint16_t kClientPort = 68;
constexpr size_t kUdpSize = 8;

// RFC 2131, section 2: 236 bytes, the magic cookie, options.
constexpr size_t kFixedSize = 236;
constexpr std::array<uint8_t, 4> kCookie = {0x63, 0x82, 0x53, 0x63};
constexpr uint8_t kBootReply = 2;
constexpr uint8_t kEthernet = 1;
constexpr size_t kYiaddr = 16;
constexpr size_t kChaddr = 28;

// RFC 2132.
constexpr uint8_t kOptionPad = 0;
constexpr uint8_t kOptionEnd = 255;
constexpr uint8_t kOptionMessageType = 53;
constexpr uint8_t kAck = 5;

std::optional<uint8_t> MessageType(std::span<const uint8_t> options) {
  while (!options.empty() && options[0] != kOptionEnd) {
    if (options[0] == kOptionPad) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2 || options.size() < size_t{2} + options[1]) return std::nullopt;
    if (options[0] == kOptionMessageType) {
      return options[1] == 1 ? std::optional<uint8_t>(options[2]) : std::nullopt;
    }
    options = options.subspan(size_t{2} + options[1]);
  }
  return std::nullopt;
}

}  // namespace

bool ParseDhcpAck(std::span<const uint8_t> frame, bool checksum, DhcpAck& out) {
  PacketView packet;
  if (!ParsePacket(frame, packet) || packet.l3 != PacketView::L3::kIpv4 ||
      packet.l4 != PacketView::L4::kUdp || packet.l3_offset != kEthernetHeaderSize) {
    return false;
  }
  const uint8_t* udp = frame.data() + packet.l4_offset;
  if (LoadBe16(udp) != kServerPort || LoadBe16(udp + 2) != kClientPort) return false;
  const size_t length = LoadBe16(udp + 4);
  if (length < kUdpSize + kFixedSize + kCookie.size() || length > frame.size() - packet.l4_offset ||
      packet.l4_offset + length > size_t{packet.l3_offset} + packet.ip_length) {
    return false;
  }
  const std::span<const uint8_t> datagram(udp, length);
  if (checksum && LoadBe16(udp + 6) != 0) {
    const uint8_t* ip = frame.data() + packet.l3_offset;
    const uint64_t pseudo =
        PseudoHeaderSum({ip + 12, 4}, {ip + 16, 4}, kProtocolUdp, static_cast<uint32_t>(length));
    if (ChecksumFinish(ChecksumAdd(datagram, pseudo)) != 0) return false;
  }
  const std::span<const uint8_t> message = datagram.subspan(kUdpSize);
  if (message[0] != kBootReply || message[1] != kEthernet || message[2] != MacAddress::kSize ||
      !std::equal(kCookie.begin(), kCookie.end(), message.begin() + kFixedSize) ||
      MessageType(message.subspan(kFixedSize + kCookie.size())) != kAck) {
    return false;
  }
  const DhcpAck ack{.address = IpAddress::FromWire(message.subspan(kYiaddr, 4)),
                    .client = MacAddress::FromWire(&message[kChaddr])};
  // The answer to DHCPINFORM assigns no address (RFC 2131, section 4.3.5).
  if (ack.address.IsUnspecified() || ack.address.IsMulticast() || !ack.client.IsStation()) {
    return false;
  }
  out = ack;
  return true;
}

}  // namespace vxvde
