#include "agent/ipam/address_pools.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Instant kStart = Instant{} + std::chrono::seconds(1000);
const IpPrefix kSubnet = *IpPrefix::Parse("192.0.2.0/24");
const IpAddress kAddress = IpAddress::V4(192, 0, 2, 9);

class AddressPoolsTest : public testing::Test {
 protected:
  AddressPoolsTest() { pools_.Set(kStart, {kSubnet}); }

  std::vector<IpAddress> Next(Instant now, size_t have = 0, std::set<IpAddress> skip = {}) {
    return pools_.NextSpares(
        now, [&](const IpPrefix&) { return have; },
        [&](const IpAddress& address) { return skip.contains(address); });
  }

  AddressPools pools_{"cloud", "seed"};
};

TEST_F(AddressPoolsTest, SpareAddressesAreAShareOfTheSubnet) {
  pools_.Set(kStart, {kSubnet, *IpPrefix::Parse("198.51.100.0/28"), *IpPrefix::Parse("fd00::/64")});
  ASSERT_THAT(pools_.all(), SizeIs(3));
  EXPECT_EQ(pools_.all()[0].max_spare, 7u);
  EXPECT_EQ(pools_.all()[0].max_kept, 15u);
  EXPECT_EQ(pools_.all()[1].max_spare, 0u);
  EXPECT_EQ(pools_.all()[2].max_spare, 8u);
  EXPECT_EQ(pools_.all()[2].max_kept, 32u);
  EXPECT_EQ(pools_.Find(kAddress)->subnet, kSubnet);
  EXPECT_EQ(pools_.Find(IpAddress::V4(203, 0, 113, 1)), nullptr);
}

TEST_F(AddressPoolsTest, FillsUpWithUsableAddresses) {
  const std::vector<IpAddress> first = Next(kStart);
  EXPECT_THAT(first, SizeIs(7));
  EXPECT_EQ(std::set<IpAddress>(first.begin(), first.end()).size(), 7u);
  for (const IpAddress& one : first) EXPECT_TRUE(IsUsable(kSubnet, one));
  EXPECT_THAT(Next(kStart, /*have=*/5), SizeIs(2));
  EXPECT_THAT(Next(kStart, /*have=*/7), IsEmpty());
  AddressPools same("cloud", "seed");
  same.Set(kStart, {kSubnet});
  const std::vector<IpAddress> skipped = same.NextSpares(
      kStart, [](const IpPrefix&) { return 6; },
      [&](const IpAddress& one) { return one == first[0]; });
  EXPECT_EQ(skipped, std::vector<IpAddress>{first[1]});
}

TEST_F(AddressPoolsTest, RestsAfterFailuresInARow) {
  for (int i = 1; i < AddressPools::kMaxFailures; ++i) pools_.OnSpareInUse(kStart, kAddress);
  EXPECT_THAT(Next(kStart, 6), SizeIs(1));
  pools_.OnSpareFree(kAddress);
  pools_.OnSpareInUse(kStart, kAddress);
  EXPECT_THAT(Next(kStart, 6), SizeIs(1)) << "a success in between";
  for (int i = 1; i < AddressPools::kMaxFailures; ++i) pools_.OnSpareInUse(kStart, kAddress);
  EXPECT_THAT(Next(kStart, 6), IsEmpty());
  EXPECT_THAT(Next(kStart + AddressPools::kRest, 6), SizeIs(1));
}

TEST_F(AddressPoolsTest, RestsWhenNoCandidateIsLeft) {
  const auto none = [](const IpPrefix&) { return 0; };
  const auto all = [](const IpAddress&) { return true; };
  EXPECT_THAT(pools_.NextSpares(kStart, none, all), IsEmpty());
  EXPECT_THAT(Next(kStart), IsEmpty());
  EXPECT_THAT(Next(kStart + AddressPools::kRest), SizeIs(7)) << "from the start again";
}

TEST_F(AddressPoolsTest, ASubnetThatStaysKeepsItsState) {
  pools_.SetExhausted(kStart, kAddress);
  pools_.Set(kStart, {*IpPrefix::Parse("fd00::/64"), kSubnet});
  EXPECT_EQ(pools_.Find(kAddress)->exhausted_until, kStart + AddressPools::kExhaustedFor);
  pools_.ClearExhausted(kAddress);
  EXPECT_LT(pools_.Find(kAddress)->exhausted_until, kStart);
}

}  // namespace
}  // namespace vxvde
