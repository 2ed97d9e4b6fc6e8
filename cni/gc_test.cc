// GC: removes what is not listed, and nothing that is in use.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

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

class GcTest : public testing::Test {
 protected:
  GcTest() {
    request_.network = BlueNetwork();
    request_.network.ipam->config = R"({"name":"blue"})";
  }
  attach::v1::Listed::Attachment& Listed(const std::string& container,
                                         const std::string& ifname = "eth0") {
    attach::v1::Listed::Attachment& one = outside_.agent.listed.emplace_back();
    one.mutable_key()->set_network("blue");
    one.mutable_key()->set_container_id(container);
    one.mutable_key()->set_ifname(ifname);
    one.set_main_ifname("eth0");
    one.set_caller("cni");
    one.set_netns("/run/netns/" + container);
    return one;
  }

  GcRequest request_;
  FakeOutside outside_;
};

TEST_F(GcTest, G1_RunsDelForAttachmentsThatAreNotListed) {
  Listed("dead");
  Listed("valid");
  Listed("dead2");
  Listed("dead2", "net1");
  request_.valid = {{"valid", "eth0"}};
  ASSERT_TRUE(outside_.Run(request_).ok());
  EXPECT_THAT(outside_.agent.detached, ElementsAre("dead/eth0", "dead2/eth0"));
  EXPECT_THAT(outside_.script.calls,
              ElementsAre("list", "in pod", "detach all", "unlink all", "ipam del", "in pod",
                          "in pod", "detach all", "unlink all", "ipam del", "ipam gc"));
}

TEST_F(GcTest, G1_SkipsAttachmentsInUsePlannedOnesAndNetavarks) {
  Listed("alive");
  Listed("alive", "net1");
  Listed("planned").set_planned(true);
  Listed("podman").set_caller("netavark");
  outside_.links.alive = {"/run/netns/alive"};
  ASSERT_TRUE(outside_.Run(request_).ok());
  EXPECT_THAT(outside_.agent.detached, IsEmpty());
  EXPECT_THAT(outside_.output.logged, Contains(HasSubstr("alive")));
  // The IPAM plugin must keep their addresses too.
  EXPECT_THAT(outside_.ipam.collected,
              AllOf(HasSubstr(R"("cni.dev/attachments":[{"containerID":"alive","ifname":"eth0"})"),
                    HasSubstr(R"({"containerID":"planned","ifname":"eth0"}])")));
}

TEST_F(GcTest, G1_ContinuesAfterErrorsAndReportsAll) {
  Listed("a");
  Listed("b");
  Listed("c");
  outside_.script.fail[1] = absl::PermissionDeniedError("who are you");
  outside_.script.fail[4] = absl::InternalError("link stuck");
  outside_.script.fail[10] = CniStatus(999, "no gc");
  const CniError error = ToCniError(outside_.Run(request_));
  EXPECT_THAT(error.msg,
              AllOf(HasSubstr("container a interface eth0: who are you"),
                    HasSubstr("container b interface eth0: link stuck"), HasSubstr("no gc")));
  EXPECT_THAT(outside_.agent.detached, ElementsAre("b/eth0", "c/eth0"));
}

TEST_F(GcTest, G1_WithoutTheAgentsListNothingIsRemoved) {
  Listed("dead");
  outside_.script.fail[0] = CniStatus(11, "agent is down");
  EXPECT_EQ(ToCniError(outside_.Run(request_)).code, 11u);
  EXPECT_THAT(outside_.script.calls, ElementsAre("list"));
}

}  // namespace
}  // namespace vxvde
