#include "agent/model/allowed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Allowed Of(const char* text) { return Allowed::Parse(text).value(); }
IpPrefix Prefix(const char* text) { return IpPrefix::Parse(text).value(); }

TEST(Allowed, HasOneTextFormEach) {
  for (const char* text : {"00:00:5e:00:01:0a", "00:00:5e:00:01:00/40", "00:00:00:00:00:00/0",
                           "10.42.0.200", "10.43.0.0/24", "0.0.0.0/0", "fd42::200", "fd43::/64",
                           "::/0", "dhcp-server", "router", "all"}) {
    const absl::StatusOr<Allowed> one = Allowed::Parse(text);
    ASSERT_TRUE(one.ok()) << one.status();
    EXPECT_EQ(one->ToString(), text);
  }
  EXPECT_EQ(Of("00-00-5E-00-01-0A").ToString(), "00:00:5e:00:01:0a");
  EXPECT_EQ(Of("10.42.0.200/32"), Of("10.42.0.200"));
  EXPECT_EQ(Of("11:22:33:44:55:66:77:88").ToString(), "11:22:33:44:55:66:77:88") << "IPv6";
}

TEST(Allowed, RefusesAllElseAndNamesIt) {
  for (const char* text : {"", "any", "Router", "01:00:5e:00:01:0a", "00:00:00:00:00:00",
                           "02:00:00:00:00:01/8", "02:00:00:00:00:00/49", "10.42.0.200/24",
                           "224.0.0.1", "ff02::1", "0.0.0.0", "::", "10.42.0", "10.42.0.0/33"}) {
    const absl::StatusOr<Allowed> one = Allowed::Parse(text);
    ASSERT_FALSE(one.ok()) << text;
    EXPECT_THAT(std::string(one.status().message()), HasSubstr(text));
  }
  EXPECT_FALSE(ParseAllowed(std::vector<std::string>(kMaxAllowed + 1, "router")).ok());
}

TEST(Allowed, CoversWhatIsInIt) {
  const auto covers = [](const char* more, const char* less) { return Of(more).Covers(Of(less)); };
  EXPECT_TRUE(covers("00:00:5e:00:01:00/40", "00:00:5e:00:01:0a"));
  EXPECT_TRUE(covers("00:00:5e:00:01:0a", "00:00:5e:00:01:0a"));
  EXPECT_FALSE(covers("00:00:5e:00:01:0a", "00:00:5e:00:01:00/40"));
  EXPECT_FALSE(covers("00:00:5e:00:01:00/40", "00:00:5e:00:02:0a"));
  EXPECT_TRUE(covers("10.42.0.0/24", "10.42.0.200"));
  EXPECT_FALSE(covers("10.42.0.200", "10.42.0.0/24"));
  EXPECT_FALSE(covers("0.0.0.0/0", "fd42::1"));
  EXPECT_FALSE(covers("0.0.0.0/0", "00:00:5e:00:01:0a"));
  EXPECT_TRUE(covers("router", "router"));
  EXPECT_FALSE(covers("router", "dhcp-server"));
  EXPECT_FALSE(covers("router", "all"));
  for (const char* less : {"router", "all", "::/0", "00:00:00:00:00:00/0"}) {
    EXPECT_TRUE(covers("all", less));
  }
}

TEST(MakeGuard, BindsAPortToItsAddresses) {
  const PortGuard guard =
      MakeGuard({Prefix("10.42.0.7/16"), Prefix("10.42.0.8/16"), Prefix("fd42::7/64")},
                {Prefix("10.42.0.0/16")}, {});
  EXPECT_TRUE(guard.on);
  EXPECT_THAT(guard.addresses,
              ElementsAre(Prefix("10.42.0.7/32"), Prefix("10.42.0.8/32"), Prefix("fd42::7/128")));
  EXPECT_THAT(guard.reserved,
              ElementsAre(Prefix("0.0.0.0/0"), Prefix("::/0"), Prefix("10.42.0.0/16")));
  EXPECT_THAT(guard.macs, IsEmpty());
}

TEST(MakeGuard, WhereItHasNoneTheSubnetsAreNotItsOwn) {
  EXPECT_THAT(MakeGuard({}, {}, {}), (PortGuard{.on = true}));
  EXPECT_THAT(MakeGuard({}, {Prefix("10.42.0.0/16")}, {}).reserved,
              ElementsAre(Prefix("10.42.0.0/16")));
  EXPECT_THAT(MakeGuard({Prefix("10.42.0.7/16")}, {Prefix("fd42::/64")}, {}).reserved,
              ElementsAre(Prefix("0.0.0.0/0"), Prefix("fd42::/64")));
}

TEST(MakeGuard, AddsWhatIsAllowed) {
  const PortGuard guard =
      MakeGuard({Prefix("10.42.0.7/16")}, {},
                {Of("00:00:5e:00:01:00/40"), Of("10.42.0.200"), Of("dhcp-server"), Of("router")});
  EXPECT_TRUE(guard.on);
  EXPECT_THAT(guard.macs, ElementsAre(MacPrefix::Parse("00:00:5e:00:01:00/40").value()));
  EXPECT_THAT(guard.addresses, ElementsAre(Prefix("10.42.0.7/32"), Prefix("10.42.0.200/32")));
  EXPECT_TRUE(guard.dhcp_server);
  EXPECT_TRUE(guard.router);
  EXPECT_FALSE(MakeGuard({}, {}, {Of("all")}).on);
}

}  // namespace
}  // namespace vxvde
