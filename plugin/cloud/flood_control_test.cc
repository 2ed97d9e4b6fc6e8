#include "plugin/cloud/flood_control.h"

#include <gtest/gtest.h>

#include <chrono>

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""us;

constexpr Instant kStart{1'000'000s};

TEST(StormWatch, TellsEachStormOnce) {
  StormWatch watch;
  EXPECT_TRUE(watch.Refused(kStart));
  EXPECT_FALSE(watch.Refused(kStart));
  EXPECT_FALSE(watch.Refused(kStart + 9s));
  EXPECT_FALSE(watch.Refused(kStart + 18s)) << "still the same";
  EXPECT_TRUE(watch.Refused(kStart + 28s));
}

TEST(LoopGuard, BlocksWhoGivesManySignsInOneSecond) {
  LoopGuard guard;
  LoopGuard::PortState port;
  for (int i = 1; i < LoopGuard::kSigns; ++i) EXPECT_FALSE(guard.OnSign(port, kStart));
  EXPECT_FALSE(port.IsBlocked(kStart));
  EXPECT_TRUE(guard.OnSign(port, kStart + 999ms));
  EXPECT_TRUE(port.IsBlocked(kStart + 999ms));
  EXPECT_TRUE(port.IsBlocked(kStart + 999ms + LoopGuard::kBlocked - 1us));
  EXPECT_FALSE(port.IsBlocked(kStart + 999ms + LoopGuard::kBlocked));
  EXPECT_EQ(port.blocks, 1u);
}

TEST(LoopGuard, AFewSignsNowAndThenAreNone) {
  LoopGuard guard;
  LoopGuard::PortState port;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(guard.OnSign(port, kStart + i * 150ms)) << i;
}

TEST(LoopGuard, OfALoopOnlyOneEndIsBlocked) {
  LoopGuard guard;
  LoopGuard::PortState one, other;
  EXPECT_TRUE(guard.OnEvidence(one, kStart));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(guard.OnSign(other, kStart + i * 9ms));
  EXPECT_FALSE(other.IsBlocked(kStart + 900ms));
  EXPECT_FALSE(guard.OnEvidence(one, kStart + 2s)) << "it is blocked already";
  // A loop that goes on after the pause is another loop.
  bool blocked = false;
  for (int i = 0; i < LoopGuard::kSigns; ++i) blocked |= guard.OnSign(other, kStart + 3s);
  EXPECT_TRUE(blocked);
}

TEST(LoopGuard, ALoopThatIsStillThereIsBlockedAgain) {
  LoopGuard guard;
  LoopGuard::PortState port;
  EXPECT_TRUE(guard.OnEvidence(port, kStart));
  EXPECT_TRUE(guard.OnEvidence(port, kStart + LoopGuard::kBlocked));
  EXPECT_EQ(port.blocks, 2u);
}

class FloodControlTest : public testing::Test {
 protected:
  static constexpr MacAddress kPodA = MacAddress({0x02, 0, 0, 0, 0, 0x0a});
  static constexpr MacAddress kPodB = MacAddress({0x02, 0, 0, 0, 0, 0x0b});
  static constexpr MacAddress kFar = MacAddress({0x02, 0, 0, 0, 0, 0xf1});
  static constexpr PortId kA{1};
  static constexpr PortId kB{2};
  const Peer peer_{IpAddress::V4(192, 0, 2, 1), 40001};

  FloodControlTest() {
    fdb_.AddStatic(kPodA, kA);
    fdb_.AddStatic(kPodB, kB);
  }
  // Returns how many of `frames` at once may be flooded.
  int Passed(FloodControl::PeerState* peer, int frames, Instant now) {
    int passed = 0;
    for (int i = 0; i < frames; ++i) {
      passed += control_.Flood(peer, now).drop == Drop::kNone ? 1 : 0;
    }
    return passed;
  }

  Fdb fdb_{{.expiry = 128s}};
  FloodControl control_{{.port = 1000, .cloud = 2000}};
  FloodControl::PortState a_, b_;
};

TEST_F(FloodControlTest, APortMayFloodUpToItsLimitAndItsStormIsNewsOnce) {
  EXPECT_EQ(control_.Flood(a_, 500, kStart).drop, Drop::kNone);
  FloodControl::Ruling ruling = control_.Flood(a_, 1, kStart);
  EXPECT_EQ(ruling.drop, Drop::kStorm);
  EXPECT_TRUE(ruling.news);
  ruling = control_.Flood(a_, 1, kStart);
  EXPECT_EQ(ruling.drop, Drop::kStorm);
  EXPECT_FALSE(ruling.news);
  EXPECT_EQ(control_.Flood(b_, 500, kStart).drop, Drop::kNone) << "each port has its own";
  control_.SetLimits({.port = 0, .cloud = 0});
  EXPECT_EQ(control_.Flood(a_, 500, kStart).drop, Drop::kNone);
}

TEST_F(FloodControlTest, HalfOfTheLimitOfAllPeersIsReservedForKnownOnes) {
  FloodControl::PeerState known{.first = kStart - FloodControl::kKnownAfter, .floods = {}};
  FloodControl::PeerState stranger{.first = kStart - 9s, .floods = {}};
  EXPECT_EQ(Passed(&stranger, 1000, kStart), 500) << "its own limit, and half of all";
  FloodControl::PeerState another{.first = kStart, .floods = {}};
  EXPECT_EQ(Passed(&another, 1000, kStart), 0);
  EXPECT_EQ(Passed(nullptr, 1000, kStart), 0) << "one that is not counted is a stranger";
  EXPECT_EQ(Passed(&known, 1000, kStart), 500);
}

TEST_F(FloodControlTest, AForeignSourceIsASignAndABlockedPortTeachesNothing) {
  for (int i = 1; i < LoopGuard::kSigns; ++i) {
    const FloodControl::Ruling ruling = control_.Learn(fdb_, b_, kB, kPodA, kStart);
    EXPECT_EQ(ruling.drop, Drop::kLoop);
    EXPECT_FALSE(ruling.news);
  }
  EXPECT_TRUE(FloodControl::Takes(b_, kStart));
  EXPECT_TRUE(control_.Learn(fdb_, b_, kB, kPodA, kStart).news);
  EXPECT_FALSE(FloodControl::Takes(b_, kStart));
  EXPECT_EQ(control_.Flood(b_, 1, kStart).drop, Drop::kLoop);
  EXPECT_EQ(control_.Learn(fdb_, b_, kB, kFar, kStart).drop, Drop::kLoop);
  EXPECT_EQ(fdb_.Find(kFar, kStart), nullptr);
  EXPECT_EQ(control_.Learn(fdb_, b_, kB, kPodB, kStart).drop, Drop::kNone) << "known there";
  EXPECT_TRUE(FloodControl::Takes(b_, kStart + LoopGuard::kBlocked));
}

TEST_F(FloodControlTest, FramesOfPodsFromPeersPassAFewTimesAndBlockNoPort) {
  uint32_t passed = 0;
  for (int i = 0; i < 1000; ++i) {
    passed += control_.Learn(fdb_, peer_, kPodA, kStart) == Drop::kNone ? 1 : 0;
  }
  EXPECT_EQ(passed, TokenBucket::kMinDepth);
  EXPECT_TRUE(FloodControl::Takes(a_, kStart));
  EXPECT_EQ(fdb_.Find(kPodA, kStart)->where, Location(kA));
}

TEST_F(FloodControlTest, AnOwnHelloFromAPortIsEvidence) {
  EXPECT_TRUE(control_.OnOwnHello(a_, kStart));
  EXPECT_FALSE(FloodControl::Takes(a_, kStart));
  EXPECT_FALSE(control_.OnOwnHello(b_, kStart)) << "the other end of the same loop";
}

}  // namespace
}  // namespace vxvde
