// Restarts of the agent: ports come back, wait, or are ended.

#include "agent/attach/restorer.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

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
using ::testing::UnorderedElementsAre;

class RestorerTest : public AttachmentsTest {
 protected:
  const Reconciled& reconciled() { return agent_->attachments.reconciled(); }
  void Reconcile() { agent_->attachments.orphans().Reconcile(kernel_.AsSnapshot()); }
  std::string RecordFile(const PlanRequest& request) {
    return run_dir_ + "/attachments/" + IdOf(request) + ".json";
  }
};

TEST_F(RestorerTest, PortsComeBackAfterARestart) {
  PlanRequest tap = Request("c2");
  tap.tap = true;
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  ASSERT_TRUE(Add(tap).ok());
  ASSERT_TRUE(Add(Request("gone")).ok());
  ASSERT_TRUE(Add(Request("other", "team")).ok());
  const uint16_t unicast = Cloud().options.unicast_port;
  const std::vector<AttachmentInfo> before = agent_->attachments.List();
  kernel_.links.erase(HostIfName(IdOf(Request("gone"))));
  kernel_.links.erase(HostIfName(IdOf(Request("other", "team"))));

  Restart();
  EXPECT_EQ(kernel_.Leaves(), 0) << "no leave datagram";
  EXPECT_EQ(Cloud().options.unicast_port, unicast);
  EXPECT_FALSE(Joined("vxvde://239.1.2.3/vni=43"));
  std::vector<std::string> containers;
  for (const AttachmentInfo& info : agent_->attachments.List()) {
    EXPECT_NE(info.port, PortId::kNone);
    containers.push_back(info.container_id);
  }
  EXPECT_THAT(containers, testing::UnorderedElementsAre("c1", "c2"));
  EXPECT_THAT(Records(), SizeIs(2));
  std::vector<MacAddress> macs;
  for (const PortSnapshot& port : Cloud().ports) macs.push_back(port.options.mac);
  EXPECT_THAT(macs, testing::UnorderedElementsAre(DeriveMac("net", "c1", "eth0", 0),
                                                  DeriveMac("net", "c2", "eth0", 0)));
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  EXPECT_EQ(*agent_->attachments.Detach(tap.key), true);
  EXPECT_EQ(kernel_.Leaves(), 1);
  ExpectNothingLeft();
}

TEST_F(RestorerTest, AnAttachmentWithoutAPortWaitsAndIsShown) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const uint16_t unicast = Cloud().options.unicast_port;
  kernel_.no_route = true;
  Restart();
  ASSERT_THAT(agent_->attachments.List(), SizeIs(1));
  EXPECT_EQ(agent_->attachments.List()[0].port, PortId::kNone);
  EXPECT_THAT(agent_->attachments.List()[0].problem, HasSubstr("no route"));
  EXPECT_THAT(Records(), SizeIs(1));
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), unicast);

  kernel_.no_route = false;
  agent_->RunUntil([&] { return agent_->attachments.List()[0].port != PortId::kNone; });
  EXPECT_EQ(agent_->attachments.List()[0].problem, "");
  EXPECT_EQ(Cloud().options.unicast_port, unicast);
}

// Closing the port would drop the frames in its queue.
TEST_F(RestorerTest, APortStaysOpenWhenTheCloudFailsOnce) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  for (const int step : {4, 5}) {  // route and uplink, after the link, the socket and its watch
    kernel_.steps = kernel_.opened = 0;
    kernel_.fail_step = step;
    Restart();
    EXPECT_GT(kernel_.steps, step);
    EXPECT_NE(agent_->attachments.List()[0].port, PortId::kNone);
    EXPECT_EQ(kernel_.opened, 1) << "step " << step;
  }
}

TEST_F(RestorerTest, ATakenUnicastPortIsReplacedAndReported) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const uint16_t unicast = Cloud().options.unicast_port;
  kernel_.taken = {unicast};
  Restart();
  ASSERT_THAT(Cloud().ports, SizeIs(1));
  EXPECT_NE(Cloud().options.unicast_port, unicast);
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), Cloud().options.unicast_port);
  EXPECT_THAT(agent_->lines, testing::Contains(HasSubstr("unicast port changed")));
}

// On a node of 500 pods, announcements would be 250,000 frames at once for the pods there.
TEST_F(RestorerTest, OnlyAnotherUnicastPortIsAnnounced) {
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  const uint16_t port = Cloud().options.unicast_port;
  Restart();
  EXPECT_EQ(Announced(*kernel_.unicast.back()), 0);
  kernel_.taken = {port};
  Restart();
  ASSERT_NE(Cloud().options.unicast_port, port);
  EXPECT_EQ(Announced(*kernel_.unicast.back()), 1);
  agent_->RunUntil([&] { return Announced(*kernel_.unicast.back()) == 2; });
}

TEST_F(RestorerTest, ATornRecordIsRebuiltAndThePodKeepsItsPort) {
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
    EXPECT_EQ(Cloud().options.unicast_port, port) << "the record has it as well";
    EXPECT_EQ(Records(), before);
    EXPECT_EQ(reconciled().records, 1u);
    EXPECT_EQ(reconciled().unreadable, 2u);
    EXPECT_THAT(agent_->lines, Contains(HasSubstr("record rebuilt")));
  }
  std::filesystem::remove(RecordFile(request));
  Restart();
  EXPECT_THAT(Containers(), ElementsAre("c1")) << "a lost record is like a torn one";
  EXPECT_EQ(*agent_->attachments.Detach(request.key), true);
  Restart();
  EXPECT_THAT(Containers(), IsEmpty());
  EXPECT_THAT(agent_->lines, Not(Contains(HasSubstr("record rebuilt"))));
}

// The kernel decides whether the pod is alive.
TEST_F(RestorerTest, ATornRecordOfADeadPodIsEnded) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  kernel_.links.clear();
  std::ofstream(RecordFile(Request("c1"))) << "torn";
  Restart();
  EXPECT_THAT(Containers(), IsEmpty());
  EXPECT_EQ(reconciled().attachments, 1u);
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, SizeIs(1));
}

TEST_F(RestorerTest, TwoTornFilesAreReportedAndDelWorks) {
  const PlanRequest request = Request("c1");
  ASSERT_TRUE(Add(request).ok());
  std::ofstream(RecordFile(request)) << "torn";
  std::ofstream(run_dir_ + "/copies/" + IdOf(request) + ".json") << "torn";
  Restart();
  EXPECT_EQ(reconciled().unreadable, 2u);
  EXPECT_THAT(Containers(), IsEmpty());
  Reconcile();
  EXPECT_EQ(reconciled().unknown_links, 1u) << "the interface of a living pod is kept";
  EXPECT_THAT(kernel_.closed_later, IsEmpty());
  EXPECT_EQ(*agent_->attachments.Detach(request.key), false);
  EXPECT_TRUE(Add(request).ok());
}

}  // namespace
}  // namespace vxvde
