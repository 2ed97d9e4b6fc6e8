#include "plugin/cloud/token_bucket.h"

#include <gtest/gtest.h>

#include <chrono>

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""us;

constexpr Instant kStart{1'000'000s};

// The number of frames that pass if they come one by one, `step` apart, for `length`.
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

}  // namespace
}  // namespace vxvde
