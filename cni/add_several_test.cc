// One ADD for several networks, and netavark's setup: the same steps, undone in the same way.

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
using ::testing::Not;

Attachment ByAnnotation(const std::string& cloud, const std::string& ifname) {
  Attachment attachment;
  attachment.asked_by = "annotation a, entry \"" + cloud + "\"";
  attachment.cloud.name = cloud;
  attachment.ifname = ifname;
  return attachment;
}

// eth0, and two more clouds.
AddRequest ThreeNetworks() {
  AddRequest request = SimpleAdd();
  request.attachments.push_back(ByAnnotation("green", "net1"));
  Attachment& red = request.attachments.emplace_back(ByAnnotation("red", "lab0"));
  red.address_source = AddressSource::kCaller;
  red.ips = {{IpAddress::V4(198, 51, 100, 7), 24}};
  return request;
}

// As when another plugin has made eth0 before.
AddRequest Chained(AddRequest request, const std::string& previous) {
  request.attachments.erase(request.attachments.begin());
  request.network.ipam.reset();
  request.previous_result = previous;
  return request;
}

TEST(AddSeveral, M2_PlansAllBeforeAnyLinkAndCommitsLast) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(ThreeNetworks()).ok());
  EXPECT_THAT(
      outside.script.calls,
      ElementsAre("netns", "look", "plan", "look net1", "plan net1", "look lab0", "plan lab0",
                  "ipam add", "create", "configure", "create net1", "configure net1", "create lab0",
                  "configure lab0", "commit", "commit another", "commit another", "print"));
  ASSERT_EQ(outside.agent.plans.size(), 3u);
  EXPECT_FALSE(outside.agent.plans[0].by_annotation());
  EXPECT_EQ(outside.agent.plans[0].main_ifname(), "");
  EXPECT_EQ(outside.agent.plans[1].cloud(), "green");
  EXPECT_TRUE(outside.agent.plans[1].by_annotation());
  EXPECT_EQ(outside.agent.plans[1].main_ifname(), "eth0");
  EXPECT_FALSE(outside.agent.plans[1].addresses_by_caller());
  EXPECT_TRUE(outside.agent.plans[2].addresses_by_caller());
  const std::string lab0 = AttachmentId("blue", "c1", "lab0");
  EXPECT_THAT(outside.agent.ids, ElementsAre(AttachmentId("blue", "c1", "eth0"),
                                             AttachmentId("blue", "c1", "net1"), lab0));
  EXPECT_EQ(outside.links.names.alias, "vxvde:" + lab0 + ":" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_EQ(outside.links.names.host_ifname, "vx" + lab0);
}

TEST(AddSeveral, A2_ResultHasAllInOrder) {
  FakeOutside outside;
  AddRequest request = ThreeNetworks();
  request.mode = LinkMode::kTap;  // one end each
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.output.printed,
            R"({"cniVersion":"1.0.0","interfaces":[)"
            R"({"name":"eth0","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"},)"
            R"({"name":"net1","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"},)"
            R"({"name":"lab0","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"}],)"
            R"("ips":[{"interface":0,"address":"192.0.2.7/24","gateway":"192.0.2.1"},)"
            R"({"interface":2,"address":"198.51.100.7/24"}]})");
}

// NPWG 4.1.2: default-route.
TEST(AddSeveral, M1_DefaultRouteOfAnEntryReplacesTheOthers) {
  const auto route = [](const char* gateway) {
    ResultRoute one;
    one.gateway = *IpAddress::Parse(gateway);
    one.destination = {one.gateway->is_v4() ? IpAddress() : IpAddress::AnyV6(), 0};
    return one;
  };
  const auto replace = [&](Attachment& attachment, const char* gateway) {
    attachment.address_source = AddressSource::kCaller;
    attachment.ips = {{IpAddress::V4(203, 0, 113, 7), 24}};
    attachment.routes = {route(gateway)};
    attachment.replaces_default_route = true;
  };
  // Beside an eth0 of this plugin.
  FakeOutside outside;
  AddRequest request = ThreeNetworks();
  outside.ipam.lease.addresses.push_back({.address = *IpPrefix::Parse("2001:db8::7/64"),
                                          .gateway = std::nullopt,
                                          .interface = std::nullopt});
  outside.ipam.lease.routes = {route("192.0.2.1"), route("2001:db8::1")};
  replace(request.attachments[1], "203.0.113.1");
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.script.calls,
              AllOf(Contains("delete default"), Not(Contains("delete default v6"))));
  EXPECT_THAT(outside.output.printed, HasSubstr(R"("routes":[{"dst":"::/0","gw":"2001:db8::1"},)"
                                                R"({"dst":"0.0.0.0/0","gw":"203.0.113.1"}])"));
  EXPECT_TRUE(outside.output.logged.empty());

  // After another plugin, which has installed its routes.
  FakeOutside chained;
  request = Chained(ThreeNetworks(), R"({"cniVersion":"1.0.0","routes":[{"dst":"0.0.0.0/0"},)"
                                     R"({"dst":"::/0"},{"dst":"10.0.0.0/8","colour":"red"}]})");
  replace(request.attachments[0], "203.0.113.1");
  RouteInfo& there = chained.links.pod_routes.emplace_back();
  there.destination = *IpPrefix::Parse("0.0.0.0/0");
  there.table = 254;
  ASSERT_TRUE(chained.Run(request).ok());
  EXPECT_THAT(chained.script.calls, Contains("delete default"));
  EXPECT_THAT(chained.output.printed,
              HasSubstr(R"("routes":[{"dst":"::/0"},{"colour":"red","dst":"10.0.0.0/8"},)"
                        R"({"dst":"0.0.0.0/0","gw":"203.0.113.1"}])"));

  FakeOutside twice;
  request = ThreeNetworks();
  replace(request.attachments[1], "203.0.113.1");
  replace(request.attachments[2], "203.0.113.2");
  const CniError error = ToCniError(twice.Run(request));
  EXPECT_EQ(error.code, 7u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("green"), HasSubstr("red")));
  EXPECT_THAT(twice.script.calls, Not(Contains("create")));
}

TEST(AddSeveral, A4_ChainedAddsToThePreviousResult) {
  FakeOutside outside;
  const AddRequest request = Chained(
      ThreeNetworks(),
      R"({"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],)"
      R"("ips":[{"address":"203.0.113.5/24","interface":1}],"colour":"red"})");
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.script.calls,
              ElementsAre("netns", "look net1", "plan net1", "look lab0", "plan lab0",
                          "create net1", "configure net1", "create lab0", "configure lab0",
                          "commit another", "commit another", "print"));
  EXPECT_THAT(outside.output.printed,
              AllOf(HasSubstr(R"("colour":"red")"), HasSubstr(R"({"name":"br0"})"),
                    HasSubstr(R"({"address":"198.51.100.7/24","interface":5})")));
}

TEST(AddSeveral, A4_ChainedWithoutNetworksPassesTheResultOn) {
  FakeOutside outside;
  const AddRequest request =
      Chained(SimpleAdd(), R"({"cniVersion":"1.0.0","dns":{"colour":"red"}})");
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.output.printed, *request.previous_result);
  EXPECT_THAT(outside.script.calls, ElementsAre("netns", "print")) << "also with the agent down";
}

TEST(AddSeveral, NetworksOfOtherPluginsAreLeftAlone) {
  FakeOutside outside;
  AddRequest request = ThreeNetworks();
  outside.agent.foreign = {"green"};
  request.attachments[1].maybe_foreign = true;
  request.attachments[1].problem = absl::InvalidArgumentError("somebody else's");
  request.attachments[2].maybe_foreign = true;
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.script.calls,
              ElementsAre("netns", "look", "plan", "plan net1", "plan lab0", "look lab0",
                          "ipam add", "create", "configure", "create lab0", "configure lab0",
                          "commit", "commit another", "print"));
}

TEST(AddSeveral, AProblemWithAnEntryCountsIfTheCloudIsKnown) {
  FakeOutside outside;
  AddRequest request = ThreeNetworks();
  request.attachments[1].maybe_foreign = true;
  request.attachments[1].problem = absl::InvalidArgumentError("ips: no length");
  const CniError error = ToCniError(outside.Run(request));
  EXPECT_EQ(error.code, 7u);
  EXPECT_EQ(error.msg, "annotation a, entry \"green\": ips: no length");
  EXPECT_THAT(outside.script.calls, ElementsAre("netns", "look", "plan", "plan net1"));
}

// M2: an annotation of this project that names an unknown cloud is never skipped.
TEST(AddSeveral, AnUnknownCloudFailsThePodAndNamesTheEntry) {
  FakeOutside outside;
  outside.agent.foreign = {"red"};
  const CniError error = ToCniError(outside.Run(ThreeNetworks()));
  EXPECT_EQ(error.code, 101u);
  EXPECT_EQ(error.msg, "annotation a, entry \"red\": there is no cloud red");
  EXPECT_THAT(outside.script.calls, Not(Contains("create")));
}

TEST(AddSeveral, A5_EachStepFailedInTurnIsUndoneBackwards) {
  const std::map<std::string, std::string> undo_of = {
      {"ipam add", "ipam del"},       {"create", "unlink"}, {"create net1", "unlink net1"},
      {"create lab0", "unlink lab0"}, {"commit", "detach"}, {"commit another", "detach "}};
  FakeOutside reference;
  ASSERT_TRUE(reference.Run(ThreeNetworks()).ok());
  for (size_t k = 0; k < reference.script.calls.size(); ++k) {
    SCOPED_TRACE(reference.script.calls[k]);
    FakeOutside outside;
    outside.script.fail[k] = CniStatus(123, "failed on purpose", "remedy");
    if (reference.script.calls[k] == "ipam add")
      outside.script.fail[k + 2] = outside.script.fail[k];
    const CniError error = ToCniError(outside.Run(ThreeNetworks()));
    EXPECT_EQ(error.code, 123u);
    EXPECT_THAT(error.msg, testing::EndsWith("failed on purpose"));
    EXPECT_EQ(error.details, "remedy");
    EXPECT_EQ(outside.output.printed, "");
    std::vector<std::string> expected(reference.script.calls.begin(),
                                      reference.script.calls.begin() + k + 1);
    if (reference.script.calls[k] == "ipam add") {
      expected.insert(expected.end(), {"ipam del", "ipam add"});
    }
    const std::vector<std::string> names = {"net1", "lab0"};
    std::vector<std::string> undo;
    size_t commits = 0;
    for (size_t i = 0; i <= k; ++i) {
      const auto found = undo_of.find(reference.script.calls[i]);
      if (found == undo_of.end()) continue;
      const bool other = reference.script.calls[i] == "commit another";
      undo.push_back(other ? found->second + names[commits++] : found->second);
    }
    expected.insert(expected.end(), undo.rbegin(), undo.rend());
    EXPECT_EQ(outside.script.calls, expected);
  }
}

AddRequest PodmanSetup() {
  AddRequest request = SimpleAdd();
  request.caller = Caller::kNetavark;
  request.network.ipam.reset();
  request.attachments[0].address_source = AddressSource::kCaller;
  request.attachments[0].ips = {{*IpAddress::Parse("192.0.2.7"), 24}};
  return request;
}

TEST(Setup, N7_DetachesWhatAnEarlierBootAttached) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(PodmanSetup()).ok());
  EXPECT_THAT(outside.script.calls, ElementsAre("netns", "look", "detach", "plan", "create",
                                                "configure", "commit", "print"));
  EXPECT_EQ(outside.agent.plan.caller(), "netavark");
  EXPECT_TRUE(outside.agent.plan.addresses_by_caller());
  EXPECT_EQ(outside.output.printed,
            R"({"dns_search_domains":[],"dns_server_ips":[],"interfaces":{"eth0":{)"
            R"("mac_address":"02:00:5e:10:00:02","subnets":[{"ipnet":"192.0.2.7/24"}]}}})");
}

// N6: no teardown follows a setup that failed.
TEST(Setup, N6_EachStepFailedInTurnIsUndone) {
  const std::vector<std::string> steps = {"netns",  "look",      "detach", "plan",
                                          "create", "configure", "commit", "print"};
  for (size_t i = 0; i < steps.size(); ++i) {
    FakeOutside outside;
    outside.script.fail[i] = absl::InternalError("no " + steps[i]);
    EXPECT_THAT(outside.Run(PodmanSetup()).message(), HasSubstr("no " + steps[i]));
    std::vector<std::string> expected(steps.begin(), steps.begin() + static_cast<int>(i) + 1);
    if (i >= 6) expected.emplace_back("detach");
    if (i >= 4) expected.emplace_back("unlink");
    EXPECT_THAT(outside.script.calls, testing::ElementsAreArray(expected));
  }
}

}  // namespace
}  // namespace vxvde
