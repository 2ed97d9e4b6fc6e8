// CHECK: each difference is found, and nothing else counts as one.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "agent/api/attachment_id.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "cni/testing/fake_outside.h"

namespace vxvde {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The state after ADD, and ADD's result.
class CheckTest : public testing::Test {
 protected:
  CheckTest() {
    request_.network = BlueNetwork();
    request_.container = ContainerC1();
    request_.previous.interfaces = {
        {.name = "vx" + AttachmentId("blue", "c1", "eth0"), .mac = "", .mtu = 1450, .sandbox = ""},
        {.name = "eth0", .mac = "02:00:5E:10:00:02", .mtu = 1450, .sandbox = "/run/netns/pod"}};
    request_.previous.addresses = {
        {.address = *IpPrefix::Parse("192.0.2.7/24"), .gateway = std::nullopt, .interface = 1}};
    request_.previous.routes.resize(1);
    request_.previous.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
    request_.previous.routes[0].gateway = *IpAddress::Parse("192.0.2.1");
    LinkState& state = outside_.links.state;
    state.ours = state.up = state.host_up = true;
    state.mac = *MacAddress::Parse("02:00:5e:10:00:02");
    state.mtu = 1450;
    state.addresses = {*IpPrefix::Parse("192.0.2.7/24"), *IpPrefix::Parse("fe80::1/64")};
    state.routes.resize(1);
    state.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
    state.routes[0].gateways = {*IpAddress::Parse("192.0.2.1")};
    outside_.agent.checked.set_mtu(1450);
    outside_.agent.checked.set_mode(attach::v1::VETH);
    Listed("eth0");
  }

  attach::v1::Listed::Attachment& Listed(const std::string& ifname) {
    attach::v1::Listed::Attachment& one = outside_.agent.listed.emplace_back();
    one.mutable_key()->set_network("blue");
    one.mutable_key()->set_container_id("c1");
    one.mutable_key()->set_ifname(ifname);
    one.set_main_ifname("eth0");
    one.set_caller("cni");
    return one;
  }
  CniError Run() {
    outside_.script.calls.clear();
    const absl::Status status = outside_.Run(request_);
    return status.ok() ? CniError() : ToCniError(status);
  }

  CheckRequest request_;
  FakeOutside outside_;
};

TEST_F(CheckTest, C1_PassesAfterAddAndPrintsNothing) {
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.script.calls,
              ElementsAre("netns", "list", "check", "inspect", "ipam check"));
  EXPECT_EQ(outside_.output.printed, "");
  EXPECT_EQ(outside_.links.names.alias, "vxvde:" + AttachmentId("blue", "c1", "eth0"));
}

TEST_F(CheckTest, C1_NamesEachDifference) {
  const LinkState good = outside_.links.state;
  const auto differs = [&](const std::string& words, auto change) {
    outside_.links.state = good;
    change(outside_.links.state);
    const CniError error = Run();
    EXPECT_EQ(error.code, 112u) << words;
    EXPECT_THAT(error.msg, HasSubstr(words));
    EXPECT_NE(error.details, "");
  };
  differs("not the one", [](LinkState& s) { s.ours = false; });
  differs("02:00:5e:10:00:09",
          [](LinkState& s) { s.mac = *MacAddress::Parse("02:00:5e:10:00:09"); });
  differs("MTU of eth0 is 1500", [](LinkState& s) { s.mtu = 1500; });
  differs("eth0 is down", [](LinkState& s) { s.up = false; });
  differs("host end", [](LinkState& s) { s.host_up = false; });
  differs("192.0.2.7/24", [](LinkState& s) { s.addresses.erase(s.addresses.begin()); });
  differs("0.0.0.0/0 via 192.0.2.1", [](LinkState& s) { s.routes.clear(); });
  differs("0.0.0.0/0 via 192.0.2.1",
          [](LinkState& s) { s.routes[0].gateways = {*IpAddress::Parse("192.0.2.2")}; });
  outside_.script.fail[3] = absl::NotFoundError("no link");
  differs("eth0 is not in /run/netns/pod", [](LinkState&) {});
}

// Chained tuning, sbr and others.
TEST_F(CheckTest, C1_ChangesByLaterPluginsAreNoDifferences) {
  LinkState& state = outside_.links.state;
  state.addresses.push_back(*IpPrefix::Parse("192.0.2.99/24"));
  state.routes.insert(state.routes.begin(), RouteInfo());
  state.routes[1].table = 100;  // as sbr does
  EXPECT_EQ(Run().msg, "");
  state.enslaved = true;  // as vrf does
  state.routes.clear();
  state.mac = *MacAddress::Parse("02:00:5e:10:00:09");
  request_.previous.interfaces[1].mac = "02:00:5e:10:00:09";
  state.mtu = 1300;  // as tuning does, which leaves the result's MTU
  request_.previous.interfaces.push_back(
      {.name = "net7", .mac = "", .mtu = 0, .sandbox = "/run/netns/pod"});
  EXPECT_EQ(Run().msg, "");
  state.mtu = 9000;
  EXPECT_THAT(Run().msg, HasSubstr("more than the cloud's 1450"));
}

// After another plugin, without annotations.
TEST_F(CheckTest, C1_NeedsNoAgentWhereAddNeedsNone) {
  request_.network.ipam.reset();
  request_.previous.interfaces[0].name = "veth12345678";
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.script.calls, ElementsAre("netns"));
  request_.mode = LinkMode::kTap;
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.script.calls, ElementsAre("netns", "in pod"));
  outside_.links.alive = {"/run/netns/pod"};
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.script.calls, Contains("list"));
}

TEST_F(CheckTest, C1_TheAgentsAnswerCounts) {
  outside_.script.fail[2] = CniStatus(111, "no uplink", "plug it in");
  EXPECT_EQ(Run().code, 111u);
  outside_.script.fail.clear();
  outside_.agent.listed.clear();
  EXPECT_EQ(Run().msg, "") << "the host end in the result identifies it, listed or not";
  EXPECT_THAT(outside_.agent.checks, Contains("eth0"));
  outside_.script.fail[4] = CniStatus(999, "no lease");
  EXPECT_EQ(Run().msg, "no lease");
}

TEST_F(CheckTest, C1_ResultWithoutTheInterfaceIsAnError) {
  request_.previous.interfaces.pop_back();
  EXPECT_EQ(Run().code, 7u);
  request_.previous.interfaces.clear();
  EXPECT_EQ(Run().code, 7u);
}

// Networks by annotation; another plugin made eth0.
TEST_F(CheckTest, M2_EachNetworkOfThePodIsChecked) {
  Listed("net1");
  outside_.agent.listed.erase(outside_.agent.listed.begin());
  request_.previous.interfaces[0].name = "veth12345678";
  request_.previous.interfaces.push_back(
      {.name = "vx" + AttachmentId("blue", "c1", "net1"), .mac = "", .mtu = 0, .sandbox = ""});
  request_.previous.interfaces.push_back(
      {.name = "net1", .mac = "02:00:5e:10:00:02", .mtu = 0, .sandbox = "/run/netns/pod"});
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.agent.checks, ElementsAre("net1"));
  EXPECT_THAT(outside_.script.calls, ElementsAre("netns", "list", "check", "inspect"));
  EXPECT_EQ(outside_.links.names.alias, "vxvde:" + AttachmentId("blue", "c1", "net1") + ":" +
                                            AttachmentId("blue", "c1", "eth0"));
  request_.mode = LinkMode::kTap;  // without a host end in the result
  request_.previous.interfaces.erase(request_.previous.interfaces.end() - 2);
  outside_.links.alive = {"/run/netns/pod"};
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.agent.checks, ElementsAre("net1", "net1"));
}

}  // namespace
}  // namespace vxvde
