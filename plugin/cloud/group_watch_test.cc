#include "plugin/cloud/group_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr MacAddress kAgent({0x02, 0, 0, 0, 0, 0xa1});
constexpr MacAddress kOther({0x02, 0, 0, 0, 0, 0xa2});
const Peer kPeer{IpAddress::V4(192, 0, 2, 1), 14790};
const Peer kPeer2{IpAddress::V4(192, 0, 2, 2), 14790};

class GroupWatchTest : public testing::Test {
 protected:
  struct Seen {
    std::vector<int> asked;  // seconds
    std::vector<int> joined;
    std::vector<int> changed;
  };
  // `every_30` runs when a Hello would be sent.
  template <typename Function>
  Seen Pass(int seconds, Function every_30) {
    Seen seen;
    for (int i = 1; i <= seconds; ++i) {
      now_ += 1s;
      ++second_;
      if (second_ % 30 == 0) every_30();
      const GroupWatch::Advice advice = watch_.Tick(now_);
      for (const Peer& peer : advice.ask) {
        seen.asked.push_back(second_);
        if (answers_) watch_.Hello(kAgent, peer, /*by_group=*/false, now_);
      }
      if (advice.rejoin) seen.joined.push_back(second_);
      if (advice.changed) seen.changed.push_back(second_);
    }
    return seen;
  }
  void Said() {
    watch_.Sent(now_);
    watch_.Echo(now_);
  }
  void Heard(const MacAddress& agent = kAgent, const Peer& peer = kPeer) {
    watch_.Heard(now_);
    watch_.Hello(agent, peer, /*by_group=*/true, now_);
  }

  Instant now_ = Instant() + 1000s;
  int second_ = 0;
  bool answers_ = true;
  GroupWatch watch_{now_};
};

TEST_F(GroupWatchTest, AloneOrAmongAgentsThatAreHeardAllIsWell) {
  Seen seen = Pass(600, [&] { Said(); });
  EXPECT_THAT(seen.joined, IsEmpty());
  EXPECT_THAT(seen.changed, IsEmpty());
  seen = Pass(600, [&] {
    Said();
    Heard();
  });
  EXPECT_THAT(seen.asked, IsEmpty());
  EXPECT_THAT(seen.joined, IsEmpty());
  EXPECT_THAT(seen.changed, IsEmpty());
  EXPECT_EQ(watch_.Problem(now_), "");
}

TEST_F(GroupWatchTest, AnAgentThatAnswersOnlyByUnicastIsAProblemUntilItIsHeard) {
  Heard();
  const Seen seen = Pass(250, [&] { Said(); });
  EXPECT_THAT(seen.asked, testing::Contains(65));
  EXPECT_THAT(seen.asked, SizeIs(19)) << "every 10 s";
  EXPECT_THAT(seen.changed, ElementsAre(96)) << "the first answer after 95 s is that of 95 s";
  EXPECT_THAT(seen.joined, ElementsAre(95, 155)) << "and then 120 s later";
  EXPECT_THAT(watch_.Problem(now_), HasSubstr("1 of 1 agents are not heard by group"));
  EXPECT_EQ(watch_.rejoins(), 2u);

  Heard();
  EXPECT_THAT(Pass(1, [] {}).changed, SizeIs(1));
  EXPECT_EQ(watch_.Problem(now_), "");
}

TEST_F(GroupWatchTest, AnAgentThatIsGoneIsNone) {
  Heard();
  answers_ = false;
  const Seen seen = Pass(2000, [&] { Said(); });
  EXPECT_THAT(seen.changed, IsEmpty());
  EXPECT_THAT(seen.asked, SizeIs(7)) << "then it is forgotten";
  // This member may be the one that does not hear, so it joins the group again now and then.
  EXPECT_THAT(seen.joined, ElementsAre(95, 155, 275, 515, 995, 1955));
}

TEST_F(GroupWatchTest, AnAgentThatHasLeftIsNotWaitedFor) {
  Heard();
  Pass(10, [] {});
  watch_.Left(kPeer);
  const Seen seen = Pass(600, [&] { Said(); });
  EXPECT_THAT(seen.asked, IsEmpty());
  EXPECT_THAT(seen.joined, IsEmpty());
}

TEST_F(GroupWatchTest, OneThatUsesTwoAddressesIsOne) {
  const Seen seen = Pass(600, [&] {
    Said();
    Heard(kAgent, kPeer);
    watch_.Hello(kAgent, kPeer2, /*by_group=*/false, now_);
  });
  EXPECT_THAT(seen.asked, IsEmpty());
  EXPECT_THAT(seen.changed, IsEmpty());
}

TEST_F(GroupWatchTest, OneOfTwoIsEnough) {
  Heard();
  Pass(120, [&] {
    Said();
    Heard(kOther, kPeer2);
  });
  EXPECT_THAT(watch_.Problem(now_), HasSubstr("1 of 2 agents"));
}

TEST_F(GroupWatchTest, WhatDoesNotComeBackIsAProblemOfThisNode) {
  Pass(60, [&] { Said(); });
  const Seen seen = Pass(100, [&] { watch_.Sent(now_); });
  EXPECT_THAT(seen.changed, ElementsAre(155)) << "95 s after the last that did";
  EXPECT_THAT(watch_.Problem(now_), HasSubstr("nothing that this node sends to the group"));
  EXPECT_THAT(seen.joined, ElementsAre(155));
  watch_.Echo(now_);
  EXPECT_THAT(Pass(1, [] {}).changed, SizeIs(1));
}

TEST_F(GroupWatchTest, TheFloodOfAgentsIsBounded) {
  for (int i = 0; i < 5000; ++i) {
    watch_.Hello(MacAddress({2, 0, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}),
                 kPeer, true, now_);
  }
  now_ += 66s;
  EXPECT_THAT(watch_.Tick(now_).ask, SizeIs(GroupWatch::kMaxAsked));
  now_ += 128s;
  EXPECT_THAT(watch_.Tick(now_).ask, IsEmpty());
}

}  // namespace
}  // namespace vxvde
