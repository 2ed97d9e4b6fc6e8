#include "agent/ipam/held_addresses.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Use = HeldAddress::Use;

constexpr Instant kStart = Instant{} + std::chrono::seconds(1000);
const MacAddress kAgent({0x02, 0, 0x5e, 0xa0, 0, 1});
const MacAddress kPod({0x02, 0, 0x5e, 0xc0, 0, 1});
const IpPrefix kSubnet = *IpPrefix::Parse("192.0.2.0/26");  // 3 kept and 1 spare address at most

IpAddress A(int number) { return IpAddress::V4(192, 0, 2, static_cast<uint8_t>(number)); }

class HeldAddressesTest : public testing::Test {
 protected:
  HeldAddressesTest() { pools_.Set(kStart, {kSubnet}); }

  static HeldAddresses::Lease Lease(const std::string& owner, std::vector<int> addresses) {
    HeldAddresses::Lease lease{.owner = owner, .mac = kPod, .addresses = {}};
    for (const int one : addresses) lease.addresses.push_back({A(one), 26});
    return lease;
  }
  std::optional<IpAddress> Take(const std::string& owner, bool any_owner,
                                std::optional<IpAddress> wanted = std::nullopt) {
    return held_.TakeUnassigned(kStart, {.lease = "taken", .owner = owner, .mac = kPod}, kSubnet,
                                wanted, any_owner);
  }
  // Holds the address for `owner`.
  void Keep(Instant now, int address, const std::string& owner) {
    held_.RestoreLease(now, owner, Lease(owner, {address}));
    held_.RemoveLease(now, owner, pools_);
    ASSERT_EQ(held_.Find(A(address))->use, Use::kKept);
  }

  AddressPools pools_{"cloud", "seed"};
  HeldAddresses held_{kAgent};
};

TEST_F(HeldAddressesTest, AReleasedAddressIsKeptThenSpareThenGivenUp) {
  held_.RestoreLease(kStart, "a", Lease("web-0", {1, 2, 3, 4, 5}));
  EXPECT_EQ(held_.Count(kSubnet, Use::kLeased), 5u);
  EXPECT_TRUE(held_.has_leases());
  EXPECT_THAT(held_.RemoveLease(kStart, "a", pools_), ElementsAre(A(1), A(2), A(3), A(4), A(5)));
  EXPECT_FALSE(held_.has_leases());
  EXPECT_EQ(held_.Count(kSubnet, Use::kKept), 3u);
  EXPECT_EQ(held_.Count(kSubnet, Use::kSpare), 1u);
  EXPECT_FALSE(held_.Contains(A(5)));
  EXPECT_EQ(held_.Find(A(1))->owner, "web-0");
  EXPECT_EQ(held_.Find(A(1))->mac, kAgent) << "no longer the pod's";
  held_.Expire(kStart + HeldAddresses::kKeptFor);
  EXPECT_THAT(held_.All(), ElementsAre(A(4)));
}

TEST_F(HeldAddressesTest, AnOwnerTakesItsOwnAddressThenASpareOne) {
  Keep(kStart, 1, "web-0");
  Keep(kStart + 1s, 2, "web-1");
  held_.AddSpare(kStart + 2s, A(3));
  EXPECT_EQ(Take("web-1", false), A(2));
  EXPECT_EQ(Take("web-1", false), A(3));
  EXPECT_EQ(Take("web-1", false), std::nullopt) << "kept for another owner";
  EXPECT_EQ(Take("web-1", true), A(1));
  EXPECT_EQ(held_.Find(A(1))->mac, kPod);
  EXPECT_TRUE(held_.Find(A(1))->assigned());
  EXPECT_EQ(Take("web-1", true), std::nullopt) << "all are assigned";
}

TEST_F(HeldAddressesTest, AWantedAddressIsTakenFromAnyOwner) {
  Keep(kStart, 1, "web-0");
  Keep(kStart, 2, "web-0");
  EXPECT_EQ(Take("web-1", false, A(2)), A(2));
  EXPECT_EQ(Take("web-1", false, A(2)), std::nullopt);
  EXPECT_EQ(Take("web-1", false, A(9)), std::nullopt);
}

TEST_F(HeldAddressesTest, TheAddressHeldLongestIsTakenFirst) {
  held_.AddSpare(kStart + 1s, A(1));
  held_.AddSpare(kStart, A(2));
  EXPECT_EQ(Take("web-1", false), A(2));
}

TEST_F(HeldAddressesTest, OccupiedAddressesAreGivenUp) {
  HeldAddresses::Lease lease = Lease("", {1, 2});
  lease.allocated = false;
  EXPECT_THAT(held_.RestoreLease(kStart, "a", lease), ElementsAre(A(1), A(2)));
  EXPECT_EQ(held_.Count(kSubnet, Use::kOccupied), 2u);
  // An address that has a lease stays with it.
  EXPECT_THAT(held_.RestoreLease(kStart, "b", Lease("b", {2, 3})), ElementsAre(A(3)));
  EXPECT_THAT(held_.RemoveLease(kStart, "b", pools_), ElementsAre(A(3)));
  EXPECT_EQ(held_.Find(A(2))->lease, "a");
  EXPECT_THAT(held_.RemoveLease(kStart, "a", pools_), ElementsAre(A(1), A(2)));
  EXPECT_THAT(held_.All(), ElementsAre(A(3)));
  EXPECT_THAT(held_.RemoveLease(kStart, "a", pools_), IsEmpty());
}

TEST_F(HeldAddressesTest, AnUnassignedAddressEndsWithItsPool) {
  Keep(kStart, 1, "web-0");
  held_.AddSpare(kStart, A(2));
  held_.RestoreLease(kStart, "a", Lease("a", {3}));
  pools_.Set(kStart, {});
  held_.GiveUpOutside(pools_);
  EXPECT_THAT(held_.All(), ElementsAre(A(3)));
  held_.RemoveLease(kStart, "a", pools_);
  EXPECT_TRUE(held_.empty());
}

TEST_F(HeldAddressesTest, TheRotationVisitsAll) {
  for (const int one : {1, 2, 3}) held_.AddSpare(kStart, A(one));
  EXPECT_EQ(held_.After(IpAddress()), A(1));
  EXPECT_EQ(held_.After(A(1)), A(2));
  held_.GiveUp(A(2));
  EXPECT_EQ(held_.After(A(2)), A(3));
  EXPECT_EQ(held_.After(A(3)), A(1));
}

TEST_F(HeldAddressesTest, RepliesToConflictsHaveALimitedRate) {
  held_.AddSpare(kStart, A(1));
  EXPECT_TRUE(held_.ShouldReply(kStart, A(1), 1s));
  EXPECT_FALSE(held_.ShouldReply(kStart + 999ms, A(1), 1s));
  EXPECT_TRUE(held_.ShouldReply(kStart + 1s, A(1), 1s));
  EXPECT_FALSE(held_.ShouldReply(kStart, A(2), 1s)) << "not held";
}

}  // namespace
}  // namespace vxvde
