#include "agent/node_port/firewall.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

FirewallState Blue(bool masquerade = false) {
  return {.ports = {{.ifname = "vx-blue",
                     .subnets = {*IpPrefix::Parse("10.42.0.0/16"), *IpPrefix::Parse("fd42::/64")},
                     .masquerade = masquerade}},
          .mappings = {}};
}

TEST(FirewallRules, NothingIsATableRemovedIfItIsThere) {
  EXPECT_EQ(FirewallRules({}), "add table inet vxvde\ndelete table inet vxvde\n");
}

TEST(FirewallRules, ANodePortAlone) {
  EXPECT_EQ(FirewallRules(Blue()), R"(add table inet vxvde
delete table inet vxvde
table inet vxvde {
  chain from_clouds {
    type filter hook prerouting priority raw; policy accept;
    iifname { "vx-blue" } ip daddr 127.0.0.0/8 drop
    iifname { "vx-blue" } ip saddr 127.0.0.0/8 drop
  }
  chain no_redirects {
    type filter hook output priority filter; policy accept;
    oifname { "vx-blue" } icmp type redirect drop
    oifname { "vx-blue" } icmpv6 type nd-redirect drop
  }
  chain leaving {
    type nat hook postrouting priority srcnat; policy accept;
    oifname { "vx-blue" } ct status dnat masquerade
  }
}
)");
}

TEST(FirewallRules, MasqueradeIsForTheSubnetsThatLeaveTheCloud) {
  FirewallState state = Blue(/*masquerade=*/true);
  state.ports.push_back({.ifname = "vx-green", .subnets = {}, .masquerade = false});
  EXPECT_THAT(FirewallRules(state), HasSubstr(R"(
    oifname { "vx-blue", "vx-green" } ct status dnat masquerade
    oifname != { "vx-blue", "lo" } ip saddr 10.42.0.0/16 masquerade
    oifname != { "vx-blue", "lo" } ip6 saddr fd42::/64 masquerade
  }
)"));
}

TEST(FirewallRules, MappingsOfOneAddressComeBeforeThoseOfAll) {
  FirewallState state = Blue();
  state.mappings = {
      {"tcp", 8080, std::nullopt, Ip("10.42.0.7"), 80},
      {"tcp", 8000, std::nullopt, Ip("10.42.0.8"), 8000},
      {"udp", 53, Ip("192.0.2.1"), Ip("10.42.0.7"), 5353},
      {"sctp", 9, std::nullopt, Ip("fd42::7"), 9},
      {"tcp", 80, Ip("2001:db8::1"), Ip("fd42::7"), 8080},
  };
  const std::string rules = FirewallRules(state);
  EXPECT_THAT(rules, HasSubstr(R"(
  chain published {
    ip daddr 192.0.2.1 dnat ip to udp dport map { 53 : 10.42.0.7 . 5353 }
    ip6 daddr 2001:db8::1 dnat ip6 to tcp dport map { 80 : fd42::7 . 8080 }
    meta nfproto ipv4 dnat ip to tcp dport map { 8000 : 10.42.0.8 . 8000, 8080 : 10.42.0.7 . 80 }
    meta nfproto ipv6 dnat ip6 to sctp dport map { 9 : fd42::7 . 9 }
  }
)"));
  EXPECT_THAT(rules, HasSubstr("hook prerouting priority dstnat"));
  EXPECT_THAT(rules, HasSubstr("hook output priority -100"));
}

// nftables as Firewall sees it.
struct Nft {
  std::string table;
  std::vector<std::string> runs;
  absl::Status refuses;

  FirewallKernel AsKernel() {
    return {.run =
                [this](const std::string& commands) {
                  if (!refuses.ok()) return refuses;
                  runs.push_back(commands);
                  table = commands;
                  return absl::OkStatus();
                },
            .list = [this]() -> absl::StatusOr<std::string> {
              if (!refuses.ok()) return refuses;
              return table;
            }};
  }
};

class FirewallTest : public testing::Test {
 protected:
  void RunFor(Duration time) {
    loop_->After(time, [this] { loop_->Stop(); });
    loop_->Run();
  }

  std::vector<std::string> lines_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  Log log_{[this](LogLevel, const std::string& line) { lines_.push_back(line); }};
  Nft nft_;
  Firewall firewall_{loop_.get(), &log_, nft_.AsKernel()};
};

TEST_F(FirewallTest, TheSameStateTwiceIsOneChange) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  EXPECT_THAT(nft_.runs, SizeIs(1));
  ASSERT_EQ(firewall_.Set({}), absl::OkStatus());
  EXPECT_THAT(nft_.runs, ElementsAre(FirewallRules(Blue()), FirewallRules({})));
}

TEST_F(FirewallTest, ARefusalChangesNothing) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  nft_.refuses = absl::PermissionDeniedError("Operation not permitted");
  EXPECT_TRUE(absl::IsPermissionDenied(firewall_.Set(Blue(/*masquerade=*/true))));
  EXPECT_EQ(firewall_.state(), Blue());
}

TEST_F(FirewallTest, WithoutOneOnlyNothingCanBeSet) {
  Firewall none(loop_.get(), &log_, NoFirewall(absl::PermissionDeniedError("not permitted")));
  EXPECT_EQ(none.Set({}), absl::OkStatus());
  EXPECT_EQ(none.problem(), "");
  EXPECT_TRUE(absl::IsPermissionDenied(none.Set(Blue())));
}

TEST_F(FirewallTest, ATableOfAnEarlierLifeIsRemoved) {
  nft_.table = "table inet vxvde {}";
  ASSERT_EQ(firewall_.Set({}), absl::OkStatus());
  EXPECT_THAT(nft_.runs, ElementsAre(FirewallRules({})));
}

TEST_F(FirewallTest, WhatSomebodyFlushedIsMadeAgain) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  nft_.table.clear();
  firewall_.OnChange();
  firewall_.OnChange();
  loop_->Every(std::chrono::milliseconds(5), [&] {
    if (!nft_.table.empty()) loop_->Stop();
  });
  loop_->Run();
  EXPECT_THAT(nft_.runs, ElementsAre(FirewallRules(Blue()), FirewallRules(Blue())));
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("it was gone")));
}

TEST_F(FirewallTest, WhatStandsAsItShouldIsLeftAlone) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  firewall_.OnChange();  // our own change is told to us as well
  RunFor(2 * Firewall::kSettle);
  EXPECT_THAT(nft_.runs, SizeIs(1));
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(FirewallTest, RestoringIsTriedUntilItWorks) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  nft_.table.clear();
  nft_.refuses = absl::InternalError("Resource busy");
  firewall_.OnChange();
  loop_->Every(std::chrono::milliseconds(5), [&] {
    if (firewall_.problem() == "Resource busy") nft_.refuses = absl::OkStatus();
    if (!nft_.table.empty()) loop_->Stop();
  });
  loop_->Run();
  EXPECT_THAT(firewall_.problem(), IsEmpty());
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("Resource busy"), HasSubstr("nftables restored")));
}

}  // namespace
}  // namespace vxvde
