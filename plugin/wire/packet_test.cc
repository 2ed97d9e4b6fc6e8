// Packets are built field by field from RFC 791, 8200, 9293 and 768.

#include "plugin/wire/packet.h"

#include <gtest/gtest.h>

#include <vector>

namespace vxvde {
namespace {

using L3 = PacketView::L3;
using L4 = PacketView::L4;
using Bytes = std::vector<uint8_t>;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes Ethernet(Bytes types) {
  return Bytes{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0x5e, 0x10, 0, 1} + types;
}
const Bytes kIpv4Type = {0x08, 0x00};
const Bytes kIpv6Type = {0x86, 0xdd};
const Bytes kVlanTag = {0x81, 0x00, 0x00, 0x07};
const Bytes kServiceTag = {0x88, 0xa8, 0x00, 0x08};

// `words`: 32-bit words of header, 5 without options.
Bytes Ipv4(uint8_t protocol, uint16_t total, uint8_t words = 5, uint16_t fragment = 0x4000) {
  Bytes h(size_t{words} * 4);
  if (h.size() < 20) h.resize(20);
  h[0] = static_cast<uint8_t>(0x40 | words);
  StoreBe16(&h[2], total);
  StoreBe16(&h[6], fragment);
  h[8] = 64;
  h[9] = protocol;
  return h;
}
Bytes Ipv6(uint8_t next, uint16_t payload) {
  Bytes h(40);
  h[0] = 0x60;
  StoreBe16(&h[4], payload);
  h[6] = next;
  h[7] = 64;
  return h;
}
Bytes Tcp(uint8_t words = 5) {
  Bytes h(size_t{words} * 4);
  if (h.size() < 20) h.resize(20);
  h[12] = static_cast<uint8_t>(words << 4);
  return h;
}
Bytes Udp() { return Bytes(8); }

TEST(ParsePacket, FindsTcpOverIpv4) {
  const Bytes frame = Ethernet(kIpv4Type) + Ipv4(6, 20 + 20 + 100) + Tcp() + Bytes(100);
  PacketView view;
  ASSERT_TRUE(ParsePacket(frame, view));
  EXPECT_EQ(view.ethertype, 0x0800);
  EXPECT_EQ(view.l3, L3::kIpv4);
  EXPECT_EQ(view.l4, L4::kTcp);
  EXPECT_EQ(view.l3_offset, 14);
  EXPECT_EQ(view.l4_offset, 34);
  EXPECT_EQ(view.payload, 54);
  EXPECT_EQ(view.ip_length, 140u);
}

TEST(ParsePacket, FindsOptions) {
  const Bytes frame = Ethernet(kIpv4Type) + Ipv4(6, 60 + 60, 15) + Tcp(15);
  PacketView view;
  ASSERT_TRUE(ParsePacket(frame, view));
  EXPECT_EQ(view.l4_offset, 14 + 60);
  EXPECT_EQ(view.payload, 14 + 60 + 60);
}

TEST(ParsePacket, FindsUdpOverIpv6) {
  const Bytes frame = Ethernet(kIpv6Type) + Ipv6(17, 8 + 5) + Udp() + Bytes(5);
  PacketView view;
  ASSERT_TRUE(ParsePacket(frame, view));
  EXPECT_EQ(view.l3, L3::kIpv6);
  EXPECT_EQ(view.l4, L4::kUdp);
  EXPECT_EQ(view.l4_offset, 54);
  EXPECT_EQ(view.payload, 62);
  EXPECT_EQ(view.ip_length, 53u);
}

TEST(ParsePacket, LooksBehindOneAndTwoVlanTags) {
  PacketView view;
  ASSERT_TRUE(ParsePacket(Ethernet(kVlanTag + kIpv4Type) + Ipv4(17, 28) + Udp(), view));
  EXPECT_EQ(view.l3_offset, 18);
  EXPECT_EQ(view.l4, L4::kUdp);
  ASSERT_TRUE(
      ParsePacket(Ethernet(kServiceTag + kVlanTag + kIpv6Type) + Ipv6(17, 8) + Udp(), view));
  EXPECT_EQ(view.l3_offset, 22);
  EXPECT_EQ(view.l4, L4::kUdp);

  // A third tag is not parsed, so its content is not IP.
  ASSERT_TRUE(ParsePacket(
      Ethernet(kServiceTag + kVlanTag + kVlanTag + kIpv4Type) + Ipv4(17, 28) + Udp(), view));
  EXPECT_EQ(view.ethertype, kEtherTypeVlan);
  EXPECT_EQ(view.l3, L3::kOther);
}

TEST(ParsePacket, OtherKindsAreNoError) {
  PacketView view;
  ASSERT_TRUE(ParsePacket(Ethernet({0x08, 0x06}) + Bytes(28), view));
  EXPECT_EQ(view.ethertype, kEtherTypeArp);
  EXPECT_EQ(view.l3, L3::kOther);
  EXPECT_EQ(view.l4, L4::kOther);

  ASSERT_TRUE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(1, 28) + Bytes(8), view));
  EXPECT_EQ(view.l3, L3::kIpv4);
  EXPECT_EQ(view.l4, L4::kOther);

  // An IPv6 extension header (hop-by-hop) is not followed.
  ASSERT_TRUE(ParsePacket(Ethernet(kIpv6Type) + Ipv6(0, 16) + Bytes(16), view));
  EXPECT_EQ(view.l3, L3::kIpv6);
  EXPECT_EQ(view.l4, L4::kOther);

  ASSERT_TRUE(ParsePacket(Ethernet({0x00, 0x10}), view));  // an 802.3 length
}

TEST(ParsePacket, NoFragmentHasATransportHeader) {
  // First (MF), later (offset) and last fragment, even where the bytes would look like TCP.
  for (const uint16_t fragment : {0x2000, 0x2001, 0x00b9, 0x6000}) {
    PacketView view;
    ASSERT_TRUE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(6, 40, 5, fragment) + Tcp(), view));
    EXPECT_EQ(view.l3, L3::kIpv4);
    EXPECT_EQ(view.l4, L4::kOther) << fragment;
  }
}

TEST(ParsePacket, PaddingAndSuperFramesAreSeenInIpLength) {
  PacketView view;
  ASSERT_TRUE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(17, 28) + Udp() + Bytes(18), view));
  EXPECT_EQ(view.ip_length, 28u);
  ASSERT_TRUE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(6, 0) + Tcp() + Bytes(70000), view));
  EXPECT_EQ(view.ip_length, 0u);
  EXPECT_EQ(view.l4, L4::kTcp);
  ASSERT_TRUE(ParsePacket(Ethernet(kIpv6Type) + Ipv6(6, 0) + Tcp() + Bytes(70000), view));
  EXPECT_EQ(view.ip_length, 40u);
  EXPECT_EQ(view.l4, L4::kTcp);
  ASSERT_TRUE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(6, 1500) + Tcp(), view));  // truncated
  EXPECT_EQ(view.ip_length, 1500u);
}

TEST(ParsePacket, HeadersThatContradictThemselvesAreRefused) {
  PacketView view;
  EXPECT_FALSE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(17, 28, 4) + Udp(), view));   // IHL
  EXPECT_FALSE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(17, 19) + Udp(), view));      // total length
  EXPECT_FALSE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(17, 27) + Udp(), view));      // cuts UDP
  EXPECT_FALSE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(6, 40) + Tcp(4), view));      // data offset
  EXPECT_FALSE(ParsePacket(Ethernet(kIpv4Type) + Ipv4(6, 40) + Tcp(6), view));      // options cut
  EXPECT_FALSE(ParsePacket(Ethernet(kIpv6Type) + Ipv6(6, 19) + Tcp(), view));       // cuts TCP
  EXPECT_FALSE(ParsePacket(Ethernet(kIpv4Type) + Ipv6(17, 8) + Udp(), view));       // version
  EXPECT_FALSE(ParsePacket(Ethernet(kIpv6Type) + Ipv4(17, 60, 10) + Udp(), view));  // version
}

TEST(ParsePacket, EveryPrefixThatCutsAHeaderIsRefusedAndLeavesTheResultAlone) {
  const Bytes frames[] = {
      Ethernet(kIpv4Type) + Ipv4(6, 60 + 60, 15) + Tcp(15),
      Ethernet(kVlanTag + kIpv4Type) + Ipv4(17, 28) + Udp(),
      Ethernet(kServiceTag + kVlanTag + kIpv6Type) + Ipv6(6, 20) + Tcp(),
      Ethernet(kIpv6Type) + Ipv6(17, 8) + Udp(),
  };
  for (const Bytes& frame : frames) {
    for (size_t size = 0; size < frame.size(); ++size) {
      const Bytes cut(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(size));
      PacketView view;
      view.ethertype = 0x1234;
      EXPECT_FALSE(ParsePacket(cut, view)) << size << " of " << frame.size();
      EXPECT_EQ(view.ethertype, 0x1234);
    }
    PacketView view;
    EXPECT_TRUE(ParsePacket(frame, view));
    EXPECT_EQ(view.payload, frame.size());
  }
}

TEST(BigEndian, LoadsWhatItStores) {
  uint8_t bytes[5] = {};
  StoreBe32(bytes + 1, 0x89abcdef);
  EXPECT_EQ(bytes[1], 0x89);
  EXPECT_EQ(bytes[4], 0xef);
  EXPECT_EQ(LoadBe32(bytes + 1), 0x89abcdefu);
  StoreBe16(bytes + 1, 0xfedc);
  EXPECT_EQ(LoadBe16(bytes + 1), 0xfedc);
}

}  // namespace
}  // namespace vxvde
