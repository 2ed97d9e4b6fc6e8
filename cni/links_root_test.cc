// PodLinks with real links, in network namespaces of the test.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "cni/error.h"
#include "cni/links.h"
#include "plugin/os/netlink.h"
#include "plugin/os/netns.h"
#include "plugin/os/port.h"

namespace vxvde {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// The test's thread is the host, in a namespace of its own. A descriptor holds the pod's namespace,
// and its path is that of the descriptor, so nothing remains if the test dies.
class LinksTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << strerror(errno);
    std::thread make([this] {
      if (unshare(CLONE_NEWNET) == 0) pod_ = *CurrentNetNs();
    });
    make.join();
    ASSERT_TRUE(pod_);
    names_ = {.netns = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(pod_.get()),
              .ifname = "eth0",
              .host_ifname = "vx0123456789abc",
              .alias = "vxvde:0123456789abc"};
    spec_ = {.mode = LinkMode::kVeth,
             .mac = *MacAddress::Parse("02:00:5e:10:00:02"),
             .mtu = 1450,
             .gso_max_size = 60000};
  }

  Netlink Host() { return *Netlink::Open(); }
  Netlink Pod() { return *Netlink::OpenIn(pod_); }

  std::vector<std::string> Names(Netlink netlink) {
    std::vector<std::string> names;
    const std::vector<LinkInfo> links = *netlink.ListLinks();
    for (const LinkInfo& link : links) names.push_back(link.name);
    return names;
  }
  // The addresses of link `index` in the pod.
  std::vector<std::string> Addresses(IfIndex index, bool tentative) {
    std::vector<std::string> texts;
    const std::vector<AddressInfo> all = *Pod().ListAddresses();
    for (const AddressInfo& info : all) {
      if (info.interface == index && info.tentative == tentative) {
        texts.push_back(info.prefix.ToString());
      }
    }
    return texts;
  }
  void SetPodSysctl(const std::string& path, const std::string& value) {
    ASSERT_TRUE(RunInNetNs(pod_, [&] {
                  std::ofstream("/proc/sys/net/" + path) << value;
                  return absl::OkStatus();
                }).ok());
  }
  void ExpectNothingLeft() {
    EXPECT_THAT(Names(Host()), Not(Contains(names_.host_ifname)));
    EXPECT_THAT(Names(Pod()), Not(Contains(names_.ifname)));
  }

  UniqueFd pod_;
  LinkNames names_;
  LinkSpec spec_;
  KernelPodLinks links_;
};

TEST_F(LinksTest, E6_OwnNamespaceIsRefused) {
  EXPECT_TRUE(links_.CheckNetNs(names_.netns, false).ok());
  const absl::Status own = links_.CheckNetNs("/proc/thread-self/ns/net", false);
  EXPECT_EQ(ToCniError(own).code, 8u) << own;
  EXPECT_TRUE(links_.CheckNetNs("/proc/thread-self/ns/net", true).ok());
  EXPECT_EQ(ToCniError(links_.CheckNetNs("/nonexistent", false)).code, 4u);
  EXPECT_EQ(ToCniError(links_.CheckNetNs("/etc/passwd", false)).code, 4u);
}

TEST_F(LinksTest, VethHasMacMtuAliasOnBothEnds) {
  const absl::StatusOr<PodLink> link = links_.Create(names_, spec_);
  ASSERT_TRUE(link.ok()) << link.status();
  const LinkInfo pod = *Pod().GetLink("eth0");
  EXPECT_EQ(pod.mac, spec_.mac);
  EXPECT_EQ(pod.mtu, 1450);
  EXPECT_EQ(pod.alias, names_.alias);
  EXPECT_EQ(pod.kind, "veth");
  EXPECT_FALSE(pod.up);
  const LinkInfo host = *Host().GetLink(names_.host_ifname);
  EXPECT_EQ(host.mac, link->host_mac);
  EXPECT_EQ(host.group, kHostEndGroup);
  EXPECT_EQ(host.mtu, 1450);
  EXPECT_EQ(host.alias, names_.alias);
  EXPECT_TRUE(links_.Delete(names_).ok());
  ExpectNothingLeft();
  EXPECT_TRUE(links_.Delete(names_).ok());  // D1: twice
}

TEST_F(LinksTest, EachEndSendsAtItsRate) {
  spec_.bandwidth = {.ingress = BitRate{20'000'000, 800'000},
                     .egress = BitRate{5'000'000, 400'000}};
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  const auto shows = [](const std::string& command) { return std::system(command.c_str()) == 0; };
  EXPECT_TRUE(shows("tc qdisc show dev vx0123456789abc | grep -q 'tbf.* rate 20Mbit'"));
  EXPECT_TRUE(shows("nsenter --net=" + names_.netns +
                    " tc qdisc show dev eth0 | "
                    "grep -q 'tbf.* rate 5Mbit'"));
  EXPECT_TRUE(links_.Delete(names_).ok());

  spec_.bandwidth = {.ingress = std::nullopt, .egress = BitRate{5'000'000, 8000}};
  const absl::Status small = links_.Create(names_, spec_).status();
  EXPECT_EQ(ToCniError(small).code, 7u) << "1000 bytes are less than a frame of 1450";
  EXPECT_THAT(ToCniError(small).msg, HasSubstr("burst 8000"));
  EXPECT_TRUE(links_.Delete(names_).ok());
  ExpectNothingLeft();

  spec_.mode = LinkMode::kTap;
  spec_.bandwidth.egress->burst = 400'000;
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  EXPECT_TRUE(shows("nsenter --net=" + names_.netns +
                    " tc qdisc show dev eth0 | "
                    "grep -q 'tbf.* rate 5Mbit'"));
  EXPECT_TRUE(links_.Delete(names_).ok());
}

TEST_F(LinksTest, TapHasMacMtuAliasAndIsPersistent) {
  spec_.mode = LinkMode::kTap;
  absl::StatusOr<PodLink> link = links_.Create(names_, spec_);
  ASSERT_TRUE(link.ok()) << link.status();
  ASSERT_TRUE(link->tap);
  const LinkInfo pod = *Pod().GetLink("eth0");
  EXPECT_EQ(pod.mac, spec_.mac);
  EXPECT_EQ(pod.mtu, 1450);
  EXPECT_EQ(pod.alias, names_.alias);
  EXPECT_EQ(pod.kind, "tun");
  EXPECT_THAT(Names(Host()), Not(Contains("eth0")));
  ASSERT_TRUE(links_.Configure(names_, LinkMode::kTap, {}, {}).ok());
  EXPECT_TRUE(Pod().GetLink("eth0")->up);

  link->tap.Reset();  // as a restart of the agent does
  EXPECT_EQ(Pod().GetLink("eth0")->mac, spec_.mac);
  EXPECT_TRUE(links_.Delete(names_).ok());
  ExpectNothingLeft();
}

TEST_F(LinksTest, C1_InspectReturnsTheState) {
  EXPECT_TRUE(absl::IsNotFound(links_.Inspect(names_, LinkMode::kVeth).status()));
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  EXPECT_FALSE(links_.Inspect(names_, LinkMode::kVeth)->up);
  EXPECT_FALSE(links_.Inspect(names_, LinkMode::kVeth)->host_up);
  ResultRoute route;
  route.destination = *IpPrefix::Parse("203.0.113.0/24");
  const IpPrefix address = *IpPrefix::Parse("192.0.2.7/24");
  ASSERT_TRUE(links_.Configure(names_, LinkMode::kVeth, {address}, {route}).ok());
  const absl::StatusOr<LinkState> state = links_.Inspect(names_, LinkMode::kVeth);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_TRUE(state->ours && state->up && state->host_up);
  EXPECT_EQ(state->mac, spec_.mac);
  EXPECT_EQ(state->mtu, 1450u);
  EXPECT_THAT(state->addresses, Contains(address));
  EXPECT_TRUE(std::any_of(state->routes.begin(), state->routes.end(), [&](const RouteInfo& one) {
    return one.destination == route.destination;
  }));
  LinkNames other = names_;
  other.alias = "vxvde:another";
  EXPECT_FALSE(links_.Inspect(other, LinkMode::kVeth)->ours);
  ASSERT_TRUE(links_.Delete(names_).ok());
}

// GC must not touch an attachment whose namespace exists and contains the interface.
TEST_F(LinksTest, G1_IsInPodNeedsTheInterfaceInTheNamespace) {
  EXPECT_FALSE(*links_.IsInPod(names_));
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  EXPECT_TRUE(*links_.IsInPod(names_));
  LinkNames other = names_;
  other.alias = "vxvde:another";
  EXPECT_FALSE(*links_.IsInPod(other));
  for (const char* netns : {"", "/nonexistent", "/etc/passwd"}) {
    other = names_;
    other.netns = netns;
    EXPECT_FALSE(*links_.IsInPod(other)) << netns;
  }
  ASSERT_TRUE(links_.Delete(names_).ok());
}

TEST_F(LinksTest, A6_AddressesCanBeUsedAtOnce) {
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  ResultRoute route;
  route.destination = *IpPrefix::Parse("198.51.100.0/24");
  route.gateway = *IpAddress::Parse("192.0.2.1");
  ResultRoute on_link;
  on_link.destination = *IpPrefix::Parse("2001:db8:1::/64");
  const absl::Status status =
      links_
          .Configure(names_, LinkMode::kVeth,
                     {*IpPrefix::Parse("192.0.2.7/24"), *IpPrefix::Parse("2001:db8::7/64")},
                     {route, on_link})
          .status();
  ASSERT_TRUE(status.ok()) << status;
  const LinkInfo pod = *Pod().GetLink("eth0");
  EXPECT_TRUE(pod.up);
  EXPECT_THAT(Addresses(pod.index, false),
              testing::UnorderedElementsAre("192.0.2.7/24", "2001:db8::7/64",
                                            "fe80::5eff:fe10:2/64"));  // RFC 4291, appendix A
  EXPECT_THAT(Addresses(pod.index, true), testing::IsEmpty());
  absl::StatusOr<RouteAnswer> answer;
  ASSERT_TRUE(RunInNetNs(pod_,
                         [&] {
                           answer = Netlink::Open()->LookUpRoute(*IpAddress::Parse("198.51.100.9"));
                           return answer.status();
                         })
                  .ok())
      << answer.status();
  EXPECT_EQ(answer->interface, pod.index);
  // The host end is a wire: up, and without an address.
  const LinkInfo host = *Host().GetLink(names_.host_ifname);
  EXPECT_TRUE(host.up);
  const std::vector<AddressInfo> on_host = *Host().ListAddresses();
  for (const AddressInfo& info : on_host) EXPECT_NE(info.interface, host.index);
}

// Two networks of a pod, and the route that the kernel adds by itself.
TEST_F(LinksTest, M1_TheFirstRouteToADestinationWins) {
  const auto configure = [&](const LinkNames& names, const char* address, const char* destination,
                             const char* gateway) {
    ResultRoute route;
    route.destination = *IpPrefix::Parse(destination);
    if (*gateway != '\0') route.gateway = *IpAddress::Parse(gateway);
    const auto there =
        links_.Configure(names, LinkMode::kVeth, {*IpPrefix::Parse(address)}, {route});
    EXPECT_TRUE(there.ok()) << there.status();
    return there.ok() && there->size() == 1 && there->front() == route;
  };
  const auto another = [&](const std::string& digit) {
    LinkNames names = names_;
    names.ifname = "net" + digit;
    names.host_ifname = "vx000000000000" + digit;
    names.alias = "vxvde:000000000000" + digit;
    EXPECT_TRUE(links_.Create(names, spec_).ok());
    return names;
  };
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  EXPECT_TRUE(configure(names_, "192.0.2.7/24", "0.0.0.0/0", "192.0.2.1"));
  EXPECT_FALSE(configure(another("1"), "198.51.100.7/24", "0.0.0.0/0", "198.51.100.1"));
  EXPECT_TRUE(configure(another("2"), "203.0.113.7/24", "203.0.113.0/24", "")) << "its own subnet";
  EXPECT_FALSE(configure(another("3"), "10.0.0.7/8", "192.0.2.0/24", "")) << "eth0's subnet";
  const absl::StatusOr<std::vector<RouteInfo>> all = links_.ListRoutes(names_.netns);
  ASSERT_TRUE(all.ok()) << all.status();
  int defaults = 0;
  for (const RouteInfo& one : *all) {
    if (one.destination.ToString() != "0.0.0.0/0") continue;
    ++defaults;
    EXPECT_THAT(one.gateways, testing::ElementsAre(*IpAddress::Parse("192.0.2.1")));
  }
  EXPECT_EQ(defaults, 1);
}

TEST_F(LinksTest, RoutesAreAddedInTheOrderInWhichTheyWork) {
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  std::vector<ResultRoute> routes(4);
  routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
  routes[0].gateway = *IpAddress::Parse("169.254.1.1");
  routes[1].destination = *IpPrefix::Parse("169.254.1.1/32");
  routes[2].destination = *IpPrefix::Parse("::/0");
  routes[2].gateway = *IpAddress::Parse("2001:db8:1::1");
  routes[3].destination = *IpPrefix::Parse("2001:db8:1::1/128");
  const auto there = links_.Configure(
      names_, LinkMode::kVeth,
      {*IpPrefix::Parse("192.0.2.7/32"), *IpPrefix::Parse("2001:db8::7/128")}, routes);
  ASSERT_TRUE(there.ok()) << there.status();
  EXPECT_EQ(*there, routes);
  ASSERT_TRUE(links_.Delete(names_).ok());

  // E7: not "try again later".
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  ResultRoute route;
  route.destination = *IpPrefix::Parse("10.0.0.0/8");
  route.gateway = *IpAddress::Parse("198.51.100.1");
  const absl::Status status =
      links_.Configure(names_, LinkMode::kVeth, {*IpPrefix::Parse("192.0.2.7/24")}, {route})
          .status();
  EXPECT_EQ(ToCniError(status).code, 7u) << status;
  EXPECT_THAT(ToCniError(status).msg, HasSubstr("198.51.100.1"));
}

// Decision 0031.
TEST_F(LinksTest, RoutersConfigureOnlyInterfacesWithoutAnIpv6Address) {
  const auto accepts = [&] {
    std::string value;
    EXPECT_TRUE(RunInNetNs(pod_, [&] {
                  std::ifstream("/proc/sys/net/ipv6/conf/eth0/accept_ra") >> value;
                  return absl::OkStatus();
                }).ok());
    return value;
  };
  for (const auto& [address, expected] :
       {std::pair("192.0.2.7/24", "1"), std::pair("2001:db8::7/64", "0")}) {
    ASSERT_TRUE(links_.Create(names_, spec_).ok());
    const absl::Status status =
        links_.Configure(names_, LinkMode::kVeth, {*IpPrefix::Parse(address)}, {}).status();
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(accepts(), expected) << address;
    ASSERT_TRUE(links_.Delete(names_).ok());
  }
}

TEST_F(LinksTest, BroughtUpFirstAndConfiguredLater) {
  for (const LinkMode mode : {LinkMode::kVeth, LinkMode::kTap}) {
    spec_.mode = mode;
    const absl::StatusOr<PodLink> made = links_.Create(names_, spec_);
    ASSERT_TRUE(made.ok()) << made.status();
    ASSERT_TRUE(links_.BringUp(names_, mode).ok());
    const IfIndex index = Pod().GetLink("eth0")->index;
    EXPECT_TRUE(Pod().GetLink("eth0")->up);
    EXPECT_THAT(Addresses(index, false), testing::IsEmpty());
    EXPECT_THAT(Addresses(index, true), testing::IsEmpty());
    const absl::Status status =
        links_
            .Configure(names_, mode,
                       {*IpPrefix::Parse("192.0.2.7/24"), *IpPrefix::Parse("2001:db8::7/64")}, {})
            .status();
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_THAT(
        Addresses(index, false),
        testing::UnorderedElementsAre("192.0.2.7/24", "2001:db8::7/64", "fe80::5eff:fe10:2/64"));
    ASSERT_TRUE(links_.Delete(names_).ok());
  }
}

TEST_F(LinksTest, Ipv6SwitchedOffByTheRuntime) {
  SetPodSysctl("ipv6/conf/default/disable_ipv6", "1");
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  ASSERT_TRUE(
      links_.Configure(names_, LinkMode::kVeth, {*IpPrefix::Parse("192.0.2.7/24")}, {}).ok());
  EXPECT_THAT(Addresses(Pod().GetLink("eth0")->index, false), testing::ElementsAre("192.0.2.7/24"));
  ASSERT_TRUE(links_.Delete(names_).ok());

  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  const absl::Status status =
      links_.Configure(names_, LinkMode::kVeth, {*IpPrefix::Parse("2001:db8::7/64")}, {}).status();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(Addresses(Pod().GetLink("eth0")->index, false), Contains("2001:db8::7/64"));
}

TEST_F(LinksTest, A1_AnotherProgramsInterfaceIsLeftAlone) {
  ASSERT_TRUE(Pod()
                  .CreateVeth({.here = {.name = "eth0", .alias = "", .mac = std::nullopt},
                               .there = {.name = "other", .alias = "", .mac = std::nullopt},
                               .there_netns = pod_.get()})
                  .ok());
  const absl::Status taken = links_.HasLeftovers(names_).status();
  EXPECT_TRUE(absl::IsAlreadyExists(taken)) << taken;
  EXPECT_THAT(taken.message(), HasSubstr("eth0"));
  EXPECT_TRUE(links_.Delete(names_).ok());
  EXPECT_THAT(Names(Pod()), Contains("eth0"));
}

TEST_F(LinksTest, A1_HalfDoneTryIsRemoved) {
  for (const LinkMode mode : {LinkMode::kVeth, LinkMode::kTap}) {
    spec_.mode = mode;
    ASSERT_TRUE(links_.Create(names_, spec_).ok());
    EXPECT_EQ(links_.HasLeftovers(names_).value(), true);
    EXPECT_EQ(links_.HasLeftovers(names_).value(), true) << "looking changes nothing";
    ASSERT_TRUE(links_.Delete(names_).ok());
    ExpectNothingLeft();
    EXPECT_EQ(links_.HasLeftovers(names_).value(), false);
  }
}

// A process that is killed between the message that creates the pair and the one that sets the
// alias.
TEST_F(LinksTest, E9_PairWithoutAliasIsKnownByItsName) {
  ASSERT_TRUE(
      Host()
          .CreateVeth({.here = {.name = names_.host_ifname, .alias = "", .mac = std::nullopt},
                       .there = {.name = "eth0", .alias = "", .mac = std::nullopt},
                       .there_netns = pod_.get()})
          .ok());
  EXPECT_EQ(links_.HasLeftovers(names_).value(), true);
  EXPECT_TRUE(links_.Delete(names_).ok());
  ExpectNothingLeft();
}

TEST_F(LinksTest, D1_HostLinkOfAnotherAliasIsLeftAlone) {
  ASSERT_TRUE(
      Host()
          .CreateVeth({.here = {.name = names_.host_ifname, .alias = "mine", .mac = std::nullopt},
                       .there = {.name = "other", .alias = "", .mac = std::nullopt},
                       .there_netns = pod_.get()})
          .ok());
  EXPECT_THAT(links_.Delete(names_).message(), HasSubstr("\"mine\""));
  EXPECT_THAT(Names(Host()), Contains(names_.host_ifname));
}

TEST_F(LinksTest, D1_MissingNamespaceIsFine) {
  ASSERT_TRUE(links_.Create(names_, spec_).ok());
  for (const char* netns : {"", "/nonexistent", "/etc/passwd"}) {
    names_.netns = netns;
    EXPECT_TRUE(links_.Delete(names_).ok()) << netns;
  }
  ExpectNothingLeft();  // the pod end goes with the host end
}

TEST_F(LinksTest, FailedCreateIsUndoneByDelete) {
  spec_.mtu = 65535;  // valid for veth; a tap's MTU is at most 65521 (drivers/net/tun.c)
  spec_.mode = LinkMode::kTap;
  EXPECT_FALSE(links_.Create(names_, spec_).ok());
  EXPECT_TRUE(links_.Delete(names_).ok());
  ExpectNothingLeft();
}

// Additional attachments of one ADD: a pair, a tap, and a pair without an alias, left by a killed
// try. net9 belongs to another ADD.
TEST_F(LinksTest, M2_DeleteAllDeletesAllLinksOfTheAdd) {
  KernelPodLinks links;
  const auto names_of = [&](const std::string& ifname) {
    const std::string id = ifname == "net3" ? "000000000000" + ifname.substr(3) : "other";
    return LinkNames{.netns = names_.netns,
                     .ifname = ifname,
                     .host_ifname = "vx" + id,
                     .alias = "vxvde:" + id + ":0123456789abc"};
  };
  const auto make = [&](const std::string& ifname, const std::string& id, LinkMode mode,
                        const std::string& main_id) {
    LinkSpec spec = spec_;
    spec.mode = mode;
    const LinkNames names = {.netns = names_.netns,
                             .ifname = ifname,
                             .host_ifname = "vx" + id,
                             .alias = "vxvde:" + id + main_id};
    const auto made = links.Create(names, spec);
    ASSERT_TRUE(made.ok()) << made.status();
  };
  make("eth0", "0123456789abc", LinkMode::kVeth, "");
  make("net1", "0000000000001", LinkMode::kVeth, ":0123456789abc");
  make("net2", "0000000000002", LinkMode::kTap, ":0123456789abc");
  make("net9", "0000000000009", LinkMode::kVeth, "");
  Netlink host = Host();
  ASSERT_TRUE(host.CreateVeth({.here = {.name = "vx0000000000003", .alias = "", .mac = {}},
                               .there = {.name = "net3", .alias = "", .mac = {}},
                               .there_netns = pod_.get()})
                  .ok());

  LinkNames main = names_;
  main.netns = "";  // the runtime no longer knows it: links that can be found from here are deleted
  ASSERT_TRUE(links.DeleteAll(main, names_of).ok());
  EXPECT_THAT(Names(Pod()), testing::UnorderedElementsAre("lo", "net2", "net3", "net9"));
  const absl::Status status = links.DeleteAll(names_, names_of);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(Names(Pod()), testing::UnorderedElementsAre("lo", "net9"));
  EXPECT_THAT(Names(Host()), testing::UnorderedElementsAre("lo", "vx0000000000009"));
  EXPECT_TRUE(links.DeleteAll(names_, names_of).ok()) << "twice is fine";
}

}  // namespace
}  // namespace vxvde
