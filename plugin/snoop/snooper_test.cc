#include "plugin/snoop/snooper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using Bytes = std::vector<uint8_t>;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr MacAddress kSelf({0x02, 0, 0, 0, 0, 0x50});  // jitter 80 ms
constexpr MacAddress kLower({0x02, 0, 0, 0, 0, 0x40});
constexpr MacAddress kHigher({0x02, 0, 0, 0, 0, 0x60});
constexpr MacAddress kHost({0x02, 0, 0, 0, 0, 0x07});
constexpr PortId kA{1};
constexpr PortId kB{2};
constexpr PortId kC{3};
const Peer kPeer{IpAddress::V4(192, 0, 2, 1), 40001};
const IpAddress kGroup = IpAddress::V4(233, 252, 0, 1);
const IpAddress kOther = IpAddress::V4(233, 252, 0, 2);
const IpAddress kGroup6 = *IpAddress::Parse("ff0e::101");
const IpAddress kAddress = IpAddress::V4(192, 0, 2, 7);

// An Ethernet frame to a group, with the fields that the snooper reads and without checksums.
Bytes ToGroup(const IpAddress& group, uint8_t protocol, const Bytes& payload,
              const IpAddress& source = kAddress) {
  Bytes frame(14, 0);
  const auto to = group.wire();
  if (group.is_v4()) {
    const Bytes mac = {0x01, 0, 0x5e, static_cast<uint8_t>(to[1] & 0x7f), to[2], to[3]};
    std::copy(mac.begin(), mac.end(), frame.begin());
    frame[12] = 0x08;
    Bytes ip = {0x45, 0, 0, static_cast<uint8_t>(20 + payload.size()), 0, 0, 0, 0, 1, protocol};
    ip.resize(12);
    ip.insert(ip.end(), source.wire().begin(), source.wire().end());
    ip.insert(ip.end(), to.begin(), to.end());
    uint32_t sum = 0;
    for (size_t i = 0; i < ip.size(); i += 2) sum += LoadBe16(&ip[i]);
    StoreBe16(&ip[10], static_cast<uint16_t>(~(sum + (sum >> 16))));
    frame.insert(frame.end(), ip.begin(), ip.end());
  } else {
    frame[0] = frame[1] = 0x33;
    std::copy(to.begin() + 12, to.end(), frame.begin() + 2);
    frame[12] = 0x86;
    frame[13] = 0xdd;
    const Bytes head = {0x60, 0, 0, 0, 0, static_cast<uint8_t>(payload.size()), protocol, 1};
    frame.insert(frame.end(), head.begin(), head.end());
    Bytes from(16, 0);
    if (source.is_v6()) from.assign(source.wire().begin(), source.wire().end());
    frame.insert(frame.end(), from.begin(), from.end());
    frame.insert(frame.end(), to.begin(), to.end());
  }
  std::copy(kHost.bytes().begin(), kHost.bytes().end(), frame.begin() + 6);
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

Bytes Data(const IpAddress& group) { return ToGroup(group, kProtocolUdp, Bytes(32, 0)); }

// One record of IGMPv3 or MLDv2. Types: 1 IS_IN, 2 IS_EX, 3 TO_IN, 4 TO_EX, 6 BLOCK.
Bytes Report(const IpAddress& group, uint8_t type) {
  Bytes message(8, 0);
  message[0] = group.is_v4() ? 0x22 : 143;
  message[7] = 1;
  message.insert(message.end(), {type, 0, 0, 0});
  message.insert(message.end(), group.wire().begin(), group.wire().end());
  return group.is_v4() ? ToGroup(IpAddress::V4(224, 0, 0, 22), 2, message)
                       : ToGroup(*IpAddress::Parse("ff02::16"), kProtocolIcmpv6, message);
}
Bytes Join(const IpAddress& group) { return Report(group, 4); }
Bytes Leave(const IpAddress& group) { return Report(group, 3); }

Bytes V2(uint8_t type, const IpAddress& group) {
  Bytes message = {type, 0, 0, 0};
  message.insert(message.end(), group.wire().begin(), group.wire().end());
  return ToGroup(type == 0x17 ? IpAddress::V4(224, 0, 0, 2) : group, 2, message);
}

Bytes RouterQuery(const IpAddress& source = kAddress, uint8_t response = 100) {
  return ToGroup(IpAddress::V4(224, 0, 0, 1), 2, {0x11, response, 0, 0, 0, 0, 0, 0}, source);
}

class SnooperTest : public testing::Test {
 protected:
  SnooperTest() {
    for (const PortId port : {kA, kB, kC}) snooper_.AddPort(port);
  }

  // The ports that receive it.
  std::vector<PortId> Hear(const Bytes& frame, const Location& from = kPeer) {
    const Snooper::Recipients recipients = snooper_.Hear(frame, false, from);
    std::vector<PortId> out;
    for (const PortId port : {kA, kB, kC}) {
      if (Location(port) != from && snooper_.IsFor(recipients, port)) out.push_back(port);
    }
    return out;
  }
  std::vector<PortId> Receivers(const IpAddress& group = kGroup) { return Hear(Data(group)); }

  // Advances the time second by second.
  std::vector<Snooper::Query> Pass(Duration time) {
    std::vector<Snooper::Query> out;
    for (const Instant end = now_ + time; now_ < end;) {
      now_ += 1s;
      for (const Snooper::Query& question : snooper_.Tick(now_)) out.push_back(question);
    }
    return out;
  }
  // Lets time pass until all ports have been queried and could answer.
  void Settle() { Pass(8s); }
  static size_t ToAll(const std::vector<Snooper::Query>& questions, bool v6 = false) {
    return static_cast<size_t>(
        std::count_if(questions.begin(), questions.end(), [&](const Snooper::Query& question) {
          return !question.port.has_value() && question.v6 == v6;
        }));
  }

  const std::vector<PortId> all_ = {kA, kB, kC};
  Instant now_ = Instant() + 1000s;
  Snooper snooper_{kSelf, now_};
};

TEST_F(SnooperTest, NothingIsWithheldBeforeAPortWasAskedTwiceAndCouldAnswer) {
  Hear(Join(kGroup), kA);
  std::vector<Snooper::Query> asked;
  size_t seconds = 0;
  while (Receivers() == all_) {
    ASSERT_LT(++seconds, 20u);
    for (const auto& question : Pass(1s)) asked.push_back(question);
  }
  EXPECT_THAT(Receivers(), ElementsAre(kA));
  EXPECT_EQ(seconds, 5u);
  ASSERT_EQ(asked.size(), 2u * 2 * 3) << "twice, in two families, three ports";
  for (const auto& question : asked) {
    EXPECT_TRUE(question.port.has_value());
    EXPECT_EQ(question.response, 1s);
  }
  EXPECT_TRUE(Pass(60s).empty()) << "once is enough";

  const PortId late{4};
  snooper_.AddPort(late);
  const auto gets = [&] { return snooper_.IsFor(snooper_.Hear(Data(kGroup), false, kPeer), late); };
  EXPECT_TRUE(gets());
  Settle();
  EXPECT_FALSE(gets());
}

TEST_F(SnooperTest, MembersGetTheirGroupInBothFamilies) {
  Settle();
  for (const IpAddress& group : {kGroup, kGroup6}) {
    EXPECT_THAT(Hear(Join(group), kB), IsEmpty());
    EXPECT_THAT(Receivers(group), ElementsAre(kB));
    EXPECT_THAT(Hear(Data(group), kA), ElementsAre(kB)) << "from another port";
    EXPECT_THAT(Hear(Data(group), kB), IsEmpty());
    Hear(Join(group), kC);
    EXPECT_THAT(Receivers(group), ElementsAre(kB, kC));
  }
  const SnoopState state = snooper_.Snapshot();
  ASSERT_EQ(state.groups.size(), 2u);
  EXPECT_EQ(state.groups[0].group, kGroup);
  EXPECT_THAT(state.groups[0].ports, ElementsAre(kB, kC));
  EXPECT_FALSE(state.groups[0].elsewhere);
  EXPECT_THAT(state.unsure, IsEmpty());
  EXPECT_GT(state.withheld, 0u);
}

TEST_F(SnooperTest, AGroupThatNobodySpeaksOfGoesToAll) {
  Settle();
  EXPECT_EQ(Receivers(), all_);
  Hear(Join(kOther), kA);
  EXPECT_EQ(Receivers(), all_);
}

TEST_F(SnooperTest, AGroupThatIsWantedElsewhereOnlyGoesToNobodyHere) {
  Settle();
  Hear(Join(kGroup), kPeer);
  EXPECT_THAT(Receivers(), IsEmpty());
  EXPECT_TRUE(snooper_.Snapshot().groups[0].elsewhere);
}

TEST_F(SnooperTest, WhatAllHostsNeedIsNeverWithheld) {
  Settle();
  for (const char* text : {"224.0.0.251", "224.0.0.1", "ff02::1", "ff02::fb", "ff02::1:ff00:7",
                           "ff01::1", "ff00::1", "ff12::5"}) {
    const IpAddress group = *IpAddress::Parse(text);
    Hear(Join(group), kA);
    EXPECT_EQ(Receivers(group), all_) << text;
  }
  EXPECT_TRUE(snooper_.Snapshot().groups.empty());
  Hear(Join(kGroup), kA);
  Bytes broadcast = Data(kGroup);
  std::fill_n(broadcast.begin(), 6, uint8_t{0xff});
  EXPECT_EQ(Hear(broadcast), all_);
  Bytes arp(60, 0);
  std::fill_n(arp.begin(), 6, uint8_t{0xff});
  arp[12] = 0x08;
  arp[13] = 0x06;
  EXPECT_EQ(Hear(arp), all_);
}

TEST_F(SnooperTest, ReportsReachRoutersOnlySoThatNobodyFallsSilentAndManyAreNoBurden) {
  Settle();
  EXPECT_THAT(Hear(V2(0x16, kGroup), kA), IsEmpty());
  EXPECT_THAT(Hear(V2(0x12, kOther), kPeer), IsEmpty());
  EXPECT_THAT(Hear(V2(0x17, kGroup), kB), IsEmpty()) << "a leave";
  EXPECT_THAT(Receivers(kGroup), ElementsAre(kA));
  EXPECT_THAT(Hear(Join(kGroup), kA), IsEmpty()) << "of version 3";
  Hear(RouterQuery(), kC);
  EXPECT_THAT(Hear(V2(0x16, kGroup), kA), ElementsAre(kC));
  EXPECT_THAT(Hear(Join(kGroup), kA), ElementsAre(kC));
}

TEST_F(SnooperTest, WhoLeavesIsAskedAndGetsNothingAfterThat) {
  Settle();
  for (const IpAddress& group : {kGroup, kGroup6}) {
    Hear(Join(group), kA);
    Hear(Leave(group), kA);
    EXPECT_THAT(Receivers(group), ElementsAre(kA)) << "another host may be behind the port";
    std::vector<Snooper::Query> asked = Pass(4s);
    ASSERT_EQ(asked.size(), 4u);
    for (const auto& question : asked) EXPECT_EQ(question.port, kA);
    Pass(5s);
    EXPECT_THAT(Receivers(group), IsEmpty()) << "the sender goes on: still to nobody";

    Hear(Join(group), kA);
    Hear(Report(group, 6), kA);  // sources that it does not want
    Pass(3s);
    Hear(Report(group, 2), kA);  // the other host's answer
    Pass(60s);
    EXPECT_THAT(Receivers(group), ElementsAre(kA));
  }
}

TEST_F(SnooperTest, AMembershipEndsUnlessItIsSaidAgain) {
  Settle();
  Hear(Join(kGroup), kA);
  Hear(Join(kGroup), kB);
  Pass(200s);
  Hear(Join(kGroup), kB);
  Pass(79s);
  EXPECT_THAT(Receivers(), ElementsAre(kA, kB));
  Pass(2s);
  EXPECT_THAT(Receivers(), ElementsAre(kB));
  Pass(280s);
  EXPECT_THAT(Receivers(), IsEmpty()) << "a stream that nobody wants any more";
  Pass(300s);
  EXPECT_TRUE(snooper_.Snapshot().groups.empty()) << "and has ended";
  EXPECT_EQ(Receivers(), all_);
}

TEST_F(SnooperTest, RoutersGetEverything) {
  Settle();
  Hear(Join(kGroup), kA);
  Hear(Join(kGroup6), kA);
  Hear(RouterQuery(), kB);
  EXPECT_THAT(Receivers(), ElementsAre(kA, kB));
  EXPECT_THAT(Receivers(kGroup6), ElementsAre(kA)) << "of the one family";
  Hear(ToGroup(*IpAddress::Parse("ff02::d"), 103, {0x20, 0, 0, 0}), kC);
  EXPECT_THAT(Receivers(kGroup6), ElementsAre(kA, kC));
  EXPECT_THAT(snooper_.Snapshot().routers, ElementsAre(kB, kC));
  Pass(256s);
  EXPECT_THAT(Receivers(), ElementsAre(kA));
  // Another snooping switch is not a router.
  Hear(RouterQuery(IpAddress()), kB);
  EXPECT_THAT(Receivers(), ElementsAre(kA));
}

TEST_F(SnooperTest, ItListensFirstAndThenAsksAll) {
  EXPECT_EQ(ToAll(Pass(130s)), 0u);
  const auto quick = Pass(4s);
  EXPECT_EQ(ToAll(quick, false), 2u);
  EXPECT_EQ(ToAll(quick, true), 2u);
  for (const auto& question : quick) EXPECT_EQ(question.response, 1s);
  EXPECT_TRUE(snooper_.Snapshot().querier[0].ours);
  const auto later = Pass(250s);
  EXPECT_EQ(ToAll(later), 2u);
  for (const auto& question : later) EXPECT_EQ(question.response, 10s);
}

TEST_F(SnooperTest, WhileSomebodyAsksItIsSilent) {
  for (int i = 0; i < 5; ++i) {
    Hear(RouterQuery(), kPeer);
    Hear(BuildQuery(true, kHigher, 10s, 125s), kPeer);
    const auto questions = Pass(200s);
    EXPECT_EQ(ToAll(questions, false), 0u);
    EXPECT_EQ(ToAll(questions, true), 0u);
  }
  const SnoopState::Querier querier = snooper_.Snapshot().querier[0];
  EXPECT_FALSE(querier.ours);
  EXPECT_FALSE(querier.is_agent);
  EXPECT_EQ(querier.source, kAddress);
  EXPECT_EQ(querier.where, Location(kPeer));
  EXPECT_EQ(querier.idle, 200s);
  EXPECT_TRUE(snooper_.Snapshot().querier[1].is_agent);
  EXPECT_EQ(ToAll(Pass(54s)), 0u);
  EXPECT_EQ(ToAll(Pass(4s)), 2u) << "255 s after the last one";
}

TEST_F(SnooperTest, OfTwoAgentsTheLowerOneAsksOnAndARouterWinsAlways) {
  Pass(140s);
  ASSERT_TRUE(snooper_.Snapshot().querier[0].ours);
  Hear(BuildQuery(false, kHigher, 10s, 125s), kPeer);
  EXPECT_TRUE(snooper_.Snapshot().querier[0].ours);
  Hear(BuildQuery(false, kLower, 10s, 125s), kPeer);
  EXPECT_FALSE(snooper_.Snapshot().querier[0].ours);
  EXPECT_TRUE(snooper_.Snapshot().querier[1].ours) << "the other family is another matter";
  Pass(260s);
  ASSERT_TRUE(snooper_.Snapshot().querier[0].ours);
  Hear(BuildQuery(false, kSelf, 10s, 125s), kPeer);
  EXPECT_TRUE(snooper_.Snapshot().querier[0].ours) << "our own, by some way round";
  Hear(RouterQuery(), kB);
  EXPECT_FALSE(snooper_.Snapshot().querier[0].ours);
}

TEST_F(SnooperTest, QuestionsThatNotAllHostsAnswerSoonDoNotCount) {
  Bytes elsewhere = RouterQuery();
  elsewhere = ToGroup(kGroup, 2, Bytes(elsewhere.begin() + 34, elsewhere.end()));
  const Bytes slow =
      ToGroup(IpAddress::V4(224, 0, 0, 1), 2, {0x11, 0xff, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0});
  const Bytes of_group = ToGroup(IpAddress::V4(224, 0, 0, 1), 2, {0x11, 10, 0, 0, 233, 252, 0, 1});
  for (const Bytes& frame : {elsewhere, slow, of_group, RouterQuery(IpAddress())}) {
    Hear(frame, kPeer);
  }
  EXPECT_EQ(ToAll(Pass(135s)), 2u);
}

// I4 in time: members that answer queries lose nothing, whichever querier sends them.
TEST_F(SnooperTest, WhoAnswersKeepsItsGroupWhileQueriersComeAndGo) {
  Settle();
  Hear(Join(kGroup), kA);
  Hear(Join(kGroup), kB);
  for (int second = 0; second < 4000; ++second) {
    // A router that queries for ten minutes, and is silent for ten.
    const bool router = second / 600 % 2 == 0 && second % 125 == 0;
    if (router) {
      Hear(RouterQuery(), kPeer);
      Hear(Join(kGroup), kA);
    }
    for (const auto& question : Pass(1s)) {
      if (!question.v6 && (!question.port || *question.port == kA)) Hear(Join(kGroup), kA);
    }
    const auto receivers = Receivers();
    ASSERT_THAT(receivers, testing::Contains(kA)) << "at " << second;
    if (second > 281) {
      ASSERT_THAT(receivers, ElementsAre(kA)) << "B does not answer";
    }
  }
}

TEST_F(SnooperTest, APortWhoseGroupsFindNoRoomGetsEverything) {
  Settle();
  Hear(Join(kGroup), kB);
  for (size_t i = 0; i <= Snooper::kMaxGroupsOfPort; ++i) {
    Hear(Join(IpAddress::V4(239, 1, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i))), kA);
  }
  EXPECT_THAT(Receivers(), ElementsAre(kA, kB));
  EXPECT_THAT(snooper_.Snapshot().unsure, ElementsAre(kA));
  Pass(281s);
  Hear(Join(kGroup), kB);
  EXPECT_THAT(Receivers(), ElementsAre(kB)) << "it asks for few now";
}

TEST_F(SnooperTest, OthersCannotFillTheTable) {
  Settle();
  for (size_t i = 0; i < 3 * Snooper::kMaxGroups; ++i) {
    Hear(Join(IpAddress::V4(239, 2, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i))), kPeer);
  }
  EXPECT_EQ(snooper_.Snapshot().groups.size(), Snooper::kMaxGroups / 2);
  Hear(Join(kGroup), kA);
  EXPECT_THAT(Receivers(), ElementsAre(kA));
}

TEST_F(SnooperTest, ARemovedPortTakesItsMembershipsAlong) {
  Settle();
  Hear(Join(kGroup), kA);
  snooper_.RemovePort(kA);
  EXPECT_THAT(snooper_.Snapshot().groups[0].ports, IsEmpty());
  snooper_.AddPort(kA);
  EXPECT_THAT(Receivers(), ElementsAre(kA)) << "not asked yet";
  Settle();
  EXPECT_THAT(Receivers(), IsEmpty());
  for (int i = 0; i < 20; ++i) {  // the counters of room agree with the tables
    for (size_t n = 0; n < Snooper::kMaxGroupsOfPort; ++n) {
      Hear(Join(IpAddress::V4(239, 1, static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n))), kA);
    }
    EXPECT_THAT(snooper_.Snapshot().unsure, IsEmpty());
    snooper_.RemovePort(kA);
    snooper_.AddPort(kA);
    Settle();
  }
}

}  // namespace
}  // namespace vxvde
