// What does not agree with the kernel, and what is nobody's.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "agent/attach/attachments.h"
#include "agent/attach/testing/attachments_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class ReconcileTest : public AttachmentsTest {
 protected:
  const Reconciled& found() { return agent_->attachments.reconciled(); }
  void Reconcile() { agent_->attachments.Reconcile(kernel_.AsSight()); }
  std::vector<std::string> Noted() {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(run_dir_ + "/planned")) {
      names.push_back(file.path().filename());
    }
    return names;
  }
  std::string RecordFile(const PlanRequest& request) {
    return run_dir_ + "/attachments/" + IdOf(request) + ".json";
  }
  std::vector<std::string> Containers() {
    std::vector<std::string> list;
    for (const AttachmentInfo& info : agent_->attachments.List()) list.push_back(info.container_id);
    std::sort(list.begin(), list.end());
    return list;
  }
};

TEST_F(ReconcileTest, ALinkThatWentUnheardEndsItsAttachment) {
  for (const char* container : {"c1", "c2"}) ASSERT_TRUE(Add(Request(container)).ok());
  Reconcile();
  EXPECT_EQ(found().attachments, 0u);
  kernel_.links.erase(HostIfName(IdOf(Request("c1"))));
  Reconcile();
  EXPECT_THAT(Containers(), ElementsAre("c2"));
  EXPECT_EQ(found().attachments, 1u);
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, SizeIs(1)) << "for GC";
  EXPECT_THAT(agent_->claims.released, Contains(IdOf(Request("c1"))));
}

TEST_F(ReconcileTest, NothingIsEndedBecauseItCannotBeTold) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  PlanRequest tap = Request("c2");
  tap.tap = true;
  ASSERT_TRUE(Add(tap).ok());
  // What was seen is older than the attachment.
  agent_->attachments.Reconcile({.links = std::vector<LinkInfo>()});
  // Nothing was seen.
  kernel_.links.clear();
  agent_->attachments.Reconcile({.links = absl::InternalError("no netlink")});
  EXPECT_THAT(Containers(), ElementsAre("c1", "c2"));
  // Whoever gave it another alias has not ended it.
  kernel_.AddVeth(IdOf(Request("c1")));
  kernel_.links.begin()->second.alias = "mine";
  Reconcile();
  EXPECT_THAT(Containers(), ElementsAre("c1", "c2"));
}

TEST_F(ReconcileTest, ATapWhoseNamespaceIsDeadIsEndedWhenItIsSeenTwice) {
  PlanRequest tap = Request("c1");
  tap.tap = true;
  ASSERT_TRUE(Add(tap).ok());
  EXPECT_THAT(agent_->attachments.Watched(), IsEmpty()) << "of which nothing is known";
  ASSERT_TRUE(agent_->attachments.Detach(tap.key).ok());

  kernel_.tap_netns = {.number = 7, .id = "4:42"};
  ASSERT_TRUE(Add(tap).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());
  Restart();
  kernel_.tap_netns.id.clear();  // the path has gone meanwhile
  Restart();
  const std::vector<WatchedNetNs> watched = agent_->attachments.Watched();
  ASSERT_THAT(watched, SizeIs(1));
  EXPECT_EQ(watched[0].attachment, IdOf(tap));
  EXPECT_EQ(watched[0].path, tap.netns);
  EXPECT_EQ(watched[0].id, "4:42") << "as the record has it";
  EXPECT_EQ(watched[0].number, 7);

  KernelSnapshot sight = kernel_.AsSight();
  sight.dead = {IdOf(tap), "0123456789abc"};
  EXPECT_TRUE(agent_->attachments.Reconcile(sight)) << "look again";
  EXPECT_THAT(Containers(), ElementsAre("c1", "c2"));
  EXPECT_FALSE(agent_->attachments.Reconcile(kernel_.AsSight())) << "it had not been dead";
  EXPECT_TRUE(agent_->attachments.Reconcile(sight));
  EXPECT_FALSE(agent_->attachments.Reconcile(sight));
  EXPECT_THAT(Containers(), ElementsAre("c2"));
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, SizeIs(1));
}

TEST_F(ReconcileTest, TheLinkOfAPlanThatEndedIsDeleted) {
  const auto plan = Plan(Request("c1"));
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(Noted(), ElementsAre(plan->id));
  kernel_.AddVeth(plan->id);
  const IfIndex index = kernel_.links.begin()->second.index;
  agent_->attachments.Rollback(plan->ticket);
  ASSERT_THAT(kernel_.closed_later, SizeIs(1));
  EXPECT_EQ(kernel_.closed_later[0].host_end, index);
  EXPECT_TRUE(kernel_.closed_later[0].with_link);
  EXPECT_THAT(Noted(), ElementsAre(plan->id)) << "until it has gone";
  kernel_.links.clear();
  agent_->RunUntil([&] { return Noted().empty(); });
  EXPECT_EQ(found().links, 1u);
}

TEST_F(ReconcileTest, ALinkWithoutAnAliasYetIsOursByItsName) {
  const auto plan = Plan(Request("c1"));
  kernel_.AddVeth(plan->id);
  kernel_.links.begin()->second.alias.clear();
  kernel_.links.begin()->second.kind = "veth";
  agent_->attachments.Rollback(plan->ticket);
  EXPECT_THAT(kernel_.closed_later, SizeIs(1));
}

TEST_F(ReconcileTest, AnAgentThatIsKilledLeavesItsPlansToTheNext) {
  const auto plan = Plan(Request("c1"));
  kernel_.AddVeth(plan->id);
  const auto without = Plan(Request("c2"));
  ASSERT_TRUE(without.ok());
  // A kill: no destructor of a plan's connection.
  Restart();
  ASSERT_THAT(kernel_.closed_later, SizeIs(1));
  EXPECT_THAT(Noted(), ElementsAre(plan->id));
  EXPECT_THAT(Records(), IsEmpty());
  kernel_.links.clear();
  agent_->RunUntil([&] { return Noted().empty(); });
}

TEST_F(ReconcileTest, AnAddThatComesAgainKeepsItsNewLink) {
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
  EXPECT_THAT(Noted(), IsEmpty());
  EXPECT_THAT(Containers(), ElementsAre("c1"));
}

TEST_F(ReconcileTest, ADelTakesTheNoteWithIt) {
  const auto plan = Plan(Request("c1"));
  kernel_.AddVeth(plan->id);
  agent_->attachments.Rollback(plan->ticket);
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), false);
  EXPECT_THAT(Noted(), IsEmpty());
}

TEST_F(ReconcileTest, ACommitThatFailsLeavesNeitherNoteNorCopy) {
  const auto plan = Plan(Request("c1"));
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(Commit(*plan).ok()) << "there is no link";
  agent_->RunUntil([&] { return Noted().empty(); });
  EXPECT_TRUE(std::filesystem::is_empty(run_dir_ + "/copies"));
}

// Another agent with another run-dir writes the same aliases.
TEST_F(ReconcileTest, ALinkThatNobodyHereKnowsIsToldOfAndLeftAlone) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  kernel_.AddVeth("0123456789abc");
  kernel_.AddVeth("zzz");
  kernel_.links["vxzzz"].alias = "vxvde-like";
  for (int i = 0; i < 2; ++i) Reconcile();
  EXPECT_THAT(kernel_.closed_later, IsEmpty());
  EXPECT_EQ(found().unknown_links, 1u);
  EXPECT_EQ(std::count_if(agent_->lines.begin(), agent_->lines.end(),
                          [](const std::string& line) {
                            return line.find("unknown link") != std::string::npos;
                          }),
            1)
      << "told once";
  kernel_.links.erase("vx0123456789abc");
  Reconcile();
  EXPECT_EQ(found().unknown_links, 0u);
}

TEST_F(ReconcileTest, LeasesAreKeptForWhateverIsAttachedOrPlanned) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const auto plan = Plan(Request("c2"));
  agent_->claims.collects = 3;
  Reconcile();
  EXPECT_THAT(agent_->claims.wanted,
              testing::UnorderedElementsAre(IdOf(Request("c1")), IdOf(Request("c2"))));
  EXPECT_EQ(found().leases, 3u);
}

// The agent did not answer in time, and has been running since.
TEST_F(ReconcileTest, ADelThatWasQueuedMeanwhileIsDone) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(
      DetachQueue(run_dir_).Put({.network = "net", .container_id = "c1", .ifname = "eth0"}).ok());
  Reconcile();
  EXPECT_EQ(found().dels, 1u);
  ExpectNothingLeft();
}

TEST_F(ReconcileTest, ATornRecordIsWrittenAnewAndThePodKeepsItsPort) {
  const PlanRequest request = Request("c1", "routed");
  ASSERT_TRUE(Add(request, {"10.42.0.7/16"}).ok());
  const std::vector<AttachmentRecord> before = Records();
  const uint16_t port = Cloud().options.unicast_port;
  for (const char* text : {"", "{\"version\": 1, \"id\": \"tor", "\\xff"}) {
    std::ofstream(RecordFile(request)) << text;
    std::ofstream(run_dir_ + "/clouds.json") << text;
    Restart();
    EXPECT_THAT(Containers(), ElementsAre("c1")) << text;
    EXPECT_NE(agent_->attachments.List()[0].port, PortId::kNone);
    EXPECT_EQ(Cloud().options.unicast_port, port) << "the record knows it, too";
    EXPECT_EQ(Records(), before);
    EXPECT_EQ(found().records, 1u);
    EXPECT_EQ(found().unreadable, 2u);
    EXPECT_THAT(agent_->lines, Contains(HasSubstr("record rebuilt")));
  }
  std::filesystem::remove(RecordFile(request));
  Restart();
  EXPECT_THAT(Containers(), ElementsAre("c1")) << "one that was lost is like a torn one";
  EXPECT_EQ(*agent_->attachments.Detach(request.key), true);
  Restart();
  EXPECT_THAT(Containers(), IsEmpty());
  EXPECT_THAT(agent_->lines, Not(Contains(HasSubstr("record rebuilt"))));
}

// The kernel has the last word.
TEST_F(ReconcileTest, ATornRecordOfADeadPodIsNotTakenUp) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  kernel_.links.clear();
  std::ofstream(RecordFile(Request("c1"))) << "torn";
  Restart();
  EXPECT_THAT(Containers(), IsEmpty());
  EXPECT_EQ(found().attachments, 1u);
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, SizeIs(1));
}

TEST_F(ReconcileTest, BothFilesTornAreReportedAndDelStillWorks) {
  const PlanRequest request = Request("c1");
  ASSERT_TRUE(Add(request).ok());
  std::ofstream(RecordFile(request)) << "torn";
  std::ofstream(run_dir_ + "/copies/" + IdOf(request) + ".json") << "torn";
  Restart();
  EXPECT_EQ(found().unreadable, 2u);
  EXPECT_THAT(Containers(), IsEmpty());
  Reconcile();
  EXPECT_EQ(found().unknown_links, 1u) << "a living pod's interface is not deleted";
  EXPECT_THAT(kernel_.closed_later, IsEmpty());
  EXPECT_EQ(*agent_->attachments.Detach(request.key), false);
  EXPECT_TRUE(Add(request).ok());
}

}  // namespace
}  // namespace vxvde
