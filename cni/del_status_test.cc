// DEL and STATUS: the order of their steps, and that every step is tried.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "agent/api/attachment_id.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "cni/testing/fake_outside.h"

namespace vxvde {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DelRequest SimpleDel() { return {.network = BlueNetwork(), .container = ContainerC1()}; }

TEST(Del, D1_IsTheListBackwards) {
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(SimpleDel()).ok());
  EXPECT_THAT(outside.script.calls, ElementsAre("detach all", "unlink all", "ipam del"));
  EXPECT_EQ(outside.output.printed, "");
}

TEST(Del, M2_DeletesAllInterfacesOfTheAdd) {
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(SimpleDel()).ok());
  const std::string eth0 = AttachmentId("blue", "c1", "eth0");
  const std::string net1 = AttachmentId("blue", "c1", "net1");
  EXPECT_EQ(outside.links.deleted.alias, "vxvde:" + eth0);
  EXPECT_EQ(outside.links.other.alias, "vxvde:" + net1 + ":" + eth0);
  EXPECT_EQ(outside.links.other.host_ifname, "vx" + net1);
}

TEST(Del, D1_IsQueuedForAnAgentThatIsDown) {
  FakeOutside outside;
  outside.script.fail[0] = outside.script.fail[2] = CniStatus(11, "agent is down");
  EXPECT_TRUE(outside.Run(SimpleDel()).ok());
  EXPECT_THAT(outside.script.calls,
              ElementsAre("detach all", "queue", "detach all", "unlink all", "ipam del"));
  EXPECT_THAT(outside.output.logged, Contains(HasSubstr("agent is down")));
}

TEST(Del, D1_AgentThatHangsCostsSeconds) {
  FakeOutside outside;
  outside.script.fail[0] = outside.script.fail[2] = CniStatus(11, "no answer");
  EXPECT_TRUE(outside.Run(SimpleDel()).ok());
  EXPECT_LE(outside.agent.waited, std::chrono::seconds(5));
  EXPECT_GE(outside.agent.waited, std::chrono::seconds(2)) << "a busy agent is given time";
}

TEST(Del, LeaseOfAServerOnTheLinkIsReturnedBeforeTheLinkGoes) {
  FakeOutside outside;
  DelRequest request = SimpleDel();
  request.network.ipam->type = "dhcp";
  EXPECT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.script.calls, ElementsAre("ipam del", "detach all", "unlink all"));
}

// It read its queue before this DEL was written there.
TEST(Del, D1_AgentThatHasJustStartedIsAskedAgain) {
  FakeOutside outside;
  outside.script.fail[0] = CniStatus(11, "agent is down");
  EXPECT_TRUE(outside.Run(SimpleDel()).ok());
  EXPECT_THAT(outside.script.calls, ElementsAre("detach all", "queue", "detach all", "unqueue",
                                                "unlink all", "ipam del"));
}

TEST(Del, D1_DelThatCannotBeQueuedFails) {
  FakeOutside outside;
  outside.script.fail[0] = outside.script.fail[2] = CniStatus(11, "agent is down");
  outside.script.fail[1] = absl::InternalError("disk full");
  EXPECT_EQ(ToCniError(outside.Run(SimpleDel())).msg, "disk full");
  EXPECT_THAT(outside.script.calls,
              ElementsAre("detach all", "queue", "detach all", "unlink all", "ipam del"));
}

TEST(Del, EveryStepIsTriedAndEveryErrorReported) {
  FakeOutside outside;
  outside.script.fail[0] = CniStatus(100, "versions differ");
  outside.script.fail[1] = absl::InternalError("link stuck");
  outside.script.fail[2] = CniStatus(7, "lease stuck");
  const CniError error = ToCniError(outside.Run(SimpleDel()));
  EXPECT_THAT(outside.script.calls, ElementsAre("detach all", "unlink all", "ipam del"));
  EXPECT_EQ(error.code, 100u);
  EXPECT_EQ(error.msg, "versions differ; link stuck; lease stuck");
}

TEST(Del, WithoutDelegateThereIsNoLease) {
  FakeOutside outside;
  DelRequest request = SimpleDel();
  request.network.ipam.reset();
  EXPECT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.script.calls, ElementsAre("detach all", "unlink all"));
}

TEST(Status, S1_AsksAgentAndIpam) {
  const StatusRequest request{.network = BlueNetwork(), .cloud = CloudChoice()};
  FakeOutside ready;
  EXPECT_TRUE(ready.Run(request).ok());
  EXPECT_THAT(ready.script.calls, ElementsAre("ping", "ipam status"));

  FakeOutside down;
  down.script.fail[0] = CniStatus(11, "agent is down", "start it");
  const CniError error = ToCniError(down.Run(request));
  EXPECT_EQ(error.code, 50u);
  EXPECT_EQ(error.msg, "agent is down");
  EXPECT_EQ(error.details, "start it");

  down.script.calls.clear();
  down.agent.has_attachments = true;
  EXPECT_EQ(ToCniError(down.Run(request)).code, 51u) << "existing containers are cut off";
}

TEST(Status, S1_NamesTheCloudOfTheConfiguration) {
  const StatusRequest request{.network = BlueNetwork(),
                              .cloud = CloudChoice{.name = "", .vnl = "vxvde://239.1.2.3"}};
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.agent.ping.vnl(), "vxvde://239.1.2.3");
}

TEST(Status, S1_Code51OfTheAgentAndCodesOfTheIpamPluginAreKept) {
  const StatusRequest request{.network = BlueNetwork(), .cloud = CloudChoice()};
  for (const auto& [step, said, code] :
       {std::tuple{0, 51, 51}, {1, 51, 51}, {1, 50, 50}, {1, 4, 50}, {1, 999, 50}}) {
    FakeOutside outside;
    outside.script.fail[step] = CniStatus(said, "no", "remedy");
    const CniError error = ToCniError(outside.Run(request));
    EXPECT_EQ(error.code, static_cast<uint32_t>(code));
    EXPECT_EQ(error.details, "remedy");
  }
}

// After another plugin, without annotations, ADD does not need it either.
TEST(Status, S1_SectionThatAttachesNothingNeedsNoAgent) {
  FakeOutside outside;
  Network network = BlueNetwork();
  network.ipam.reset();
  EXPECT_TRUE(outside.Run(StatusRequest{.network = network, .cloud = std::nullopt}).ok());
  EXPECT_THAT(outside.script.calls, IsEmpty());
}

}  // namespace
}  // namespace vxvde
