// The asynchronous part of a plan: addresses that the agent allocates, the node's own port,
// published ports, and the ways in which a waiting plan ends.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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
using ::testing::Key;
using ::testing::Not;
using ::testing::SizeIs;

class AttachmentsPlanTest : public AttachmentsTest {
 protected:
  // A plan that waits for addresses.
  PlanRequest RoutedRequest(const std::string& container) {
    PlanRequest request = Request(container, "routed");
    request.addresses_by_caller = false;
    return request;
  }
  std::vector<IpPrefix> Address(const std::string& text) { return {*IpPrefix::Parse(text)}; }

  std::optional<absl::StatusOr<PlannedAttachment>> result_;
};

TEST_F(AttachmentsPlanTest, APlanWaitsForItsAddresses) {
  PlanRequest request = RoutedRequest("c1");
  request.pod_namespace = "shop";
  request.pod_name = "web-0";
  const PlanTicket ticket = StartPlan(request, &result_);
  ASSERT_THAT(agent_->claims.wishes, SizeIs(1));
  const AddressWish& wish = agent_->claims.wishes[0];
  EXPECT_EQ(wish.lease, IdOf(request));
  EXPECT_EQ(wish.owner, "shop/web-0");
  EXPECT_THAT(wish.subnets, ElementsAre(*IpPrefix::Parse("10.42.0.0/16")));
  EXPECT_FALSE(result_.has_value());
  EXPECT_TRUE(Joined("vxvde://239.1.2.3/vni=44"));
  EXPECT_THAT(agent_->attachments.List(), IsEmpty());

  agent_->claims.Answer(IdOf(request), Address("10.42.0.7/16"));
  ASSERT_TRUE(result_.has_value());
  ASSERT_TRUE(result_->ok()) << result_->status();
  const PlannedAttachment& planned = **result_;
  EXPECT_EQ(planned.ticket, ticket);
  EXPECT_EQ(planned.id, IdOf(request));
  EXPECT_EQ(planned.mac, wish.mac);
  EXPECT_THAT(planned.addresses, ElementsAre(*IpPrefix::Parse("10.42.0.7/16")));
  EXPECT_THAT(planned.gateways, IsEmpty());

  kernel_.AddVeth(planned.id);
  ASSERT_TRUE(Commit(planned, planned.addresses).ok());
  EXPECT_THAT(agent_->claims.occupied, IsEmpty()) << "they have a lease";
  EXPECT_THAT(agent_->claims.released, IsEmpty());
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  EXPECT_THAT(agent_->claims.released, ElementsAre(planned.id));
}

TEST_F(AttachmentsPlanTest, ARefusedClaimEndsThePlan) {
  const PlanRequest request = RoutedRequest("c1");
  const PlanTicket ticket = StartPlan(request, &result_);
  EXPECT_EQ(agent_->claims.wishes.back().owner, "container/c1");
  agent_->claims.Answer(IdOf(request), Refuse(AttachError::kAddressInUse, "taken", "another"));
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(Why(result_->status()).code, Code(AttachError::kAddressInUse));
  EXPECT_THAT(agent_->claims.released, ElementsAre(IdOf(request)));
  EXPECT_TRUE(std::filesystem::is_empty(run_dir_ + "/planned")) << "no link can exist";
  ExpectNothingLeft();
  agent_->attachments.Rollback(ticket);  // harmless
  EXPECT_TRUE(Plan(request).ok()) << "the key is free again";
}

TEST_F(AttachmentsPlanTest, ARollbackCancelsAPlanThatWaits) {
  const PlanRequest request = RoutedRequest("c1");
  agent_->attachments.Rollback(StartPlan(request, &result_));
  EXPECT_FALSE(result_.has_value()) << "its connection has ended";
  EXPECT_THAT(agent_->claims.waiting, IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(run_dir_ + "/planned"));
  ExpectNothingLeft();
}

TEST_F(AttachmentsPlanTest, ADelEndsAPlanThatWaits) {
  const PlanRequest request = RoutedRequest("c1");
  const PlanTicket ticket = StartPlan(request, &result_);
  EXPECT_EQ(Why(Plan(request).status()).code, kCniTryAgainLater) << "the key is taken";
  EXPECT_EQ(*agent_->attachments.Detach(request.key), true);
  ASSERT_TRUE(result_.has_value());
  EXPECT_EQ(Why(result_->status()).code, kCniTryAgainLater);
  EXPECT_THAT(agent_->claims.waiting, Not(Contains(Key(IdOf(request)))));
  EXPECT_EQ(Why(agent_->attachments.Commit(ticket, {}, UniqueFd()).status()).code,
            kCniTryAgainLater);
  ExpectNothingLeft();
}

TEST_F(AttachmentsPlanTest, AGatewayIsInUseAsLongAsItsPod) {
  const PlanRequest request = Request("c1", "out");
  const absl::StatusOr<PlannedAttachment> plan = Plan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->gateways,
              ElementsAre(*IpAddress::Parse("10.45.0.1"), *IpAddress::Parse("fd45::1")))
      << "one of each family";
  kernel_.AddVeth(plan->id);
  ASSERT_TRUE(Commit(*plan, Address("10.45.0.7/16")).ok());
  EXPECT_THAT(agent_->node_ports.published, IsEmpty());

  Restart();
  EXPECT_THAT(agent_->node_ports.users, ElementsAre(Key(plan->id)));
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  EXPECT_THAT(agent_->node_ports.users, IsEmpty());

  agent_->node_ports.refuses_to_open = Refuse(AttachError::kPoolExhausted, "full", "enlarge it");
  EXPECT_EQ(Why(Plan(request).status()).code, Code(AttachError::kPoolExhausted));
  EXPECT_THAT(agent_->node_ports.users, IsEmpty());
  ExpectNothingLeft();
}

TEST_F(AttachmentsPlanTest, PortsArePublishedAsLongAsTheirPod) {
  PlanRequest request = Request("c1");
  request.port_mappings = {{8080, 80, "tcp", std::nullopt}, {53, 53, "udp", std::nullopt}};
  request.brought = {*IpPrefix::Parse("192.0.2.7/24")};
  const auto add = [&]() -> absl::StatusOr<PortId> {
    ASSIGN_OR_RETURN(const PlannedAttachment plan, Plan(request));
    EXPECT_THAT(plan.gateways, IsEmpty()) << "the cloud has no gateway";
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

TEST_F(AttachmentsPlanTest, TheNodesAddressIsInUse) {
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
TEST_F(AttachmentsPlanTest, ARequestedAddressNeedsASubnet) {
  PlanRequest request = Request("c1");
  request.addresses_by_caller = false;
  request.addresses = {*IpAddress::Parse("192.0.2.7")};
  const Refusal refused = Why(Plan(request).status());
  EXPECT_EQ(refused.code, kCniInvalidConfig);
  EXPECT_THAT(refused.message, HasSubstr("192.0.2.7"));
  EXPECT_THAT(refused.remedy, HasSubstr("\"ipam\": {}"));
  ExpectNothingLeft();
}

TEST_F(AttachmentsPlanTest, AddressesOfAnIpamPluginAreRegistered) {
  ASSERT_TRUE(Add(Request("c1", "routed"), {"10.42.0.9/16"}).ok());
  EXPECT_THAT(agent_->claims.occupied,
              ElementsAre(testing::Pair(IdOf(Request("c1")),
                                        ElementsAre(*IpPrefix::Parse("10.42.0.9/16")))));
  ASSERT_TRUE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_THAT(agent_->claims.occupied, IsEmpty());
}

}  // namespace
}  // namespace vxvde
