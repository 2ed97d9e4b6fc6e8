// Compares nft's listing of the kernel's rules with the model, except for the order of elements.

#include "agent/node_port/firewall.h"
#include "agent/node_port/host_end_wall.h"
#include "agent/node_port/testing/nft_text.h"
#include "agent/node_port/underlay_wall.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

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

class RulesTest : public testing::Test {
 protected:
  // Writes the table twice, and compares it with nft's listing.
  void Check(const NftTable& table) {
    netns_.Run([&] {
      ASSERT_EQ(ReplaceNftTables({table}), absl::OkStatus());
      const std::string first = ValueOrDie(ReadNftTables({table}));
      ASSERT_EQ(ReplaceNftTables({table}), absl::OkStatus()) << "in place of itself";
      EXPECT_EQ(ValueOrDie(ReadNftTables({table})), first) << "one state has one text";
      EXPECT_EQ(first.empty(), table.chains.empty());
    });
    if (table.chains.empty()) return;
    EXPECT_EQ(WithSortedElements(netns_.Output("nft --stateless list table " + table.ToString())),
              NftText(table));
  }

  const TestNetNs netns_;
};

TEST_F(RulesTest, OfTheFirewall) {
  FirewallState state = Everything();
  Check(FirewallRules(state));
  state.mappings.resize(2);
  Check(FirewallRules(state));
  state.mappings.clear();
  Check(FirewallRules(state));
  state.ports.resize(1);
  state.ports[0].reaches.clear();
  Check(FirewallRules(state));
  Check(FirewallRules({}));
  EXPECT_THAT(netns_.Output("nft list tables"), IsEmpty());
}

// Lists with several elements, with one, and with none where they may be empty.
TEST_F(RulesTest, OfTheUnderlaysWall) {
  UnderlayState state = {
      .uplinks = {"eth0", "eth1"},
      .lan_bridges = {"br0", "br1"},
      .local_ports = {14789, 14790, 15814},
      .source_ports = {14790, 15814},
      .group_ports = {4000, 14789},
      .member_ports = {{14000, 15813}, {15000, 16837}},
      .networks = {*IpPrefix::Parse("192.0.2.0/24"), *IpPrefix::Parse("198.51.100.0/24"),
                   *IpPrefix::Parse("2001:db8::/64")}};
  Check(UnderlayRules(state));
  state.networks.clear();
  state.lan_bridges = {"br0"};
  state.source_ports = {14790};
  Check(UnderlayRules(state));
  state.lan_bridges.clear();
  state.uplinks = {"eth0"};
  Check(UnderlayRules(state));
  Check(UnderlayRules({}));
}

TEST_F(RulesTest, OfTheHostEndsWall) {
  for (const bool wanted : {true, false}) {
    for (const NftTable& table : HostEndRules(wanted)) Check(table);
  }
}

}  // namespace
}  // namespace vxvde
