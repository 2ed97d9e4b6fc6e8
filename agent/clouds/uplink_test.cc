#include "agent/clouds/uplink.h"

#include "agent/base/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;

const IpAddress kGroup4 = IpAddress::V4(239, 1, 2, 3);

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

}  // namespace
}  // namespace vxvde
