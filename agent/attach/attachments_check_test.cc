// Tests of CHECK, STATUS, the lists of attachments, and a new configuration.

#include <algorithm>
#include <string>
#include <vector>

#include "agent/attach/attachments.h"
#include "agent/attach/testing/attachments_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// S1.
TEST_F(AttachmentsTest, ReadyTellsWhetherAnAddWouldSucceed) {
  Attachments& attachments = agent_->attachments;
  EXPECT_TRUE(attachments.Ready("blue", "").ok());
  EXPECT_TRUE(attachments.Ready("", "").ok());
  EXPECT_FALSE(Joined(kVnl)) << "Ready joins no cloud";
  const Refusal unknown = Why(attachments.Ready("mauve", ""));
  EXPECT_EQ(unknown.code, 50u);
  EXPECT_THAT(unknown.message, HasSubstr("mauve"));
  kernel_.no_route = true;
  EXPECT_EQ(Why(attachments.Ready("blue", "")).code, 50u);
  kernel_.no_route = false;
  agent_->node_ports.ready = absl::FailedPreconditionError("table inet vxvde: not permitted");
  EXPECT_EQ(Why(attachments.Ready("blue", "")).code, 50u);
  EXPECT_THAT(Why(attachments.Ready("blue", "")).message, HasSubstr("inet vxvde"));
  agent_->node_ports.ready = absl::OkStatus();

  ASSERT_TRUE(Add(Request("c1")).ok());
  EXPECT_TRUE(attachments.Ready("blue", "").ok());
  kernel_.uplink_up = false;
  const Refusal down = Why(attachments.Ready("blue", ""));
  EXPECT_EQ(down.code, 51u) << "c1 is cut off";
  EXPECT_THAT(down.message, HasSubstr("eth0"));
  EXPECT_THAT(down.remedy, HasSubstr("up"));
  EXPECT_EQ(Why(attachments.Ready("team", "")).code, 50u) << "no attachment is on it";
}

TEST_F(AttachmentsTest, CheckReportsWhyNoFrameFlows) {
  const auto check = [&] { return agent_->attachments.Check(Request("c1").key).status(); };
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotAttached));
  const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotAttached)) << "a plan is no attachment yet";
  agent_->attachments.Rollback(plan->ticket);

  ASSERT_TRUE(Add(Request("c1")).ok());
  const absl::StatusOr<CheckedAttachment> good = agent_->attachments.Check(Request("c1").key);
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->mtu, 1400);
  EXPECT_EQ(good->mac, DeriveMac("net", "c1", "eth0", 0));
  EXPECT_FALSE(good->tap);

  kernel_.uplink_up = false;
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotForwarding));
  EXPECT_THAT(Why(check()).message, HasSubstr("eth0 of cloud blue is down"));
  kernel_.uplink_up = true;
  kernel_.links.at(HostIfName(plan->id)).alias = "other";
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotForwarding));
  kernel_.links.at(HostIfName(plan->id)).alias = LinkAlias(plan->id);
  kernel_.no_route = true;
  Restart();
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotForwarding)) << "it waits";
  EXPECT_THAT(Why(check()).message, HasSubstr("no route"));
}

// G1. Such a pod may still have a lease of an IPAM plugin.
TEST_F(AttachmentsTest, AnEndedAttachmentIsListedUntilDelOrAdd) {
  const auto listed = [&] {
    std::vector<std::string> text;
    for (const ListedAttachment& one : agent_->attachments.ListNetwork("net")) {
      text.push_back(one.key.container_id + (one.ended ? " ended" : ""));
    }
    std::sort(text.begin(), text.end());
    return text;
  };
  for (const char* container : {"c1", "c2", "c3"}) ASSERT_TRUE(Add(Request(container)).ok());
  PlanRequest other = Request("c9");
  other.key.network = "another";
  ASSERT_TRUE(Add(other).ok());
  PlanRequest podman = Request("c4");
  podman.caller = "netavark";
  ASSERT_TRUE(Add(podman).ok());
  for (const char* container : {"c1", "c2", "c4"}) {
    const std::string link = HostIfName(IdOf(Request(container)));
    kernel_.links.erase(link);
    kernel_.ports.at(link)->Break(absl::NotFoundError("the interface is gone"));
  }
  agent_->RunUntil([&] { return agent_->attachments.List().size() == 2; });
  EXPECT_THAT(listed(), ElementsAre("c1 ended", "c2 ended", "c3")) << "netavark never asks for GC";
  Restart();
  EXPECT_THAT(listed(), ElementsAre("c1 ended", "c2 ended", "c3"));
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  ASSERT_TRUE(Add(Request("c2")).ok());
  EXPECT_THAT(listed(), ElementsAre("c2", "c3"));
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, IsEmpty());
}

// For `vxvdectl gc`.
TEST_F(AttachmentsTest, OnlyEndedAttachmentsAreForgotten) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());
  const std::string link = HostIfName(IdOf(Request("c1")));
  kernel_.links.erase(link);
  kernel_.ports.at(link)->Break(absl::NotFoundError("the interface is gone"));
  agent_->RunUntil([&] { return agent_->attachments.List().size() == 1; });
  EXPECT_THAT(agent_->attachments.ListNetwork(""), testing::SizeIs(2)) << "of all networks";
  EXPECT_EQ(*agent_->attachments.ForgetEnded(Request("c2").key), false);
  EXPECT_EQ(*agent_->attachments.ForgetEnded(Request("c1").key), true);
  EXPECT_EQ(*agent_->attachments.ForgetEnded(Request("c1").key), false);
  EXPECT_THAT(agent_->attachments.ListNetwork(""), testing::SizeIs(1));
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, IsEmpty());
  EXPECT_THAT(Records(), testing::SizeIs(1));
}

TEST_F(AttachmentsTest, AReloadAppliesToLaterPlans) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  Config changed = config_;
  changed.clouds[0].config.key.vni = *Vni::Make(99);
  agent_->config.Set(changed);
  EXPECT_THAT(agent_->lines, testing::Contains(HasSubstr("cloud kept as joined")));
  EXPECT_TRUE(Joined(kVnl));
  EXPECT_EQ(Plan(Request("c2"))->vnl, "vxvde://239.1.2.3/vni=99");
  ASSERT_TRUE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_FALSE(Joined(kVnl));
}

}  // namespace
}  // namespace vxvde
