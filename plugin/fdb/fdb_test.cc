#include "plugin/fdb/fdb.h"

#include <chrono>
#include <map>
#include <optional>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/fdb/model.h"

namespace vxvde {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsNull;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;
using Learned = Fdb::Learned;
using Kind = FdbChange::Kind;

constexpr Duration kExpiry = seconds(128);
constexpr Instant kStart{seconds(1'000'000)};
const Location kPort1 = PortId{1};
const Location kPort2 = PortId{2};
const Peer kPeerA{IpAddress::V4(192, 0, 2, 1), 14790};
const Peer kPeerB{IpAddress::V4(192, 0, 2, 1), 14791};  // another member on the same host

MacAddress Mac(uint32_t n) {
  return MacAddress({0x02, 0, static_cast<uint8_t>(n >> 24), static_cast<uint8_t>(n >> 16),
                     static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)});
}

std::optional<Instant> Nobody(const MacAddress&, const Location&) { return std::nullopt; }

// Runs one complete sweep and returns the number of expired entries.
size_t Expire(Fdb& fdb, Instant now, Fdb::Ask ask = Nobody) {
  fdb.StartSweep();
  const Fdb::Swept swept = fdb.Sweep(now, /*budget=*/1'000'000, ask);
  EXPECT_FALSE(swept.more);
  return swept.expired;
}

class FdbTest : public ::testing::Test {
 protected:
  static Fdb::Options Options(size_t max_entries = 1000) {
    return {.expiry = kExpiry, .max_entries = max_entries};
  }
  // The location of the station according to the FDB, and to a listener that heard all changes.
  Location Where(const MacAddress& mac, Instant now) {
    const FdbEntry* entry = fdb_.Find(mac, now);
    return entry == nullptr ? Location(PortId::kNone) : entry->where;
  }
  std::vector<Kind> TakeKinds() {
    std::vector<Kind> kinds;
    for (const FdbChange& change : changes_) kinds.push_back(change.kind);
    changes_.clear();
    return kinds;
  }

  std::vector<FdbChange> changes_;
  Fdb fdb_{Options(), [this](const FdbChange& change) { changes_.push_back(change); }};
};

TEST_F(FdbTest, LearnsRefreshesAndMoves) {
  EXPECT_THAT(fdb_.Find(Mac(1), kStart), IsNull());
  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerA, kStart), Learned::kAdded);
  EXPECT_EQ(Where(Mac(1), kStart), Location(kPeerA));
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kAdded));

  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerA, kStart + seconds(1)), Learned::kRefreshed);
  EXPECT_THAT(TakeKinds(), IsEmpty());

  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerB, kStart + seconds(2)), Learned::kMoved);
  ASSERT_EQ(changes_.size(), 1u);
  EXPECT_EQ(changes_[0].kind, Kind::kMoved);
  EXPECT_EQ(changes_[0].mac, Mac(1));
  EXPECT_EQ(changes_[0].where, Location(kPeerB));
  EXPECT_EQ(Where(Mac(1), kStart + seconds(2)), Location(kPeerB));
  EXPECT_EQ(fdb_.moves(), 1u);
  EXPECT_EQ(fdb_.learned(), 1u);
}

TEST_F(FdbTest, ExpiresWithTheLastFrameNotWithTheFirst) {
  fdb_.Learn(Mac(1), kPeerA, kStart);
  fdb_.Learn(Mac(1), kPeerA, kStart + seconds(100));
  const Instant dead = kStart + seconds(100) + kExpiry;
  EXPECT_EQ(Where(Mac(1), dead - Duration(1)), Location(kPeerA));
  EXPECT_EQ(fdb_.Rows(dead - Duration(1)).size(), 1u);
  EXPECT_THAT(fdb_.Find(Mac(1), dead), IsNull());
  EXPECT_THAT(fdb_.Rows(dead), IsEmpty());
  TakeKinds();

  EXPECT_EQ(Expire(fdb_, dead - Duration(1)), 0u);
  EXPECT_EQ(Expire(fdb_, dead), 1u);
  EXPECT_EQ(Expire(fdb_, dead), 0u);
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kExpired));
  EXPECT_EQ(fdb_.size(), 0u);
  EXPECT_EQ(fdb_.learned(), 0u);
}

TEST_F(FdbTest, WhoOthersHaveSeenLivesOnAndIsNotReported) {
  fdb_.Learn(Mac(1), kPeerA, kStart);
  fdb_.Learn(Mac(2), kPort1, kStart);
  fdb_.Learn(Mac(3), kPeerA, kStart + seconds(2));
  fdb_.AddStatic(Mac(4), PortId{1});
  TakeKinds();
  std::map<MacAddress, Location> asked;
  const auto ask = [&](std::optional<Instant> seen) {
    return [&asked, seen](const MacAddress& mac, const Location& where) {
      asked[mac] = where;
      return mac == Mac(1) ? seen : std::nullopt;
    };
  };
  const Instant soon = kStart + kExpiry - Fdb::kAskBefore;
  EXPECT_EQ(Expire(fdb_, soon - Duration(1), ask(soon)), 0u);
  EXPECT_THAT(asked, IsEmpty()) << "they have a while to live";

  EXPECT_EQ(Expire(fdb_, soon, ask(soon - seconds(10))), 0u);
  EXPECT_THAT(asked, UnorderedElementsAre(Pair(Mac(1), Location(kPeerA)), Pair(Mac(2), kPort1)));
  asked.clear();
  const Instant now = kStart + kExpiry;
  EXPECT_EQ(Expire(fdb_, now, ask(kStart)), 1u) << "an answer that is old news takes nothing away";
  EXPECT_THAT(asked, UnorderedElementsAre(Pair(Mac(2), kPort1), Pair(Mac(3), Location(kPeerA))))
      << "not of who was refreshed";
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kExpired));
  ASSERT_NE(fdb_.Find(Mac(1), now), nullptr);
  EXPECT_EQ(fdb_.Find(Mac(1), now)->seen, soon - seconds(10));

  const Instant later = soon - seconds(10) + kExpiry - seconds(1);
  EXPECT_EQ(Expire(fdb_, later, ask(later + seconds(5))), 1u);
  ASSERT_NE(fdb_.Find(Mac(1), later), nullptr);
  EXPECT_EQ(fdb_.Find(Mac(1), later)->seen, later) << "nobody is seen in the future";
  EXPECT_EQ(fdb_.learned(), 1u);
}

TEST_F(FdbTest, VisitsWhoIsAtAPlace) {
  fdb_.Learn(Mac(1), kPeerA, kStart);
  fdb_.Learn(Mac(2), kPeerB, kStart);
  fdb_.Learn(Mac(3), kPort1, kStart);
  fdb_.AddStatic(Mac(4), PortId{1});
  const auto at = [&](const Location& where) {
    std::map<MacAddress, bool> out;
    fdb_.ForEachAt(
        where, [&](const MacAddress& mac, const FdbEntry& entry) { out[mac] = entry.is_static; });
    return out;
  };
  EXPECT_THAT(at(kPeerA), ElementsAre(Pair(Mac(1), false)));
  EXPECT_THAT(at(kPort1), ElementsAre(Pair(Mac(3), false), Pair(Mac(4), true)));
  EXPECT_THAT(at(kPort2), IsEmpty());
  Expire(fdb_, kStart + kExpiry);
  EXPECT_THAT(at(kPort1), ElementsAre(Pair(Mac(4), true)));
}

TEST_F(FdbTest, I5AStationThatHadExpiredIsNew) {
  fdb_.Learn(Mac(1), kPeerA, kStart);
  TakeKinds();
  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerB, kStart + kExpiry), Learned::kAdded);
  ASSERT_EQ(changes_.size(), 2u);
  EXPECT_EQ(changes_[0].kind, Kind::kExpired);
  EXPECT_EQ(changes_[0].where, Location(kPeerA));
  EXPECT_EQ(changes_[1].kind, Kind::kAdded);
  EXPECT_EQ(changes_[1].where, Location(kPeerB));
  EXPECT_EQ(fdb_.moves(), 0u);
  EXPECT_EQ(fdb_.learned(), 1u);
  EXPECT_EQ(Where(Mac(1), kStart + kExpiry), Location(kPeerB));
}

TEST_F(FdbTest, I1StaticEntriesAreNeitherMovedNorExpired) {
  EXPECT_TRUE(fdb_.AddStatic(Mac(1), PortId{1}));
  EXPECT_TRUE(fdb_.AddStatic(Mac(1), PortId{1}));
  EXPECT_FALSE(fdb_.AddStatic(Mac(1), PortId{2}));
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kAdded));

  EXPECT_EQ(fdb_.Learn(Mac(1), kPort1, kStart), Learned::kStatic);
  EXPECT_EQ(fdb_.Learn(Mac(1), kPort2, kStart), Learned::kConflict);
  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerA, kStart), Learned::kConflict);
  EXPECT_EQ(fdb_.conflicts(), 2u);
  EXPECT_EQ(fdb_.moves(), 0u);
  EXPECT_EQ(fdb_.learned(), 0u);

  const Instant later = kStart + 1000 * kExpiry;
  EXPECT_EQ(Expire(fdb_, later), 0u);
  EXPECT_EQ(Where(Mac(1), later), kPort1);
  ASSERT_EQ(fdb_.Rows(later).size(), 1u);
  EXPECT_TRUE(fdb_.Rows(later)[0].entry.is_static);
  EXPECT_THAT(TakeKinds(), IsEmpty());
}

TEST_F(FdbTest, AStaticEntryReplacesALearnedOne) {
  fdb_.Learn(Mac(1), kPeerA, kStart);
  fdb_.Learn(Mac(2), kPort1, kStart);
  TakeKinds();
  EXPECT_TRUE(fdb_.AddStatic(Mac(1), PortId{1}));
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kMoved));
  EXPECT_TRUE(fdb_.AddStatic(Mac(2), PortId{1}));
  EXPECT_THAT(TakeKinds(), IsEmpty()) << "it stayed where it was";
  EXPECT_EQ(fdb_.learned(), 0u);
  EXPECT_EQ(fdb_.size(), 2u);
}

TEST_F(FdbTest, GroupAndZeroAddressesAreNoStations) {
  for (const MacAddress& mac :
       {MacAddress(), MacAddress::Broadcast(), MacAddress({0x33, 0x33, 0, 0, 0, 1})}) {
    EXPECT_EQ(fdb_.Learn(mac, kPort1, kStart), Learned::kNotStation);
    EXPECT_FALSE(fdb_.AddStatic(mac, PortId{1}));
  }
  EXPECT_EQ(fdb_.size(), 0u);
  EXPECT_THAT(TakeKinds(), IsEmpty());
}

TEST_F(FdbTest, I2WhenFullNobodyIsEvicted) {
  Fdb fdb(Options(3));
  fdb.AddStatic(Mac(10), PortId{1});  // does not count
  EXPECT_EQ(fdb.Learn(Mac(1), kPeerA, kStart), Learned::kAdded);
  EXPECT_EQ(fdb.Learn(Mac(2), kPeerB, kStart), Learned::kAdded);
  EXPECT_EQ(fdb.Learn(Mac(3), kPort1, kStart), Learned::kAdded);
  EXPECT_EQ(fdb.Learn(Mac(4), kPort2, kStart), Learned::kFull);
  EXPECT_EQ(fdb.refused_full(), 1u);
  EXPECT_THAT(fdb.Find(Mac(4), kStart), IsNull());
  EXPECT_EQ(fdb.Learn(Mac(1), kPeerB, kStart), Learned::kMoved) << "who is in may move";
  EXPECT_TRUE(fdb.AddStatic(Mac(11), PortId{1})) << "pods always fit";

  EXPECT_EQ(Expire(fdb, kStart + kExpiry), 3u);
  EXPECT_EQ(fdb.Learn(Mac(4), kPeerA, kStart + kExpiry), Learned::kAdded);
}

// Of 1000 free entries a flooding peer gets 500, the next one 250, and so on. Further attempts do
// not change that.
TEST_F(FdbTest, I2WhoFloodsLeavesRoomForOthers) {
  uint32_t n = 0;
  const auto flood = [&](const Location& where) {
    size_t added = 0;
    for (int i = 0; i < 5000; ++i) added += fdb_.Learn(Mac(++n), where, kStart) == Learned::kAdded;
    return added;
  };
  EXPECT_EQ(flood(kPeerA), 500u);
  EXPECT_EQ(flood(kPeerB), 250u);
  EXPECT_EQ(flood(kPeerA), 0u);
  EXPECT_EQ(fdb_.CountAt(kPeerA), 500u);
  const Peer late{IpAddress::V4(192, 0, 2, 9), 14790};
  EXPECT_EQ(fdb_.Learn(Mac(++n), late, kStart), Learned::kAdded);
  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerA, kStart), Learned::kRefreshed) << "who was there stays";

  Fdb small({.expiry = kExpiry, .max_entries = 1000, .max_at_port = 10});
  for (uint32_t i = 1; i <= 20; ++i) small.Learn(Mac(i), kPort1, kStart);
  EXPECT_EQ(small.CountAt(kPort1), 10u);
  EXPECT_EQ(small.Learn(Mac(30), kPort2, kStart), Learned::kAdded);
  EXPECT_EQ(small.refused_full(), 10u);
}

TEST_F(FdbTest, I6WhatManyLeaveBehindGoesBitByBit) {
  constexpr size_t kMany = 1000;
  Fdb fdb(Options(100'000), [this](const FdbChange& change) { changes_.push_back(change); });
  for (uint32_t n = 1; n <= kMany; ++n) fdb.Learn(Mac(n), kPeerA, kStart);
  for (uint32_t n = 1; n <= 20; ++n) fdb.Learn(Mac(10'000 + n), kPeerB, kStart);
  TakeKinds();

  EXPECT_EQ(fdb.ForgetPeer(kPeerA), kMany);
  EXPECT_THAT(changes_, IsEmpty());
  EXPECT_THAT(fdb.Rows(kStart), testing::SizeIs(20));
  // One returns at once, and one has become static.
  EXPECT_EQ(fdb.Learn(Mac(7), kPeerA, kStart), Learned::kAdded);
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kRemoved, Kind::kAdded));
  EXPECT_TRUE(fdb.AddStatic(Mac(8), PortId{1}));
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kRemoved, Kind::kAdded));

  size_t calls = 0;
  size_t reported = 0;
  constexpr size_t kBudget = 50 * (Fdb::kCost + 1);
  for (bool more = true; more; ++calls) {
    more = fdb.Sweep(kStart, kBudget, Nobody).more;
    EXPECT_LE(changes_.size(), 50u);
    reported += changes_.size();
    changes_.clear();
  }
  EXPECT_EQ(reported, kMany - 2);
  EXPECT_EQ(calls, 20u);
  EXPECT_EQ(fdb.size(), 22u);
  EXPECT_EQ(fdb.CountAt(kPeerA), 1u);

  // Expiry takes as many steps, and an expired entry is not found from the first moment on.
  for (uint32_t n = 1; n <= kMany; ++n) fdb.Learn(Mac(n), kPeerB, kStart);
  changes_.clear();
  EXPECT_THAT(fdb.Rows(kStart + kExpiry), testing::SizeIs(1));
  fdb.StartSweep();
  for (bool more = true; more;) {
    more = fdb.Sweep(kStart + kExpiry, kBudget, Nobody).more;
    fdb.StartSweep();  // the next second: a sweep in progress is not restarted
    EXPECT_LE(changes_.size(), 50u);
    changes_.clear();
    if (fdb.size() == 1) break;
  }
  EXPECT_EQ(fdb.size(), 1u);
}

TEST_F(FdbTest, SlotsAreUsedAgain) {
  for (uint32_t round = 0; round < 50; ++round) {
    for (uint32_t n = 0; n < 100; ++n) fdb_.Learn(Mac(round * 100 + n + 1), kPeerA, kStart);
    EXPECT_EQ(fdb_.ForgetPeer(kPeerA), 100u);
    // The table has 100 slots and one location.
    fdb_.StartSweep();
    EXPECT_FALSE(fdb_.Sweep(kStart, 100 * (Fdb::kCost + 1) + 1 + 100 + 1, Nobody).more);
    EXPECT_EQ(fdb_.size(), 0u);
  }
}

TEST_F(FdbTest, I7AStationThatMovesTooOftenIsTakenBackAndStays) {
  const auto move = [&](Instant now) {
    return fdb_.Learn(Mac(1), Where(Mac(1), now) == Location(kPeerA) ? kPort1 : kPeerA, now);
  };
  fdb_.AddStatic(Mac(9), PortId{1});
  fdb_.Learn(Mac(1), kPort1, kStart);
  for (int i = 1; i <= Fdb::kHoldMoves; ++i) EXPECT_EQ(move(kStart + seconds(i)), Learned::kMoved);
  const Instant held = kStart + seconds(7);
  EXPECT_EQ(Where(Mac(1), held), Location(kPeerA));
  TakeKinds();
  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerB, held), Learned::kHeld);
  EXPECT_EQ(Where(Mac(1), held), kPort1) << "where it was when it was quiet";
  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerA, held + Fdb::kHoldFor - Duration(1)), Learned::kHeld);
  EXPECT_EQ(fdb_.Learn(Mac(1), kPort1, held + seconds(1)), Learned::kRefreshed);
  EXPECT_EQ(Where(Mac(1), held), kPort1);
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kMoved, Kind::kHeld)) << "said once";
  EXPECT_EQ(fdb_.holds(), 1u);
  EXPECT_EQ(fdb_.Find(Mac(1), held)->held_until, held + Fdb::kHoldFor);

  EXPECT_EQ(move(held + Fdb::kHoldFor), Learned::kMoved);
  // A station that moves every two or three seconds is not held.
  for (int i = 1; i <= 20; ++i) {
    EXPECT_EQ(move(held + Fdb::kHoldFor + seconds(5 * i / 2)), Learned::kMoved) << i;
  }
  EXPECT_EQ(fdb_.holds(), 1u);
}

TEST_F(FdbTest, I7AStationThatTwoPortsShowInTurnCircles) {
  const Location kPort2 = PortId{2};
  fdb_.AddStatic(Mac(8), PortId{1});
  fdb_.AddStatic(Mac(9), PortId{2});
  fdb_.Learn(Mac(1), kPeerA, kStart);
  for (int i = 0; i < Fdb::kHoldMoves; ++i) {
    EXPECT_EQ(fdb_.Learn(Mac(1), i % 2 == 0 ? kPort1 : kPort2, kStart), Learned::kMoved);
  }
  EXPECT_EQ(fdb_.Learn(Mac(1), kPort2, kStart), Learned::kCircles);
  EXPECT_EQ(Where(Mac(1), kStart), Location(kPeerA));
  EXPECT_EQ(fdb_.Learn(Mac(1), kPort2, kStart), Learned::kHeld) << "said once";

  // A peer takes it from one port after the other, and a port takes it back: it moves as often.
  fdb_.Learn(Mac(2), kPort1, kStart);
  for (int i = 0; i < Fdb::kHoldMoves; ++i) {
    const Location from = i % 2 == 0 ? kPeerA : i == 1 ? kPort2 : kPort1;
    EXPECT_EQ(fdb_.Learn(Mac(2), from, kStart), Learned::kMoved);
  }
  EXPECT_EQ(fdb_.Learn(Mac(2), kPort2, kStart), Learned::kHeld);
}

// A peer that claims the MAC of a station a thousand times as often as the station sends captures
// it only briefly in each 10 s.
TEST_F(FdbTest, I7WhoRepeatsAStationDoesNotKeepIt) {
  fdb_.Learn(Mac(1), kPeerA, kStart);
  int hijacked = 0;
  for (int ms = 1; ms <= 60'000; ++ms) {
    const Instant now = kStart + std::chrono::milliseconds(ms);
    fdb_.Learn(Mac(1), kPeerB, now);
    if (ms % 20 == 0) fdb_.Learn(Mac(1), kPeerA, now);
    hijacked += Where(Mac(1), now) == Location(kPeerB) ? 1 : 0;
  }
  EXPECT_LT(hijacked, 60'000 / 100);
}

TEST_F(FdbTest, I7AHoldEndsWithThePlaceAndThereIsNoWayBackToOneThatIsGone) {
  const auto flap = [&](const Location& one, const Location& other) {
    for (int i = 0; i <= Fdb::kHoldMoves; ++i) {
      fdb_.Learn(Mac(1), i % 2 == 0 ? one : other, kStart);
    }
  };
  flap(kPeerA, kPeerB);
  EXPECT_EQ(fdb_.Learn(Mac(1), kPort1, kStart), Learned::kHeld);
  fdb_.ForgetPeer(kPeerA);
  EXPECT_EQ(fdb_.Learn(Mac(1), kPort1, kStart), Learned::kAdded);

  fdb_.ForgetPort(PortId{1});
  flap(kPort1, kPeerB);  // no other station is at that port, so it is gone
  EXPECT_EQ(fdb_.Learn(Mac(1), kPeerA, kStart), Learned::kHeld);
  EXPECT_EQ(Where(Mac(1), kStart), Location(kPeerB));
}

TEST_F(FdbTest, WhatAPortLearnedCanBeForgottenAlone) {
  ASSERT_TRUE(fdb_.AddStatic(Mac(1), PortId{1}));
  fdb_.Learn(Mac(2), PortId{1}, kStart);
  fdb_.Learn(Mac(3), PortId{2}, kStart);
  TakeKinds();
  EXPECT_EQ(fdb_.ForgetLearnedAt(PortId{1}), 1u);
  EXPECT_THAT(TakeKinds(), ElementsAre(Kind::kRemoved));
  EXPECT_EQ(Where(Mac(2), kStart), Location(PortId::kNone));
  EXPECT_EQ(Where(Mac(1), kStart), Location(PortId{1}));
  EXPECT_EQ(Where(Mac(3), kStart), Location(PortId{2}));
  EXPECT_EQ(fdb_.learned(), 1u);
}

TEST_F(FdbTest, RowsAreSortedByMac) {
  for (const uint32_t n : {5u, 1u, 70000u, 3u}) fdb_.Learn(Mac(n), kPeerA, kStart);
  std::vector<MacAddress> macs;
  for (const Fdb::Row& row : fdb_.Rows(kStart)) macs.push_back(row.mac);
  EXPECT_THAT(macs, ElementsAre(Mac(1), Mac(3), Mac(5), Mac(70000)));

  macs.clear();
  for (const Fdb::Row& row : fdb_.Rows(kStart, Mac(2), 2)) macs.push_back(row.mac);
  EXPECT_THAT(macs, ElementsAre(Mac(3), Mac(5))) << "behind one that need not be there";
  EXPECT_THAT(fdb_.Rows(kStart, Mac(70000), 2), IsEmpty());
}

// The same operations on a table that is too simple to have errors.
TEST(FdbModel, AgreesOverRandomOperations) {
  for (unsigned seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    std::vector<uint8_t> operations(4000);
    for (uint8_t& byte : operations) byte = static_cast<uint8_t>(random());
    EXPECT_EQ(RunAgainstModel(operations), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace vxvde
