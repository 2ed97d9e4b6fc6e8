#include "agent/status/live_node.h"

#include <string>

#include "agent/attach/testing/attachments_fixture.h"
#include "plugin/cloud/testing/fake_fastpath.h"

namespace vxvde {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class LiveNodeTest : public AttachmentsTest {
 protected:
  ~LiveNodeTest() override { agent_.reset(); }  // before the kernel datapath

  LiveNode::Parts Parts() {
    return {.loop = agent_->loop.get(),
            .the_switch = &agent_->the_switch,
            .config = &agent_->config,
            .clouds = &agent_->clouds,
            .attachments = &agent_->attachments,
            .claims = &agent_->claims,
            .node_ports = &agent_->node_ports};
  }
  CloudInfo Shown() {
    const LiveNode node(Parts(), NoGroups, kernel_.fast == nullptr ? "no eBPF here" : "");
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

TEST_F(LiveNodeTest, ProblemsOfRulesAreWarningsAndMayBeAReasonForNoPods) {
  std::vector<RulesState> rules = {{.part = "firewall"}, {.part = "watch"}};
  const LiveNode node(Parts(), NoGroups, /*why_not_fast=*/"", [&] { return rules; });
  EXPECT_EQ(node.Snapshot().warning, "");
  EXPECT_EQ(node.WhyNotReady(), "");
  rules[1].problem = "not watched";
  EXPECT_EQ(node.Snapshot().warning, "not watched");
  EXPECT_EQ(node.Snapshot().not_ready, "");
  rules[0] = {.part = "firewall", .problem = "refused", .blocks_pods = true};
  EXPECT_EQ(node.Snapshot().warning, "refused; not watched");
  EXPECT_EQ(node.Snapshot().not_ready, "refused");
  EXPECT_EQ(node.WhyNotReady(), "refused");
  EXPECT_THAT(node.Snapshot().rules, SizeIs(2));
}

TEST_F(LiveNodeTest, TheNodeIsShown) {
  const LiveNode node(Parts(), NoGroups, /*why_not_fast=*/"");
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  PlanRequest unnamed = Request("c2", "");
  unnamed.vnl = "vxvde://239.9.9.9";
  ASSERT_TRUE(Add(unnamed).ok());
  const NodeSnapshot snapshot = node.Snapshot();
  EXPECT_EQ(snapshot.node, "n1");
  ASSERT_THAT(snapshot.clouds, SizeIs(2));
  EXPECT_EQ(snapshot.clouds[0].name, "blue");
  EXPECT_EQ(snapshot.clouds[0].vnl, kVnl);
  EXPECT_EQ(snapshot.clouds[1].name, "vxvde://239.9.9.9");
  EXPECT_THAT(snapshot.attachments, SizeIs(2));

  const MacAddress mac = DeriveMac("net", "c1", "eth0", 0);
  const MacAddress stranger({2, 0, 0x5e, 0x10, 0, 9});
  EXPECT_TRUE(node.Explain("blue", stranger, mac)->destination_known);
  EXPECT_TRUE(node.Explain(kVnl, stranger, mac)->destination_known);
  for (const char* cloud : {"red", "team", "vxvde://239.7.7.7"}) {
    const absl::Status status = node.Explain(cloud, stranger, mac).status();
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(cloud));
  }
}

}  // namespace
}  // namespace vxvde
