// Ports, announcements and clouds of attachments.

#include "agent/attach/attachment_resources.h"

#include <algorithm>
#include <string>

#include "agent/attach/testing/attachments_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using AttachmentResourcesTest = AttachmentsTest;

// C1.
TEST_F(AttachmentResourcesTest, ACloudFollowsItsUplink) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const uint16_t port = agent_->clouds.Find(KeyOf(kVnl))->unicast_port;
  const auto warnings = [&] {
    return std::count_if(agent_->lines.begin(), agent_->lines.end(), [](const std::string& line) {
      return line.find("no uplink") != std::string::npos;
    });
  };
  agent_->clouds.FollowUplinks();
  EXPECT_EQ(agent_->clouds.Find(KeyOf(kVnl))->uplink, IfIndex{2});

  kernel_.uplink = IfIndex{7};  // the interface was recreated
  // The fourth call opens the group's socket there: old link, route, new link, socket.
  for (int i = 0; i < 3; ++i) {
    kernel_.steps = 0;
    kernel_.fail_step = 4;
    agent_->clouds.FollowUplinks();
    EXPECT_EQ(agent_->clouds.Find(KeyOf(kVnl))->uplink, IfIndex{2});
    EXPECT_EQ(warnings(), 1) << "reported once";
  }
  kernel_.fail_step = 0;
  agent_->clouds.FollowUplinks();
  EXPECT_EQ(agent_->clouds.Find(KeyOf(kVnl))->uplink, IfIndex{7});
  EXPECT_EQ(Cloud().options.uplink, IfIndex{7});
  EXPECT_EQ(Cloud().options.unicast_port, port);
  EXPECT_EQ(warnings(), 1);
}

TEST_F(AttachmentResourcesTest, APodThatEndsWithoutDelIsForgotten) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const std::string link = HostIfName(IdOf(Request("c1")));
  kernel_.links.erase(link);
  kernel_.ports.at(link)->Break(absl::NotFoundError("the interface is gone"));
  agent_->RunUntil([&] { return agent_->attachments.List().empty(); });
  EXPECT_EQ(kernel_.Leaves(), 1);
  ExpectNothingLeft();
}

TEST_F(AttachmentResourcesTest, AddressesAreAnnouncedTwice) {
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  agent_->RunUntil([&] { return Announced(*kernel_.unicast.at(0)) == 2; });
}

TEST_F(AttachmentResourcesTest, APortSendsFromItsAddressesAndAllowedOnes) {
  const auto guard = [&] { return Cloud().ports.at(0).options.guard; };
  PlanRequest request = Request("c1", "routed");
  request.allow = {*Allowed::Parse("00:00:5e:00:01:00/40")};
  ASSERT_TRUE(Add(request, {"192.0.2.7/24"}).ok());
  const PortGuard bound = {
      .on = true,
      .macs = {*MacPrefix::Parse("00:00:5e:00:01:00/40")},
      .addresses = {*IpPrefix::Parse("192.0.2.7/32")},
      .reserved = {*IpPrefix::Parse("0.0.0.0/0"), *IpPrefix::Parse("10.42.0.0/16")}};
  EXPECT_EQ(guard(), bound);
  EXPECT_THAT(agent_->attachments.List().at(0).allow, testing::ElementsAre("00:00:5e:00:01:00/40"));
  Restart();
  EXPECT_EQ(guard(), bound) << "from the record";

  Config off = config_;
  off.clouds[2].port_security = false;
  agent_->config.Set(off);
  EXPECT_EQ(guard(), PortGuard{}) << "applies at once";
  agent_->config.Set(config_);
  EXPECT_EQ(guard(), bound);
}

}  // namespace
}  // namespace vxvde
