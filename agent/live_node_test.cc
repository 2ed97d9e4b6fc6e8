#include "agent/live_node.h"

#include <string>

#include "agent/attachments_fixture.h"
#include "plugin/cloud/fake_fastpath.h"

namespace vxvde {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class LiveNodeTest : public AttachmentsTest {
 protected:
  ~LiveNodeTest() override { agent_.reset(); }  // before the fast path

  CloudInfo Shown() {
    const LiveNode node(agent_->loop.get(), &agent_->the_switch, &agent_->attachments,
                        &agent_->claims, &agent_->node_ports, NoGroups,
                        kernel_.fast == nullptr ? "no eBPF here" : "");
    const NodeSnapshot snapshot = node.Snapshot();
    EXPECT_THAT(snapshot.clouds, SizeIs(1));
    return snapshot.clouds.at(0);
  }

  FakeFastPath fast_;
};

TEST_F(LiveNodeTest, ACloudWithoutFastPathSaysTheNodesReason) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  EXPECT_EQ(Shown().name, "blue");
  EXPECT_EQ(Shown().vnl, kVnl);
  EXPECT_EQ(Shown().datapath, "user");
  EXPECT_EQ(Shown().datapath_reason, "no eBPF here");
}

TEST_F(LiveNodeTest, OneThatIsToHaveNoneSaysSo) {
  config_.datapath = Datapath::kUser;
  Start();
  ASSERT_TRUE(Add(Request("c1")).ok());
  EXPECT_EQ(Shown().datapath, "user");
  EXPECT_THAT(Shown().datapath_reason, HasSubstr("`datapath: user`"));
}

TEST_F(LiveNodeTest, OneThatTheKernelForwardsHasNoReason) {
  kernel_.fast = &fast_;
  Start();
  ASSERT_TRUE(Add(Request("c1")).ok());
  EXPECT_EQ(Shown().datapath, "kernel");
  EXPECT_EQ(Shown().datapath_reason, "");
  EXPECT_EQ(Shown().state.fast_port, fast_.cloud->fast_port);
}

TEST_F(LiveNodeTest, OneThatTheKernelCannotForwardSaysTheCloudsReason) {
  fast_.refuse = absl::FailedPreconditionError("uplink tun0 is not an Ethernet interface");
  kernel_.fast = &fast_;
  Start();
  ASSERT_TRUE(Add(Request("c1")).ok());
  EXPECT_EQ(Shown().datapath, "user");
  EXPECT_THAT(Shown().datapath_reason, HasSubstr("tun0 is not an Ethernet interface"));
}

TEST_F(LiveNodeTest, OneThatMustBeFastIsNotJoinedWithoutIt) {
  fast_.refuse = absl::FailedPreconditionError("uplink tun0 is not an Ethernet interface");
  kernel_.fast = &fast_;
  config_.datapath = Datapath::kKernel;
  Start();
  const Refusal refusal = Why(Add(Request("c1")).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kCannotJoin));
  EXPECT_THAT(refusal.message, HasSubstr("tun0 is not an Ethernet interface"));
  EXPECT_THAT(refusal.remedy, HasSubstr("`datapath: auto`"));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace vxvde
