// Tests that each change reaches both the table and its run-dir, or neither.

#include "agent/attach/attachment_table.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

std::optional<uint32_t> NoGroups(absl::string_view) { return std::nullopt; }

class AttachmentTableTest : public testing::Test {
 protected:
  AttachmentTableTest() {
    std::string pattern = testing::TempDir() + "/attachment_table.XXXXXX";
    run_dir_ = mkdtemp(pattern.data());
    Open();
  }
  ~AttachmentTableTest() override { std::filesystem::remove_all(run_dir_); }

  // As after a restart.
  void Open() {
    table_.reset();
    store_.emplace(*Store::Open(run_dir_));
    table_.emplace(&*store_, &log_);
    const absl::StatusOr<AttachmentTable::Loaded> loaded = table_->Load(NoGroups);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    loaded_ = *loaded;
  }

  static Attachment Planned(const std::string& container, const std::string& ifname = "eth0") {
    Attachment planned;
    AttachmentRecord& record = planned.record;
    record.id = AttachmentId("net", container, ifname);
    record.network = "net";
    record.container_id = container;
    record.ifname = ifname;
    record.main_ifname = "eth0";
    record.netns = "/run/netns/" + container;
    record.host_ifname = HostIfName(record.id);
    record.mac = MacAddress({2, 0, 0x5e, 0x10, 0, 1});
    record.mtu = 1450;
    record.vnl = "vxvde://239.1.2.3";
    record.unicast_port = 14800;
    planned.cloud = *ParseVnl(record.vnl, NoGroups);
    planned.plan.emplace().ticket = PlanTicket{7};
    return planned;
  }
  Attachment& Plan(const std::string& container, const std::string& ifname = "eth0") {
    const absl::StatusOr<Attachment*> planned = table_->AddPlan(Planned(container, ifname));
    EXPECT_TRUE(planned.ok()) << planned.status();
    return **planned;
  }
  Attachment& Commit(const std::string& container, const std::string& ifname = "eth0") {
    Attachment& planned = Plan(container, ifname);
    EXPECT_TRUE(table_->Commit(planned).ok());
    return planned;
  }
  static std::string Id(const std::string& container) {
    return AttachmentId("net", container, "eth0");
  }
  Store::Contents OnDisk() { return *Store::Open(run_dir_)->Load(); }

  std::string run_dir_;
  const Log log_{nullptr};
  std::optional<Store> store_;
  std::optional<AttachmentTable> table_;
  AttachmentTable::Loaded loaded_;
};

TEST_F(AttachmentTableTest, APlanIsFoundByItsTicketUntilItIsCommitted) {
  Attachment& planned = Plan("c1");
  EXPECT_EQ(table_->FindPlan(PlanTicket{7}), &planned);
  EXPECT_EQ(table_->FindPlan(PlanTicket{8}), nullptr);
  EXPECT_EQ(table_->Find(Id("c1")), &planned);
  EXPECT_TRUE(table_->HasOn(planned.cloud.key));
  ASSERT_TRUE(table_->Commit(planned).ok());
  EXPECT_EQ(table_->FindPlan(PlanTicket{7}), nullptr);
  EXPECT_EQ(table_->Find(Id("c1")), &planned);
}

TEST_F(AttachmentTableTest, APortIsFoundOnItsCloudOnly) {
  Attachment& attached = Commit("c1");
  attached.port = PortId{3};
  EXPECT_EQ(table_->FindPort(attached.cloud.key, PortId{3}), &attached);
  EXPECT_EQ(table_->FindPort(attached.cloud.key, PortId{4}), nullptr);
  EXPECT_EQ(table_->FindPort(ParseVnl("vxvde://239.1.2.4", NoGroups)->key, PortId{3}), nullptr);
}

TEST_F(AttachmentTableTest, OthersAreTheOtherAttachmentsOfTheCloud) {
  const CloudKey cloud = Commit("c1").cloud.key;
  Plan("c2");
  const auto others = table_->OthersOn(cloud, Id("c1"));
  ASSERT_THAT(others, SizeIs(1));
  EXPECT_EQ(others[0]->container_id, "c2");
  EXPECT_THAT(table_->OthersOn(ParseVnl("vxvde://", NoGroups)->key, ""), IsEmpty());
}

// I1, I3.
TEST_F(AttachmentTableTest, ARestartKeepsRecordsAndAbandonsPlans) {
  Commit("c1");
  Plan("c2");
  EXPECT_THAT(OnDisk().planned, ElementsAre(Id("c2")));
  Open();
  ASSERT_THAT(table_->all(), ElementsAre(Key(Id("c1"))));
  const Attachment& waiting = *table_->Find(Id("c1"));
  EXPECT_EQ(waiting.state, Attachment::State::kWaiting);
  EXPECT_EQ(waiting.record, Planned("c1").record);
  EXPECT_EQ(loaded_.ports.at(waiting.cloud.key), 14800) << "from the record";
  EXPECT_THAT(table_->abandoned_plans(), ElementsAre(Id("c2")));
  ASSERT_TRUE(table_->ForgetPlan(Id("c2")).ok());
  EXPECT_THAT(table_->abandoned_plans(), IsEmpty());
  EXPECT_THAT(OnDisk().planned, IsEmpty());
}

TEST_F(AttachmentTableTest, ANewPlanTakesOverTheNoteOfAnAbandonedOne) {
  const std::string id = Id("c1");
  table_->Erase(Plan("c1"));
  table_->AbandonPlan(id);
  Plan("c1");
  EXPECT_THAT(table_->abandoned_plans(), IsEmpty());
  EXPECT_THAT(OnDisk().planned, ElementsAre(id));
}

TEST_F(AttachmentTableTest, ADelRemovesRecordsAndNotes) {
  Commit("c1");
  table_->Erase(Plan("c2"));
  table_->AbandonPlan(Id("c2"));
  for (const char* container : {"c1", "c2"}) ASSERT_TRUE(table_->RemoveRecord(Id(container)).ok());
  table_->Erase(*table_->Find(Id("c1")));
  EXPECT_THAT(table_->all(), IsEmpty());
  EXPECT_THAT(table_->abandoned_plans(), IsEmpty());
  EXPECT_THAT(OnDisk().records, IsEmpty());
  EXPECT_THAT(OnDisk().planned, IsEmpty());
}

// I2.
TEST_F(AttachmentTableTest, AnEndedRecordStaysUntilItIsForgottenOrReplaced) {
  for (const char* container : {"c1", "c2"}) {
    Attachment& attached = Commit(container);
    ASSERT_TRUE(table_->End(attached).ok());
    table_->Erase(attached);
  }
  Open();
  EXPECT_THAT(table_->all(), IsEmpty());
  EXPECT_THAT(table_->ended(), UnorderedElementsAre(Key(Id("c1")), Key(Id("c2"))));
  EXPECT_EQ(*table_->ForgetEnded(Id("c1")), true);
  EXPECT_EQ(*table_->ForgetEnded(Id("c1")), false);
  Commit("c2");
  EXPECT_THAT(table_->ended(), IsEmpty());
  EXPECT_THAT(OnDisk().ended, IsEmpty());
  EXPECT_THAT(OnDisk().records, SizeIs(1));
}

TEST_F(AttachmentTableTest, AnEndedRecordOfNetavarkIsRemoved) {
  Attachment planned = Planned("c1");
  planned.record.caller = "netavark";
  Attachment& attached = **table_->AddPlan(std::move(planned));
  ASSERT_TRUE(table_->Commit(attached).ok());
  ASSERT_TRUE(table_->End(attached).ok());
  table_->Erase(attached);
  EXPECT_THAT(table_->ended(), IsEmpty());
  EXPECT_THAT(OnDisk().ended, IsEmpty());
}

TEST_F(AttachmentTableTest, OneAddMayHaveSeveralKeys) {
  Commit("c1");
  Commit("c1", "net1");
  Attachment& ended = Commit("c1", "net2");
  ASSERT_TRUE(table_->End(ended).ok());
  table_->Erase(ended);
  Commit("c2");
  std::vector<std::string> ifnames;
  for (const AttachmentKey& key : table_->KeysOfAdd({"net", "c1", "eth0"})) {
    EXPECT_EQ(key.container_id, "c1");
    ifnames.push_back(key.ifname);
  }
  EXPECT_THAT(ifnames, ElementsAre("eth0", "net1", "net2"));
}

// A folder in place of the file makes each write fail.
TEST_F(AttachmentTableTest, AFailedWriteChangesNothing) {
  const std::string id = Id("c1");
  Attachment& planned = Plan("c1");
  const std::string obstacle = run_dir_ + "/attachments/" + id + ".json.new";
  std::filesystem::create_directory(obstacle);
  EXPECT_FALSE(table_->Commit(planned).ok());
  EXPECT_EQ(planned.state, Attachment::State::kPlanned);
  EXPECT_TRUE(planned.plan.has_value());
  std::filesystem::remove(obstacle);
  ASSERT_TRUE(table_->Commit(planned).ok());

  std::filesystem::create_directory(obstacle);
  AttachmentRecord renewed = planned.record;
  renewed.unicast_port = 14801;
  EXPECT_FALSE(table_->Renew(planned, renewed).ok());
  EXPECT_EQ(planned.record.unicast_port, 14800);
  std::filesystem::remove(obstacle);
  EXPECT_TRUE(table_->Renew(planned, renewed).ok());
  EXPECT_EQ(planned.record.unicast_port, 14801);

  std::filesystem::create_directory(run_dir_ + "/ended/" + id + ".json");
  EXPECT_FALSE(table_->End(planned).ok());
  EXPECT_THAT(table_->ended(), IsEmpty());
}

}  // namespace
}  // namespace vxvde
