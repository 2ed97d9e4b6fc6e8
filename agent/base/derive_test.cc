#include "agent/base/derive.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

TEST(DeriveMac, IsTheSameForTheSameNames) {
  EXPECT_EQ(DeriveMac("blue", "uid-1", "eth0", 0), DeriveMac("blue", "uid-1", "eth0", 0));
}

// Fixed values: a new version of the agent must derive the same MAC for a pod that moves to it or
// that it restores.
TEST(DeriveMac, NeverChanges) {
  EXPECT_EQ(DeriveMac("blue", "uid-1", "eth0", 0).ToString(), "ae:b0:ea:a8:2f:b4");
  EXPECT_EQ(DeriveMac("blue", "uid-1", "eth0", 1).ToString(), "6a:a9:99:e8:42:cf");
}

TEST(DeriveMac, IsLocalAndUnicastAndSpread) {
  std::set<MacAddress> macs;
  for (int pod = 0; pod < 1000; ++pod) {
    for (uint32_t attempt = 0; attempt < 3; ++attempt) {
      const MacAddress mac = DeriveMac("blue", absl::StrCat("uid-", pod), "eth0", attempt);
      EXPECT_EQ(mac.bytes()[0] & 0x03, 0x02) << mac.ToString();
      macs.insert(mac);
    }
  }
  EXPECT_EQ(macs.size(), 3000u);
}

TEST(DeriveMac, KeepsTheNamesApart) {
  EXPECT_NE(DeriveMac("ab", "c", "eth0", 0), DeriveMac("a", "bc", "eth0", 0));
  EXPECT_NE(DeriveMac("blue", "uid-1", "eth0", 0), DeriveMac("blue", "uid-1", "net1", 0));
  EXPECT_NE(DeriveMac("blue", "uid-1", "eth0", 0), DeriveMac("green", "uid-1", "eth0", 0));
}

TEST(FirstUnicastPort, StaysInTheRangeAndDependsOnCloudAndNode) {
  const PortRange range{14790, 15813};
  EXPECT_EQ(range.size(), 1024);
  std::set<uint16_t> ports;
  for (uint32_t vni = 1; vni <= 200; ++vni) {
    const CloudKey cloud{IpAddress::V4(239, 1, 2, 3), 14789, *Vni::Make(vni)};
    for (const char* node : {"n1", "n2"}) {
      const uint16_t port = FirstUnicastPort(cloud, node, range);
      EXPECT_GE(port, range.first);
      EXPECT_LE(port, range.last);
      ports.insert(port);
    }
  }
  EXPECT_GT(ports.size(), 250u);
  const CloudKey cloud{IpAddress::V4(239, 1, 2, 3), 14789, *Vni::Make(1)};
  EXPECT_EQ(FirstUnicastPort(cloud, "n1", {5000, 5000}), 5000);
}

}  // namespace
}  // namespace vxvde
