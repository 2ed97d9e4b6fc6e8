// Beyond one call: restarts, pods that die, CHECK and STATUS, what people are shown.

#include <algorithm>
#include <string>
#include <utility>
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

TEST_F(AttachmentsTest, ARestartedAgentTakesItsPortsUpAgain) {
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
  EXPECT_EQ(kernel_.Leaves(), 0) << "nothing that reads as leave";
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

TEST_F(AttachmentsTest, WhatCannotBeTakenUpYetWaitsAndIsShown) {
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

// What waits in its queue would go with it.
TEST_F(AttachmentsTest, APortIsOpenedOnceWhenTheCloudFailsForAMoment) {
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

TEST_F(AttachmentsTest, ATakenUnicastPortIsReplacedAndSaid) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const uint16_t unicast = Cloud().options.unicast_port;
  kernel_.taken = {unicast};
  Restart();
  ASSERT_THAT(Cloud().ports, SizeIs(1));
  EXPECT_NE(Cloud().options.unicast_port, unicast);
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), Cloud().options.unicast_port);
  EXPECT_THAT(agent_->lines, testing::Contains(HasSubstr("unicast port changed")));
}

// S1.
TEST_F(AttachmentsTest, ReadyMeansThatAnAddWouldWork) {
  Attachments& attachments = agent_->attachments;
  EXPECT_TRUE(attachments.Ready("blue", "").ok());
  EXPECT_TRUE(attachments.Ready("", "").ok());
  EXPECT_FALSE(Joined(kVnl)) << "a question joins nothing";
  const Refusal unknown = Why(attachments.Ready("mauve", ""));
  EXPECT_EQ(unknown.code, 50u);
  EXPECT_THAT(unknown.message, HasSubstr("mauve"));
  kernel_.no_route = true;
  EXPECT_EQ(Why(attachments.Ready("blue", "")).code, 50u);
  kernel_.no_route = false;

  ASSERT_TRUE(Add(Request("c1")).ok());
  EXPECT_TRUE(attachments.Ready("blue", "").ok());
  kernel_.uplink_up = false;
  const Refusal down = Why(attachments.Ready("blue", ""));
  EXPECT_EQ(down.code, 51u) << "c1 is cut off";
  EXPECT_THAT(down.message, HasSubstr("eth0"));
  EXPECT_THAT(down.remedy, HasSubstr("up"));
  EXPECT_EQ(Why(attachments.Ready("team", "")).code, 50u) << "nobody is there";
}

// C1.
TEST_F(AttachmentsTest, ACloudFollowsItsUplink) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const uint16_t port = agent_->clouds.Find(KeyOf(kVnl))->unicast_port;
  const auto warnings = [&] {
    return std::count_if(agent_->lines.begin(), agent_->lines.end(), [](const std::string& line) {
      return line.find("no uplink") != std::string::npos;
    });
  };
  agent_->clouds.FollowUplinks(config_);
  EXPECT_EQ(agent_->clouds.Find(KeyOf(kVnl))->uplink, IfIndex{2});

  kernel_.uplink = IfIndex{7};  // made again
  // The socket of the group there is the fourth call: old link, route, new link, socket.
  for (int i = 0; i < 3; ++i) {
    kernel_.steps = 0;
    kernel_.fail_step = 4;
    agent_->clouds.FollowUplinks(config_);
    EXPECT_EQ(agent_->clouds.Find(KeyOf(kVnl))->uplink, IfIndex{2});
    EXPECT_EQ(warnings(), 1) << "said once";
  }
  kernel_.fail_step = 0;
  agent_->clouds.FollowUplinks(config_);
  EXPECT_EQ(agent_->clouds.Find(KeyOf(kVnl))->uplink, IfIndex{7});
  EXPECT_EQ(Cloud().options.uplink, IfIndex{7});
  EXPECT_EQ(Cloud().options.unicast_port, port);
  EXPECT_EQ(warnings(), 1);
}

TEST_F(AttachmentsTest, CheckSaysWhyNoFrameFlows) {
  const auto check = [&] { return agent_->attachments.Check(Request("c1").key).status(); };
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotAttached));
  const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotAttached)) << "a plan is not yet one";
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

TEST_F(AttachmentsTest, APodThatDiesWithoutDelIsForgotten) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const std::string link = HostIfName(IdOf(Request("c1")));
  kernel_.links.erase(link);
  kernel_.ports.at(link)->Break(absl::NotFoundError("the interface is gone"));
  agent_->RunUntil([&] { return agent_->attachments.List().empty(); });
  EXPECT_EQ(kernel_.Leaves(), 1);
  ExpectNothingLeft();
}

// G1: what such a pod has elsewhere (a lease) is still to be given back.
TEST_F(AttachmentsTest, AnEndedOneIsListedUntilDelOrAdd) {
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
  EXPECT_THAT(listed(), ElementsAre("c1 ended", "c2 ended", "c3")) << "netavark never asks";
  Restart();
  EXPECT_THAT(listed(), ElementsAre("c1 ended", "c2 ended", "c3"));
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  ASSERT_TRUE(Add(Request("c2")).ok());
  EXPECT_THAT(listed(), ElementsAre("c2", "c3"));
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, IsEmpty());
}

// vxvdectl gc, where no runtime asks any more.
TEST_F(AttachmentsTest, AnEndedOneCanBeForgottenALivingOneNot) {
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

// D1: before anything is taken up, so nothing is joined, and left again, for it.
TEST_F(AttachmentsTest, DelsThatWereQueuedAreDoneFirst) {
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
  agent_->attachments.DetachQueued();
  ExpectNothingLeft();
}

// The same container comes back (podman restart): its old DEL must not end its new life.
TEST_F(AttachmentsTest, AnAddTakesItsQueuedDelAway) {
  ASSERT_TRUE(
      DetachQueue(run_dir_).Put({.network = "net", .container_id = "c1", .ifname = "eth0"}).ok());
  ASSERT_TRUE(Add(Request("c1")).ok());
  Restart();
  EXPECT_THAT(agent_->attachments.List(), SizeIs(1));
}

// To the group: header, then a broadcast frame with EtherType ARP (0x0806).
int Announced(const FakeSocket::State& socket) {
  int n = 0;
  for (const FakeSocket::Out& out : socket.out) {
    n += out.bytes.size() >= 8 + 42 && out.bytes[8] == 0xff && out.bytes[8 + 12] == 0x08 &&
         out.bytes[8 + 13] == 0x06 && out.to.address == IpAddress::V4(239, 1, 2, 3);
  }
  return n;
}

TEST_F(AttachmentsTest, AddressesAreAnnouncedTwice) {
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  agent_->RunUntil([&] { return Announced(*kernel_.unicast.at(0)) == 2; });
}

// On a node of 500 pods that would be 250,000 frames at once for the pods here.
TEST_F(AttachmentsTest, ARestartIsNotAnnouncedButAnotherPortIs) {
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

TEST_F(AttachmentsTest, AReloadChangesPlansFromNowOn) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  Config changed = config_;
  changed.clouds[0].config.key.vni = *Vni::Make(99);
  agent_->attachments.SetConfig(changed);
  EXPECT_THAT(agent_->lines, testing::Contains(HasSubstr("cloud kept as joined")));
  EXPECT_TRUE(Joined(kVnl));
  EXPECT_EQ(Plan(Request("c2"))->vnl, "vxvde://239.1.2.3/vni=99");
  ASSERT_TRUE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_FALSE(Joined(kVnl));
}

TEST_F(AttachmentsTest, APortIsBoundToItsLeaseAndToWhatIsAllowed) {
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
  EXPECT_EQ(guard(), bound) << "it is in the record";

  Config off = config_;
  off.clouds[2].port_security = false;
  agent_->attachments.SetConfig(off);
  EXPECT_EQ(guard(), PortGuard{}) << "counts at once";
  agent_->attachments.SetConfig(config_);
  EXPECT_EQ(guard(), bound);
}

}  // namespace
}  // namespace vxvde
