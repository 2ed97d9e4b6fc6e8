// Bytes written by hand from RFC 826, 5227, 4861 and 4862.

#include "plugin/wire/neighbour.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin/wire/announce.h"

namespace vxvde {
namespace {

using Bytes = std::vector<uint8_t>;
using testing::ElementsAreArray;

const MacAddress kOurs({0x02, 0x00, 0x5e, 0x10, 0x00, 0x01});
const MacAddress kTheirs({0x02, 0x00, 0x5e, 0x10, 0x00, 0x02});
const MacAddress kPod({0x02, 0x00, 0x5e, 0x10, 0x00, 0x03});
const IpAddress kV4 = IpAddress::V4(192, 0, 2, 7);
const IpAddress kV6 = *IpAddress::Parse("2001:db8::7");
constexpr AgentMark kClaim{.kind = AgentMark::Kind::kClaim, .beat = 0x01020304};

// A probe of 02:00:5e:10:00:02, as `arping -D 192.0.2.7` sends it: RFC 5227, section 2.1.1.
const Bytes kArpProbe = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x00, 0x5e, 0x10, 0x00,
                         0x02, 0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 6,    4,    0x00, 0x01,
                         0x02, 0x00, 0x5e, 0x10, 0x00, 0x02, 0,    0,    0,    0,    0,
                         0,    0,    0,    0,    0,    192,  0,    2,    7};

// The probe that Linux sends before it uses 2001:db8::7: RFC 4862, section 5.4.2, with a nonce (RFC
// 7527).
const Bytes kSolicitation = {
    0x33, 0x33, 0xff, 0x00, 0x00, 0x07,              // solicited-node multicast
    0x02, 0x00, 0x5e, 0x10, 0x00, 0x02, 0x86, 0xdd,  //
    0x60, 0,    0,    0,    0,    32,   58,   255,   //
    0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0, 0, 0,    0, 0, 0,  // ::
    0xff, 0x02, 0,    0,    0,    0,    0,    0,    0, 0, 0, 1, 0xff, 0, 0, 7,
    135,  0,    0,    0,    0,    0,    0,    0,  // checksum not set
    0x20, 0x01, 0x0d, 0xb8, 0,    0,    0,    0,    0, 0, 0, 0, 0,    0, 0, 7,
    14,   1,    1,    2,    3,    4,    5,    6};

TEST(ParseNeighbour, ProbesOfOrdinaryHosts) {
  Neighbour message;
  ASSERT_TRUE(ParseNeighbour(kArpProbe, true, message));
  EXPECT_EQ(message.kind, Neighbour::Kind::kProbe);
  EXPECT_EQ(message.address, kV4);
  EXPECT_EQ(message.mac, kTheirs);
  EXPECT_FALSE(message.asker.has_value());
  EXPECT_FALSE(message.mark.has_value());

  EXPECT_FALSE(ParseNeighbour(kSolicitation, /*checksum=*/true, message)) << "it is wrong";
  ASSERT_TRUE(ParseNeighbour(kSolicitation, /*checksum=*/false, message));
  EXPECT_EQ(message.kind, Neighbour::Kind::kProbe);
  EXPECT_EQ(message.address, kV6);
  EXPECT_EQ(message.mac, kTheirs);
  EXPECT_FALSE(message.mark.has_value());
}

TEST(ParseNeighbour, AnnouncementsSayWhereAnAddressIs) {
  for (const IpAddress& address : {kV4, kV6}) {
    Neighbour message;
    ASSERT_TRUE(ParseNeighbour(BuildAnnouncement(kTheirs, address), true, message));
    EXPECT_EQ(message.kind, Neighbour::Kind::kHas);
    EXPECT_EQ(message.address, address);
    EXPECT_EQ(message.mac, kTheirs);
  }
}

TEST(ParseNeighbour, AQuestionSaysWhoAsks) {
  Bytes frame = kArpProbe;
  frame[28] = 192, frame[30] = 2, frame[31] = 9;
  Neighbour message;
  ASSERT_TRUE(ParseNeighbour(frame, true, message));
  EXPECT_EQ(message.kind, Neighbour::Kind::kAsk);
  EXPECT_EQ(message.address, kV4);
  EXPECT_EQ(message.asker, IpAddress::V4(192, 0, 2, 9));
}

TEST(ParseNeighbour, RefusesWhatIsMalformed) {
  Neighbour message;
  for (const Bytes& whole : {kArpProbe, kSolicitation}) {
    for (size_t size = 0; size < whole.size(); ++size) {
      EXPECT_FALSE(ParseNeighbour(std::span(whole).first(size), false, message)) << size;
    }
  }
  const auto refused = [&](Bytes frame, size_t at, uint8_t value) {
    frame[at] = value;
    EXPECT_FALSE(ParseNeighbour(frame, false, message)) << "byte " << at << " = " << int{value};
  };
  refused(kArpProbe, 13, 0x00);      // another ethertype
  refused(kArpProbe, 17, 0x06);      // ARP for another protocol
  refused(kArpProbe, 21, 8);         // InARP
  refused(kArpProbe, 22, 0x01);      // a group as sender
  refused(kSolicitation, 20, 17);    // UDP
  refused(kSolicitation, 21, 64);    // a router forwarded it
  refused(kSolicitation, 54, 134);   // a router's advertisement
  refused(kSolicitation, 55, 1);     // code
  refused(kSolicitation, 62, 0xff);  // a group as target
  refused(kSolicitation, 78, 1);     // a link-layer address from ::
  refused(kSolicitation, 79, 0);     // an option of no length
  refused(kSolicitation, 79, 2);     // an option beyond the end
}

TEST(BuildProbe, IsAProbeToOthersAndCarriesTheMark) {
  Bytes expected = kArpProbe;
  for (const size_t at : {11, 27}) expected[at] = 0x01;  // a MAC of the agent
  for (const uint8_t byte : {'v', 'x', 'v', 'd', 'e', '\1', '\1', '\2', '\3', '\4'}) {
    expected.push_back(byte);
  }
  expected.resize(60);
  EXPECT_THAT(BuildProbe(kOurs, kV4, kClaim), ElementsAreArray(expected));
  for (const IpAddress& address : {kV4, kV6}) {
    Neighbour message;
    ASSERT_TRUE(ParseNeighbour(BuildProbe(kOurs, address, kClaim), true, message));
    EXPECT_EQ(message.kind, Neighbour::Kind::kProbe);
    EXPECT_EQ(message.address, address);
    EXPECT_EQ(message.mac, kOurs);
    EXPECT_EQ(message.mark, kClaim);
  }
  const Bytes v6 = BuildProbe(kOurs, kV6, kClaim);
  EXPECT_THAT(std::span(v6).first(6), ElementsAreArray({0x33, 0x33, 0xff, 0, 0, 7}));
}

TEST(BuildAnswer, NamesTheHolderToWhomAsked) {
  constexpr AgentMark kHold{.kind = AgentMark::Kind::kHold, .beat = 9};
  Neighbour question;
  ASSERT_TRUE(ParseNeighbour(kArpProbe, true, question));
  const Bytes arp = BuildAnswer(kOurs, kPod, question, kHold);
  EXPECT_THAT(std::span(arp).first(6), ElementsAreArray(kTheirs.bytes()));
  Neighbour answer;
  ASSERT_TRUE(ParseNeighbour(arp, true, answer));
  EXPECT_EQ(answer.kind, Neighbour::Kind::kHas);
  EXPECT_EQ(answer.address, kV4);
  EXPECT_EQ(answer.mac, kPod);
  EXPECT_EQ(answer.source, kOurs);

  ASSERT_TRUE(ParseNeighbour(kSolicitation, false, question));
  const Bytes nd = BuildAnswer(kOurs, kPod, question, kHold);
  EXPECT_THAT(std::span(nd).first(6), ElementsAreArray({0x33, 0x33, 0, 0, 0, 1}))
      << "who has no address yet hears all nodes";
  ASSERT_TRUE(ParseNeighbour(nd, true, answer));
  EXPECT_EQ(answer.kind, Neighbour::Kind::kHas);
  EXPECT_EQ(answer.mac, kPod);
  EXPECT_EQ(answer.mark, kHold);
}

TEST(BuildHolds, IsAnAnnouncement) {
  for (const IpAddress& address : {kV4, kV6}) {
    Neighbour message;
    ASSERT_TRUE(ParseNeighbour(BuildHolds(kOurs, kPod, address, kClaim), true, message));
    EXPECT_EQ(message.kind, Neighbour::Kind::kHas);
    EXPECT_EQ(message.address, address);
    EXPECT_EQ(message.mac, kPod);
    EXPECT_EQ(message.source, kOurs);
  }
}

}  // namespace
}  // namespace vxvde
