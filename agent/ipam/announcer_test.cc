#include "agent/ipam/announcer.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Instant kStart = Instant{} + std::chrono::seconds(1000);
const MacAddress kAgent({0x02, 0, 0x5e, 0xa0, 0, 1});
const MacAddress kPod({0x02, 0, 0x5e, 0xc0, 0, 1});

IpAddress A(int number) { return IpAddress::V4(10, 0, 0, static_cast<uint8_t>(number)); }

class AnnouncerTest : public testing::Test {
 protected:
  void Hold(int count) {
    for (int i = 1; i <= count; ++i) held_.AddSpare(kStart, A(i));
  }
  std::vector<Neighbour> Take() {
    std::vector<Neighbour> messages;
    for (const std::vector<uint8_t>& frame : outbox_.Take()) {
      EXPECT_TRUE(ParseNeighbour(frame, true, messages.emplace_back()));
      EXPECT_EQ(messages.back().kind, Neighbour::Kind::kHas);
    }
    return messages;
  }

  Jitter jitter_{1};
  AgentTable agents_;
  Outbox outbox_{kAgent, &agents_};
  HeldAddresses held_{kAgent};
  Announcer announcer_{&jitter_, &held_, &outbox_};
};

TEST_F(AnnouncerTest, AnnouncesTheMacOfAHeldAddress) {
  held_.Assign(kStart, A(1), {.lease = "a", .owner = "a", .mac = kPod});
  announcer_.Announce(A(1));
  announcer_.Announce(A(2));
  const std::vector<Neighbour> sent = Take();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].address, A(1));
  EXPECT_EQ(sent[0].mac, kPod);
  EXPECT_EQ(sent[0].source, kAgent);
  EXPECT_EQ(sent[0].mark->kind, AgentMark::Kind::kHold);
}

TEST_F(AnnouncerTest, HeartbeatsAnnounceEachAddressOnceInARound) {
  Hold(100);
  announcer_.Start(kStart);
  const Instant first = announcer_.NextTime();
  announcer_.Start(kStart + 1s);
  EXPECT_EQ(announcer_.NextTime(), first) << "started once";
  std::map<IpAddress, int> announced;
  uint32_t beats = 0;
  for (size_t i = 0; i < Announcer::kBeatsPerRound; ++i) {
    const Instant now = announcer_.NextTime();
    EXPECT_TRUE(announcer_.BeatDue(now));
    announcer_.Beat(now);
    EXPECT_FALSE(announcer_.BeatDue(now));
    const std::vector<Neighbour> sent = Take();
    ASSERT_THAT(sent, SizeIs(3));
    ++beats;
    for (size_t n = 0; n < sent.size(); ++n) {
      EXPECT_EQ(sent[n].mark->beat, beats);
      EXPECT_EQ(sent[n].mark->kind, n == 0 ? AgentMark::Kind::kBeat : AgentMark::Kind::kHold);
      ++announced[sent[n].address];
    }
  }
  EXPECT_THAT(announced, SizeIs(100));
}

TEST_F(AnnouncerTest, AnAgentThatHoldsNothingSendsNoHeartbeat) {
  announcer_.Start(kStart);
  announcer_.Beat(announcer_.NextTime());
  EXPECT_THAT(Take(), IsEmpty());
}

TEST_F(AnnouncerTest, AResyncAnnouncesAllInBursts) {
  Hold(70);
  announcer_.Start(kStart);
  announcer_.Resync(kStart);
  announcer_.OnTime(kStart);
  EXPECT_THAT(Take(), IsEmpty()) << "not at once: other agents notice, too";
  std::vector<size_t> bursts;
  Instant last = kStart;
  while (announcer_.NextTime() < kStart + 1s) {
    last = announcer_.NextTime();
    announcer_.OnTime(last);
    bursts.push_back(Take().size());
  }
  EXPECT_THAT(bursts, testing::ElementsAre(32, 32, 6));
  EXPECT_LE(last - kStart, Announcer::kResyncDelay + 2 * Announcer::kBurstInterval);
}

TEST_F(AnnouncerTest, ResyncsHaveALimitedRate) {
  Hold(1);
  announcer_.Start(kStart);
  announcer_.Resync(kStart);
  const Instant first = announcer_.NextTime();
  announcer_.Resync(kStart);
  EXPECT_EQ(announcer_.NextTime(), first) << "one is planned already";
  announcer_.OnTime(first);
  EXPECT_THAT(Take(), SizeIs(1));
  announcer_.Resync(first);
  announcer_.Beat(first);  // the next heartbeat may come before
  announcer_.OnTime(first + Announcer::kMinResyncInterval - Duration(1));
  Take();
  announcer_.OnTime(first + Announcer::kMinResyncInterval);
  EXPECT_THAT(Take(), SizeIs(1));
}

}  // namespace
}  // namespace vxvde
