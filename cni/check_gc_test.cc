// What CHECK compares and what GC collects.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "cni/check.h"
#include "cni/error.h"
#include "cni/fake_outside.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What ADD left, and what its result said.
class CheckTest : public testing::Test {
 protected:
  CheckTest() {
    request_.command = Command::kCheck;
    request_.previous.interfaces = {
        {.name = "vx" + AttachmentId("blue", "c1", "eth0"), .mac = "", .mtu = 1450, .sandbox = ""},
        {.name = "eth0", .mac = "02:00:5E:10:00:02", .mtu = 1450, .sandbox = "/run/netns/pod"}};
    request_.previous.addresses = {
        {.address = *IpPrefix::Parse("192.0.2.7/24"), .gateway = std::nullopt, .interface = 1}};
    request_.previous.routes.resize(1);
    request_.previous.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
    request_.previous.routes[0].gateway = *IpAddress::Parse("192.0.2.1");
    LinkState& state = outside_.state;
    state.ours = state.up = state.host_up = true;
    state.mac = *MacAddress::Parse("02:00:5e:10:00:02");
    state.mtu = 1450;
    state.addresses = {*IpPrefix::Parse("192.0.2.7/24"), *IpPrefix::Parse("fe80::1/64")};
    state.routes.resize(1);
    state.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
    state.routes[0].gateways = {*IpAddress::Parse("192.0.2.1")};
    outside_.checked.set_mtu(1450);
    outside_.checked.set_mode(attach::v1::VETH);
    Listed("eth0");
  }

  attach::v1::Listed::Attachment& Listed(const std::string& ifname) {
    attach::v1::Listed::Attachment& one = outside_.listed.emplace_back();
    one.mutable_key()->set_network("blue");
    one.mutable_key()->set_container_id("c1");
    one.mutable_key()->set_ifname(ifname);
    one.set_main_ifname("eth0");
    one.set_caller("cni");
    return one;
  }
  CniError Run() {
    outside_.calls.clear();
    const absl::Status status = outside_.Run(request_);
    return status.ok() ? CniError() : ToCniError(status);
  }

  Request request_ = AddRequest();
  FakeOutside outside_;
};

TEST_F(CheckTest, C1_PassesAfterAddAndSaysNothing) {
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.calls, ElementsAre("netns", "list", "check", "inspect", "ipam check"));
  EXPECT_EQ(outside_.printed, "");
  EXPECT_EQ(outside_.names.alias, "vxvde:" + AttachmentId("blue", "c1", "eth0"));
}

TEST_F(CheckTest, C1_NamesEachDifference) {
  const LinkState good = outside_.state;
  const auto differs = [&](const std::string& words, auto change) {
    outside_.state = good;
    change(outside_.state);
    const CniError error = Run();
    EXPECT_EQ(error.code, 112u) << words;
    EXPECT_THAT(error.msg, HasSubstr(words));
    EXPECT_NE(error.details, "");
  };
  differs("not the one", [](LinkState& s) { s.ours = false; });
  differs("02:00:5e:10:00:09",
          [](LinkState& s) { s.mac = *MacAddress::Parse("02:00:5e:10:00:09"); });
  differs("MTU of eth0 is 1400", [](LinkState& s) { s.mtu = 1400; });
  differs("eth0 is down", [](LinkState& s) { s.up = false; });
  differs("host end", [](LinkState& s) { s.host_up = false; });
  differs("192.0.2.7/24", [](LinkState& s) { s.addresses.erase(s.addresses.begin()); });
  differs("0.0.0.0/0 via 192.0.2.1", [](LinkState& s) { s.routes.clear(); });
  differs("0.0.0.0/0 via 192.0.2.1",
          [](LinkState& s) { s.routes[0].gateways = {*IpAddress::Parse("192.0.2.2")}; });
  outside_.fail[3] = absl::NotFoundError("no link");
  differs("eth0 is not in /run/netns/pod", [](LinkState&) {});
}

// Chained tuning, sbr and the like.
TEST_F(CheckTest, C1_WhatLaterPluginsDidIsTheirs) {
  LinkState& state = outside_.state;
  state.addresses.push_back(*IpPrefix::Parse("192.0.2.99/24"));
  state.routes.insert(state.routes.begin(), RouteInfo());
  state.routes[1].table = 100;  // moved
  state.mac = *MacAddress::Parse("02:00:5e:10:00:09");
  request_.previous.interfaces[1].mac = "02:00:5e:10:00:09";
  request_.previous.interfaces[1].mtu = 0;  // not said before 1.1.0
  state.mtu = 1300;
  request_.previous.interfaces.push_back(
      {.name = "net7", .mac = "", .mtu = 0, .sandbox = "/run/netns/pod"});
  EXPECT_EQ(Run().msg, "");
  state.mtu = 9000;
  EXPECT_THAT(Run().msg, HasSubstr("more than the cloud's 1450"));
}

TEST_F(CheckTest, C1_TheAgentsWordCounts) {
  outside_.fail[2] = CniStatus(111, "no uplink", "plug it in");
  EXPECT_EQ(Run().code, 111u);
  outside_.fail.clear();
  outside_.listed.clear();
  EXPECT_EQ(Run().msg, "") << "a result with our host end is ours, listed or not";
  EXPECT_THAT(outside_.checks, Contains("eth0"));
  outside_.fail[4] = CniStatus(999, "no lease");
  EXPECT_EQ(Run().msg, "no lease");
}

TEST_F(CheckTest, C1_ResultWithoutOurInterfaceIsNoResult) {
  request_.previous.interfaces.pop_back();
  EXPECT_EQ(Run().code, 7u);
  request_.previous.interfaces.clear();
  EXPECT_EQ(Run().code, 7u);
}

// Several networks by annotation, after another plugin's eth0.
TEST_F(CheckTest, M2_EachNetworkOfThePodIsChecked) {
  Listed("net1");
  outside_.listed.erase(outside_.listed.begin());
  request_.previous.interfaces[0].name = "veth12345678";
  request_.previous.interfaces.push_back(
      {.name = "net1", .mac = "02:00:5e:10:00:02", .mtu = 0, .sandbox = "/run/netns/pod"});
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.checks, ElementsAre("net1"));
  EXPECT_THAT(outside_.calls, ElementsAre("netns", "list", "check", "inspect"));
  EXPECT_EQ(outside_.names.alias, "vxvde:" + AttachmentId("blue", "c1", "net1") + ":" +
                                      AttachmentId("blue", "c1", "eth0"));
  request_.mode = LinkMode::kTap;  // which has no host end to go by
  EXPECT_EQ(Run().msg, "");
}

class GcTest : public testing::Test {
 protected:
  GcTest() {
    request_.command = Command::kGc;
    request_.container_id = request_.ifname = request_.netns = "";
    request_.config = R"({"name":"blue"})";
  }
  attach::v1::Listed::Attachment& Listed(const std::string& container,
                                         const std::string& ifname = "eth0") {
    attach::v1::Listed::Attachment& one = outside_.listed.emplace_back();
    one.mutable_key()->set_network("blue");
    one.mutable_key()->set_container_id(container);
    one.mutable_key()->set_ifname(ifname);
    one.set_main_ifname("eth0");
    one.set_caller("cni");
    one.set_netns("/run/netns/" + container);
    return one;
  }

  Request request_ = AddRequest();
  FakeOutside outside_;
};

TEST_F(GcTest, G1_RunsDelForWhatIsNotListed) {
  Listed("dead");
  Listed("valid");
  Listed("dead2");
  Listed("dead2", "net1");
  request_.valid = {{"valid", "eth0"}};
  ASSERT_TRUE(outside_.Run(request_).ok());
  EXPECT_THAT(outside_.detached, ElementsAre("dead/eth0", "dead2/eth0"));
  EXPECT_THAT(outside_.calls,
              ElementsAre("list", "in pod", "detach all", "unlink all", "ipam del", "in pod",
                          "in pod", "detach all", "unlink all", "ipam del", "ipam gc"));
}

TEST_F(GcTest, G1_LeavesTheLivingThePlannedAndNetavarks) {
  Listed("alive");
  Listed("alive", "net1");
  Listed("planned").set_planned(true);
  Listed("podman").set_caller("netavark");
  outside_.alive = {"/run/netns/alive"};
  ASSERT_TRUE(outside_.Run(request_).ok());
  EXPECT_THAT(outside_.detached, IsEmpty());
  EXPECT_THAT(outside_.logged, Contains(HasSubstr("alive")));
  // Nor may the IPAM plugin give their addresses to others.
  EXPECT_THAT(outside_.collected,
              AllOf(HasSubstr(R"("cni.dev/attachments":[{"containerID":"alive","ifname":"eth0"})"),
                    HasSubstr(R"({"containerID":"planned","ifname":"eth0"}])")));
}

TEST_F(GcTest, G1_GoesOnAfterErrorsAndTellsAll) {
  Listed("a");
  Listed("b");
  Listed("c");
  outside_.fail[1] = absl::PermissionDeniedError("who are you");
  outside_.fail[4] = absl::InternalError("link stuck");
  outside_.fail[10] = CniStatus(999, "no gc");
  const CniError error = ToCniError(outside_.Run(request_));
  EXPECT_THAT(error.msg,
              AllOf(HasSubstr("container a interface eth0: who are you"),
                    HasSubstr("container b interface eth0: link stuck"), HasSubstr("no gc")));
  EXPECT_THAT(outside_.detached, ElementsAre("b/eth0", "c/eth0"));
}

TEST_F(GcTest, G1_WithoutTheAgentsListNothingIsRemoved) {
  Listed("dead");
  outside_.fail[0] = CniStatus(11, "agent is down");
  EXPECT_EQ(ToCniError(outside_.Run(request_)).code, 11u);
  EXPECT_THAT(outside_.calls, ElementsAre("list"));
}

}  // namespace
}  // namespace vxvde
