// ADD: the order of its steps, and that each of them is undone.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "cni/testing/fake_outside.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(Add, CommitsLast) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(SimpleAdd()).ok());
  EXPECT_THAT(outside.script.calls, ElementsAre("netns", "look", "plan", "ipam add", "create",
                                                "configure", "commit", "print"));
  EXPECT_THAT(outside.agent.committed, ElementsAre("192.0.2.7/24"));
  EXPECT_EQ(outside.links.spec.mac.ToString(), "02:00:5e:10:00:02");
  EXPECT_EQ(outside.links.spec.mtu, 1450u);
  EXPECT_EQ(outside.links.spec.gso_max_size, 60000u);
  EXPECT_EQ(outside.links.names.host_ifname, "vx" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_EQ(outside.links.names.alias, "vxvde:" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_EQ(outside.agent.taps, 0);
}

TEST(Add, A2_ResultNamesBothEnds) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(SimpleAdd()).ok());
  const std::string host = "vx" + AttachmentId("blue", "c1", "eth0");
  EXPECT_EQ(outside.output.printed,
            R"({"cniVersion":"1.0.0","interfaces":[{"name":")" + host +
                R"(","mac":"02:00:5e:10:00:01"},{"name":"eth0","mac":"02:00:5e:10:00:02",)"
                R"("sandbox":"/run/netns/pod"}],"ips":[{"interface":1,"address":"192.0.2.7/24",)"
                R"("gateway":"192.0.2.1"}]})");
}

TEST(Add, TapHasOneEndAndTheCommitCarriesItsDescriptor) {
  FakeOutside outside;
  AddRequest request = SimpleAdd();
  request.mode = LinkMode::kTap;
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.agent.taps, 1);
  EXPECT_EQ(outside.agent.plan.mode(), attach::v1::TAP);
  EXPECT_EQ(outside.output.printed,
            R"({"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:5e:10:00:02",)"
            R"("sandbox":"/run/netns/pod"}],"ips":[{"interface":0,"address":"192.0.2.7/24",)"
            R"("gateway":"192.0.2.1"}]})");
}

TEST(Add, A3_ResultHasTheRoutesThatAreInstalled) {
  FakeOutside outside;
  AddRequest request = SimpleAdd();
  outside.ipam.lease.routes.resize(2);
  outside.ipam.lease.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
  outside.ipam.lease.routes[1].destination = *IpPrefix::Parse("2001:db8::/32");
  ResultRoute& route = request.attachments[0].routes.emplace_back();
  route.destination = *IpPrefix::Parse("198.51.100.0/24");
  route.gateway = *IpAddress::Parse("192.0.2.9");
  outside.ipam.lease.dns.nameservers = {"192.0.2.53"};
  ASSERT_TRUE(outside.Run(request).ok());
  ASSERT_EQ(outside.links.routes.size(), 3u);
  EXPECT_EQ(outside.links.routes[0].gateway, IpAddress::V4(192, 0, 2, 1));  // its family's
  EXPECT_FALSE(outside.links.routes[1].gateway);
  EXPECT_EQ(outside.links.routes[2].gateway, IpAddress::V4(192, 0, 2, 9));
  EXPECT_THAT(outside.output.printed,
              HasSubstr(R"("routes":[{"dst":"0.0.0.0/0","gw":"192.0.2.1"},{"dst":"2001:db8::/32"},)"
                        R"({"dst":"198.51.100.0/24","gw":"192.0.2.9"}])"));
  EXPECT_THAT(outside.output.printed, HasSubstr(R"("dns":{"nameservers":["192.0.2.53"]})"));
}

// host-local with the default route of every bridge's sample, behind an eth0 with one.
TEST(Add, M1_TheFirstDefaultRouteWins) {
  const auto route = [](const char* destination, const char* gateway,
                        std::optional<uint32_t> priority) {
    ResultRoute one;
    one.destination = *IpPrefix::Parse(destination);
    one.gateway = *IpAddress::Parse(gateway);
    one.priority = priority;
    return one;
  };
  const ResultRoute v4 = route("0.0.0.0/0", "192.0.2.1", std::nullopt);
  const ResultRoute v6 = route("::/0", "2001:db8::1", std::nullopt);
  const ResultRoute other = route("198.51.100.0/24", "192.0.2.1", std::nullopt);
  const ResultRoute low = route("0.0.0.0/0", "192.0.2.1", 200);
  ResultRoute tabled = v4;
  tabled.table = 1000;
  struct Case {
    std::vector<ResultRoute> routes;
    uint32_t there_priority;
    uint32_t there_table;
    std::vector<ResultRoute> kept;
  };
  for (const Case& c : std::vector<Case>{{{v4, v6, other}, 0, 254, {v6, other}},
                                         {{v4}, 100, 254, {}},
                                         {{v4}, 0, 1000, {v4}},
                                         {{low}, 100, 254, {low}},
                                         {{low}, 200, 254, {}},
                                         {{v4, low, v4}, 0, 1000, {v4, low}},
                                         {{tabled}, 0, 254, {tabled}}}) {
    FakeOutside outside;
    outside.ipam.lease.addresses.push_back({.address = *IpPrefix::Parse("2001:db8::7/64"),
                                            .gateway = std::nullopt,
                                            .interface = std::nullopt});
    outside.ipam.lease.routes = c.routes;
    RouteInfo& there = outside.links.pod_routes.emplace_back();
    there.destination = *IpPrefix::Parse("0.0.0.0/0");
    there.priority = c.there_priority;
    there.table = c.there_table;
    ASSERT_TRUE(outside.Run(SimpleAdd()).ok());
    EXPECT_EQ(outside.links.routes, c.kept);
    EXPECT_EQ(outside.output.logged.size(), c.routes.size() - c.kept.size());
    for (const std::string& line : outside.output.logged) {
      EXPECT_THAT(line, AllOf(HasSubstr("0.0.0.0/0 via 192.0.2.1"), HasSubstr("noDefaultRoute")));
    }
  }
}

TEST(Add, NoDefaultRouteIsForTheIpamPluginToo) {
  FakeOutside outside;
  AddRequest request = SimpleAdd();
  request.attachments[0].default_route_wanted = false;
  outside.ipam.lease.routes.resize(2);
  outside.ipam.lease.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
  outside.ipam.lease.routes[1].destination = *IpPrefix::Parse("198.51.100.0/24");
  ASSERT_TRUE(outside.Run(request).ok());
  ASSERT_EQ(outside.links.routes.size(), 1u);
  EXPECT_EQ(outside.links.routes[0].destination.ToString(), "198.51.100.0/24");
  EXPECT_THAT(outside.output.printed, Not(HasSubstr("0.0.0.0/0")));
}

// As reference plugins take them: host-local's own subnet, and addresses without a subnet.
TEST(Add, A3_RoutesThatNeedNoGatewayOrHaveItBesideTheSubnet) {
  struct Case {
    const char* address;
    const char* gateway;  // of the address
    std::vector<std::pair<std::string, std::string>> routes;
    std::vector<std::pair<std::string, std::string>> configured;
  };
  for (const Case& c : std::vector<Case>{
           {"192.0.2.7/24", "192.0.2.1", {{"192.0.2.0/24", ""}}, {{"192.0.2.0/24", ""}}},
           {"192.0.2.7/24",
            "192.0.2.1",
            {{"192.0.2.1/32", ""}, {"10.0.0.0/8", ""}},
            {{"192.0.2.1/32", ""}, {"10.0.0.0/8", "192.0.2.1"}}},
           {"192.0.2.7/32",
            "169.254.1.1",
            {{"0.0.0.0/0", ""}, {"10.0.0.0/8", "169.254.1.1"}},
            {{"169.254.1.1/32", ""}, {"0.0.0.0/0", "169.254.1.1"}, {"10.0.0.0/8", "169.254.1.1"}}},
           {"2001:db8::7/128",
            "2001:db8:1::1",
            {{"::/0", ""}},
            {{"2001:db8:1::1/128", ""}, {"::/0", "2001:db8:1::1"}}},
           {"2001:db8::7/64", "fe80::1", {{"::/0", ""}}, {{"::/0", "fe80::1"}}},
       }) {
    FakeOutside outside;
    outside.ipam.lease.addresses = {{.address = *IpPrefix::Parse(c.address),
                                     .gateway = *IpAddress::Parse(c.gateway),
                                     .interface = std::nullopt}};
    for (const auto& [destination, gateway] : c.routes) {
      ResultRoute& route = outside.ipam.lease.routes.emplace_back();
      route.destination = *IpPrefix::Parse(destination);
      if (!gateway.empty()) route.gateway = *IpAddress::Parse(gateway);
    }
    const absl::Status status = outside.Run(SimpleAdd());
    ASSERT_TRUE(status.ok()) << status;
    std::vector<std::pair<std::string, std::string>> configured;
    for (const ResultRoute& route : outside.links.routes) {
      configured.emplace_back(route.destination.ToString(),
                              route.gateway ? route.gateway->ToString() : "");
    }
    EXPECT_EQ(configured, c.configured);
  }
}

TEST(Add, GatewayBesideTheSubnetIsAnErrorOfTheConfiguration) {
  for (const char* gateway : {"198.51.100.1", "2001:db8::1"}) {
    FakeOutside outside;
    AddRequest request = SimpleAdd();
    ResultRoute& route = request.attachments[0].routes.emplace_back();
    route.gateway = *IpAddress::Parse(gateway);
    route.destination = {route.gateway->is_v4() ? IpAddress() : IpAddress::AnyV6(), 0};
    const CniError error = ToCniError(outside.Run(request));
    EXPECT_EQ(error.code, 7u);
    EXPECT_THAT(error.msg, AllOf(HasSubstr(gateway), HasSubstr("eth0")));
    EXPECT_THAT(error.details, AllOf(HasSubstr(gateway), HasSubstr("253")));
    EXPECT_THAT(outside.script.calls, Not(Contains("create")));

    FakeOutside linked;
    ResultRoute& to_gateway = request.attachments[0].routes.emplace_back();
    to_gateway.destination = {*IpAddress::Parse(gateway),
                              static_cast<uint8_t>(IpAddress::Parse(gateway)->bits())};
    to_gateway.scope = 253;
    EXPECT_TRUE(linked.Run(request).ok());
  }
}

TEST(Add, A3_ARouteWhosePlaceIsTakenIsNotInTheResult) {
  FakeOutside outside;
  outside.ipam.lease.routes.resize(2);
  outside.ipam.lease.routes[0].destination = *IpPrefix::Parse("198.51.100.0/24");
  outside.ipam.lease.routes[0].gateway = *IpAddress::Parse("192.0.2.1");
  outside.ipam.lease.routes[1].destination = *IpPrefix::Parse("203.0.113.0/24");
  outside.ipam.lease.routes[1].gateway = *IpAddress::Parse("192.0.2.1");
  outside.links.taken = {outside.ipam.lease.routes[0]};
  ASSERT_TRUE(outside.Run(SimpleAdd()).ok());
  EXPECT_THAT(outside.output.printed,
              AllOf(HasSubstr("203.0.113.0/24"), Not(HasSubstr("198.51.100.0/24"))));
  EXPECT_THAT(outside.output.logged, ElementsAre(HasSubstr("198.51.100.0/24 via 192.0.2.1")));
}

TEST(Add, PlanHasEverythingThatIsRequested) {
  FakeOutside outside;
  AddRequest request = SimpleAdd();
  Attachment& eth0 = request.attachments[0];
  eth0.cloud.vnl = "vxvde://239.1.2.3";
  eth0.mtu = 1400;
  eth0.mac = *MacAddress::Parse("02:00:5e:10:00:02");
  request.pod = {.name_space = "shop", .name = "web", .uid = "u-1"};
  ASSERT_TRUE(outside.Run(request).ok());
  const attach::v1::Plan& plan = outside.agent.plan;
  EXPECT_EQ(plan.key().network(), "blue");
  EXPECT_EQ(plan.key().container_id(), "c1");
  EXPECT_EQ(plan.key().ifname(), "eth0");
  EXPECT_EQ(plan.vnl(), "vxvde://239.1.2.3");
  EXPECT_EQ(plan.mode(), attach::v1::VETH);
  EXPECT_EQ(plan.netns(), "/run/netns/pod");
  EXPECT_EQ(plan.pod().namespace_(), "shop");
  EXPECT_EQ(plan.pod().name(), "web");
  EXPECT_EQ(plan.pod().uid(), "u-1");
  EXPECT_EQ(plan.mac(), std::string(kMac, 6));
  EXPECT_EQ(plan.mtu(), 1400u);
  EXPECT_TRUE(plan.addresses_by_caller());
}

TEST(Add, WithoutIpamTheAgentAllocates) {
  FakeOutside outside;
  AddRequest request = SimpleAdd();
  request.network.ipam.reset();
  request.attachments[0].address_source = AddressSource::kAgent;
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_FALSE(outside.agent.plan.addresses_by_caller());
  EXPECT_THAT(outside.agent.committed, IsEmpty());
  EXPECT_THAT(outside.script.calls,
              ElementsAre("netns", "look", "plan", "create", "configure", "commit", "print"));
}

TEST(Add, EmptyIpamTakesTheCallersAddresses) {
  FakeOutside outside;
  AddRequest request = SimpleAdd();
  request.network.ipam.reset();
  request.attachments[0].address_source = AddressSource::kCaller;
  request.attachments[0].ips = {{IpAddress::V4(192, 0, 2, 9), 24}};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_TRUE(outside.agent.plan.addresses_by_caller());
  EXPECT_THAT(outside.agent.committed, ElementsAre("192.0.2.9/24"));
}

TEST(Add, A7_AnotherAddressThanTheRequestedOneIsAnError) {
  FakeOutside outside;
  AddRequest request = SimpleAdd();
  request.attachments[0].ips = {{IpAddress::V4(192, 0, 2, 8), std::nullopt}};
  const CniError error = ToCniError(outside.Run(request));
  EXPECT_EQ(error.code, 7u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("192.0.2.8"), HasSubstr("192.0.2.7")));
  EXPECT_THAT(outside.script.calls, ElementsAre("netns", "look", "plan", "ipam add", "ipam del"));
}

TEST(Add, LeaseWithoutAddressIsAnError) {
  FakeOutside outside;
  outside.ipam.lease.addresses.clear();
  EXPECT_FALSE(outside.Run(SimpleAdd()).ok());
  EXPECT_THAT(outside.script.calls, ElementsAre("netns", "look", "plan", "ipam add", "ipam del"));
}

TEST(Add, E9_AgentDetachesAKilledTryToo) {
  FakeOutside outside;
  outside.links.leftovers = true;
  ASSERT_TRUE(outside.Run(SimpleAdd()).ok());
  EXPECT_THAT(outside.script.calls,
              ElementsAre("netns", "look", "detach", "unlink", "look", "plan", "ipam add", "create",
                          "configure", "commit", "print"));
}

TEST(Add, WithoutAnAgentOldLinksAreLeftAlone) {
  FakeOutside outside;
  outside.links.leftovers = true;
  outside.script.fail[2] = CniStatus(kCniTryAgainLater, "nobody answers", "start the agent");
  EXPECT_EQ(ToCniError(outside.Run(SimpleAdd())).code, kCniTryAgainLater);
  EXPECT_THAT(outside.script.calls, ElementsAre("netns", "look", "detach"));
}

// A starting agent deletes the link of an ADD that the agent before it planned.
TEST(Add, E7_ALinkThatDisappearsMeanwhileIsTryAgainLater) {
  FakeOutside outside;
  outside.script.fail[5] = absl::NotFoundError("get link eth0: No such device");  // configure
  const CniError error = ToCniError(outside.Run(SimpleAdd()));
  EXPECT_EQ(error.code, kCniTryAgainLater);
  EXPECT_THAT(error.msg, HasSubstr("get link eth0"));
}

// E9: host-local refuses while it holds the lease of a killed ADD.
TEST(Add, E9_LeaseOfAKilledTryIsReleasedFirst) {
  FakeOutside outside;
  outside.script.fail[3] = CniStatus(999, "duplicate allocation is not allowed");
  ASSERT_TRUE(outside.Run(SimpleAdd()).ok());
  EXPECT_THAT(outside.script.calls,
              ElementsAre("netns", "look", "plan", "ipam add", "ipam del", "ipam add", "create",
                          "configure", "commit", "print"));
}

TEST(Add, A5_LeaseThatFailsTwiceIsTheErrorOfThePlugin) {
  FakeOutside outside;
  outside.script.fail[3] = CniStatus(104, "first");
  outside.script.fail[5] = CniStatus(104, "pool is empty", "add a range");
  const CniError error = ToCniError(outside.Run(SimpleAdd()));
  EXPECT_EQ(error.code, 104u);
  EXPECT_EQ(error.msg, "pool is empty");
  EXPECT_EQ(error.details, "add a range");
  EXPECT_THAT(outside.script.calls,
              ElementsAre("netns", "look", "plan", "ipam add", "ipam del", "ipam add", "ipam del"));
}

TEST(Add, AgentThatDerivesOtherNamesIsRefused) {
  for (const int what : {0, 1, 2}) {
    FakeOutside outside;
    if (what == 0) outside.agent.planned.set_id("0123456789abc");
    if (what == 1) outside.agent.planned.set_mac("12345");
    if (what == 2) outside.agent.planned.set_mtu(0);
    EXPECT_EQ(ToCniError(outside.Run(SimpleAdd())).code, 100u);
    EXPECT_THAT(outside.script.calls, ElementsAre("netns", "look", "plan"));
  }
}

TEST(Add, A5_LeaseThatCannotBeReleasedIsNotTriedAgain) {
  FakeOutside outside;
  outside.script.fail[3] = CniStatus(7, "no such plugin");
  outside.script.fail[4] = CniStatus(7, "still no such plugin");
  EXPECT_EQ(ToCniError(outside.Run(SimpleAdd())).msg, "no such plugin");
  EXPECT_THAT(outside.script.calls,
              ElementsAre("netns", "look", "plan", "ipam add", "ipam del", "ipam del"));
}

// The undo steps of `calls`, the last of which has failed, in their order.
std::vector<std::string> UndoOf(const std::vector<std::string>& calls) {
  const std::map<std::string, std::string> undo = {
      {"ipam add", "ipam del"}, {"create", "unlink"}, {"commit", "detach"}};
  std::vector<std::string> expected;
  for (const std::string& call : calls) {
    const auto found = undo.find(call);
    if (found == undo.end()) continue;
    if (std::count(expected.begin(), expected.end(), found->second) != 0) continue;
    expected.insert(expected.begin(), found->second);
  }
  return expected;
}

TEST(Add, A5_EachStepFailedInTurnIsUndoneBackwards) {
  for (const LinkMode mode : {LinkMode::kVeth, LinkMode::kTap}) {
    for (const std::string type : {"host-local", "dhcp"}) {
      AddRequest request = SimpleAdd();
      request.mode = mode;
      request.network.ipam->type = type;
      FakeOutside reference;
      ASSERT_TRUE(reference.Run(request).ok());
      for (size_t k = 0; k < reference.script.calls.size(); ++k) {
        SCOPED_TRACE(type + ", " + reference.script.calls[k]);
        FakeOutside outside;
        outside.script.fail[k] = CniStatus(123, "failed on purpose", "remedy");
        const bool retried = reference.script.calls[k] == "ipam add" && type == "host-local";
        if (retried) outside.script.fail[k + 2] = outside.script.fail[k];
        const CniError error = ToCniError(outside.Run(request));
        EXPECT_EQ(error.code, 123u);
        EXPECT_EQ(error.msg, "failed on purpose");
        EXPECT_EQ(error.details, "remedy");
        EXPECT_EQ(outside.output.printed, "");
        std::vector<std::string> expected(reference.script.calls.begin(),
                                          reference.script.calls.begin() + k + 1);
        const std::vector<std::string> undo = UndoOf(expected);
        if (retried) expected.insert(expected.end(), {"ipam del", "ipam add"});
        expected.insert(expected.end(), undo.begin(), undo.end());
        EXPECT_EQ(outside.script.calls, expected);
      }
    }
  }
}

// The daemon of dhcp sends through the pod's interface.
TEST(Add, AnIpamPluginThatAsksOnTheLinkRunsOnAnAttachedOne) {
  for (const LinkMode mode : {LinkMode::kVeth, LinkMode::kTap}) {
    FakeOutside outside;
    AddRequest request = SimpleAdd();
    request.mode = mode;
    request.network.ipam->type = "dhcp";
    ASSERT_TRUE(outside.Run(request).ok());
    EXPECT_THAT(outside.script.calls,
                ElementsAre("netns", "look", "plan", "create", "bring up", "commit", "ipam add",
                            "configure", "commit", "print"));
    EXPECT_THAT(outside.agent.committed, ElementsAre("192.0.2.7/24")) << "of the second";
    EXPECT_EQ(outside.agent.taps, mode == LinkMode::kTap ? 1 : 0);
    EXPECT_THAT(outside.output.printed, HasSubstr(R"("address":"192.0.2.7/24")"));
    if (mode == LinkMode::kVeth) {
      EXPECT_THAT(outside.output.printed, HasSubstr(R"("mac":"02:00:5e:10:00:01")"));
    }
  }
}

TEST(Add, UndoThatFailsIsLoggedAndDoesNotStopTheRest) {
  FakeOutside outside;
  outside.script.fail[7] = CniStatus(5, "no reader");  // print
  outside.script.fail[8] = absl::InternalError("agent gone");
  outside.script.fail[9] = absl::InternalError("link stuck");
  outside.script.fail[10] = absl::InternalError("lease stuck");
  EXPECT_EQ(ToCniError(outside.Run(SimpleAdd())).code, 5u);
  EXPECT_THAT(
      std::vector<std::string>(outside.script.calls.begin() + 7, outside.script.calls.end()),
      ElementsAre("print", "detach", "unlink", "ipam del"));
  EXPECT_THAT(outside.output.logged, ElementsAre(HasSubstr("agent gone"), HasSubstr("link stuck"),
                                                 HasSubstr("lease stuck")));
}

TEST(Add, RequestsPortsAndShapesTheLink) {
  FakeOutside outside;
  AddRequest request = SimpleAdd();
  request.network.ipam.reset();
  Attachment& eth0 = request.attachments[0];
  eth0.address_source = AddressSource::kCaller;
  eth0.ips = {{.address = *IpAddress::Parse("192.0.2.7"), .length = 24}};
  eth0.ports = {{8080, 80, "tcp", std::nullopt}, {53, 5353, "udp", IpAddress::V4(192, 0, 2, 1)}};
  eth0.bandwidth.egress = BitRate{1'000'000, 80'000};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.agent.plan.addresses(), ElementsAre("192.0.2.7/24"))
      << "so that the node can have an address on its link";
  ASSERT_EQ(outside.agent.plan.port_mappings_size(), 2);
  EXPECT_EQ(outside.agent.plan.port_mappings(0).host_port(), 8080u);
  EXPECT_EQ(outside.agent.plan.port_mappings(0).container_port(), 80u);
  EXPECT_EQ(outside.agent.plan.port_mappings(0).protocol(), "tcp");
  EXPECT_EQ(outside.agent.plan.port_mappings(0).host_ip(), "");
  EXPECT_EQ(outside.agent.plan.port_mappings(1).host_ip(), "192.0.2.1");
  EXPECT_EQ(outside.links.spec.bandwidth, eth0.bandwidth);
}

TEST(Add, TakesTheAgentsAddressesAndItsGateway) {
  FakeOutside outside;
  outside.agent.planned.add_addresses("10.42.0.7/16");
  outside.agent.planned.add_addresses("fd42::7/64");
  outside.agent.planned.add_gateways("10.42.0.1");
  AddRequest request = SimpleAdd();
  request.network.ipam.reset();
  request.attachments[0].address_source = AddressSource::kAgent;
  request.attachments[0].ips = {
      {.address = *IpAddress::Parse("10.42.0.7"), .length = std::nullopt}};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_FALSE(outside.agent.plans.at(0).addresses_by_caller());
  EXPECT_THAT(outside.agent.plans[0].addresses(), ElementsAre("10.42.0.7"));
  EXPECT_THAT(outside.links.configured,
              ElementsAre(*IpPrefix::Parse("10.42.0.7/16"), *IpPrefix::Parse("fd42::7/64")));
  ASSERT_EQ(outside.links.routes.size(), 1u);
  EXPECT_EQ(outside.links.routes[0].destination, *IpPrefix::Parse("0.0.0.0/0"));
  EXPECT_EQ(outside.links.routes[0].gateway, IpAddress::Parse("10.42.0.1").value());
  EXPECT_THAT(outside.output.printed, HasSubstr(R"("gateway":"10.42.0.1")"));
  EXPECT_THAT(outside.agent.committed, ElementsAre("10.42.0.7/16", "fd42::7/64"));

  // M1: not on an additional interface.
  FakeOutside beside;
  beside.agent.planned = outside.agent.planned;
  request.container.ifname = "eth1";
  ASSERT_TRUE(beside.Run(request).ok());
  EXPECT_THAT(beside.links.routes, IsEmpty());

  // An internal network of podman has no default route.
  FakeOutside internal;
  internal.agent.planned = outside.agent.planned;
  request.container.ifname = "eth0";
  request.attachments[0].default_route_wanted = false;
  ASSERT_TRUE(internal.Run(request).ok());
  EXPECT_THAT(internal.links.routes, IsEmpty());
  request.attachments[0].default_route_wanted = true;

  // A default route of the configuration replaces it.
  FakeOutside own;
  own.agent.planned = outside.agent.planned;
  ResultRoute route;
  route.destination = *IpPrefix::Parse("0.0.0.0/0");
  route.gateway = *IpAddress::Parse("10.42.0.254");
  request.attachments[0].routes = {route};
  ASSERT_TRUE(own.Run(request).ok());
  EXPECT_THAT(own.links.routes, ElementsAre(route));

  FakeOutside bad;
  bad.agent.planned.add_addresses("10.42.0.7");
  EXPECT_THAT(std::string(bad.Run(request).message()), HasSubstr("10.42.0.7"));
}

}  // namespace
}  // namespace vxvde
