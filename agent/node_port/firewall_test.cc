#include "agent/node_port/firewall.h"

#include <string>
#include <vector>

#include "agent/node_port/testing/fake_nft.h"
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

TEST(FirewallRules, WithoutPortsThereIsNoTable) {
  EXPECT_EQ(FirewallRules({}).ToString(), "inet vxvde");
  EXPECT_THAT(FirewallRules({}).chains, IsEmpty());
}

TEST(FirewallRules, ANodePortAlone) {
  EXPECT_EQ(NftText(FirewallRules(Blue())), R"(table inet vxvde {
	chain from_clouds {
		type filter hook prerouting priority raw; policy accept;
		iifname "vx-blue" ip daddr 127.0.0.0/8 drop
		iifname "vx-blue" ip saddr 127.0.0.0/8 drop
	}

	chain no_redirects {
		type filter hook output priority filter; policy accept;
		oifname "vx-blue" icmp type redirect drop
		oifname "vx-blue" icmpv6 type nd-redirect drop
	}

	chain into_clouds {
		type filter hook forward priority filter; policy accept;
		oifname != "vx-blue" accept
		ct state established,related accept
		iifname . oifname { "vx-blue" . "vx-blue" } accept
		iifname != "vx-blue" ct status dnat accept
		counter drop
	}

	chain leaving {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "vx-blue" ct status dnat masquerade
	}
}
)");
}

TEST(FirewallRules, MasqueradeIsForTheSubnetsThatLeaveTheCloud) {
  FirewallState state = Blue(/*masquerade=*/true);
  state.ports.push_back({.ifname = "vx-green", .subnets = {}, .masquerade = false});
  EXPECT_THAT(NftText(FirewallRules(state)), HasSubstr(R"(
		oifname { "vx-blue", "vx-green" } ct status dnat masquerade
		oifname != { "lo", "vx-blue" } ip saddr 10.42.0.0/16 masquerade
		oifname != { "lo", "vx-blue" } ip6 saddr fd42::/64 masquerade
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
  const std::string rules = NftText(FirewallRules(state));
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

TEST(FirewallRules, OneCloudEntersAnotherOnlyIfItMay) {
  FirewallState state = Blue();
  state.ports[0].reaches = {"vx-green"};
  state.ports.push_back({.ifname = "vx-green", .subnets = {}, .routed = true, .reaches = {}});
  state.mappings = {{"tcp", 8080, std::nullopt, Ip("10.42.0.7"), 80},
                    {"tcp", 8081, std::nullopt, Ip("10.42.0.7"), 80},
                    {"udp", 53, std::nullopt, Ip("fd42::7"), 53}};
  EXPECT_THAT(NftText(FirewallRules(state)), HasSubstr(R"(
	chain into_clouds {
		type filter hook forward priority filter; policy accept;
		oifname != { "vx-blue", "vx-green" } accept
		ct state established,related accept
		iifname . oifname { "vx-blue" . "vx-blue", "vx-blue" . "vx-green", "vx-green" . "vx-green" } accept
		iifname != { "vx-blue", "vx-green" } oifname "vx-green" accept
		iifname != { "vx-blue", "vx-green" } ct status dnat accept
		ct status dnat ip daddr . meta l4proto . th dport { 10.42.0.7 . tcp . 80 } accept
		ct status dnat ip6 daddr . meta l4proto . th dport { fd42::7 . udp . 53 } accept
		counter drop
	}
)"));
}

TEST(IsStale, AFlowThatGoesElsewhereThanTheRulesSay) {
  const std::vector<FirewallMapping> mappings = {
      {"udp", 5140, std::nullopt, Ip("10.42.0.7"), 514},
      {"udp", 5140, Ip("192.0.2.9"), Ip("10.42.0.8"), 515},
      {"tcp", 5141, std::nullopt, Ip("10.42.0.7"), 514}};
  const auto flow = [](const char* destination, uint16_t port, const char* target,
                       uint16_t target_port) {
    return UdpFlow{Ip(destination), port, Ip(target), target_port};
  };
  const UdpFlow plain = flow("192.0.2.1", 5140, "192.0.2.1", 5140);
  const UdpFlow before = flow("192.0.2.1", 5140, "10.42.0.6", 514);
  const UdpFlow right = flow("192.0.2.1", 5140, "10.42.0.7", 514);
  // A published port: every target but its own is stale.
  EXPECT_TRUE(IsStale(plain, {}, mappings));
  EXPECT_TRUE(IsStale(before, {}, mappings));
  EXPECT_FALSE(IsStale(right, {}, mappings));
  EXPECT_TRUE(IsStale(flow("192.0.2.1", 5140, "10.42.0.7", 513), {}, mappings));
  EXPECT_FALSE(IsStale(flow("192.0.2.9", 5140, "10.42.0.8", 515), {}, mappings));
  EXPECT_TRUE(IsStale(flow("192.0.2.9", 5140, "10.42.0.7", 514), {}, mappings));
  // No longer published: flows that the agent's rules have translated are stale.
  EXPECT_TRUE(IsStale(right, mappings, {}));
  EXPECT_FALSE(IsStale(plain, mappings, {}));
  EXPECT_FALSE(IsStale(before, mappings, {}));
  // Not published for this flow.
  EXPECT_FALSE(IsStale(flow("::1", 5140, "::1", 5140), {}, {{"udp", 5140, {}, Ip("fd42::7"), 1}}));
  EXPECT_FALSE(IsStale(flow("2001:db8::1", 5140, "2001:db8::1", 5140), {}, mappings));
  EXPECT_FALSE(IsStale(flow("192.0.2.1", 5141, "192.0.2.1", 5141), {}, mappings)) << "TCP's port";
}

class FirewallTest : public testing::Test {
 protected:
  void RunFor(Duration time) {
    loop_->After(time, [this] { loop_->Stop(); });
    loop_->Run();
  }

  std::vector<std::string> lines_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  Log log_{[this](LogLevel, const std::string& line) { lines_.push_back(line); }};
  FakeNft nft_;
  std::vector<std::set<uint16_t>> forgotten_;
  absl::Status remembers_;
  Firewall firewall_{
      loop_.get(),
      &log_,
      {.rules = nft_.AsKernel(), .forget = [this](const std::set<uint16_t>& ports, const auto&) {
         forgotten_.push_back(ports);
         return remembers_;
       }}};
};

TEST_F(FirewallTest, TheSameStateTwiceIsOneChange) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  EXPECT_THAT(nft_.runs, SizeIs(1));
  ASSERT_EQ(firewall_.Set({}), absl::OkStatus());
  EXPECT_THAT(nft_.runs, ElementsAre(NftText(FirewallRules(Blue())), ""));
}

TEST_F(FirewallTest, ARefusalChangesNothing) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  nft_.refuses = absl::PermissionDeniedError("Operation not permitted");
  EXPECT_TRUE(absl::IsPermissionDenied(firewall_.Set(Blue(/*masquerade=*/true))));
  EXPECT_EQ(firewall_.state(), Blue());
}

TEST_F(FirewallTest, ARefusalIsAProblemUntilTheKernelAcceptsTheRulesAgain) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  nft_.refuses = absl::FailedPreconditionError("a program owns the table");
  EXPECT_EQ(firewall_.Set(Blue(/*masquerade=*/true)), nft_.refuses);
  EXPECT_EQ(firewall_.problem(), nft_.refuses);
  EXPECT_EQ(firewall_.Set(Blue()), nft_.refuses) << "not taken for done";
  nft_.refuses = absl::OkStatus();
  loop_->Every(std::chrono::milliseconds(5), [&] {
    if (firewall_.problem().ok()) loop_->Stop();
  });
  loop_->Run();
  EXPECT_EQ(nft_.text, NftText(FirewallRules(Blue())));
}

TEST_F(FirewallTest, FlowsOfPortsThatChangeAreForgotten) {
  FirewallState state = Blue();
  ASSERT_EQ(firewall_.Set(state), absl::OkStatus());
  state.mappings = {{"tcp", 80, std::nullopt, Ip("10.42.0.7"), 80},
                    {"udp", 53, std::nullopt, Ip("10.42.0.7"), 53},
                    {"udp", 514, std::nullopt, Ip("10.42.0.7"), 514}};
  ASSERT_EQ(firewall_.Set(state), absl::OkStatus());
  state.mappings[1].target_port = 54;
  ASSERT_EQ(firewall_.Set(state), absl::OkStatus());
  remembers_ = absl::UnavailableError("no ctnetlink");
  EXPECT_EQ(firewall_.Set(Blue()), absl::OkStatus()) << "the rules are right";
  EXPECT_THAT(forgotten_, ElementsAre(std::set<uint16_t>{53, 514}, std::set<uint16_t>{53},
                                      std::set<uint16_t>{53, 514}));
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("no ctnetlink")));
}

TEST_F(FirewallTest, WithoutPermissionOnlyNothingCanBeSet) {
  nft_.refuses = absl::PermissionDeniedError("not permitted");
  EXPECT_EQ(firewall_.Set({}), absl::OkStatus());
  EXPECT_EQ(firewall_.problem(), absl::OkStatus());
  EXPECT_TRUE(absl::IsPermissionDenied(firewall_.Set(Blue())));
}

TEST_F(FirewallTest, ATableOfAnEarlierLifeIsRemoved) {
  nft_.text = "table inet vxvde {}";
  ASSERT_EQ(firewall_.Set({}), absl::OkStatus());
  EXPECT_THAT(nft_.runs, ElementsAre(""));
}

TEST_F(FirewallTest, WhatSomebodyFlushedIsMadeAgain) {
  const std::string rules = NftText(FirewallRules(Blue()));
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  nft_.text.clear();
  firewall_.OnChange();
  firewall_.OnChange();
  loop_->Every(std::chrono::milliseconds(5), [&] {
    if (!nft_.text.empty()) loop_->Stop();
  });
  loop_->Run();
  EXPECT_THAT(nft_.runs, ElementsAre(rules, rules));
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("it was gone")));
}

TEST_F(FirewallTest, WhatSomebodyFlushesRightAfterItIsMadeIsMadeAgain) {
  nft_.flushes = 1;
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  EXPECT_THAT(nft_.text, IsEmpty());
  size_t made_first = 0;
  loop_->Every(std::chrono::milliseconds(5), [&] {
    if (nft_.text.empty()) return;
    if (made_first != 0) return loop_->Stop();
    made_first = nft_.runs.size();
    nft_.text.clear();
    nft_.flushes = 1;
    firewall_.OnChange();
  });
  loop_->Run();
  EXPECT_EQ(made_first, 2u);
  EXPECT_THAT(nft_.runs, SizeIs(4));
  EXPECT_EQ(nft_.text, NftText(FirewallRules(Blue())));
}

TEST_F(FirewallTest, WhatStandsAsItShouldIsLeftAlone) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  firewall_.OnChange();  // the firewall is notified of its own change, too
  RunFor(2 * NftKeeper::kSettle);
  EXPECT_THAT(nft_.runs, SizeIs(1));
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(FirewallTest, RestoringIsTriedUntilItWorks) {
  ASSERT_EQ(firewall_.Set(Blue()), absl::OkStatus());
  nft_.text.clear();
  nft_.refuses = absl::InternalError("Resource busy");
  firewall_.OnChange();
  loop_->Every(std::chrono::milliseconds(5), [&] {
    if (firewall_.problem().message() == "Resource busy") nft_.refuses = absl::OkStatus();
    if (!nft_.text.empty()) loop_->Stop();
  });
  loop_->Run();
  EXPECT_EQ(firewall_.problem(), absl::OkStatus());
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("Resource busy"), HasSubstr("nftables restored")));
}

}  // namespace
}  // namespace vxvde
