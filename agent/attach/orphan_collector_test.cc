// Abandoned plans, queued DELs, attachments whose kernel objects are gone, and unknown links.

#include "agent/attach/orphan_collector.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "agent/attach/testing/attachments_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class OrphanCollectorTest : public AttachmentsTest {
 protected:
  OrphanCollector& orphans() { return agent_->attachments.orphans(); }
  const Reconciled& reconciled() { return agent_->attachments.reconciled(); }
  void Reconcile() { orphans().Reconcile(kernel_.AsSnapshot()); }
  std::vector<std::string> NotedPlans() {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(run_dir_ + "/planned")) {
      names.push_back(file.path().filename());
    }
    return names;
  }
};

// D1. Queued DELs run before ports are opened, so that no cloud is joined and left again.
TEST_F(OrphanCollectorTest, QueuedDelsComeFirstAfterARestart) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(Add(Request("c2", "team")).ok());
  DetachQueue queue(run_dir_);
  const auto put = [&](const std::string& container) {
    return queue.Put(
        {.network = "net", .container_id = container, .ifname = "eth0", .with_others = true});
  };
  ASSERT_TRUE(put("c2").ok());
  ASSERT_TRUE(put("never").ok());
  const size_t sockets = kernel_.unicast.size();
  Restart();
  EXPECT_EQ(kernel_.unicast.size(), sockets + 1) << "blue alone is joined again";
  ASSERT_THAT(agent_->attachments.List(), SizeIs(1));
  EXPECT_EQ(agent_->attachments.List()[0].container_id, "c1");
  EXPECT_THAT(Records(), SizeIs(1));
  EXPECT_THAT(queue.Load()->detaches, IsEmpty());

  ASSERT_TRUE(put("c1").ok());
  orphans().DetachQueued();
  ExpectNothingLeft();
}

// podman starts a container again under its id: a queued DEL must not end the new attachment.
TEST_F(OrphanCollectorTest, AnAddRemovesItsQueuedDel) {
  ASSERT_TRUE(
      DetachQueue(run_dir_).Put({.network = "net", .container_id = "c1", .ifname = "eth0"}).ok());
  ASSERT_TRUE(Add(Request("c1")).ok());
  Restart();
  EXPECT_THAT(agent_->attachments.List(), SizeIs(1));
}

TEST_F(OrphanCollectorTest, AMissingLinkEndsItsAttachment) {
  for (const char* container : {"c1", "c2"}) ASSERT_TRUE(Add(Request(container)).ok());
  Reconcile();
  EXPECT_EQ(reconciled().attachments, 0u);
  kernel_.links.erase(HostIfName(IdOf(Request("c1"))));
  Reconcile();
  EXPECT_THAT(Containers(), ElementsAre("c2"));
  EXPECT_EQ(reconciled().attachments, 1u);
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, SizeIs(1)) << "for GC";
  EXPECT_THAT(agent_->claims.released, Contains(IdOf(Request("c1"))));
}

TEST_F(OrphanCollectorTest, NothingEndsWithoutEvidence) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  PlanRequest tap = Request("c2");
  tap.tap = true;
  ASSERT_TRUE(Add(tap).ok());
  // The snapshot is older than the attachment.
  orphans().Reconcile({.links = std::vector<LinkInfo>()});
  // The links could not be listed.
  kernel_.links.clear();
  orphans().Reconcile({.links = absl::InternalError("no netlink")});
  EXPECT_THAT(Containers(), ElementsAre("c1", "c2"));
  // Another alias does not end an attachment.
  kernel_.AddVeth(IdOf(Request("c1")));
  kernel_.links.begin()->second.alias = "mine";
  Reconcile();
  EXPECT_THAT(Containers(), ElementsAre("c1", "c2"));
}

TEST_F(OrphanCollectorTest, TwoSnapshotsOfADeadNamespaceEndItsTap) {
  PlanRequest tap = Request("c1");
  tap.tap = true;
  ASSERT_TRUE(Add(tap).ok());
  EXPECT_THAT(orphans().Watched(), IsEmpty()) << "no namespace was identified";
  ASSERT_TRUE(agent_->attachments.Detach(tap.key).ok());

  kernel_.tap_netns = {.number = 7, .id = "4:42"};
  ASSERT_TRUE(Add(tap).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());
  Restart();
  kernel_.tap_netns.id.clear();  // the path is gone
  Restart();
  const std::vector<WatchedNetNs> watched = orphans().Watched();
  ASSERT_THAT(watched, SizeIs(1));
  EXPECT_EQ(watched[0].attachment, IdOf(tap));
  EXPECT_EQ(watched[0].path, tap.netns);
  EXPECT_EQ(watched[0].id, "4:42") << "from the record";
  EXPECT_EQ(watched[0].number, 7);

  KernelSnapshot snapshot = kernel_.AsSnapshot();
  snapshot.dead = {IdOf(tap), "0123456789abc"};
  EXPECT_TRUE(orphans().Reconcile(snapshot)) << "another snapshot is to confirm it";
  EXPECT_THAT(Containers(), ElementsAre("c1", "c2"));
  EXPECT_FALSE(orphans().Reconcile(kernel_.AsSnapshot())) << "the suspicion was wrong";
  EXPECT_TRUE(orphans().Reconcile(snapshot));
  EXPECT_FALSE(orphans().Reconcile(snapshot));
  EXPECT_THAT(Containers(), ElementsAre("c2"));
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, SizeIs(1));
}

TEST_F(OrphanCollectorTest, TheLinkOfAnAbandonedPlanIsDeleted) {
  const auto plan = Plan(Request("c1"));
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(NotedPlans(), ElementsAre(plan->id));
  kernel_.AddVeth(plan->id);
  const IfIndex index = kernel_.links.begin()->second.index;
  agent_->attachments.Rollback(plan->ticket);
  ASSERT_THAT(kernel_.closed_later, SizeIs(1));
  EXPECT_EQ(kernel_.closed_later[0].host_end, index);
  EXPECT_TRUE(kernel_.closed_later[0].with_link);
  EXPECT_THAT(NotedPlans(), ElementsAre(plan->id)) << "until the link is gone";
  kernel_.links.clear();
  agent_->RunUntil([&] { return NotedPlans().empty(); });
  EXPECT_EQ(reconciled().links, 1u);
}

TEST_F(OrphanCollectorTest, ALinkWithoutAnAliasIsKnownByItsName) {
  const auto plan = Plan(Request("c1"));
  kernel_.AddVeth(plan->id);
  kernel_.links.begin()->second.alias.clear();
  kernel_.links.begin()->second.kind = "veth";
  agent_->attachments.Rollback(plan->ticket);
  EXPECT_THAT(kernel_.closed_later, SizeIs(1));
}

TEST_F(OrphanCollectorTest, ANewAgentAbandonsThePlansOfAKilledOne) {
  const auto plan = Plan(Request("c1"));
  kernel_.AddVeth(plan->id);
  const auto without = Plan(Request("c2"));
  ASSERT_TRUE(without.ok());
  // The agent is killed, so no connection rolls its plan back.
  Restart();
  ASSERT_THAT(kernel_.closed_later, SizeIs(1));
  EXPECT_THAT(NotedPlans(), ElementsAre(plan->id));
  EXPECT_THAT(Records(), IsEmpty());
  kernel_.links.clear();
  agent_->RunUntil([&] { return NotedPlans().empty(); });
}

TEST_F(OrphanCollectorTest, ARepeatedAddKeepsItsNewLink) {
  const auto plan = Plan(Request("c1"));
  kernel_.AddVeth(plan->id);
  agent_->attachments.Rollback(plan->ticket);
  kernel_.closed_later.clear();
  ASSERT_TRUE(Add(Request("c1")).ok());
  Reconcile();
  bool later = false;
  const auto timer = agent_->loop->After(std::chrono::milliseconds(1500), [&] { later = true; });
  agent_->RunUntil([&] { return later; });
  agent_->loop->Cancel(timer);
  EXPECT_THAT(kernel_.closed_later, IsEmpty());
  EXPECT_THAT(NotedPlans(), IsEmpty());
  EXPECT_THAT(Containers(), ElementsAre("c1"));
}

TEST_F(OrphanCollectorTest, ADelRemovesTheNote) {
  const auto plan = Plan(Request("c1"));
  kernel_.AddVeth(plan->id);
  agent_->attachments.Rollback(plan->ticket);
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), false);
  EXPECT_THAT(NotedPlans(), IsEmpty());
}

TEST_F(OrphanCollectorTest, AFailedCommitLeavesNeitherNoteNorCopy) {
  const auto plan = Plan(Request("c1"));
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(Commit(*plan).ok()) << "there is no link";
  agent_->RunUntil([&] { return NotedPlans().empty(); });
  EXPECT_TRUE(std::filesystem::is_empty(run_dir_ + "/copies"));
}

// An agent with another run-dir writes the same aliases.
TEST_F(OrphanCollectorTest, AnUnknownLinkIsReportedAndLeftAlone) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  kernel_.AddVeth("0123456789abc");
  kernel_.AddVeth("zzz");
  kernel_.links["vxzzz"].alias = "vxvde-like";
  for (int i = 0; i < 2; ++i) Reconcile();
  EXPECT_THAT(kernel_.closed_later, IsEmpty());
  EXPECT_EQ(reconciled().unknown_links, 1u);
  EXPECT_EQ(std::count_if(agent_->lines.begin(), agent_->lines.end(),
                          [](const std::string& line) {
                            return line.find("unknown link") != std::string::npos;
                          }),
            1)
      << "reported once";
  kernel_.links.erase("vx0123456789abc");
  Reconcile();
  EXPECT_EQ(reconciled().unknown_links, 0u);
}

TEST_F(OrphanCollectorTest, LeasesOfAttachmentsAndPlansAreKept) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const auto plan = Plan(Request("c2"));
  agent_->claims.collects = 3;
  Reconcile();
  EXPECT_THAT(agent_->claims.wanted,
              testing::UnorderedElementsAre(IdOf(Request("c1")), IdOf(Request("c2"))));
  EXPECT_EQ(reconciled().leases, 3u);
}

// The agent was running, but did not answer in time.
TEST_F(OrphanCollectorTest, ReconcileCarriesOutQueuedDels) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(
      DetachQueue(run_dir_).Put({.network = "net", .container_id = "c1", .ifname = "eth0"}).ok());
  Reconcile();
  EXPECT_EQ(reconciled().dels, 1u);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace vxvde
