#include "agent/node_port/underlay_wall.h"

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

IpPrefix Prefix(const std::string& text) { return *IpPrefix::Parse(text); }

UnderlayCloud Blue() {
  return {.uplink = "eth0", .group_port = 14789, .unicast_port = 14801, .fast_port = 15825};
}

LinkInfo Link(int index, const std::string& name, const std::string& kind, int master = 0) {
  LinkInfo link;
  link.index = IfIndex{static_cast<uint32_t>(index)};
  link.name = name;
  link.kind = kind;
  link.master = IfIndex{static_cast<uint32_t>(master)};
  return link;
}

AddressInfo Address(int index, const std::string& prefix) {
  return {.interface = IfIndex{static_cast<uint32_t>(index)}, .prefix = Prefix(prefix)};
}

const std::vector<LinkInfo> kLinks = {Link(1, "lo", ""),         Link(2, "eth0", ""),
                                      Link(3, "cni0", "bridge"), Link(4, "veth1", "veth", 3),
                                      Link(5, "br0", "bridge"),  Link(6, "eth1", "", 5),
                                      Link(7, "tap0", "tun", 5), Link(8, "virbr0", "bridge"),
                                      Link(9, "bond0", "bond"),  Link(10, "eth2", "", 9)};
const std::vector<AddressInfo> kAddresses = {
    Address(2, "192.0.2.1/24"), Address(2, "2001:db8::1/64"), Address(2, "fe80::1/64"),
    Address(2, "192.0.2.77/32"), Address(3, "10.88.0.1/16")};

TEST(UnderlayState, ComesFromCloudsLinksAndAddresses) {
  UnderlayCloud green = Blue();
  green.group_port = 4000;
  green.unicast_port = 14790;
  green.fast_port = 0;
  const UnderlayState state =
      MakeUnderlayState({Blue(), green}, PortRange{14790, 15813}, kLinks, kAddresses);
  EXPECT_THAT(state.uplinks, ElementsAre("eth0"));
  EXPECT_THAT(state.lan_bridges, ElementsAre("br0")) << "with eth1; the others lead to pods alone";
  EXPECT_THAT(state.source_ports, ElementsAre(14790, 14801, 15825));
  EXPECT_THAT(state.local_ports, ElementsAre(4000, 14789, 14790, 14801, 15825));
  EXPECT_THAT(state.group_ports, ElementsAre(4000, 14789));
  EXPECT_THAT(state.member_ports, ElementsAre(PortRange{14790, 15813}, PortRange{15814, 16837}));
  EXPECT_THAT(state.networks, ElementsAre(Prefix("192.0.2.0/24"), Prefix("2001:db8::/64")));
}

TEST(UnderlayState, MembersAreAnywhereUnlessTheyAreOnTheLink) {
  const auto networks = [](const std::vector<UnderlayCloud>& clouds,
                           const std::vector<AddressInfo>& addresses) {
    return MakeUnderlayState(clouds, PortRange(), kLinks, addresses).networks;
  };
  UnderlayCloud routed = Blue();
  routed.ttl = 5;
  EXPECT_THAT(networks({Blue(), routed}, kAddresses), IsEmpty());
  EXPECT_THAT(networks({Blue()}, {Address(2, "192.0.2.1/32")}), IsEmpty());
  UnderlayCloud elsewhere = Blue();
  elsewhere.uplink = "eth9";
  EXPECT_THAT(networks({Blue(), elsewhere}, kAddresses), IsEmpty());
  EXPECT_THAT(networks({Blue()}, {Address(2, "192.0.2.1/24"), Address(2, "192.0.2.130/25")}),
              ElementsAre(Prefix("192.0.2.0/24")));
}

TEST(UnderlayState, PortsBeyondTheLastAreNone) {
  EXPECT_THAT(MakeUnderlayState({Blue()}, PortRange{65000, 65100}, kLinks, kAddresses).member_ports,
              ElementsAre(PortRange{65000, 65100}));
}

TEST(UnderlayRules, NoCloudNoTable) {
  const NftTable table = UnderlayRules(MakeUnderlayState({}, PortRange(), kLinks, kAddresses));
  EXPECT_EQ(table.ToString(), "inet vxvde-underlay");
  EXPECT_THAT(table.chains, IsEmpty());
}

TEST(UnderlayRules, DropWhatComesFromPodsAlone) {
  const UnderlayState state = MakeUnderlayState({Blue()}, PortRange(), kLinks, kAddresses);
  EXPECT_EQ(NftText(UnderlayRules(state)), R"(table inet vxvde-underlay {
	chain from_pods {
		iifname { "eth0", "lo" } return
		meta iifkind { "netkit", "tun", "veth" } counter drop
		meta iifkind "bridge" iifname != "br0" counter drop
	}

	chain to_this_member {
		type filter hook input priority filter; policy accept;
		udp dport { 14789, 14801, 15825 } jump from_pods
	}

	chain to_other_members {
		type filter hook forward priority filter; policy accept;
		oifname "eth0" udp dport 14789 jump from_pods
		oifname "eth0" ip daddr 192.0.2.0/24 udp dport 14790-15813 jump from_pods
		oifname "eth0" ip daddr 192.0.2.0/24 udp dport 15814-16837 jump from_pods
		oifname "eth0" ip6 daddr 2001:db8::/64 udp dport 14790-15813 jump from_pods
		oifname "eth0" ip6 daddr 2001:db8::/64 udp dport 15814-16837 jump from_pods
	}

	chain as_this_member {
		type filter hook postrouting priority srcnat + 10; policy accept;
		oifname "eth0" udp sport { 14801, 15825 } fib saddr type local jump from_pods
	}
}
)");
  const std::string anywhere =
      NftText(UnderlayRules(MakeUnderlayState({Blue()}, PortRange(), {}, {})));
  EXPECT_THAT(anywhere, HasSubstr("\"bridge\" counter drop"));
  EXPECT_THAT(anywhere, HasSubstr("oifname \"eth0\" udp dport 14790-15813 jump from_pods"));
}

class UnderlayWallTest : public testing::Test {
 protected:
  void RunUntil(const std::function<bool()>& done) {
    const EventLoop::TimerId poll = loop_->Every(std::chrono::milliseconds(1), [&] {
      if (done()) loop_->Stop();
    });
    loop_->Run();
    loop_->Cancel(poll);
  }

  std::vector<std::string> lines_;
  FakeNft nft_;
  std::vector<LinkInfo> links_ = kLinks;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  Log log_{[this](LogLevel, const std::string& line) { lines_.push_back(line); }};
  UnderlayWall wall_{
      loop_.get(),
      &log_,
      nft_.AsKernel(),
      {.links = [this]() -> absl::StatusOr<std::vector<LinkInfo>> { return links_; },
       .addresses = []() -> absl::StatusOr<std::vector<AddressInfo>> { return kAddresses; }}};
};

TEST_F(UnderlayWallTest, StandsWhileACloudIsJoined) {
  wall_.Follow({Blue()}, PortRange());
  EXPECT_THAT(nft_.text, HasSubstr("14801"));
  wall_.Follow({Blue()}, PortRange());
  EXPECT_THAT(nft_.runs, SizeIs(1));
  wall_.Follow({}, PortRange());
  EXPECT_THAT(nft_.text, Not(HasSubstr("14801")));
  EXPECT_EQ(wall_.problem(), absl::OkStatus());
}

TEST_F(UnderlayWallTest, RulesOfAnEarlierRunGo) {
  nft_.text = "table inet vxvde-underlay {}";
  wall_.Follow({}, PortRange());
  EXPECT_THAT(nft_.runs, SizeIs(1));
}

TEST_F(UnderlayWallTest, ABridgeThatGetsAPortOfTheLanIsNoneOfPods) {
  wall_.Follow({Blue()}, PortRange());
  links_.push_back(Link(11, "eth3", "", 8));
  wall_.OnLinkChange();
  RunUntil([&] { return nft_.text.find("\"virbr0\"") != std::string::npos; });
  EXPECT_THAT(nft_.text, HasSubstr("iifname != { \"br0\", \"virbr0\" }"));
}

TEST_F(UnderlayWallTest, IsTriedUntilItStands) {
  nft_.refuses = absl::InternalError("busy");
  wall_.Follow({Blue()}, PortRange());
  EXPECT_THAT(std::string(wall_.problem().message()), HasSubstr("busy"));
  nft_.refuses = absl::OkStatus();
  RunUntil([&] { return !nft_.text.empty(); });
  EXPECT_EQ(wall_.problem(), absl::OkStatus());
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("busy")));
}

TEST_F(UnderlayWallTest, WithoutPermissionItSaysSo) {
  nft_.refuses = absl::PermissionDeniedError("not permitted");
  wall_.Follow({Blue()}, PortRange());
  EXPECT_THAT(std::string(wall_.problem().message()), HasSubstr("not permitted"));
  wall_.Follow({}, PortRange());
  EXPECT_EQ(wall_.problem(), absl::OkStatus()) << "there is no cloud to protect";
}

}  // namespace
}  // namespace vxvde
