// Bytes written by hand from RFC 826, 5227 and 4861.

#include "plugin/wire/announce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin/wire/checksum.h"

namespace vxvde {
namespace {

using testing::ElementsAreArray;

const MacAddress kMac({0x02, 0x00, 0x5e, 0x10, 0x00, 0x01});

TEST(BuildAnnouncement, Ipv4IsAnArpRequestForItself) {
  const std::vector<uint8_t> expected = {
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff,              // to all
      0x02, 0x00, 0x5e, 0x10, 0x00, 0x01, 0x08, 0x06,  // from the station, ARP
      0x00, 0x01, 0x08, 0x00, 6,    4,    0x00, 0x01,  // Ethernet, IPv4, request
      0x02, 0x00, 0x5e, 0x10, 0x00, 0x01,              // sender
      192,  0,    2,    7,                             //
      0,    0,    0,    0,    0,    0,                 // target
      192,  0,    2,    7,                             //
      0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  ASSERT_EQ(expected.size(), 60u);
  EXPECT_THAT(BuildAnnouncement(kMac, IpAddress::V4(192, 0, 2, 7)), ElementsAreArray(expected));
}

TEST(BuildAnnouncement, Ipv6IsAnUnsolicitedAdvertisement) {
  const std::vector<uint8_t> expected = {
      0x33, 0x33, 0,    0,    0,    1,                 // all nodes
      0x02, 0x00, 0x5e, 0x10, 0x00, 0x01, 0x86, 0xdd,  // from the station, IPv6
      0x60, 0,    0,    0,    0,    32,   58,   255,   // 32 of ICMPv6, hop limit
      0x20, 0x01, 0x0d, 0xb8, 0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 7,  // source
      0xff, 0x02, 0,    0,    0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 1,  // destination
      136,  0,    0x9b, 0x0e,  // type, code, checksum
      0x20, 0,    0,    0,     // override alone
      0x20, 0x01, 0x0d, 0xb8, 0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 7,  // target
      2,    1,    0x02, 0x00, 0x5e, 0x10, 0x00, 0x01};                         // link-layer address
  EXPECT_THAT(BuildAnnouncement(kMac, IpAddress::Parse("2001:db8::7").value()),
              ElementsAreArray(expected));
}

TEST(BuildAnnouncement, TheChecksumHoldsForAnyAddress) {
  for (const char* text : {"fe80::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "::1"}) {
    const std::vector<uint8_t> frame = BuildAnnouncement(kMac, IpAddress::Parse(text).value());
    ASSERT_EQ(frame.size(), 14u + 40 + 32);
    const std::span<const uint8_t> ip = std::span(frame).subspan(14);
    const uint64_t pseudo = PseudoHeaderSum(ip.subspan(8, 16), ip.subspan(24, 16), 58, 32);
    EXPECT_EQ(ChecksumFold(ChecksumAdd(ip.subspan(40), pseudo)), 0xffff) << text;
  }
}

}  // namespace
}  // namespace vxvde
