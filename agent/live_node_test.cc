#include "agent/live_node.h"

#include <string>

#include "agent/attachments_fixture.h"

namespace vxvde {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class LiveNodeTest : public AttachmentsTest {
 protected:
  CloudInfo Shown() {
    const LiveNode node(agent_->loop.get(), &agent_->the_switch, &agent_->attachments,
                        &agent_->claims, &agent_->node_ports, NoGroups, "no eBPF here");
    const NodeSnapshot snapshot = node.Snapshot();
    EXPECT_THAT(snapshot.clouds, SizeIs(1));
    return snapshot.clouds.at(0);
  }
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

}  // namespace
}  // namespace vxvde
