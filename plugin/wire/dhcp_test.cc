#include "plugin/wire/dhcp.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "gtest/gtest.h"
#include "plugin/wire/checksum.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kUdp = 14 + 20;
constexpr size_t kDhcp = kUdp + 8;
constexpr size_t kOptions = kDhcp + 240;

void Checksum(Bytes& frame) {
  const size_t length = frame.size() - kUdp;
  StoreBe16(&frame[16], static_cast<uint16_t>(frame.size() - 14));
  StoreBe16(&frame[kUdp + 4], static_cast<uint16_t>(length));
  StoreBe16(&frame[kUdp + 6], 0);
  const uint64_t pseudo = PseudoHeaderSum({&frame[26], 4}, {&frame[30], 4}, kProtocolUdp,
                                          static_cast<uint32_t>(length));
  StoreBe16(&frame[kUdp + 6], ChecksumFinish(ChecksumAdd({&frame[kUdp], length}, pseudo)));
}

// RFC 2131, figure 1 and table 3: DHCPACK of 192.0.2.77 to 02:00:5e:10:00:07, broadcast.
Bytes Ack() {
  Bytes frame(kOptions, 0);
  std::fill_n(frame.begin(), 6, 0xff);
  const uint8_t server[] = {2, 0, 0x5e, 0x10, 0, 1};
  std::copy(std::begin(server), std::end(server), frame.begin() + 6);
  StoreBe16(&frame[12], kEtherTypeIpv4);
  frame[14] = 0x45;
  frame[22] = 64;
  frame[23] = kProtocolUdp;
  const uint8_t addresses[] = {192, 0, 2, 1, 255, 255, 255, 255};
  std::copy(std::begin(addresses), std::end(addresses), frame.begin() + 26);
  StoreBe16(&frame[kUdp], 67);
  StoreBe16(&frame[kUdp + 2], 68);
  frame[kDhcp] = 2;  // op
  frame[kDhcp + 1] = 1;
  frame[kDhcp + 2] = 6;
  const uint8_t yiaddr[] = {192, 0, 2, 77};
  std::copy(std::begin(yiaddr), std::end(yiaddr), frame.begin() + kDhcp + 16);
  const uint8_t chaddr[] = {2, 0, 0x5e, 0x10, 0, 7};
  std::copy(std::begin(chaddr), std::end(chaddr), frame.begin() + kDhcp + 28);
  const uint8_t cookie[] = {0x63, 0x82, 0x53, 0x63};
  std::copy(std::begin(cookie), std::end(cookie), frame.begin() + kDhcp + 236);
  // A pad option, the lease time, the message type, the end option.
  const uint8_t options[] = {0, 51, 4, 0, 0, 0x0e, 0x10, 53, 1, 5, 255};
  for (const uint8_t byte : options) frame.push_back(byte);
  Checksum(frame);
  return frame;
}

TEST(ParseDhcpAckTest, SaysWhoGotWhat) {
  DhcpAck ack;
  ASSERT_TRUE(ParseDhcpAck(Ack(), true, ack));
  EXPECT_EQ(ack.address, IpAddress::V4(192, 0, 2, 77));
  EXPECT_EQ(ack.client, MacAddress({2, 0, 0x5e, 0x10, 0, 7}));
  Bytes without = Ack();
  StoreBe16(&without[kUdp + 6], 0);
  EXPECT_TRUE(ParseDhcpAck(without, true, ack)) << "a server need not write a checksum";
  Bytes padded = Ack();
  padded.resize(padded.size() + 30);
  EXPECT_TRUE(ParseDhcpAck(padded, true, ack));
}

TEST(ParseDhcpAckTest, OtherFramesAreOfAnotherKind) {
  const std::vector<std::pair<const char*, std::function<void(Bytes&)>>> changes = {
      {"an offer", [](Bytes& f) { f[kOptions + 9] = 2; }},
      {"a request", [](Bytes& f) { f[kDhcp] = 1; }},
      {"to the server", [](Bytes& f) { StoreBe16(&f[kUdp + 2], 67); }},
      {"from another port", [](Bytes& f) { StoreBe16(&f[kUdp], 53); }},
      {"InfiniBand", [](Bytes& f) { f[kDhcp + 1] = 32; }},
      {"a long hardware address", [](Bytes& f) { f[kDhcp + 2] = 8; }},
      {"no address, as for DHCPINFORM", [](Bytes& f) { std::fill_n(&f[kDhcp + 16], 4, 0); }},
      {"a group's hardware address", [](Bytes& f) { f[kDhcp + 28] = 3; }},
      {"BOOTP", [](Bytes& f) { f[kDhcp + 236] = 0; }},
      {"no type", [](Bytes& f) { f[kOptions + 7] = 54; }},
      {"an empty type", [](Bytes& f) { f[kOptions + 8] = 0; }},
      {"an option beyond the end", [](Bytes& f) { f[kOptions + 2] = 200; }},
      {"nothing after the end", [](Bytes& f) { f[kOptions] = 255; }},
  };
  for (const auto& [what, change] : changes) {
    Bytes frame = Ack();
    change(frame);
    Checksum(frame);
    DhcpAck ack{.address = IpAddress::V4(203, 0, 113, 1), .client = {}};
    EXPECT_FALSE(ParseDhcpAck(frame, true, ack)) << what;
    EXPECT_EQ(ack.address, IpAddress::V4(203, 0, 113, 1)) << what;
  }
  DhcpAck ack;
  Bytes broken = Ack();
  broken[kDhcp + 19] ^= 1;
  EXPECT_FALSE(ParseDhcpAck(broken, true, ack)) << "its checksum is wrong";
  EXPECT_TRUE(ParseDhcpAck(broken, false, ack)) << "not finished yet";
  const Bytes whole = Ack();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ParseDhcpAck(std::span(whole).first(size), false, ack)) << size;
  }
}

}  // namespace
}  // namespace vxvde
