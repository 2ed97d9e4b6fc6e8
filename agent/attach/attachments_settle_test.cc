// What a plan waits for: addresses of the agent's own, the node's port, published ports.

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

TEST_F(AttachmentsTest, APlanWaitsForItsAddresses) {
  PlanRequest request = Request("c1", "routed");
  request.addresses_by_caller = false;
  request.pod_namespace = "shop";
  request.pod_name = "web-0";
  const absl::StatusOr<PlannedAttachment> plan = Plan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<absl::StatusOr<SettledPlan>> settled;
  const auto settle = [&](PlanTicket ticket) {
    agent_->attachments.Settle(
        ticket, [&](absl::StatusOr<SettledPlan> result) { settled.push_back(std::move(result)); });
  };
  settle(plan->ticket);
  ASSERT_THAT(agent_->claims.wishes, SizeIs(1));
  const AddressWish& wish = agent_->claims.wishes[0];
  EXPECT_EQ(wish.lease, plan->id);
  EXPECT_EQ(wish.owner, "shop/web-0");
  EXPECT_EQ(wish.mac, plan->mac);
  EXPECT_THAT(wish.subnets, ElementsAre(*IpPrefix::Parse("10.42.0.0/16")));
  EXPECT_THAT(settled, IsEmpty());
  agent_->claims.Answer(plan->id, std::vector<IpPrefix>{*IpPrefix::Parse("10.42.0.7/16")});
  ASSERT_THAT(settled, SizeIs(1));
  ASSERT_TRUE(settled[0].ok());
  EXPECT_THAT(settled[0]->addresses, ElementsAre(*IpPrefix::Parse("10.42.0.7/16")));
  EXPECT_THAT(settled[0]->gateways, IsEmpty());

  kernel_.AddVeth(plan->id);
  ASSERT_TRUE(Commit(*plan, settled[0]->addresses).ok());
  EXPECT_THAT(agent_->claims.occupied, IsEmpty()) << "it is claimed, and not by others' means";
  EXPECT_THAT(agent_->claims.released, IsEmpty());
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  EXPECT_THAT(agent_->claims.released, ElementsAre(plan->id));

  // Taken: the plan is there until it is rolled back, and then its claim is not.
  request = Request("c2", "routed");
  request.addresses_by_caller = false;
  const absl::StatusOr<PlannedAttachment> refused = Plan(request);
  ASSERT_TRUE(refused.ok());
  settle(refused->ticket);
  EXPECT_EQ(agent_->claims.wishes.back().owner, "container/c2");
  agent_->claims.Answer(refused->id, Refuse(AttachError::kAddressInUse, "taken", "another"));
  ASSERT_THAT(settled, SizeIs(2));
  EXPECT_EQ(Why(settled[1].status()).code, Code(AttachError::kAddressInUse));
  agent_->attachments.Rollback(refused->ticket);
  EXPECT_EQ(agent_->claims.released.back(), refused->id);

  // A DEL while it waits.
  request = Request("c3", "routed");
  request.addresses_by_caller = false;
  const absl::StatusOr<PlannedAttachment> deleted = Plan(request);
  ASSERT_TRUE(deleted.ok());
  settle(deleted->ticket);
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  ASSERT_THAT(settled, SizeIs(3));
  EXPECT_EQ(Why(settled[2].status()).code, kCniTryAgainLater);
  EXPECT_THAT(agent_->claims.waiting, testing::Not(testing::Contains(testing::Key(deleted->id))));
  settle(deleted->ticket);
  EXPECT_EQ(Why(settled.back().status()).code, kCniTryAgainLater);
}

TEST_F(AttachmentsTest, AGatewayIsInUseAsLongAsItsPod) {
  const PlanRequest request = Request("c1", "out");
  const absl::StatusOr<PlannedAttachment> plan = Plan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  absl::StatusOr<SettledPlan> settled = absl::UnknownError("");
  const auto settle = [&](PlanTicket ticket) {
    agent_->attachments.Settle(
        ticket, [&](absl::StatusOr<SettledPlan> result) { settled = std::move(result); });
  };
  settle(plan->ticket);
  ASSERT_TRUE(settled.ok()) << settled.status();
  EXPECT_THAT(settled->gateways,
              ElementsAre(*IpAddress::Parse("10.45.0.1"), *IpAddress::Parse("fd45::1")))
      << "one a family";
  kernel_.AddVeth(plan->id);
  ASSERT_TRUE(Commit(*plan, {*IpPrefix::Parse("10.45.0.7/16")}).ok());
  EXPECT_THAT(agent_->node_ports.published, IsEmpty());

  Restart();
  EXPECT_THAT(agent_->node_ports.users, ElementsAre(testing::Key(plan->id)));
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  EXPECT_THAT(agent_->node_ports.users, IsEmpty());

  agent_->node_ports.refuses_to_open = Refuse(AttachError::kPoolExhausted, "full", "enlarge it");
  const absl::StatusOr<PlannedAttachment> refused = Plan(request);
  ASSERT_TRUE(refused.ok());
  settle(refused->ticket);
  EXPECT_EQ(Why(settled.status()).code, Code(AttachError::kPoolExhausted));
  agent_->attachments.Rollback(refused->ticket);
  EXPECT_THAT(agent_->node_ports.users, IsEmpty());
}

TEST_F(AttachmentsTest, PortsArePublishedAsLongAsTheirPod) {
  PlanRequest request = Request("c1");
  request.port_mappings = {{8080, 80, "tcp", std::nullopt}, {53, 53, "udp", std::nullopt}};
  request.brought = {*IpPrefix::Parse("192.0.2.7/24")};
  const auto add = [&]() -> absl::StatusOr<PortId> {
    ASSIGN_OR_RETURN(const PlannedAttachment plan, Plan(request));
    agent_->attachments.Settle(plan.ticket, [](const absl::StatusOr<SettledPlan>& settled) {
      EXPECT_TRUE(settled.ok());
      EXPECT_THAT(settled->gateways, IsEmpty()) << "published, but no way out";
    });
    kernel_.AddVeth(plan.id);
    return Commit(plan, request.brought);
  };
  ASSERT_TRUE(add().ok());
  const std::string id = IdOf(request);
  EXPECT_THAT(agent_->node_ports.users.at(id), ElementsAre(*IpPrefix::Parse("192.0.2.7/24")));

  Restart();
  EXPECT_TRUE(agent_->node_ports.users.contains(id));
  ASSERT_TRUE(agent_->node_ports.published.contains(id));
  const Publication& published = agent_->node_ports.published[id];
  EXPECT_EQ(published.mappings, request.port_mappings);
  EXPECT_EQ(published.addresses, request.brought);
  EXPECT_EQ(published.cloud, KeyOf(kVnl));
  EXPECT_THAT(published.holder, HasSubstr("container c1"));
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  EXPECT_THAT(agent_->node_ports.published, IsEmpty());
  ExpectNothingLeft();

  agent_->node_ports.refuses_to_publish = Refuse(AttachError::kPortInUse, "in use", "another");
  EXPECT_EQ(Why(add().status()).code, Code(AttachError::kPortInUse));
  EXPECT_THAT(agent_->node_ports.users, IsEmpty());
  ExpectNothingLeft();
  agent_->node_ports.taken = agent_->node_ports.refuses_to_publish;
  EXPECT_EQ(Why(Plan(request).status()).code, Code(AttachError::kPortInUse));
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, TheNodesAddressIsNoPods) {
  AttachmentInfo node;
  node.ifname = "vx-blue";
  node.cloud = KeyOf(kVnl);
  node.addresses = {*IpPrefix::Parse("192.0.2.1/24")};
  agent_->node_ports.shown = {node};
  const Refusal refused = Why(Add(Request("c1"), {"192.0.2.1/24"}).status());
  EXPECT_EQ(refused.code, Code(AttachError::kAddressInUse));
  EXPECT_THAT(refused.message, HasSubstr("vx-blue"));
  EXPECT_TRUE(Add(Request("c1"), {"192.0.2.2/24"}).ok());
}

// A7.
TEST_F(AttachmentsTest, AnAddressThatNobodyCouldGiveIsRefused) {
  PlanRequest request = Request("c1");
  request.addresses_by_caller = false;
  request.addresses = {*IpAddress::Parse("192.0.2.7")};
  const Refusal refused = Why(Plan(request).status());
  EXPECT_EQ(refused.code, kCniInvalidConfig);
  EXPECT_THAT(refused.message, HasSubstr("192.0.2.7"));
  EXPECT_THAT(refused.remedy, HasSubstr("\"ipam\": {}"));
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, AddressesOfOthersAreNoted) {
  ASSERT_TRUE(Add(Request("c1", "routed"), {"10.42.0.9/16"}).ok());
  EXPECT_THAT(agent_->claims.occupied,
              testing::ElementsAre(testing::Pair(IdOf(Request("c1")),
                                                 ElementsAre(*IpPrefix::Parse("10.42.0.9/16")))));
  ASSERT_TRUE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_THAT(agent_->claims.occupied, IsEmpty());
}

}  // namespace
}  // namespace vxvde
