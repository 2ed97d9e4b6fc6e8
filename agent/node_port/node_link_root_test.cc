// Tests the node's own link, in throw-away namespaces.

#include "agent/api/attachment_id.h"
#include "agent/node_port/node_link.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

IpPrefix Prefix(const std::string& text) { return *IpPrefix::Parse(text); }

class NodeLinkTest : public testing::Test {
 protected:
  NodeLinkTest() {
    const CloudKey cloud =
        ParseVnl("vxvde://239.1.2.3/vni=42", [](absl::string_view) { return std::nullopt; })->key;
    link_.ifname = "vx-blue";
    link_.switch_ifname = NodeSwitchIfName(cloud);
    link_.alias = NodeAlias(cloud);
    link_.mac = *MacAddress::Parse("02:00:5e:10:00:01");
    link_.mtu = 1450;
    link_.gso_max_size = 60000;
    link_.addresses = {Prefix("10.42.0.1/16"), Prefix("fd42::1/64")};
  }
  void Run(absl::FunctionRef<void(const NodeLinkKernel& kernel)> function) {
    netns_.Run([&] { function(ValueOrDie(KernelNodeLinks("/proc/sys"))); });
  }
  LinkInfo Link(const std::string& name) { return ValueOrDie(netns_.OpenNetlink().GetLink(name)); }
  std::vector<IpPrefix> Addresses() {
    std::vector<IpPrefix> addresses;
    for (const AddressInfo& info : ValueOrDie(netns_.OpenNetlink().ListAddresses())) {
      EXPECT_FALSE(info.tentative);
      if (info.interface == Link("vx-blue").index) addresses.push_back(info.prefix);
    }
    return addresses;
  }

  const TestNetNs netns_;
  NodeLink link_;
};

TEST_F(NodeLinkTest, IsMadeFoundAgainAndRemoved) {
  Run([&](const NodeLinkKernel& kernel) {
    const IfIndex end = ValueOrDie(kernel.ensure(link_));
    const LinkInfo node = Link("vx-blue");
    EXPECT_EQ(node.mac, link_.mac);
    EXPECT_EQ(node.mtu, 1450);
    EXPECT_TRUE(node.up);
    EXPECT_EQ(node.peer, end);
    EXPECT_EQ(Link(link_.switch_ifname).index, end);
    EXPECT_EQ(Link(link_.switch_ifname).group, kHostEndGroup);
    EXPECT_EQ(node.group, 0u) << "the node's own stack is behind it";
    const IpPrefix link_local = Prefix("fe80::5eff:fe10:1/64");
    EXPECT_THAT(Addresses(),
                UnorderedElementsAre(Prefix("10.42.0.1/16"), Prefix("fd42::1/64"), link_local));
    EXPECT_EQ(ValueOrDie(kernel.get("net/ipv6/conf/vx-blue/accept_ra")), "0");

    // Ensures a link that another program has changed, with another specification.
    netns_.Shell("ip link set vx-blue down; ip addr add 192.0.2.9/24 dev vx-blue");
    netns_.Shell("ip link set " + link_.switch_ifname + " group default");  // like an older agent
    link_.addresses = {Prefix("10.43.0.1/16")};
    link_.mtu = 1400;
    link_.gso_max_size = 0;  // the kernel's default
    EXPECT_EQ(ValueOrDie(kernel.ensure(link_)), end);
    EXPECT_TRUE(Link("vx-blue").up);
    EXPECT_EQ(Link("vx-blue").index, node.index);
    EXPECT_EQ(Link("vx-blue").mtu, 1400);
    EXPECT_EQ(Link(link_.switch_ifname).mtu, 1400);
    EXPECT_EQ(Link(link_.switch_ifname).group, kHostEndGroup);
    EXPECT_THAT(Addresses(), ElementsAre(Prefix("10.43.0.1/16")));

    EXPECT_EQ(node.alias, link_.alias);
    EXPECT_EQ(kernel.remove(link_.alias), absl::OkStatus());
    EXPECT_EQ(kernel.remove(link_.alias), absl::OkStatus()) << "twice";
    EXPECT_TRUE(absl::IsNotFound(netns_.OpenNetlink().GetLink("vx-blue").status()));
  });
}

TEST_F(NodeLinkTest, AnotherNameIsAnotherLink) {
  Run([&](const NodeLinkKernel& kernel) {
    ASSERT_TRUE(kernel.ensure(link_).ok());
    link_.ifname = "vx-green";  // the cloud has another name in the configuration
    ASSERT_TRUE(kernel.ensure(link_).ok());
    EXPECT_TRUE(absl::IsNotFound(netns_.OpenNetlink().GetLink("vx-blue").status()));
    EXPECT_TRUE(Link("vx-green").up);
  });
}

TEST_F(NodeLinkTest, WhatAKilledTryLeftIsReplaced) {
  Run([&](const NodeLinkKernel& kernel) {
    netns_.Shell("ip link add " + link_.switch_ifname + " type veth peer name vx-blue");
    ASSERT_TRUE(kernel.ensure(link_).ok());
    EXPECT_EQ(Link("vx-blue").alias, link_.alias);
  });
}

TEST_F(NodeLinkTest, SomebodyElsesInterfaceIsLeftAlone) {
  Run([&](const NodeLinkKernel& kernel) {
    netns_.Shell("ip link add vx-blue type bridge");
    const absl::Status taken = kernel.ensure(link_).status();
    EXPECT_TRUE(absl::IsAlreadyExists(taken)) << taken;
    EXPECT_THAT(std::string(taken.message()), HasSubstr("vx-blue"));
    EXPECT_EQ(Link("vx-blue").kind, "bridge");
    EXPECT_TRUE(absl::IsNotFound(netns_.OpenNetlink().GetLink(link_.switch_ifname).status()));
  });
}

}  // namespace
}  // namespace vxvde
