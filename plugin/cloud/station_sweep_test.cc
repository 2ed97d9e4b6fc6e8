#include "plugin/cloud/station_sweep.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;

constexpr Instant kStart{1'000'000s};
constexpr Duration kExpiry = 128s;

MacAddress Station(uint32_t n) {
  return MacAddress({0x02, 1, 0, static_cast<uint8_t>(n >> 16), static_cast<uint8_t>(n >> 8),
                     static_cast<uint8_t>(n)});
}
Peer Member(uint32_t n) {
  return {IpAddress::V4(198, 51, static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)), 1};
}

class StationSweepTest : public testing::Test {
 protected:
  // Most stations that can go in one turn.
  static constexpr size_t kMaxGone = StationSweep::kWorkPerTurn / (Fdb::kCost + 1) + 1;

  StationSweep::Result Run(Instant now) {
    gone_ = 0;
    peers_gone_ = 0;
    return sweep_.Run(
        now, [](const MacAddress&, const Location&) { return std::optional<Instant>(); },
        [&](const Peer&) { ++peers_gone_; });
  }

  size_t gone_ = 0;
  size_t peers_gone_ = 0;
  Fdb fdb_{
      {.expiry = kExpiry}, [this](const FdbChange& change) {
        if (change.kind == FdbChange::Kind::kExpired || change.kind == FdbChange::Kind::kRemoved) {
          ++gone_;
        }
      }};
  PeerTable peers_;
  StationSweep sweep_{&fdb_, &peers_, kExpiry};
};

TEST_F(StationSweepTest, SilentStationsGoInBoundedTurnsAndTheirPeerAfterThem) {
  constexpr size_t kMany = 5000;
  peers_.Touch(Member(1), kStart);
  for (uint32_t n = 0; n < kMany; ++n) fdb_.Learn(Station(n), Member(1), kStart);
  sweep_.StartExpiry();
  size_t total = 0;
  for (int turn = 0;; ++turn) {
    const StationSweep::Result result = Run(kStart + kExpiry + turn * 1s);
    EXPECT_LE(gone_, kMaxGone);
    total += gone_;
    if (!result.more) break;
    EXPECT_EQ(peers_gone_, 0u);
    EXPECT_EQ(peers_.size(), 1u);
  }
  EXPECT_EQ(total, kMany);
  EXPECT_EQ(peers_gone_, 1u);
  EXPECT_EQ(peers_.size(), 0u);
}

TEST_F(StationSweepTest, ATurnDoesItsWorkOnce) {
  for (uint32_t n = 0; n < 5000; ++n) fdb_.Learn(Station(n), Member(1), kStart);
  fdb_.ForgetPeer(Member(1));
  EXPECT_TRUE(Run(kStart).more);
  EXPECT_GT(gone_, 0u);
  const StationSweep::Result again = Run(kStart);
  EXPECT_TRUE(again.more);
  EXPECT_FALSE(again.any);
  EXPECT_EQ(gone_, 0u);
  EXPECT_TRUE(Run(kStart + 1s).any);
}

TEST_F(StationSweepTest, SilentPeersGoInBoundedTurns) {
  constexpr uint32_t kMany = 1000;
  for (uint32_t n = 0; n < kMany; ++n) peers_.Touch(Member(n), kStart);
  peers_.Touch(Member(kMany), kStart + 1s);
  sweep_.StartExpiry();
  size_t total = 0;
  for (bool more = true; more;) {
    // The clock stands nearly still: the last peer is not silent yet.
    more = Run(kStart + kExpiry + std::chrono::nanoseconds(total)).more;
    EXPECT_LE(peers_gone_, StationSweep::kMaxPeersPerTurn);
    total += peers_gone_;
  }
  EXPECT_EQ(total, kMany);
  EXPECT_EQ(peers_.size(), 1u);
}

// A peer that leaves and returns while its stations are swept.
TEST_F(StationSweepTest, StationsThatAreLearnedAgainDuringASweepStay) {
  constexpr uint32_t kMany = 5000;
  for (uint32_t n = 0; n < kMany; ++n) fdb_.Learn(Station(n), Member(1), kStart);
  fdb_.ForgetPeer(Member(1));
  EXPECT_TRUE(Run(kStart).more);
  for (uint32_t n = 0; n < kMany; ++n) fdb_.Learn(Station(n), Member(1), kStart);
  EXPECT_FALSE(fdb_.IsForgetting(Member(1))) << "all of them were reported";
  EXPECT_FALSE(Run(kStart + 1s).more);
  EXPECT_EQ(gone_, 0u);
  EXPECT_EQ(fdb_.live(), kMany);
  // Repeated leaves of one peer do not accumulate.
  for (int i = 0; i < 100; ++i) {
    fdb_.ForgetPeer(Member(1));
    EXPECT_TRUE(fdb_.IsForgetting(Member(1)));
    fdb_.Learn(Station(0), Member(1), kStart);
  }
  fdb_.ForgetPeer(Member(1));
  for (int turn = 2; Run(kStart + turn * 1s).more; ++turn) ASSERT_LT(turn, 100);
  EXPECT_FALSE(fdb_.IsForgetting(Member(1)));
  EXPECT_EQ(fdb_.size(), 0u);
}

}  // namespace
}  // namespace vxvde
