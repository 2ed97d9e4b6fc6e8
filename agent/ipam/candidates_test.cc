#include "agent/ipam/candidates.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

IpPrefix P(const char* text) { return *IpPrefix::Parse(text); }

std::set<IpAddress> All(const IpPrefix& subnet, const char* owner) {
  Candidates order(subnet, "cloud", owner);
  std::set<IpAddress> all;
  while (const auto next = order.Next()) {
    EXPECT_TRUE(IsUsable(subnet, *next)) << next->ToString();
    EXPECT_TRUE(all.insert(*next).second) << next->ToString() << " twice";
  }
  return all;
}

TEST(Candidates, EachUsableAddressOnceAndNoOther) {
  for (const char* text : {"192.0.2.0/30", "192.0.2.0/29", "192.0.2.0/24", "198.51.96.0/20",
                           "2001:db8::/126", "2001:db8::/120", "2001:db8::/116"}) {
    for (const char* owner : {"default/web-0", "c1", ""}) {
      const std::set<IpAddress> all = All(P(text), owner);
      EXPECT_EQ(all.size(), UsableAddresses(P(text))) << text;
    }
  }
  EXPECT_EQ(UsableAddresses(P("192.0.2.0/24")), 254u);
  EXPECT_EQ(UsableAddresses(P("2001:db8::/120")), 255u);
}

TEST(Candidates, NeverTheAddressesOfAllOrOfTheRouters) {
  EXPECT_FALSE(IsUsable(P("192.0.2.0/24"), *IpAddress::Parse("192.0.2.0")));
  EXPECT_FALSE(IsUsable(P("192.0.2.0/24"), *IpAddress::Parse("192.0.2.255")));
  EXPECT_FALSE(IsUsable(P("192.0.2.0/24"), *IpAddress::Parse("198.51.100.1")));
  EXPECT_FALSE(IsUsable(P("2001:db8::/64"), *IpAddress::Parse("2001:db8::")));
  EXPECT_TRUE(IsUsable(P("192.0.2.0/24"), *IpAddress::Parse("192.0.2.1")));
  EXPECT_TRUE(IsUsable(P("2001:db8::/64"), *IpAddress::Parse("2001:db8::ffff:ffff:ffff:ffff")));
}

TEST(Candidates, TheSameOwnerMeetsTheSameFirst) {
  const IpPrefix subnet = P("10.42.0.0/16");
  EXPECT_EQ(Candidates(subnet, "blue", "default/web-0").Next(),
            Candidates(subnet, "blue", "default/web-0").Next());
  std::set<IpAddress> first;
  for (int i = 0; i < 100; ++i) {
    first.insert(*Candidates(subnet, "blue", absl::StrCat("default/web-", i)).Next());
  }
  EXPECT_GT(first.size(), 95u) << "owners are spread";
}

TEST(Candidates, LargeSubnets) {
  for (const char* text : {"10.0.0.0/8", "2001:db8::/64", "fd00::/8"}) {
    const IpPrefix subnet = P(text);
    Candidates order(subnet, "cloud", "c1");
    std::set<IpAddress> some;
    for (int i = 0; i < 1000; ++i) {
      const IpAddress next = *order.Next();
      EXPECT_TRUE(IsUsable(subnet, next)) << next.ToString();
      EXPECT_TRUE(some.insert(next).second);
    }
  }
}

}  // namespace
}  // namespace vxvde
