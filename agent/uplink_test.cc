#include "agent/uplink.h"

#include <algorithm>

#include "agent/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;

const IpAddress kGroup4 = IpAddress::V4(239, 1, 2, 3);
const IpAddress kGroup6 = *IpAddress::Parse("ff05::1");

// eth0 (1) has the route to every group, eth1 (2) has jumbo frames.
Links TwoInterfaces() {
  const auto link = [](uint32_t index, const char* name, int mtu) {
    LinkInfo info;
    info.index = IfIndex{index};
    info.name = name;
    info.mtu = mtu;
    return info;
  };
  const LinkInfo eth0 = link(1, "eth0", 1500);
  const LinkInfo eth1 = link(2, "eth1", 9000);
  Links links;
  links.by_name = [=](const std::string& name) -> absl::StatusOr<LinkInfo> {
    if (name == "eth0") return eth0;
    if (name == "eth1") return eth1;
    return absl::NotFoundError(name);
  };
  links.by_index = [=](IfIndex index) -> absl::StatusOr<LinkInfo> {
    return index == IfIndex{1} ? eth0 : eth1;
  };
  links.route = [](const IpAddress&) -> absl::StatusOr<RouteAnswer> {
    RouteAnswer answer;
    answer.interface = IfIndex{1};
    return answer;
  };
  return links;
}

CloudConfig Cloud(const std::string& interface) {
  CloudConfig cloud;
  cloud.key = {kGroup4, 14789, *Vni::Make(1)};
  cloud.interface = interface;
  return cloud;
}

TEST(ChooseUplink, LocatorThenConfigurationThenRoute) {
  const Links links = TwoInterfaces();
  EXPECT_EQ(ChooseUplink(Cloud("eth1"), "eth0", links)->name, "eth1");
  EXPECT_EQ(ChooseUplink(Cloud(""), "eth1", links)->name, "eth1");
  const absl::StatusOr<Uplink> routed = ChooseUplink(Cloud(""), "", links);
  ASSERT_TRUE(routed.ok());
  EXPECT_EQ(routed->name, "eth0");
  EXPECT_EQ(routed->index, IfIndex{1});
  EXPECT_EQ(routed->mtu, 1500);
}

TEST(ChooseUplink, NoRouteIsRefusedWithTheRemedy) {
  Links links = TwoInterfaces();
  links.route = [](const IpAddress&) { return absl::UnavailableError("Network is unreachable"); };
  const Refusal refusal = RefusalOf(ChooseUplink(Cloud(""), "", links).status());
  EXPECT_EQ(refusal.code, static_cast<uint32_t>(AttachError::kCannotJoin));
  EXPECT_THAT(refusal.message, HasSubstr("239.1.2.3"));
  EXPECT_THAT(refusal.remedy, HasSubstr("uplink:"));
  EXPECT_THAT(refusal.remedy, HasSubstr("/if="));
  EXPECT_THAT(refusal.remedy, HasSubstr("224.0.0.0/4"));
}

TEST(ChooseUplink, AMissingInterfaceIsNamedWithWhereItWasSet) {
  const Links links = TwoInterfaces();
  const Refusal config = RefusalOf(ChooseUplink(Cloud(""), "eth7", links).status());
  EXPECT_THAT(config.message, HasSubstr("eth7"));
  EXPECT_THAT(config.remedy, HasSubstr("uplink:"));
  const Refusal locator = RefusalOf(ChooseUplink(Cloud("eth8"), "eth7", links).status());
  EXPECT_THAT(locator.message, HasSubstr("eth8"));
  EXPECT_THAT(locator.remedy, HasSubstr("/if="));
}

TEST(PodMtu, DefaultsToWhatTheUplinkCarries) {
  EXPECT_EQ(*PodMtu(0, 0, 1500, kGroup4), 1450);
  EXPECT_EQ(*PodMtu(0, 0, 1500, kGroup6), 1430);
  EXPECT_EQ(*PodMtu(0, 0, 9000, kGroup4), 8950);
  EXPECT_EQ(*PodMtu(0, 0, 65536, kGroup4), 65485);  // loopback: one UDP datagram is the limit
}

TEST(PodMtu, RequestBeforeCloudBeforeUplink) {
  EXPECT_EQ(*PodMtu(1400, 1300, 1500, kGroup4), 1400);
  EXPECT_EQ(*PodMtu(0, 1300, 1500, kGroup4), 1300);
  EXPECT_EQ(*PodMtu(1500, 0, 1500, kGroup4), 1500);  // as real members: outer fragments
}

TEST(PodMtu, RefusesWhatIsImpossible) {
  for (const uint32_t mtu : {1u, 67u, 65486u, 0xffffffffu}) {
    const Refusal refusal = RefusalOf(PodMtu(mtu, 0, 1500, kGroup4).status());
    EXPECT_EQ(refusal.code, static_cast<uint32_t>(AttachError::kMtuImpossible)) << mtu;
    EXPECT_THAT(refusal.message, HasSubstr(std::to_string(mtu)));
  }
  EXPECT_FALSE(PodMtu(0, 0, 100, kGroup4).ok());  // 50 would be left
  EXPECT_TRUE(PodMtu(68, 0, 1500, kGroup4).ok());
  EXPECT_TRUE(PodMtu(65485, 0, 1500, kGroup4).ok());
}

// What the kernel makes of it: it takes MAX_TCP_HEADER (320 at most) + 1 off for the largest
// payload (Linux net/core/sock.c, sk_dst_gso_max_size), and cuts that into segments of one MSS.
TEST(GsoMaxSize, OneSuperFrameFitsOneSend) {
  for (int mtu = kMinPodMtu; mtu <= kMaxPodMtu; ++mtu) {
    const uint32_t size = GsoMaxSize(mtu, /*fast=*/false);
    ASSERT_GT(size, 321u) << mtu;                 // the kernel accepts nothing below that
    for (const int headers : {40, 52, 60, 72}) {  // IPv4, IPv6; without and with timestamps
      const int mss = mtu - headers;
      if (mss < 16) continue;
      // At least one segment, whatever the limit.
      const int payload = std::max(static_cast<int>(size) - 321, mss);
      const int segments = (payload + mss - 1) / mss;
      ASSERT_LE(segments, 64) << mtu << " " << headers;
      ASSERT_LE(segments * (mtu + 22), 65507) << mtu << " " << headers;
    }
  }
}

TEST(GsoMaxSize, WastesLittle) {
  EXPECT_GT(GsoMaxSize(1450, false), 58000u);
  EXPECT_GT(GsoMaxSize(8950, false), 58000u);
  EXPECT_EQ(GsoMaxSize(1450, /*fast=*/true), 0u) << "the kernel's own";
}

}  // namespace
}  // namespace vxvde
