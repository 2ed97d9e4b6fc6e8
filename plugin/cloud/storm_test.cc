#include "plugin/cloud/storm.h"

#include <gtest/gtest.h>

#include <chrono>

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""us;

constexpr Instant kStart{1'000'000s};

// Of frames that come one by one, `step` apart, for `length`.
int Passed(TokenBucket& bucket, uint32_t rate, Instant from, Duration step, Duration length) {
  int passed = 0;
  for (Duration at{}; at < length; at += step) passed += bucket.Take(1, rate, from + at) ? 1 : 0;
  return passed;
}

TEST(TokenBucket, LetsTheRatePassForEver) {
  TokenBucket bucket;
  EXPECT_EQ(Passed(bucket, 1000, kStart, 1ms, 10s), 10'000);
}

TEST(TokenBucket, OfMoreItLetsTheRatePassAndItsDepthOnce) {
  TokenBucket bucket;
  EXPECT_EQ(Passed(bucket, 1000, kStart, 100us, 10s), 10'499);
  EXPECT_EQ(Passed(bucket, 1000, kStart + 10s, 100us, 10s), 10'000);
  EXPECT_EQ(Passed(bucket, 1000, kStart + 60s, 100us, 1s), 1499) << "full again";
}

TEST(TokenBucket, ASuperFramePassesWholeOrNot) {
  TokenBucket bucket;
  EXPECT_TRUE(bucket.Take(450, 1000, kStart));
  EXPECT_FALSE(bucket.Take(60, 1000, kStart));
  EXPECT_TRUE(bucket.Take(50, 1000, kStart)) << "what was refused took nothing";
  EXPECT_FALSE(bucket.Take(1, 1000, kStart));
  EXPECT_TRUE(bucket.Take(60, 1000, kStart + 60ms));

  TokenBucket slow;
  EXPECT_TRUE(slow.Take(64, 1, kStart)) << "one passes however low the rate";
  EXPECT_FALSE(slow.Take(1, 1, kStart));
  EXPECT_FALSE(slow.Take(64, 1, kStart + 63s));
  EXPECT_TRUE(slow.Take(64, 1, kStart + 64s));
}

TEST(TokenBucket, ZeroIsNoLimit) {
  TokenBucket bucket;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(bucket.Take(1'000'000, 0, kStart));
}

TEST(TokenBucket, HalfIsKeptForOthers) {
  TokenBucket bucket;
  int passed = 0;
  for (int i = 0; i < 1000; ++i) passed += bucket.Take(1, 1000, kStart, /*leave_half=*/true);
  EXPECT_EQ(passed, 250);
  passed = 0;
  for (int i = 0; i < 1000; ++i) passed += bucket.Take(1, 1000, kStart);
  EXPECT_EQ(passed, 250);
}

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
  for (int i = 1; i < LoopGuard::kSigns; ++i) EXPECT_FALSE(guard.Sign(port, kStart));
  EXPECT_FALSE(port.IsBlocked(kStart));
  EXPECT_TRUE(guard.Sign(port, kStart + 999ms));
  EXPECT_TRUE(port.IsBlocked(kStart + 999ms));
  EXPECT_TRUE(port.IsBlocked(kStart + 999ms + LoopGuard::kBlocked - 1us));
  EXPECT_FALSE(port.IsBlocked(kStart + 999ms + LoopGuard::kBlocked));
  EXPECT_EQ(port.blocks, 1u);
}

TEST(LoopGuard, AFewSignsNowAndThenAreNone) {
  LoopGuard guard;
  LoopGuard::PortState port;
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(guard.Sign(port, kStart + i * 150ms)) << i;
}

TEST(LoopGuard, OfALoopOnlyOneEndIsBlocked) {
  LoopGuard guard;
  LoopGuard::PortState one, other;
  EXPECT_TRUE(guard.Proof(one, kStart));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(guard.Sign(other, kStart + i * 9ms));
  EXPECT_FALSE(other.IsBlocked(kStart + 900ms));
  EXPECT_FALSE(guard.Proof(one, kStart + 2s)) << "it is blocked already";
  // One that goes on is another loop.
  bool blocked = false;
  for (int i = 0; i < LoopGuard::kSigns; ++i) blocked |= guard.Sign(other, kStart + 3s);
  EXPECT_TRUE(blocked);
}

TEST(LoopGuard, ALoopThatIsStillThereIsBlockedAgain) {
  LoopGuard guard;
  LoopGuard::PortState port;
  EXPECT_TRUE(guard.Proof(port, kStart));
  EXPECT_TRUE(guard.Proof(port, kStart + LoopGuard::kBlocked));
  EXPECT_EQ(port.blocks, 2u);
}

}  // namespace
}  // namespace vxvde
