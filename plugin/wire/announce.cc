// Gratuitous ARP and unsolicited neighbour advertisement, written field by field.

#include "plugin/wire/announce.h"

#include <algorithm>
#include <array>
#include <span>

#include "plugin/base/frame.h"
#include "plugin/wire/checksum.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

constexpr size_t kMinimumFrame = 60;  // IEEE 802.3, without the FCS

void Append(std::vector<uint8_t>& frame, std::span<const uint8_t> bytes) {
  frame.insert(frame.end(), bytes.begin(), bytes.end());
}

void AppendBe16(std::vector<uint8_t>& frame, uint16_t value) {
  frame.push_back(static_cast<uint8_t>(value >> 8));
  frame.push_back(static_cast<uint8_t>(value));
}

void AppendEthernet(std::vector<uint8_t>& frame, const MacAddress& destination,
                    const MacAddress& source, uint16_t ethertype) {
  Append(frame, destination.bytes());
  Append(frame, source.bytes());
  AppendBe16(frame, ethertype);
}

// RFC 826 for the fields, RFC 5227 section 2.3 for their values: an ARP
// announcement is a request with sender and target address alike.
std::vector<uint8_t> ArpAnnouncement(const MacAddress& mac, const IpAddress& address) {
  std::vector<uint8_t> frame;
  frame.reserve(kMinimumFrame);
  AppendEthernet(frame, MacAddress::Broadcast(), mac, kEtherTypeArp);
  AppendBe16(frame, 1);               // hardware: Ethernet
  AppendBe16(frame, kEtherTypeIpv4);  // protocol
  frame.push_back(6);                 // length of a hardware address
  frame.push_back(4);                 // length of a protocol address
  AppendBe16(frame, 1);               // request
  Append(frame, mac.bytes());
  Append(frame, address.wire());
  Append(frame, MacAddress().bytes());  // target: ignored, zero
  Append(frame, address.wire());
  frame.resize(kMinimumFrame);
  return frame;
}

// RFC 4861: section 4.4 for the message, 7.2.6 for its values, 4.6.1 for the option, 7.1.2 for the
// hop limit of 255 that receivers require.
std::vector<uint8_t> NeighbourAdvertisement(const MacAddress& mac, const IpAddress& address) {
  constexpr std::array<uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                                 0,    0,    0, 0, 0, 0, 0, 1};
  const MacAddress all_nodes_mac({0x33, 0x33, 0, 0, 0, 1});  // RFC 2464, section 7
  constexpr uint16_t kMessageSize = 32;
  constexpr size_t kIpv6HeaderSize = 40;
  constexpr size_t kMessage = kEthernetHeaderSize + kIpv6HeaderSize;

  std::vector<uint8_t> frame;
  frame.reserve(kMessage + kMessageSize);
  AppendEthernet(frame, all_nodes_mac, mac, kEtherTypeIpv6);

  Append(frame, std::array<uint8_t, 4>{0x60, 0, 0, 0});  // version 6
  AppendBe16(frame, kMessageSize);
  frame.push_back(kProtocolIcmpv6);
  frame.push_back(255);  // hop limit
  Append(frame, address.wire());
  Append(frame, kAllNodes);

  frame.push_back(136);                                  // neighbour advertisement
  frame.push_back(0);                                    // code
  AppendBe16(frame, 0);                                  // checksum, below
  Append(frame, std::array<uint8_t, 4>{0x20, 0, 0, 0});  // override; not router, not solicited
  Append(frame, address.wire());                         // target
  frame.push_back(2);                                    // option: target link-layer address
  frame.push_back(1);                                    // of 8 bytes
  Append(frame, mac.bytes());

  const uint64_t pseudo = PseudoHeaderSum(address.wire(), kAllNodes, kProtocolIcmpv6, kMessageSize);
  const uint64_t sum = ChecksumAdd(std::span(frame).subspan(kMessage), pseudo);
  StoreBe16(&frame[kMessage + 2], ChecksumFinish(sum));
  return frame;
}

}  // namespace

std::vector<uint8_t> BuildAnnouncement(const MacAddress& mac, const IpAddress& address) {
  return address.is_v4() ? ArpAnnouncement(mac, address) : NeighbourAdvertisement(mac, address);
}

}  // namespace vxvde
