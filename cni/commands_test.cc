// The order of steps, and that each of them is undone.

#include "cni/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "cni/error.h"
#include "cni/fake_outside.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Add, CommitsLast) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(AddRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "ipam add", "create", "configure",
                                         "commit", "print"));
  EXPECT_THAT(outside.committed, ElementsAre("192.0.2.7/24"));
  EXPECT_EQ(outside.spec.mac.ToString(), "02:00:5e:10:00:02");
  EXPECT_EQ(outside.spec.mtu, 1450u);
  EXPECT_EQ(outside.spec.gso_max_size, 60000u);
  EXPECT_EQ(outside.names.host_ifname, "vx" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_EQ(outside.names.alias, "vxvde:" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_FALSE(outside.got_tap);
}

TEST(Add, A2_ResultNamesBothEnds) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(AddRequest()).ok());
  const std::string host = "vx" + AttachmentId("blue", "c1", "eth0");
  EXPECT_EQ(outside.printed,
            R"({"cniVersion":"1.0.0","interfaces":[{"name":")" + host +
                R"(","mac":"02:00:5e:10:00:01"},{"name":"eth0","mac":"02:00:5e:10:00:02",)"
                R"("sandbox":"/run/netns/pod"}],"ips":[{"interface":1,"address":"192.0.2.7/24",)"
                R"("gateway":"192.0.2.1"}]})");
}

TEST(Add, TapHasOneEndAndItsDescriptorRidesAlong) {
  FakeOutside outside;
  Request request = AddRequest();
  request.mode = LinkMode::kTap;
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_TRUE(outside.got_tap);
  EXPECT_EQ(outside.plan.mode(), attach::v1::TAP);
  EXPECT_EQ(outside.printed,
            R"({"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:5e:10:00:02",)"
            R"("sandbox":"/run/netns/pod"}],"ips":[{"interface":0,"address":"192.0.2.7/24",)"
            R"("gateway":"192.0.2.1"}]})");
}

TEST(Add, A3_RoutesAreSaidAsInstalled) {
  FakeOutside outside;
  Request request = AddRequest();
  outside.lease.routes.resize(2);
  outside.lease.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
  outside.lease.routes[1].destination = *IpPrefix::Parse("2001:db8::/32");
  request.routes.resize(1);
  request.routes[0].destination = *IpPrefix::Parse("198.51.100.0/24");
  request.routes[0].gateway = *IpAddress::Parse("192.0.2.9");
  outside.lease.dns.nameservers = {"192.0.2.53"};
  ASSERT_TRUE(outside.Run(request).ok());
  ASSERT_EQ(outside.routes.size(), 3u);
  EXPECT_EQ(outside.routes[0].gateway, IpAddress::V4(192, 0, 2, 1));  // its family's
  EXPECT_FALSE(outside.routes[1].gateway);
  EXPECT_EQ(outside.routes[2].gateway, IpAddress::V4(192, 0, 2, 9));
  EXPECT_THAT(outside.printed,
              HasSubstr(R"("routes":[{"dst":"0.0.0.0/0","gw":"192.0.2.1"},{"dst":"2001:db8::/32"},)"
                        R"({"dst":"198.51.100.0/24","gw":"192.0.2.9"}])"));
  EXPECT_THAT(outside.printed, HasSubstr(R"("dns":{"nameservers":["192.0.2.53"]})"));
}

TEST(Add, PlanSaysWhatIsAsked) {
  FakeOutside outside;
  Request request = AddRequest();
  request.vnl = "vxvde://239.1.2.3";
  request.mtu = 1400;
  request.mac = *MacAddress::Parse("02:00:5e:10:00:02");
  request.pod_namespace = "shop";
  request.pod_name = "web";
  request.pod_uid = "u-1";
  ASSERT_TRUE(outside.Run(request).ok());
  const attach::v1::Plan& plan = outside.plan;
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

TEST(Add, WithoutIpamTheAgentIsAskedForAddresses) {
  FakeOutside outside;
  Request request = AddRequest();
  request.ipam = Ipam();
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_FALSE(outside.plan.addresses_by_caller());
  EXPECT_THAT(outside.committed, IsEmpty());
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look", "plan", "create", "configure", "commit", "print"));
}

TEST(Add, EmptyIpamTakesTheCallersAddresses) {
  FakeOutside outside;
  Request request = AddRequest();
  request.ipam = Ipam();
  request.ipam.kind = Ipam::Kind::kCaller;
  request.ips = {{IpAddress::V4(192, 0, 2, 9), 24}};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_TRUE(outside.plan.addresses_by_caller());
  EXPECT_THAT(outside.committed, ElementsAre("192.0.2.9/24"));
}

TEST(Add, A7_AnotherAddressThanAskedForIsAnError) {
  FakeOutside outside;
  Request request = AddRequest();
  request.ips = {{IpAddress::V4(192, 0, 2, 8), std::nullopt}};
  const CniError error = ToCniError(outside.Run(request));
  EXPECT_EQ(error.code, 7u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("192.0.2.8"), HasSubstr("192.0.2.7")));
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "ipam add", "ipam del"));
}

TEST(Add, LeaseWithoutAddressIsAnError) {
  FakeOutside outside;
  outside.lease.addresses.clear();
  EXPECT_FALSE(outside.Run(AddRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "ipam add", "ipam del"));
}

TEST(Add, E9_AgentForgetsAKilledTryToo) {
  FakeOutside outside;
  outside.leftovers = true;
  ASSERT_TRUE(outside.Run(AddRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "detach", "unlink", "look", "plan",
                                         "ipam add", "create", "configure", "commit", "print"));
}

TEST(Add, WithoutAnAgentWhatIsThereStays) {
  FakeOutside outside;
  outside.leftovers = true;
  outside.fail[2] = CniStatus(kCniTryAgainLater, "nobody answers", "start the agent");
  EXPECT_EQ(ToCniError(outside.Run(AddRequest())).code, kCniTryAgainLater);
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "detach"));
}

// An agent that starts has no use for the link of an ADD that another one planned.
TEST(Add, E7_ALinkThatIsTakenAwayMeanwhileIsTryAgainLater) {
  FakeOutside outside;
  outside.fail[5] = absl::NotFoundError("get link eth0: No such device");  // configure
  const CniError error = ToCniError(outside.Run(AddRequest()));
  EXPECT_EQ(error.code, kCniTryAgainLater);
  EXPECT_THAT(error.msg, HasSubstr("get link eth0"));
}

// E9: host-local refuses while it has the lease of an ADD that was killed.
TEST(Add, E9_LeaseOfAKilledTryIsGivenBackFirst) {
  FakeOutside outside;
  outside.fail[3] = CniStatus(999, "duplicate allocation is not allowed");
  ASSERT_TRUE(outside.Run(AddRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "ipam add", "ipam del",
                                         "ipam add", "create", "configure", "commit", "print"));
}

TEST(Add, A5_LeaseThatFailsTwiceIsTheErrorOfThePlugin) {
  FakeOutside outside;
  outside.fail[3] = CniStatus(104, "first");
  outside.fail[5] = CniStatus(104, "pool is empty", "add a range");
  const CniError error = ToCniError(outside.Run(AddRequest()));
  EXPECT_EQ(error.code, 104u);
  EXPECT_EQ(error.msg, "pool is empty");
  EXPECT_EQ(error.details, "add a range");
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look", "plan", "ipam add", "ipam del", "ipam add", "ipam del"));
}

TEST(Add, AgentThatNamesThingsOtherwiseIsRefused) {
  for (const int what : {0, 1, 2}) {
    FakeOutside outside;
    if (what == 0) outside.planned.set_id("0123456789abc");
    if (what == 1) outside.planned.set_mac("12345");
    if (what == 2) outside.planned.set_mtu(0);
    EXPECT_EQ(ToCniError(outside.Run(AddRequest())).code, 100u);
    EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan"));
  }
}

TEST(Add, A5_LeaseThatCannotEvenBeGivenBackIsNotTriedAgain) {
  FakeOutside outside;
  outside.fail[3] = CniStatus(7, "no such plugin");
  outside.fail[4] = CniStatus(7, "still no such plugin");
  EXPECT_EQ(ToCniError(outside.Run(AddRequest())).msg, "no such plugin");
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look", "plan", "ipam add", "ipam del", "ipam del"));
}

// What has to be undone once a step was begun, in the order in which it has to be.
std::vector<std::string> UndoOf(const std::string& step) {
  const std::vector<std::pair<std::string, std::string>> undo = {
      {"ipam add", "ipam del"}, {"create", "unlink"}, {"commit", "detach"}};
  const std::vector<std::string> order = {"netns",  "look",      "plan",   "ipam add",
                                          "create", "configure", "commit", "print"};
  std::vector<std::string> expected;
  for (const std::string& one : order) {
    for (const auto& [what, how] : undo) {
      if (what == one) expected.insert(expected.begin(), how);
    }
    if (one == step) break;
  }
  return expected;
}

TEST(Add, A5_EachStepFailedInTurnIsUndoneBackwards) {
  for (const LinkMode mode : {LinkMode::kVeth, LinkMode::kTap}) {
    Request request = AddRequest();
    request.mode = mode;
    FakeOutside reference;
    ASSERT_TRUE(reference.Run(request).ok());
    for (size_t k = 0; k < reference.calls.size(); ++k) {
      SCOPED_TRACE(reference.calls[k]);
      FakeOutside outside;
      outside.fail[k] = CniStatus(123, "failed on purpose", "remedy");
      if (reference.calls[k] == "ipam add") outside.fail[k + 2] = outside.fail[k];
      const CniError error = ToCniError(outside.Run(request));
      EXPECT_EQ(error.code, 123u);
      EXPECT_EQ(error.msg, "failed on purpose");
      EXPECT_EQ(error.details, "remedy");
      EXPECT_EQ(outside.printed, "");
      std::vector<std::string> expected(reference.calls.begin(), reference.calls.begin() + k + 1);
      if (reference.calls[k] == "ipam add") {
        expected.insert(expected.end(), {"ipam del", "ipam add"});
      }
      const std::vector<std::string> undo = UndoOf(reference.calls[k]);
      expected.insert(expected.end(), undo.begin(), undo.end());
      EXPECT_EQ(outside.calls, expected);
    }
  }
}

TEST(Add, UndoThatFailsIsLoggedAndDoesNotStopTheRest) {
  FakeOutside outside;
  outside.fail[7] = CniStatus(5, "no reader");  // print
  outside.fail[8] = absl::InternalError("agent gone");
  outside.fail[9] = absl::InternalError("link stuck");
  outside.fail[10] = absl::InternalError("lease stuck");
  EXPECT_EQ(ToCniError(outside.Run(AddRequest())).code, 5u);
  EXPECT_THAT(std::vector<std::string>(outside.calls.begin() + 7, outside.calls.end()),
              ElementsAre("print", "detach", "unlink", "ipam del"));
  EXPECT_THAT(outside.logged, ElementsAre(HasSubstr("agent gone"), HasSubstr("link stuck"),
                                          HasSubstr("lease stuck")));
}

TEST(Add, AsksForPortsAndShapesTheLink) {
  FakeOutside outside;
  Request request = AddRequest();
  request.ipam = {};
  request.ipam.kind = Ipam::Kind::kCaller;
  request.ips = {{.address = *IpAddress::Parse("192.0.2.7"), .length = 24}};
  request.ports = {{8080, 80, "tcp", std::nullopt}, {53, 5353, "udp", IpAddress::V4(192, 0, 2, 1)}};
  request.bandwidth.egress = BitRate{1'000'000, 80'000};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.plan.addresses(), ElementsAre("192.0.2.7/24"))
      << "the node may join its link";
  ASSERT_EQ(outside.plan.port_mappings_size(), 2);
  EXPECT_EQ(outside.plan.port_mappings(0).host_port(), 8080u);
  EXPECT_EQ(outside.plan.port_mappings(0).container_port(), 80u);
  EXPECT_EQ(outside.plan.port_mappings(0).protocol(), "tcp");
  EXPECT_EQ(outside.plan.port_mappings(0).host_ip(), "");
  EXPECT_EQ(outside.plan.port_mappings(1).host_ip(), "192.0.2.1");
  EXPECT_EQ(outside.spec.bandwidth, request.bandwidth);
}

TEST(Add, TakesTheAgentsAddressesAndItsGateway) {
  FakeOutside outside;
  outside.planned.add_addresses("10.42.0.7/16");
  outside.planned.add_addresses("fd42::7/64");
  outside.planned.add_gateways("10.42.0.1");
  Request request = AddRequest();
  request.ipam = {};
  request.ips = {{.address = *IpAddress::Parse("10.42.0.7"), .length = std::nullopt}};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_FALSE(outside.plans.at(0).addresses_by_caller());
  EXPECT_THAT(outside.plans[0].addresses(), ElementsAre("10.42.0.7"));
  EXPECT_THAT(outside.configured,
              ElementsAre(*IpPrefix::Parse("10.42.0.7/16"), *IpPrefix::Parse("fd42::7/64")));
  ASSERT_EQ(outside.routes.size(), 1u);
  EXPECT_EQ(outside.routes[0].destination, *IpPrefix::Parse("0.0.0.0/0"));
  EXPECT_EQ(outside.routes[0].gateway, IpAddress::Parse("10.42.0.1").value());
  EXPECT_THAT(outside.printed, HasSubstr(R"("gateway":"10.42.0.1")"));
  EXPECT_THAT(outside.committed, ElementsAre("10.42.0.7/16", "fd42::7/64"));

  // M1: not on an interface beside the main one.
  FakeOutside beside;
  beside.planned = outside.planned;
  request.main_ifname = "eth1";
  ASSERT_TRUE(beside.Run(request).ok());
  EXPECT_THAT(beside.routes, IsEmpty());

  // An internal network of podman's has no way out.
  FakeOutside internal;
  internal.planned = outside.planned;
  request.main_ifname = "";
  request.gateway_wanted = false;
  ASSERT_TRUE(internal.Run(request).ok());
  EXPECT_THAT(internal.routes, IsEmpty());
  request.gateway_wanted = true;

  // A default route of the configuration is the only one.
  FakeOutside own;
  own.planned = outside.planned;
  request.main_ifname = "";
  ResultRoute route;
  route.destination = *IpPrefix::Parse("0.0.0.0/0");
  route.gateway = *IpAddress::Parse("10.42.0.254");
  request.routes = {route};
  ASSERT_TRUE(own.Run(request).ok());
  EXPECT_THAT(own.routes, ElementsAre(route));

  FakeOutside bad;
  bad.planned.add_addresses("10.42.0.7");
  EXPECT_THAT(std::string(bad.Run(request).message()), HasSubstr("10.42.0.7"));
}

Request DelRequest() {
  Request request = AddRequest();
  request.command = Command::kDel;
  return request;
}

TEST(Del, D1_IsTheListBackwards) {
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(DelRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("detach all", "unlink all", "ipam del"));
  EXPECT_EQ(outside.printed, "");
}

TEST(Del, M2_TakesAlongWhatTheAddMadeBeside) {
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(DelRequest()).ok());
  const std::string eth0 = AttachmentId("blue", "c1", "eth0");
  const std::string net1 = AttachmentId("blue", "c1", "net1");
  EXPECT_EQ(outside.deleted.alias, "vxvde:" + eth0);
  EXPECT_EQ(outside.other.alias, "vxvde:" + net1 + ":" + eth0);
  EXPECT_EQ(outside.other.host_ifname, "vx" + net1);
}

TEST(Del, D1_AgentThatIsDownDoesItWhenItStarts) {
  FakeOutside outside;
  outside.fail[0] = outside.fail[2] = CniStatus(11, "agent is down");
  EXPECT_TRUE(outside.Run(DelRequest()).ok());
  EXPECT_THAT(outside.calls,
              ElementsAre("detach all", "queue", "detach all", "unlink all", "ipam del"));
  EXPECT_THAT(outside.logged, Contains(HasSubstr("agent is down")));
}

// It looked into its queue before we wrote there.
TEST(Del, D1_AgentThatHasJustStartedIsAskedAgain) {
  FakeOutside outside;
  outside.fail[0] = CniStatus(11, "agent is down");
  EXPECT_TRUE(outside.Run(DelRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("detach all", "queue", "detach all", "unqueue",
                                         "unlink all", "ipam del"));
}

TEST(Del, D1_DelThatCannotBeQueuedFailsAndIsTriedAgain) {
  FakeOutside outside;
  outside.fail[0] = outside.fail[2] = CniStatus(11, "agent is down");
  outside.fail[1] = absl::InternalError("disk full");
  EXPECT_EQ(ToCniError(outside.Run(DelRequest())).msg, "disk full");
  EXPECT_THAT(outside.calls,
              ElementsAre("detach all", "queue", "detach all", "unlink all", "ipam del"));
}

TEST(Del, EveryStepIsTriedAndEveryErrorTold) {
  FakeOutside outside;
  outside.fail[0] = CniStatus(100, "versions differ");
  outside.fail[1] = absl::InternalError("link stuck");
  outside.fail[2] = CniStatus(7, "lease stuck");
  const CniError error = ToCniError(outside.Run(DelRequest()));
  EXPECT_THAT(outside.calls, ElementsAre("detach all", "unlink all", "ipam del"));
  EXPECT_EQ(error.code, 100u);
  EXPECT_EQ(error.msg, "versions differ; link stuck; lease stuck");
}

TEST(Del, WithoutDelegateThereIsNoLease) {
  FakeOutside outside;
  Request request = DelRequest();
  request.ipam = Ipam();
  EXPECT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.calls, ElementsAre("detach all", "unlink all"));
}

TEST(Status, S1_AsksAgentAndIpam) {
  Request request = AddRequest();
  request.command = Command::kStatus;
  FakeOutside ready;
  EXPECT_TRUE(ready.Run(request).ok());
  EXPECT_THAT(ready.calls, ElementsAre("ping", "ipam status"));

  FakeOutside down;
  down.fail[0] = CniStatus(11, "agent is down", "start it");
  const CniError error = ToCniError(down.Run(request));
  EXPECT_EQ(error.code, 50u);
  EXPECT_EQ(error.msg, "agent is down");
  EXPECT_EQ(error.details, "start it");

  down.calls.clear();
  down.has_attachments = true;
  EXPECT_EQ(ToCniError(down.Run(request)).code, 51u) << "and they are cut off";
}

TEST(Status, S1_NamesTheCloudThatIsMeant) {
  Request request = AddRequest();
  request.command = Command::kStatus;
  request.vnl = "vxvde://239.1.2.3";
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.ping.vnl(), "vxvde://239.1.2.3");
}

TEST(Status, S1_TheAgents51AndTheIpamPluginsCodesStay) {
  Request request = AddRequest();
  request.command = Command::kStatus;
  for (const auto& [step, said, code] :
       {std::tuple{0, 51, 51}, {1, 51, 51}, {1, 50, 50}, {1, 4, 50}, {1, 999, 50}}) {
    FakeOutside outside;
    outside.fail[step] = CniStatus(said, "no", "remedy");
    const CniError error = ToCniError(outside.Run(request));
    EXPECT_EQ(error.code, static_cast<uint32_t>(code));
    EXPECT_EQ(error.details, "remedy");
  }
}

}  // namespace
}  // namespace vxvde
