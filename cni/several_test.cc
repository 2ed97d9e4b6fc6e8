// One ADD for several networks, and netavark's setup: the same steps, the same undoing.

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
#include "cni/fake_outside.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

WantedNetwork Wanted(const std::string& cloud, const std::string& ifname) {
  WantedNetwork network;
  network.asked_by = "annotation a, entry \"" + cloud + "\"";
  network.cloud = cloud;
  network.ifname = ifname;
  return network;
}

// eth0, and two clouds beside it.
Request ThreeNetworks() {
  Request request = AddRequest();
  request.networks = {Wanted("green", "net1"), Wanted("red", "lab0")};
  request.networks[1].ips = {{IpAddress::V4(198, 51, 100, 7), 24}};
  return request;
}

TEST(AddSeveral, M2_AllArePlannedBeforeAnyIsMadeAndCommittedLast) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(ThreeNetworks()).ok());
  EXPECT_THAT(
      outside.calls,
      ElementsAre("netns", "look", "plan", "look net1", "plan net1", "look lab0", "plan lab0",
                  "ipam add", "create", "configure", "create net1", "configure net1", "create lab0",
                  "configure lab0", "commit", "commit another", "commit another", "print"));
  ASSERT_EQ(outside.plans.size(), 3u);
  EXPECT_FALSE(outside.plans[0].by_annotation());
  EXPECT_EQ(outside.plans[0].main_ifname(), "");
  EXPECT_EQ(outside.plans[1].cloud(), "green");
  EXPECT_TRUE(outside.plans[1].by_annotation());
  EXPECT_EQ(outside.plans[1].main_ifname(), "eth0");
  EXPECT_FALSE(outside.plans[1].addresses_by_caller());
  EXPECT_TRUE(outside.plans[2].addresses_by_caller());
  const std::string lab0 = AttachmentId("blue", "c1", "lab0");
  EXPECT_THAT(outside.ids, ElementsAre(AttachmentId("blue", "c1", "eth0"),
                                       AttachmentId("blue", "c1", "net1"), lab0));
  EXPECT_EQ(outside.names.alias, "vxvde:" + lab0 + ":" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_EQ(outside.names.host_ifname, "vx" + lab0);
}

TEST(AddSeveral, A2_ResultHasAllAndTheFirstFirst) {
  FakeOutside outside;
  Request request = ThreeNetworks();
  request.mode = LinkMode::kTap;  // one end each
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.printed,
            R"({"cniVersion":"1.0.0","interfaces":[)"
            R"({"name":"eth0","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"},)"
            R"({"name":"net1","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"},)"
            R"({"name":"lab0","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"}],)"
            R"("ips":[{"interface":0,"address":"192.0.2.7/24","gateway":"192.0.2.1"},)"
            R"({"interface":2,"address":"198.51.100.7/24"}]})");
}

TEST(AddSeveral, A4_ChainedAddsToThePreviousResult) {
  FakeOutside outside;
  Request request = ThreeNetworks();
  request.previous_result =
      R"({"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],)"
      R"("ips":[{"address":"203.0.113.5/24","interface":1}],"colour":"red"})";
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look net1", "plan net1", "look lab0", "plan lab0",
                          "create net1", "configure net1", "create lab0", "configure lab0",
                          "commit another", "commit another", "print"));
  EXPECT_THAT(outside.printed, AllOf(HasSubstr(R"("colour":"red")"), HasSubstr(R"({"name":"br0"})"),
                                     HasSubstr(R"({"address":"198.51.100.7/24","interface":5})")));
}

TEST(AddSeveral, A4_ChainedWithoutNetworksPassesTheResultOn) {
  FakeOutside outside;
  Request request = AddRequest();
  request.previous_result = R"({"cniVersion":"1.0.0","dns":{"colour":"red"}})";
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.printed, *request.previous_result);
  EXPECT_THAT(outside.calls, ElementsAre("netns", "print")) << "also with the agent down";
}

TEST(AddSeveral, NetworksOfOtherPluginsAreLeftAlone) {
  FakeOutside outside;
  Request request = ThreeNetworks();
  outside.foreign = {"green"};
  request.networks[0].maybe_foreign = true;
  request.networks[0].problem = absl::InvalidArgumentError("somebody else's");
  request.networks[1].maybe_foreign = true;
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look", "plan", "plan net1", "plan lab0", "look lab0",
                          "ipam add", "create", "configure", "create lab0", "configure lab0",
                          "commit", "commit another", "print"));
}

TEST(AddSeveral, AProblemWithAnEntryCountsOnceItIsOurs) {
  FakeOutside outside;
  Request request = ThreeNetworks();
  request.networks[0].maybe_foreign = true;
  request.networks[0].problem = absl::InvalidArgumentError("ips: no length");
  const CniError error = ToCniError(outside.Run(request));
  EXPECT_EQ(error.code, 7u);
  EXPECT_EQ(error.msg, "annotation a, entry \"green\": ips: no length");
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "plan net1"));
}

// A network that must be ours, and is not known: never silently missing.
TEST(AddSeveral, AnUnknownCloudFailsThePodAndNamesTheEntry) {
  FakeOutside outside;
  outside.foreign = {"red"};
  const CniError error = ToCniError(outside.Run(ThreeNetworks()));
  EXPECT_EQ(error.code, 101u);
  EXPECT_EQ(error.msg, "annotation a, entry \"red\": there is no cloud red");
  EXPECT_THAT(outside.calls, Not(Contains("create")));
}

TEST(AddSeveral, A5_EachStepFailedInTurnIsUndoneBackwards) {
  const std::map<std::string, std::string> undo_of = {
      {"ipam add", "ipam del"},       {"create", "unlink"}, {"create net1", "unlink net1"},
      {"create lab0", "unlink lab0"}, {"commit", "detach"}, {"commit another", "detach "}};
  FakeOutside reference;
  ASSERT_TRUE(reference.Run(ThreeNetworks()).ok());
  for (size_t k = 0; k < reference.calls.size(); ++k) {
    SCOPED_TRACE(reference.calls[k]);
    FakeOutside outside;
    outside.fail[k] = CniStatus(123, "failed on purpose", "remedy");
    if (reference.calls[k] == "ipam add") outside.fail[k + 2] = outside.fail[k];
    const CniError error = ToCniError(outside.Run(ThreeNetworks()));
    EXPECT_EQ(error.code, 123u);
    EXPECT_THAT(error.msg, testing::EndsWith("failed on purpose"));
    EXPECT_EQ(error.details, "remedy");
    EXPECT_EQ(outside.printed, "");
    std::vector<std::string> expected(reference.calls.begin(), reference.calls.begin() + k + 1);
    if (reference.calls[k] == "ipam add") {
      expected.insert(expected.end(), {"ipam del", "ipam add"});
    }
    const std::vector<std::string> names = {"net1", "lab0"};
    std::vector<std::string> undo;
    size_t commits = 0;
    for (size_t i = 0; i <= k; ++i) {
      const auto found = undo_of.find(reference.calls[i]);
      if (found == undo_of.end()) continue;
      const bool other = reference.calls[i] == "commit another";
      undo.push_back(other ? found->second + names[commits++] : found->second);
    }
    expected.insert(expected.end(), undo.rbegin(), undo.rend());
    EXPECT_EQ(outside.calls, expected);
  }
}

Request SetupRequest() {
  Request request = AddRequest();
  request.caller = Caller::kNetavark;
  request.ipam.kind = Ipam::Kind::kCaller;
  request.ips = {{*IpAddress::Parse("192.0.2.7"), 24}};
  return request;
}

TEST(Setup, N7_EndsWhatARebootLeftFirst) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(SetupRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "detach", "plan", "create", "configure",
                                         "commit", "print"));
  EXPECT_EQ(outside.plan.caller(), "netavark");
  EXPECT_TRUE(outside.plan.addresses_by_caller());
  EXPECT_EQ(outside.printed,
            R"({"dns_search_domains":[],"dns_server_ips":[],"interfaces":{"eth0":{)"
            R"("mac_address":"02:00:5e:10:00:02","subnets":[{"ipnet":"192.0.2.7/24"}]}}})");
}

// N6: no teardown follows a setup that failed.
TEST(Setup, N6_EachStepFailedInTurnIsUndone) {
  const std::vector<std::string> steps = {"netns",  "look",      "detach", "plan",
                                          "create", "configure", "commit", "print"};
  for (size_t i = 0; i < steps.size(); ++i) {
    FakeOutside outside;
    outside.fail[i] = absl::InternalError("no " + steps[i]);
    EXPECT_THAT(outside.Run(SetupRequest()).message(), HasSubstr("no " + steps[i]));
    std::vector<std::string> expected(steps.begin(), steps.begin() + static_cast<int>(i) + 1);
    if (i >= 6) expected.emplace_back("detach");
    if (i >= 4) expected.emplace_back("unlink");
    EXPECT_THAT(outside.calls, testing::ElementsAreArray(expected));
  }
}

}  // namespace
}  // namespace vxvde
