// Bytes written by hand from RFC 1112, 2236, 3376 (IGMP), 2710, 3810 (MLD) and 7761 (PIM).

#include "plugin/wire/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"

namespace vxvde {
namespace {

using Bytes = std::vector<uint8_t>;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

Bytes Hex(const std::string& text) {
  const std::string bytes = absl::HexStringToBytes(absl::StrReplaceAll(text, {{" ", ""}}));
  return Bytes(bytes.begin(), bytes.end());
}

constexpr MacAddress kAgent({0x02, 0x00, 0x5e, 0x10, 0x00, 0x01});
const IpAddress kHost = IpAddress::V4(192, 0, 2, 7);
const IpAddress kGroup = IpAddress::V4(233, 252, 0, 1);
const IpAddress kGroup6 = *IpAddress::Parse("ff0e::101");

// A packet from 192.0.2.7 with a router alert, made from the group's MAC, the variable part of the
// IPv4 header, and the message.
const std::string kIgmpV1Report =
    "01005e7c0001 02005e100002 0800  46c0 0020 0000 4000 01 02 3813 c0000207 e9fc0001 94040000"
    "12 00 0402 e9fc0001";
const std::string kIgmpV2Report =
    "01005e7c0001 02005e100002 0800  46c0 0020 0000 4000 01 02 3813 c0000207 e9fc0001 94040000"
    "16 00 0002 e9fc0001";
const std::string kIgmpLeave =
    "01005e000002 02005e100002 0800  46c0 0020 0000 4000 01 02 420e c0000207 e0000002 94040000"
    "17 00 ff01 e9fc0001";
const std::string kIgmpV1Query =
    "01005e000001 02005e100002 0800  46c0 0020 0000 4000 01 02 420f c0000207 e0000001 94040000"
    "11 00 eeff 00000000";
const std::string kIgmpV2Query =
    "01005e000001 02005e100002 0800  46c0 0020 0000 4000 01 02 420f c0000207 e0000001 94040000"
    "11 64 ee9b 00000000";
const std::string kIgmpV3GroupQuery =  // one source
    "01005e7c0001 02005e100002 0800  46c0 0028 0000 4000 01 02 380b c0000207 e9fc0001 94040000"
    "11 0a d83c e9fc0001 02 7d 0001 c6336409";
const std::string kIgmpV3Report =
    "01005e000016 02005e100002 0800  46c0 0068 0000 4000 01 02 41b2 c0000207 e0000016 94040000"
    "22 00 3d99 0000 0007"
    "04 00 0000 e9fc0001"                    // changes to: all but none
    "01 00 0001 e9fc0002 c6336409"           // is: one source
    "03 00 0000 e9fc0003"                    // changes to: no source
    "06 00 0001 e9fc0004 c6336409"           // one source less
    "05 01 0001 e9fc0005 c6336409 deadbeef"  // one source more, auxiliary data
    "02 00 0000 e9fc0006"                    // is: all but none
    "09 00 0000 e9fc0007";                   // a type that does not exist
const std::string kPimHello =
    "01005e00000d 02005e100002 0800  45c0 001e 0000 4000 01 67 d6a4 c0000207 e000000d"
    "20 00 df93 0001 0002 0069";

// From fe80::5eff:fe10:1 with the router alert.
const std::string kMldV1Report =
    "333300000101 02005e100001 86dd  60000000 0020 00 01 fe80000000000000 00005efffe100001"
    "ff0e0000000000000000000000000101 3a00 0502 0000 0100"
    "83 00 20fb 0000 0000 ff0e0000000000000000000000000101";
const std::string kMldDone =
    "333300000002 02005e100001 86dd  60000000 0020 00 01 fe80000000000000 00005efffe100001"
    "ff020000000000000000000000000002 3a00 0502 0000 0100"
    "84 00 2106 0000 0000 ff0e0000000000000000000000000101";
const std::string kMldV1Query =
    "333300000001 02005e100001 86dd  60000000 0020 00 01 fe80000000000000 00005efffe100001"
    "ff020000000000000000000000000001 3a00 0502 0000 0100"
    "82 00 fc06 2710 0000 00000000000000000000000000000000";
const std::string kMldV2Report =
    "333300000016 02005e100001 86dd  60000000 0038 00 01 fe80000000000000 00005efffe100001"
    "ff020000000000000000000000000016 3a00 0502 0000 0100"
    "8f 00 0ec7 0000 0002"
    "04 00 0000 ff0e0000000000000000000000000101"
    "03 00 0000 ff0e0000000000000000000000000102";

Membership Parsed(const std::string& hex) {
  Membership out;
  EXPECT_TRUE(ParseMembership(Hex(hex), true, out)) << hex;
  return out;
}

std::string Records(const Membership& message) {
  std::string out;
  for (const auto& record : message.records) {
    out += (record.joined ? "+" : "-") + record.group.ToString() + " ";
  }
  return out;
}

TEST(ParseMembership, ReportsOfEachVersion) {
  for (const auto& [hex, records] : std::vector<std::pair<std::string, std::string>>{
           {kIgmpV1Report, "+233.252.0.1 "},
           {kIgmpV2Report, "+233.252.0.1 "},
           {kIgmpLeave, "-233.252.0.1 "},
           {kIgmpV3Report,
            "+233.252.0.1 +233.252.0.2 -233.252.0.3 -233.252.0.4 +233.252.0.5 +233.252.0.6 "},
           {kMldV1Report, "+ff0e::101 "},
           {kMldDone, "-ff0e::101 "},
           {kMldV2Report, "+ff0e::101 -ff0e::102 "}}) {
    const Membership message = Parsed(hex);
    EXPECT_EQ(message.kind, Membership::Kind::kReport) << hex;
    EXPECT_EQ(Records(message), records) << hex;
  }
  EXPECT_EQ(Parsed(kIgmpV1Report).source, kHost);
}

TEST(ParseMembership, QueriesOfEachVersion) {
  for (const auto& [hex, response] : std::vector<std::pair<std::string, Duration>>{
           {kIgmpV1Query, 10s}, {kIgmpV2Query, 10s}, {kMldV1Query, 10s}}) {
    const Membership message = Parsed(hex);
    EXPECT_EQ(message.kind, Membership::Kind::kQuery) << hex;
    EXPECT_FALSE(message.group.has_value()) << hex;
    EXPECT_EQ(message.response, response) << hex;
    EXPECT_FALSE(message.of_agent) << hex;
  }
  const Membership of_group = Parsed(kIgmpV3GroupQuery);
  EXPECT_EQ(of_group.group, kGroup);
  EXPECT_EQ(of_group.response, 1s);
}

// RFC 3376, section 4.1.1, and RFC 3810, section 5.1.3: from 128 and 32768 on, a floating-point
// value.
TEST(ParseMembership, LongResponseTimesHaveAnExponent) {
  Bytes igmp = BuildQuery(false, kAgent, 1s, 125s);
  Membership message;
  igmp[14 + 24 + 1] = 0x8a;  // 1 000 1010: (10 | 16) << 3
  ASSERT_TRUE(ParseMembership(igmp, false, message));
  EXPECT_EQ(message.response, 208 * 100ms);
  igmp[14 + 24 + 1] = 0xff;
  ASSERT_TRUE(ParseMembership(igmp, false, message));
  EXPECT_EQ(message.response, 31744 * 100ms);

  Bytes mld = BuildQuery(true, kAgent, 1s, 125s);
  mld[14 + 40 + 8 + 4] = 0x80;
  mld[14 + 40 + 8 + 5] = 0x01;  // (1 | 0x1000) << 3
  ASSERT_TRUE(ParseMembership(mld, false, message));
  EXPECT_EQ(message.response, 32776ms);
}

TEST(ParseMembership, RoutersThatSpeakPimAreKnownByTheirHello) {
  EXPECT_EQ(Parsed(kPimHello).kind, Membership::Kind::kRouter);
  Bytes join = Hex(kPimHello);
  join[34] = 0x23;  // Join/Prune
  Membership message;
  EXPECT_FALSE(ParseMembership(join, false, message));
}

TEST(ParseMembership, AWrongChecksumIsRefusedUnlessItIsYetToCome) {
  for (const std::string& hex :
       {kIgmpV1Report, kIgmpV2Report, kIgmpLeave, kIgmpV2Query, kIgmpV3Report, kPimHello,
        kMldV1Report, kMldDone, kMldV1Query, kMldV2Report}) {
    Bytes frame = Hex(hex);
    // The checksum of IGMP and PIM is 2 bytes into the message, that of MLD 2 bytes after the
    // options.
    const size_t header = hex == kPimHello ? 34 : frame[12] == 0x86 ? 62 : 38;
    frame[header + 2] ^= 0x40;
    Membership message;
    EXPECT_FALSE(ParseMembership(frame, true, message)) << hex;
    EXPECT_TRUE(ParseMembership(frame, false, message)) << hex;
  }
  Bytes frame = Hex(kIgmpV2Report);
  frame[14 + 8] = 2;  // TTL: the checksum of the IPv4 header is always complete
  Membership message;
  EXPECT_FALSE(ParseMembership(frame, false, message));
}

TEST(ParseMembership, WhatHostsRefuseIsRefused) {
  const auto refused = [](Bytes frame) {
    Membership message;
    return !ParseMembership(frame, false, message);
  };
  Bytes far = Hex(kMldV1Query);
  far[14 + 7] = 2;  // hop limit
  EXPECT_TRUE(refused(far));
  Bytes global = Hex(kMldV1Query);
  global[14 + 8] = 0x20;  // the source address
  EXPECT_TRUE(refused(global));
  Bytes quiet = Hex(kMldV1Query);
  quiet[54 + 2] = 1;  // padding in place of the router alert
  EXPECT_TRUE(refused(quiet));
  // RFC 4541, section 3: a report may come before its sender has an address.
  Bytes early = Hex(kMldV1Report);
  std::fill_n(early.begin() + 14 + 8, 16, uint8_t{0});
  EXPECT_FALSE(refused(early));
  Bytes fragment = Hex(kIgmpV2Report);
  fragment[14 + 6] = 0x20;
  fragment[14 + 10] = 0x58;  // the header's checksum, adjusted
  EXPECT_TRUE(refused(fragment));
}

TEST(ParseMembership, NothingIsReadBeyondTheEnd) {
  for (const std::string& hex : {kIgmpV2Report, kIgmpV2Query, kIgmpV3Report, kIgmpV3GroupQuery,
                                 kMldV1Report, kMldV2Report, kPimHello}) {
    const Bytes whole = Hex(hex);
    for (size_t size = 0; size < whole.size(); ++size) {
      Membership message;
      const Bytes cut(whole.begin(), whole.begin() + static_cast<long>(size));
      EXPECT_FALSE(ParseMembership(cut, false, message)) << size << " bytes of " << hex;
    }
  }
  Bytes more = Hex(kIgmpV3Report);
  more[14 + 24 + 7] = 8;  // records
  Membership message;
  EXPECT_FALSE(ParseMembership(more, false, message));
  Bytes sources = Hex(kIgmpV3GroupQuery);
  sources[14 + 24 + 11] = 2;
  EXPECT_FALSE(ParseMembership(sources, false, message));
}

TEST(BuildQuery, IsWhatTheRfcsAndTheProtocolDocumentSay) {
  const Bytes igmp = BuildQuery(false, kAgent, 1s, 125s);
  EXPECT_EQ(igmp, Hex("01005e000001 02005e100001 0800"
                      "46c0 002c 0000 4000 01 02 040b 00000000 e0000001 94040000"
                      "11 0a 9a9a 00000000 02 7d 0000 7678766465010000 0000"));
  const Bytes mld = BuildQuery(true, kAgent, 1s, 125s);
  EXPECT_EQ(mld, Hex("333300000001 02005e100001 86dd"
                     "60000000 002c 00 01 fe80000000000000 00005efffe100001"
                     "ff020000000000000000000000000001 3a00 0502 0000 0100"
                     "82 00 cac7 03e8 0000 00000000000000000000000000000000 02 7d 0000"
                     "7678766465010000"));
  for (const Bytes& frame : {igmp, mld}) {
    Membership message;
    ASSERT_TRUE(ParseMembership(frame, true, message));
    EXPECT_TRUE(message.of_agent);
    EXPECT_FALSE(message.group.has_value());
    EXPECT_EQ(message.response, 1s);
  }
}

TEST(GroupOf, AddressAndMacMustBelongTogether) {
  EXPECT_EQ(GroupOf(Hex(kIgmpV2Report)), kGroup);
  EXPECT_EQ(GroupOf(Hex(kMldV1Report)), kGroup6);
  Bytes other = Hex(kIgmpV2Report);
  other[3] = 0x7d;
  EXPECT_EQ(GroupOf(other), std::nullopt);
  // A MAC address contains 23 bits of an IPv4 group: 239.124.0.1 has the same one.
  Bytes same = Hex(kIgmpV2Report);
  same[14 + 16] = 239;
  same[14 + 17] = 124;
  EXPECT_EQ(GroupOf(same), IpAddress::V4(239, 124, 0, 1));
  Bytes broadcast = Hex(kIgmpV2Report);
  std::fill_n(broadcast.begin(), 6, uint8_t{0xff});
  EXPECT_EQ(GroupOf(broadcast), std::nullopt);
  Bytes unicast = Hex(kIgmpV2Report);
  unicast[14 + 16] = 192;
  EXPECT_EQ(GroupOf(unicast), std::nullopt);
  EXPECT_EQ(GroupOf(Hex("ffffffffffff 02005e100002 0806 0001")), std::nullopt);
}

}  // namespace
}  // namespace vxvde
