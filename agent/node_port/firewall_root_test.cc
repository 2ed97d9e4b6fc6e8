// The rules as the kernel takes them.

#include "agent/node_port/firewall.h"
#include "agent/node_port/underlay_wall.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

FirewallState Everything() {
  FirewallState state;
  state.ports = {{.ifname = "vx-blue",
                  .subnets = {*IpPrefix::Parse("10.42.0.0/16"), *IpPrefix::Parse("fd42::/64")},
                  .masquerade = true,
                  .routed = true,
                  .reaches = {"vx-a.b_c-d"}},
                 {.ifname = "vx-a.b_c-d", .subnets = {}, .masquerade = false, .reaches = {}}};
  for (const char* protocol : {"tcp", "udp", "sctp"}) {
    for (const bool any : {true, false}) {
      for (uint16_t port = 1; port <= 100; ++port) {
        const auto at = [&](const char* ip) {
          return any ? std::nullopt : std::optional<IpAddress>(Ip(ip));
        };
        state.mappings.push_back({protocol, port, at("192.0.2.1"), Ip("10.42.0.7"), 80});
        state.mappings.push_back({protocol, port, at("2001:db8::1"), Ip("fd42::7"), 80});
      }
    }
  }
  return state;
}

TEST(FirewallKernel, TakesEveryKindOfRule) {
  const TestNetNs netns;
  netns.Run([&] {
    netns.Shell("nft add table inet theirs");
    const NftKernel kernel = KernelFirewall().rules;
    FirewallState state = Everything();
    ASSERT_EQ(kernel.run(FirewallRules(state)), absl::OkStatus());
    const std::string first = ValueOrDie(kernel.list());
    EXPECT_THAT(first, HasSubstr("2001:db8::1"));
    ASSERT_EQ(kernel.run(FirewallRules(state)), absl::OkStatus()) << "in place of itself";
    EXPECT_EQ(ValueOrDie(kernel.list()), first) << "one state has one listing";
    state.mappings.clear();
    ASSERT_EQ(kernel.run(FirewallRules(state)), absl::OkStatus());
    ASSERT_EQ(kernel.run(FirewallRules({})), absl::OkStatus());
    EXPECT_THAT(ValueOrDie(kernel.list()), IsEmpty());
    ASSERT_EQ(kernel.run(FirewallRules({})), absl::OkStatus()) << "when it is not there";
    netns.Shell("nft list table inet theirs");
  });
}

// Lists with several elements, and with none where they may be empty.
TEST(UnderlayKernel, TakesEveryKindOfRule) {
  const TestNetNs netns;
  netns.Run([&] {
    const NftKernel kernel = KernelUnderlayRules();
    UnderlayState state = {
        .uplinks = {"eth0", "eth1"},
        .lan_bridges = {"br0", "br1"},
        .local_ports = {14789, 14790, 15814},
        .source_ports = {14790, 15814},
        .group_ports = {4000, 14789},
        .member_ports = {{14000, 15813}, {15000, 16837}},
        .networks = {*IpPrefix::Parse("192.0.2.0/24"), *IpPrefix::Parse("198.51.100.0/24"),
                     *IpPrefix::Parse("2001:db8::/64")}};
    ASSERT_EQ(kernel.run(UnderlayRules(state)), absl::OkStatus());
    const std::string first = ValueOrDie(kernel.list());
    EXPECT_THAT(first, HasSubstr("198.51.100.0/24"));
    ASSERT_EQ(kernel.run(UnderlayRules(state)), absl::OkStatus()) << "in place of itself";
    EXPECT_EQ(ValueOrDie(kernel.list()), first) << "one state has one listing";
    state.networks.clear();
    state.lan_bridges.clear();
    ASSERT_EQ(kernel.run(UnderlayRules(state)), absl::OkStatus());
    ASSERT_EQ(kernel.run(UnderlayRules({})), absl::OkStatus());
    EXPECT_THAT(ValueOrDie(kernel.list()), IsEmpty());
  });
}

}  // namespace
}  // namespace vxvde
