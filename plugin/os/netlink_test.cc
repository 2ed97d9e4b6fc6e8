#include "plugin/os/netlink.h"

#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/netlink_monitor.h"
#include "plugin/os/netns.h"
#include "plugin/os/netns_number.h"
#include "plugin/os/testing.h"
#include "plugin/os/traffic_control.h"
#include "plugin/os/vxlan.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

IpAddress Ip(const char* text) { return ValueOrDie(IpAddress::Parse(text)); }
IpPrefix Prefix(const char* text) { return ValueOrDie(IpPrefix::Parse(text)); }

constexpr MacAddress kMacHere({0x02, 0, 0x5e, 0x10, 0, 1});
constexpr MacAddress kMacThere({0x02, 0, 0x5e, 0x10, 0, 2});

class NetlinkTest : public ::testing::Test {
 protected:
  VethSpec Spec() {
    VethSpec spec;
    spec.here = {"vx0", "vxvde: c1/eth0", kMacHere};
    spec.there = {"eth0", "pod end", kMacThere};
    spec.there_netns = pod_ns.fd().get();
    spec.mtu = 1450;
    spec.gso_max_size = 32000;
    return spec;
  }
  // A link that is up and running: one end of a pair whose other end is in the pod.
  IfIndex MakeUplink(const std::string& name, const char* prefix) {
    ConnectVeth(host_ns, name, pod_ns, name);
    pod_ns.Shell("ip link set " + name + " up");
    return host_ns.SetUp(name, prefix);
  }

  TestNetNs host_ns;
  TestNetNs pod_ns;
  Netlink host = host_ns.OpenNetlink();
  Netlink pod = pod_ns.OpenNetlink();
};

TEST_F(NetlinkTest, AVethPairHasAllThatItsSpecSays) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  const LinkInfo here = ValueOrDie(host.GetLink("vx0"));
  const LinkInfo there = ValueOrDie(pod.GetLink("eth0"));
  EXPECT_EQ(here.alias, "vxvde: c1/eth0");
  EXPECT_EQ(there.alias, "pod end");
  EXPECT_EQ(here.mac, kMacHere);
  EXPECT_EQ(there.mac, kMacThere);
  EXPECT_EQ(here.mtu, 1450);
  EXPECT_EQ(there.mtu, 1450);
  EXPECT_EQ(here.kind, "veth");
  EXPECT_EQ(here.peer, there.index);
  EXPECT_EQ(there.peer, here.index);
  EXPECT_FALSE(here.up || there.up);
  pod_ns.Shell("ip -d link show eth0 | grep -q 'gso_max_size 32000 '");
  host_ns.Shell("ip -d link show vx0 | grep -q 'gso_max_size 65536 '");
}

TEST_F(NetlinkTest, ATakenNameIsAlreadyExistsAndLeavesNothing) {
  ConnectVeth(host_ns, "vx0", pod_ns, "other");
  EXPECT_TRUE(absl::IsAlreadyExists(host.CreateVeth(Spec())));
  EXPECT_TRUE(absl::IsNotFound(pod.GetLink("eth0").status()));

  VethSpec other = Spec();
  other.here.name = "vx1";
  pod_ns.Shell("ip link set other name eth0");
  EXPECT_TRUE(absl::IsAlreadyExists(host.CreateVeth(other)));
  EXPECT_TRUE(absl::IsNotFound(host.GetLink("vx1").status()));
}

TEST_F(NetlinkTest, AnAliasThatTheKernelRefusesLeavesNoPair) {
  VethSpec spec = Spec();
  spec.there.alias = std::string(300, 'x');  // IFALIASZ is 256
  EXPECT_FALSE(host.CreateVeth(spec).ok());
  EXPECT_TRUE(absl::IsNotFound(host.GetLink("vx0").status()));
  EXPECT_TRUE(absl::IsNotFound(pod.GetLink("eth0").status()));
}

TEST_F(NetlinkTest, AMessageThatDoesNotFitIsAnError) {
  VethSpec spec = Spec();
  spec.here.alias = std::string(100000, 'x');
  EXPECT_TRUE(absl::IsInvalidArgument(host.CreateVeth(spec)));
  EXPECT_TRUE(absl::IsNotFound(host.GetLink("vx0").status()));
}

TEST_F(NetlinkTest, ABadNameIsAnInvalidArgument) {
  VethSpec spec = Spec();
  spec.there.name = "sixteen-letters-";
  EXPECT_TRUE(absl::IsInvalidArgument(host.CreateVeth(spec)));
  spec.there.name = "";
  EXPECT_TRUE(absl::IsInvalidArgument(host.CreateVeth(spec)));
}

TEST_F(NetlinkTest, BothEndsMayBeInOneNamespace) {
  VethSpec spec = Spec();
  spec.there_netns = -1;
  ASSERT_EQ(host.CreateVeth(spec), absl::OkStatus());
  EXPECT_EQ(ValueOrDie(host.GetLink("eth0")).alias, "pod end");
}

TEST_F(NetlinkTest, ChangesALink) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  const LinkInfo there = ValueOrDie(pod.GetLink("eth0"));
  LinkChange change;
  change.mtu = 1400;
  change.mac = MacAddress({2, 0, 0, 0, 0, 9});
  change.alias = "renamed";
  change.gso_max_size = 20000;
  change.up = true;
  ASSERT_EQ(pod.ChangeLink(there.index, change), absl::OkStatus());
  LinkInfo now = ValueOrDie(pod.GetLink(there.index));
  EXPECT_EQ(now.mtu, 1400);
  EXPECT_EQ(now.mac, *change.mac);
  EXPECT_EQ(now.alias, "renamed");
  EXPECT_TRUE(now.up);
  EXPECT_FALSE(now.running);  // the other end is down
  pod_ns.Shell("ip -d link show eth0 | grep -q 'gso_max_size 20000 '");

  LinkChange back;
  back.alias = "";
  back.up = false;
  ASSERT_EQ(pod.ChangeLink(there.index, back), absl::OkStatus());
  now = ValueOrDie(pod.GetLink(there.index));
  EXPECT_EQ(now.alias, "");
  EXPECT_FALSE(now.up);
  EXPECT_EQ(now.mtu, 1400);
}

TEST_F(NetlinkTest, RunningMeansThatBothEndsAreUp) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  LinkChange up;
  up.up = true;
  ASSERT_EQ(host.ChangeLink(ValueOrDie(host.GetLink("vx0")).index, up), absl::OkStatus());
  ASSERT_EQ(pod.ChangeLink(ValueOrDie(pod.GetLink("eth0")).index, up), absl::OkStatus());
  EXPECT_TRUE(WaitFor([&] { return ValueOrDie(host.GetLink("vx0")).running; }));
}

TEST_F(NetlinkTest, NoIpv6MeansNoLinkLocalAddress) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  const auto has_ipv6 = [](Netlink& netlink, IfIndex index) {
    const auto addresses = ValueOrDie(netlink.ListAddresses());
    return std::any_of(addresses.begin(), addresses.end(), [&](const AddressInfo& a) {
      return a.interface == index && a.prefix.address.is_v6();
    });
  };
  const IfIndex here = ValueOrDie(host.GetLink("vx0")).index;
  const IfIndex there = ValueOrDie(pod.GetLink("eth0")).index;
  LinkChange up;
  up.up = true;
  ASSERT_EQ(pod.ChangeLink(there, up), absl::OkStatus());
  up.no_ipv6 = true;
  ASSERT_EQ(host.ChangeLink(here, up), absl::OkStatus());
  // By the time the ordinary end has its address, this one would have one too.
  ASSERT_TRUE(WaitFor([&] { return has_ipv6(pod, there); }));
  ASSERT_TRUE(ValueOrDie(host.GetLink(here)).running);
  EXPECT_FALSE(has_ipv6(host, here));
}

TEST_F(NetlinkTest, SaysWhetherALinkMayUseIpv6) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  EXPECT_TRUE(ValueOrDie(pod.GetLink("eth0")).ipv6);
  pod_ns.Shell("echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6");
  EXPECT_FALSE(ValueOrDie(pod.GetLink("eth0")).ipv6);
}

TEST_F(NetlinkTest, NoIpv6IsFineOnALinkThatHasNone) {
  VethSpec spec = Spec();
  spec.mtu = 1000;
  ASSERT_EQ(host.CreateVeth(spec), absl::OkStatus());
  EXPECT_FALSE(ValueOrDie(host.GetLink("vx0")).ipv6);
  LinkChange change;
  change.no_ipv6 = true;
  change.up = true;
  EXPECT_EQ(host.ChangeLink(ValueOrDie(host.GetLink("vx0")).index, change), absl::OkStatus());
}

TEST_F(NetlinkTest, WhatIsNotThereIsNotFoundByName) {
  const absl::Status status = host.GetLink("nosuch0").status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("nosuch0"));
  EXPECT_TRUE(absl::IsNotFound(host.GetLink(IfIndex{4242}).status()));
  EXPECT_TRUE(absl::IsNotFound(host.DeleteLink(IfIndex{4242})));
  LinkChange up;
  up.up = true;
  EXPECT_TRUE(absl::IsNotFound(host.ChangeLink(IfIndex{4242}, up)));
}

TEST_F(NetlinkTest, DeletingOneEndDeletesBoth) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  ASSERT_EQ(host.DeleteLink(ValueOrDie(host.GetLink("vx0")).index), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(host.GetLink("vx0").status()));
  EXPECT_TRUE(absl::IsNotFound(pod.GetLink("eth0").status()));
}

TEST_F(NetlinkTest, AnErrorCarriesTheKernelsOwnWords) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  LinkChange change;
  change.mtu = 100000;  // the kernel: "mtu greater than device maximum"
  const absl::Status status = host.ChangeLink(ValueOrDie(host.GetLink("vx0")).index, change);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("100000"), HasSubstr("EINVAL"), HasSubstr("device maximum")));
}

TEST_F(NetlinkTest, ListsHundredsOfLinks) {
  for (int i = 0; i < 200; ++i) {
    VethSpec spec;
    spec.here = {absl::StrCat("here", i), absl::StrCat("number-", i), std::nullopt};
    spec.there.name = absl::StrCat("there", i);
    ASSERT_EQ(host.CreateVeth(spec), absl::OkStatus());
  }
  std::set<std::string> names;
  for (const LinkInfo& link : ValueOrDie(host.ListLinks())) {
    names.insert(link.name);
    if (link.name.starts_with("here")) {
      EXPECT_EQ(link.alias, absl::StrCat("number-", link.name.substr(4)));
    }
  }
  EXPECT_EQ(names.size(), 401u);  // and lo
}

TEST_F(NetlinkTest, AddressesOfBothFamilies) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  ASSERT_EQ(host.AddAddress(uplink, Prefix("2001:db8::1/64")), absl::OkStatus());
  EXPECT_TRUE(absl::IsAlreadyExists(host.AddAddress(uplink, Prefix("192.0.2.1/24"))));
  EXPECT_TRUE(absl::IsAlreadyExists(host.AddAddress(uplink, Prefix("2001:db8::1/64"))));
  std::vector<std::string> found;
  for (const AddressInfo& address : ValueOrDie(host.ListAddresses())) {
    if (address.interface != uplink || address.prefix.address.IsLinkLocal()) continue;
    EXPECT_FALSE(address.tentative);
    found.push_back(address.prefix.ToString());
  }
  EXPECT_THAT(found, ::testing::UnorderedElementsAre("192.0.2.1/24", "2001:db8::1/64"));
}

TEST_F(NetlinkTest, Ipv4AddressesHaveABroadcastAddress) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  for (const char* text : {"198.51.100.129/25", "10.42.7.1/13", "203.0.113.6/30", "203.0.113.10/31",
                           "203.0.113.77/32"}) {
    ASSERT_EQ(host.AddAddress(uplink, Prefix(text)), absl::OkStatus()) << text;
  }
  const auto shows = [this](const std::string& words) {
    host_ns.Shell(absl::StrCat("ip -4 -o addr show dev up0 | grep -q '", words, "' || ",
                               "{ ip -4 addr show dev up0; exit 1; }"));
  };
  shows("192.0.2.1/24 brd 192.0.2.255 ");
  shows("198.51.100.129/25 brd 198.51.100.255 ");
  shows("10.42.7.1/13 brd 10.47.255.255 ");
  shows("203.0.113.6/30 brd 203.0.113.7 ");
  shows("203.0.113.10/31 scope");
  shows("203.0.113.77/32 scope");
}

TEST_F(NetlinkTest, RoutesCarryWhatTheySay) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  ASSERT_EQ(host.AddAddress(uplink, Prefix("2001:db8::1/64")), absl::OkStatus());
  Route route;
  route.gateway = Ip("192.0.2.254");
  ASSERT_EQ(host.AddRoute(uplink, route), absl::OkStatus());
  EXPECT_TRUE(absl::IsAlreadyExists(host.AddRoute(uplink, route)));
  route = {};
  route.destination = Prefix("198.51.100.77/24");  // AddRoute clears the host bits
  route.gateway = Ip("192.0.2.253");
  route.mtu = 1400;
  route.advmss = 1360;
  route.priority = 50;
  route.table = 1000;
  ASSERT_EQ(host.AddRoute(uplink, route), absl::OkStatus());
  route = {};
  route.destination = Prefix("2001:db8:1::/48");
  ASSERT_EQ(host.AddRoute(uplink, route), absl::OkStatus());
  route = {};
  route.gateway = Ip("2001:db8::ff");
  ASSERT_EQ(host.AddRoute(uplink, route), absl::OkStatus());
  host_ns.Shell("ip route | grep -q '^default via 192.0.2.254 dev up0'");
  host_ns.Shell(
      "ip route show table 1000 | grep 'via 192.0.2.253 dev up0' | grep 'metric 50' | "
      "grep 'mtu 1400' | grep -q 'advmss 1360'");
  host_ns.Shell("ip -6 route | grep -q '^2001:db8:1::/48 dev up0'");
  host_ns.Shell("ip -6 route | grep -q '^default via 2001:db8::ff dev up0'");
}

TEST_F(NetlinkTest, ListsRoutesOfAllTablesAndBothFamilies) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  ASSERT_EQ(host.AddAddress(uplink, Prefix("2001:db8::1/64")), absl::OkStatus());
  host_ns.Shell("ip route add default via 192.0.2.254");
  host_ns.Shell("ip route add 198.51.100.0/24 via 192.0.2.253 table 1000");
  host_ns.Shell("ip route add 203.0.113.0/24 nexthop via 192.0.2.11 nexthop via 192.0.2.12");
  host_ns.Shell("ip route add blackhole 198.18.0.0/15");
  host_ns.Shell("ip -6 route add default via 2001:db8::ff");
  host_ns.Shell("ip -6 route append default via 2001:db8::fe");
  const std::vector<RouteInfo> routes = ValueOrDie(host.ListRoutes());
  const auto find = [&](const char* destination) {
    const auto found = std::find_if(routes.begin(), routes.end(), [&](const RouteInfo& one) {
      return one.destination == Prefix(destination);
    });
    return found == routes.end() ? RouteInfo() : *found;
  };
  EXPECT_THAT(find("0.0.0.0/0").gateways, ElementsAre(Ip("192.0.2.254")));
  EXPECT_EQ(find("0.0.0.0/0").interface, uplink);
  EXPECT_EQ(find("0.0.0.0/0").table, 254u);  // RT_TABLE_MAIN
  EXPECT_THAT(find("192.0.2.0/24").gateways, IsEmpty());
  EXPECT_EQ(find("192.0.2.0/24").interface, uplink);
  EXPECT_EQ(find("198.51.100.0/24").table, 1000u);
  EXPECT_THAT(find("203.0.113.0/24").gateways, ElementsAre(Ip("192.0.2.11"), Ip("192.0.2.12")));
  EXPECT_EQ(find("198.18.0.0/15").table, 0u) << "a blackhole leads nowhere";
  // IPv6 merges routes that differ only in the gateway.
  std::vector<IpAddress> gateways;
  for (const RouteInfo& one : routes) {
    if (one.destination != Prefix("::/0")) continue;
    gateways.insert(gateways.end(), one.gateways.begin(), one.gateways.end());
  }
  EXPECT_THAT(gateways, UnorderedElementsAre(Ip("2001:db8::ff"), Ip("2001:db8::fe")));
}

TEST_F(NetlinkTest, DefaultRoutesOfOneFamilyAreDeleted) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  ASSERT_EQ(host.AddAddress(uplink, Prefix("2001:db8::1/64")), absl::OkStatus());
  host_ns.Shell("ip route add default via 192.0.2.254");
  host_ns.Shell("ip route add default via 192.0.2.253 metric 100");
  host_ns.Shell("ip route add default via 192.0.2.254 table 1000");
  host_ns.Shell("ip -6 route add default via 2001:db8::ff");
  std::vector<RouteInfo> routes;
  const auto defaults = [&](const char* destination) {
    routes = ValueOrDie(host.ListRoutes());
    std::vector<std::pair<uint32_t, uint32_t>> found;  // table, priority
    for (const RouteInfo& one : routes) {
      if (one.destination == Prefix(destination)) found.emplace_back(one.table, one.priority);
    }
    return found;
  };
  EXPECT_THAT(defaults("0.0.0.0/0"),
              UnorderedElementsAre(std::pair(254, 0), std::pair(254, 100), std::pair(1000, 0)));
  EXPECT_THAT(defaults("::/0"), ElementsAre(std::pair(254, 1024)));
  ASSERT_EQ(host.DeleteDefaultRoutes(AF_INET), absl::OkStatus());
  EXPECT_THAT(defaults("0.0.0.0/0"), ElementsAre(std::pair(1000, 0)));
  EXPECT_THAT(defaults("::/0"), ElementsAre(std::pair(254, 1024)));
  ASSERT_EQ(host.DeleteDefaultRoutes(AF_INET6), absl::OkStatus());
  EXPECT_THAT(defaults("::/0"), IsEmpty());
  EXPECT_EQ(host.DeleteDefaultRoutes(AF_INET6), absl::OkStatus()) << "none is left";
}

TEST_F(NetlinkTest, ARouteThatSaysNothingOrTwoFamiliesIsRefused) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  EXPECT_TRUE(absl::IsInvalidArgument(host.AddRoute(uplink, Route{})));
  Route route;
  route.destination = Prefix("2001:db8:1::/48");
  route.gateway = Ip("192.0.2.254");
  EXPECT_TRUE(absl::IsInvalidArgument(host.AddRoute(uplink, route)));
}

TEST_F(NetlinkTest, LooksUpRoutes) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  ASSERT_EQ(host.AddAddress(uplink, Prefix("2001:db8::1/64")), absl::OkStatus());
  RouteAnswer answer = ValueOrDie(host.LookUpRoute(Ip("192.0.2.9")));
  EXPECT_EQ(answer.interface, uplink);
  EXPECT_EQ(answer.source, Ip("192.0.2.1"));
  answer = ValueOrDie(host.LookUpRoute(Ip("2001:db8::9")));
  EXPECT_EQ(answer.interface, uplink);
  EXPECT_EQ(answer.source, Ip("2001:db8::1"));
}

TEST_F(NetlinkTest, AGroupsRouteTellsItsUplink) {
  MakeUplink("up0", "192.0.2.1/24");
  const IfIndex other = MakeUplink("up1", "198.51.100.1/24");
  host_ns.Shell("ip route add 239.1.0.0/16 dev up1");
  EXPECT_EQ(ValueOrDie(host.LookUpRoute(Ip("239.1.2.3"))).interface, other);
  // The kernel keeps a route for ff00::/8 on each link that is up.
  host_ns.Shell("ip -6 route add ff05::/16 dev up1 table local metric 1");
  EXPECT_EQ(ValueOrDie(host.LookUpRoute(Ip("ff05:56de::1"))).interface, other);
}

TEST_F(NetlinkTest, AnAddressThatWasDeletedIsGone) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  ASSERT_EQ(host.AddAddress(uplink, Prefix("2001:db8:1::7/64")), absl::OkStatus());
  for (const char* text : {"192.0.2.1/24", "2001:db8:1::7/64"}) {
    EXPECT_EQ(host.DeleteAddress(uplink, Prefix(text)), absl::OkStatus());
    EXPECT_FALSE(host.DeleteAddress(uplink, Prefix(text)).ok());
  }
  for (const AddressInfo& address : ValueOrDie(host.ListAddresses())) {
    EXPECT_TRUE(address.interface != uplink || address.prefix.address.IsLinkLocal());
  }
}

TEST_F(NetlinkTest, ALinkIsShaped) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  ASSERT_EQ(ShapeLink(host, uplink, {.rate = 20'000'000, .burst = 800'000}), absl::OkStatus());
  // 20 Mbit/s are 62,500 bytes in 25 ms; the burst is 100,000 bytes.
  host_ns.Shell(
      "tc qdisc show dev up0 root | grep -q 'tbf 1: root .* rate 20Mbit burst 100000b .*lat 25ms' "
      "|| { tc qdisc show dev up0; exit 1; }");
  ASSERT_EQ(ShapeLink(host, uplink, {.rate = 40'000'000'000, .burst = 34'000'000'000}),
            absl::OkStatus());
  host_ns.Shell("tc qdisc show dev up0 root | grep -q 'rate 40Gbit' || { tc qdisc show; exit 1; }");
}

TEST_F(NetlinkTest, AShapeThatLetsNothingThroughIsRefused) {
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  for (const Shape& shape : {Shape{.rate = 0, .burst = 800'000}, Shape{.rate = 7, .burst = 800'000},
                             Shape{.rate = 1'000'000, .burst = 8 * 1513},
                             Shape{.rate = 1'000'000, .burst = uint64_t{1} << 35}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ShapeLink(host, uplink, shape))) << shape.burst;
  }
  EXPECT_EQ(ShapeLink(host, uplink, {.rate = 8, .burst = 8 * 1514}), absl::OkStatus());
}

TEST_F(NetlinkTest, NoRouteIsUnavailable) {
  EXPECT_TRUE(absl::IsUnavailable(host.LookUpRoute(Ip("192.0.2.9")).status()));
  EXPECT_TRUE(absl::IsUnavailable(host.LookUpRoute(Ip("2001:db8::9")).status()));
  MakeUplink("up0", "192.0.2.1/24");
  for (const char* kind : {"blackhole", "unreachable", "prohibit"}) {
    host_ns.Shell(absl::StrCat("ip route replace ", kind, " 198.51.100.0/24"));
    host_ns.Shell(absl::StrCat("ip -6 route replace ", kind, " 2001:db8:7::/48"));
    EXPECT_TRUE(absl::IsUnavailable(host.LookUpRoute(Ip("198.51.100.1")).status())) << kind;
    EXPECT_TRUE(absl::IsUnavailable(host.LookUpRoute(Ip("2001:db8:7::1")).status())) << kind;
    host_ns.Shell("ip -6 route del 2001:db8:7::/48");
  }
}

TEST_F(NetlinkTest, TheMonitorHearsOfAddressesAndLinks) {
  std::optional<NetlinkMonitor> monitor;
  host_ns.Run([&] { monitor = ValueOrDie(NetlinkMonitor::Open()); });
  const auto heard = [&] {
    pollfd ready = {monitor->fd(), POLLIN, 0};
    EXPECT_EQ(poll(&ready, 1, 10000), 1);
    return monitor->Drain();
  };
  EXPECT_FALSE(monitor->Drain());
  const IfIndex uplink = MakeUplink("up0", "192.0.2.1/24");
  EXPECT_TRUE(heard());
  // Waits until the kernel has completed IPv6's asynchronous changes.
  EXPECT_TRUE(WaitFor([&] { return !monitor->Drain(); }));
  ASSERT_EQ(host.AddAddress(uplink, Prefix("192.0.2.77/32")), absl::OkStatus());
  EXPECT_TRUE(heard());
}

TEST_F(NetlinkTest, TheMonitorSaysSoWhenItLostSomething) {
  std::optional<NetlinkMonitor> monitor;
  host_ns.Run([&] { monitor = ValueOrDie(NetlinkMonitor::Open()); });
  const int small = 1;  // the kernel doubles it to some 2 KiB
  ASSERT_EQ(setsockopt(monitor->fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
  for (int i = 0; i < 10; ++i) {
    ConnectVeth(host_ns, absl::StrCat("a", i), host_ns, absl::StrCat("b", i));
  }
  EXPECT_TRUE(monitor->Drain());
  EXPECT_FALSE(monitor->Drain());
}

TEST_F(NetlinkTest, AVxlanDeviceHasItsPortWhenItIsUp) {
  LinkChange up;
  up.up = true;
  ASSERT_EQ(CreateVxlan(host, "vxf1", 15814), absl::OkStatus());
  const IfIndex first = ValueOrDie(host.GetLink("vxf1")).index;
  EXPECT_EQ(ValueOrDie(GetVxlanPort(host, first)), 15814);
  EXPECT_EQ(host.ChangeLink(first, up), absl::OkStatus());
  host_ns.Shell("ss -uln | grep -q :15814");
  EXPECT_TRUE(absl::IsAlreadyExists(CreateVxlan(host, "vxf1", 15815))) << "the name";
  EXPECT_TRUE(absl::IsAlreadyExists(CreateVxlan(host, "vxf2", 15814))) << "another of its kind";

  UniqueFd taken;
  host_ns.Run([&] {
    taken = UniqueFd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in any = {};
    any.sin_family = AF_INET;
    any.sin_port = htons(15816);
    ASSERT_EQ(bind(taken.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), 0);
  });
  ASSERT_EQ(CreateVxlan(host, "vxf3", 15816), absl::OkStatus());
  EXPECT_FALSE(host.ChangeLink(ValueOrDie(host.GetLink("vxf3")).index, up).ok())
      << "somebody else's port, which only shows when it is brought up";
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  EXPECT_TRUE(
      absl::IsInvalidArgument(GetVxlanPort(host, ValueOrDie(host.GetLink("vx0")).index).status()));
}

TEST_F(NetlinkTest, FramesThatALinkDropped) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  const IfIndex index = ValueOrDie(host.GetLink("vx0")).index;
  EXPECT_EQ(ValueOrDie(host.GetTxDropped(index)), 0u);
  // The other end is down: veth_xmit() drops the frame.
  host_ns.Shell("ip link set vx0 up");
  host_ns.Run([&] {
    const UniqueFd raw(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    sockaddr_ll to = {};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(index);
    const std::array<uint8_t, 60> frame = {};
    for (int i = 0; i < 3; ++i) {
      sendto(raw.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
             sizeof(to));
    }
  });
  EXPECT_EQ(ValueOrDie(host.GetTxDropped(index)), 3u);
  EXPECT_TRUE(absl::IsNotFound(host.GetTxDropped(IfIndex{999}).status()));
}

TEST_F(NetlinkTest, QdiscsOfALink) {
  ASSERT_EQ(host.CreateVeth(Spec()), absl::OkStatus());
  const LinkInfo link = ValueOrDie(host.GetLink("vx0"));
  EXPECT_TRUE(link.peer_elsewhere);
  EXPECT_EQ(link.type, 1) << "ARPHRD_ETHER";
  EXPECT_THAT(ValueOrDie(ListQdiscs(host, link.index)), IsEmpty());
  ASSERT_EQ(ShapeLink(host, link.index, {.rate = 8'000'000, .burst = 800'000}), absl::OkStatus());
  host_ns.Shell("tc qdisc add dev vx0 clsact");
  std::vector<std::string> seen;
  for (const QdiscInfo& qdisc : ValueOrDie(ListQdiscs(host, link.index))) {
    seen.push_back(absl::StrCat(qdisc.kind, qdisc.parent == 0xffffffff ? " at the root" : ""));
  }
  EXPECT_THAT(seen, UnorderedElementsAre("tbf at the root", "clsact"));
  host_ns.Shell("tc qdisc del dev vx0 clsact; tc qdisc add dev vx0 ingress");
  ASSERT_THAT(ValueOrDie(ListQdiscs(host, link.index)), testing::SizeIs(2));
  EXPECT_EQ(ValueOrDie(ListQdiscs(host, link.index))[1].kind, "ingress");
  EXPECT_FALSE(ListQdiscs(host, IfIndex{999}).ok());
}

TEST_F(NetlinkTest, ANamespaceIsInUseWhileAThreadIsInIt) {
  const int number = ValueOrDie(NumberNetNs(host, pod_ns.fd()));
  EXPECT_EQ(ValueOrDie(NumberNetNs(host, pod_ns.fd())), number) << "it keeps it";
  EXPECT_GE(number, 0);
  TestNetNs other;
  EXPECT_NE(ValueOrDie(NumberNetNs(host, other.fd())), number);
  const absl::StatusOr<std::set<int>> empty = NetNsInUse(host);
  // PROC_PID_INIT_INO of include/linux/proc_ns.h.
  std::error_code error;
  if (std::filesystem::read_symlink("/proc/self/ns/pid", error) != "pid:[4026531836]") {
    // In a container with its own process ids the call must fail.
    EXPECT_TRUE(absl::IsFailedPrecondition(empty.status())) << empty.status();
    return;
  }
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_FALSE(empty->contains(number)) << "descriptors do not count";
  std::atomic<bool> inside = false;
  std::atomic<bool> leave = false;
  std::thread visitor([&] {
    EXPECT_EQ(RunInNetNs(pod_ns.fd(),
                         [&] {
                           inside = true;
                           inside.notify_all();
                           leave.wait(false);
                           return absl::OkStatus();
                         }),
              absl::OkStatus());
  });
  inside.wait(false);
  const std::set<int> used = ValueOrDie(NetNsInUse(host));
  leave = true;
  leave.notify_all();
  visitor.join();
  EXPECT_TRUE(used.contains(number));
  EXPECT_FALSE(ValueOrDie(NetNsInUse(host)).contains(number));
}

}  // namespace
}  // namespace vxvde
