// ADD and DEL: requests, refusals, and the failure of each step in turn.

#include "agent/attach/attachments.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "agent/attach/testing/attachments_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST_F(AttachmentsTest, AddAndDelete) {
  const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->id, IdOf(Request("c1")));
  EXPECT_EQ(plan->host_ifname, "vx" + plan->id);
  EXPECT_EQ(plan->alias, "vxvde:" + plan->id);
  EXPECT_EQ(plan->mtu, 1400);
  EXPECT_EQ(plan->cloud, "blue");
  EXPECT_EQ(plan->vnl, kVnl);
  EXPECT_EQ(plan->mac, DeriveMac("net", "c1", "eth0", 0));
  EXPECT_TRUE(Joined(kVnl));
  EXPECT_THAT(agent_->attachments.List(), IsEmpty()) << "nothing is visible yet";
  EXPECT_THAT(Records(), IsEmpty());

  kernel_.AddVeth(plan->id);
  const absl::StatusOr<PortId> port = Commit(*plan, {*IpPrefix::Parse("192.0.2.7/24")});
  ASSERT_TRUE(port.ok()) << port.status();
  ASSERT_THAT(agent_->attachments.List(), SizeIs(1));
  EXPECT_EQ(agent_->attachments.List()[0].port, *port);
  EXPECT_THAT(Records(), SizeIs(1));
  ASSERT_THAT(Cloud().ports, SizeIs(1));
  EXPECT_EQ(Cloud().ports[0].options.mac, plan->mac);
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), Cloud().options.unicast_port);

  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  EXPECT_EQ(kernel_.Leaves(), 1) << "the last port is gone";
  ExpectNothingLeft();
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), false) << "a second time";
}

// As with an IPAM plugin that sends requests on the cloud (dhcp).
TEST_F(AttachmentsTest, AddressesMayBeKnownAfterTheCommit) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const IpPrefix address = *IpPrefix::Parse("192.0.2.7/24");
  ASSERT_TRUE(agent_->attachments.SetAddresses(Request("c1").key, {address}).ok());
  EXPECT_THAT(agent_->attachments.List()[0].addresses, testing::ElementsAre(address));
  Restart();
  EXPECT_THAT(agent_->attachments.List()[0].addresses, testing::ElementsAre(address));

  ASSERT_TRUE(Add(Request("c2")).ok());
  const absl::Status taken = agent_->attachments.SetAddresses(Request("c2").key, {address});
  EXPECT_EQ(RefusalOf(taken).code, static_cast<uint32_t>(AttachError::kAddressInUse)) << taken;
  EXPECT_THAT(agent_->attachments.List(), SizeIs(2)) << "it stays attached";
  EXPECT_EQ(RefusalOf(agent_->attachments.SetAddresses(Request("c3").key, {address})).code,
            kCniTryAgainLater);
}

TEST_F(AttachmentsTest, ACloudIsLeftWithItsLastPortOnly) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());
  ASSERT_TRUE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_TRUE(Joined(kVnl));
  EXPECT_EQ(kernel_.Leaves(), 0);
  const absl::StatusOr<PlannedAttachment> planned = Plan(Request("c3"));
  ASSERT_TRUE(agent_->attachments.Detach(Request("c2").key).ok());
  EXPECT_TRUE(Joined(kVnl)) << "a plan holds it";
  agent_->attachments.Rollback(planned->ticket);
  EXPECT_EQ(kernel_.Leaves(), 1);
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, APortHasTheHostEndOfItsLink) {
  PlanRequest tap = Request("c2");
  tap.tap = true;
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(Add(tap).ok());
  const LinkInfo host_end = kernel_.links.at(HostIfName(IdOf(Request("c1"))));
  ASSERT_THAT(Cloud().ports, SizeIs(2));
  EXPECT_EQ(Cloud().ports[0].options.host_end, host_end.index);
  EXPECT_EQ(Cloud().ports[1].options.host_end, IfIndex::kNone) << "a tap has none here";
}

TEST_F(AttachmentsTest, AnAnnotationAllowsNoMoreThanTheCloudLets) {
  config_.clouds[0].allow_by_annotation = {*Allowed::Parse("00:00:5e:00:01:00/40"),
                                           *Allowed::Parse("10.42.0.200")};
  agent_->config.Set(config_);
  PlanRequest request = Request("c1");
  request.allow = {*Allowed::Parse("router")};  // set by the operator
  request.allow_by_annotation = {*Allowed::Parse("00:00:5e:00:01:0a"),
                                 *Allowed::Parse("10.42.0.200")};
  ASSERT_TRUE(Add(request).ok());
  EXPECT_THAT(agent_->attachments.List().at(0).allow,
              testing::ElementsAre("router", "00:00:5e:00:01:0a", "10.42.0.200"));

  request = Request("c2");
  request.allow_by_annotation = {*Allowed::Parse("router")};
  Refusal why = Why(Plan(request).status());
  EXPECT_EQ(why.code, Code(AttachError::kForbidden));
  EXPECT_THAT(why.message, AllOf(HasSubstr("router"), HasSubstr("\"blue\""),
                                 HasSubstr("[00:00:5e:00:01:00/40, 10.42.0.200]")));
  EXPECT_THAT(why.remedy, HasSubstr("allowByAnnotation"));
  request.cloud = "team";
  request.pod_namespace = "team-a";
  EXPECT_EQ(Why(Plan(request).status()).code, Code(AttachError::kForbidden)) << "an empty list";
  request.cloud = "";
  request.vnl = "vxvde://239.9.9.9";
  why = Why(Plan(request).status());
  EXPECT_EQ(why.code, Code(AttachError::kForbidden));
  EXPECT_THAT(why.message, HasSubstr("not in the agent's configuration"));
  EXPECT_THAT(Records(), SizeIs(1));
}

// Each node has an address of its own in each cloud, and keeps it.
TEST_F(AttachmentsTest, ACloudIsJoinedWithTheAgentsAddressAndDatapath) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const MacAddress mac = Cloud().options.agent_mac;
  EXPECT_TRUE(mac.IsStation());
  EXPECT_EQ(Cloud().options.datapath, Datapath::kAuto);
  Restart();
  EXPECT_EQ(Cloud().options.agent_mac, mac);
  ASSERT_TRUE(Add(Request("c2", "team")).ok());
  ASSERT_THAT(agent_->the_switch.Snapshot().clouds, SizeIs(2));
  EXPECT_NE(agent_->the_switch.Snapshot().clouds[1].options.agent_mac, mac);
  config_.node = "n2";
  config_.datapath = Datapath::kUser;
  Restart();
  EXPECT_NE(Cloud().options.agent_mac, mac);
  EXPECT_EQ(Cloud().options.datapath, Datapath::kUser);
}

// An annotation may let one ADD make several attachments; its DEL names only the first.
TEST_F(AttachmentsTest, DetachAllDetachesAllOfOneAdd) {
  PlanRequest net1 = Request("c1", "team");
  net1.key.ifname = "net1";
  net1.main_ifname = "eth0";
  PlanRequest another_adds = Request("c1");  // the same network again, as with Multus
  another_adds.key.ifname = "net2";
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(Add(net1).ok());
  ASSERT_TRUE(Add(another_adds).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());

  Restart();  // the records tell what one ADD made
  EXPECT_EQ(*agent_->attachments.DetachAll(Request("c1").key), true);
  std::vector<std::string> left;
  for (const AttachmentInfo& one : agent_->attachments.List()) {
    left.push_back(one.container_id + "/" + one.ifname);
  }
  EXPECT_THAT(left, UnorderedElementsAre("c1/net2", "c2/eth0"));
  EXPECT_EQ(*agent_->attachments.DetachAll(Request("c1").key), false) << "a second time";
}

// In a chain another plugin makes the first interface, and there is no attachment of that name.
TEST_F(AttachmentsTest, DetachAllNeedsNoFirstAttachment) {
  PlanRequest net1 = Request("c1");
  net1.key.ifname = "net1";
  net1.main_ifname = "eth0";
  const absl::StatusOr<PlannedAttachment> plan = Plan(net1);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->alias, "vxvde:" + plan->id + ":" + IdOf(Request("c1")));
  agent_->attachments.Rollback(plan->ticket);
  ASSERT_TRUE(Add(net1).ok());
  EXPECT_EQ(*agent_->attachments.DetachAll(Request("c1").key), true);
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, M3_AnnotationsNameLocatorsOnlyWhereAllowed) {
  PlanRequest request = Request("c1", "");
  request.vnl = "vxvde://239.1.2.9";
  request.by_annotation = true;
  const Refusal why = Why(Plan(request).status());
  EXPECT_EQ(why.code, Code(AttachError::kForbidden));
  EXPECT_THAT(why.message, AllOf(HasSubstr("vxvde://239.1.2.9"), HasSubstr("allowVnl: false")));
  ExpectNothingLeft();

  request.by_annotation = false;  // the operator's configuration
  EXPECT_TRUE(Add(request).ok());
  config_.allow_vnl = true;
  agent_->config.Set(config_);
  request.by_annotation = true;
  request.key.ifname = "net1";
  EXPECT_TRUE(Add(request).ok());

  // The rule of a configured cloud also binds its locator.
  request.key.ifname = "net2";
  request.vnl = "vxvde://239.1.2.3/vni=43";
  request.pod_namespace = "shop";
  EXPECT_THAT(Why(Plan(request).status()).message,
              AllOf(HasSubstr("\"shop\""), HasSubstr("[team-*]")));
}

// The agent cannot tell a NetworkAttachmentDefinition from the operator's configuration, so the
// namespace decides.
TEST_F(AttachmentsTest, M3_NamespacesAreConfinedToWhatNamedCloudsAllow) {
  PlanRequest request = Request("c1", "");
  request.pod_namespace = "shop";
  for (const char* vnl : {"vxvde://239.1.2.9", ""}) {
    request.vnl = vnl;
    const Refusal why = Why(Plan(request).status());
    EXPECT_EQ(why.code, Code(AttachError::kForbidden));
    EXPECT_THAT(why.message, AllOf(HasSubstr("\"shop\""), HasSubstr("vxvde://"),
                                   HasSubstr("confineNamespaces: true")));
  }
  request.vnl = "";
  request.cloud = "blue";
  request.mtu = 1401;  // the cloud's is 1400
  EXPECT_THAT(Why(Plan(request).status()).message, HasSubstr("1401"));
  request.mtu = 1300;
  request.allow = {*Allowed::Parse("router")};
  EXPECT_THAT(Why(Plan(request).status()).message,
              AllOf(HasSubstr("router"), HasSubstr("allowByAnnotation: []")));
  request.allow.clear();
  EXPECT_TRUE(Add(request, {"192.0.2.7/24"}).ok()) << "layer 2: the cloud has no subnets";

  // Addresses of an IPAM plugin are known only at the commit.
  request = Request("c2", "routed");
  request.pod_namespace = "shop";
  EXPECT_EQ(Why(Add(request, {"192.0.2.8/24"}).status()).code, Code(AttachError::kForbidden));
  EXPECT_EQ(Why(Add(request, {"10.42.0.7/16"}).status()).code, Code(AttachError::kForbidden));
  request.brought = {*IpPrefix::Parse("10.42.0.7/16")};
  EXPECT_TRUE(Add(request, {"10.42.0.7/16"}).ok()) << "claimed on the cloud";

  // The rules do not bind callers without a namespace, and the operator can switch them off.
  request = Request("c3", "");
  request.vnl = "vxvde://239.1.2.9";
  EXPECT_TRUE(Add(request).ok());
  config_.confine_namespaces = false;
  agent_->config.Set(config_);
  request = Request("c4", "");
  request.vnl = "vxvde://239.1.2.9";
  request.pod_namespace = "shop";
  request.mtu = 1501;
  request.allow = {*Allowed::Parse("router")};
  EXPECT_TRUE(Add(request).ok());
}

// If any call into the kernel fails, the ADD fails and leaves nothing behind.
TEST_F(AttachmentsTest, EachStepOfAddFailsInTurn) {
  for (const bool tap : {false, true}) {
    int failures = 0;
    for (int step = 1;; ++step) {
      kernel_ = Kernel{};
      Start();
      kernel_.fail_step = step;
      PlanRequest request = Request("c1");
      request.tap = tap;
      const absl::StatusOr<PortId> port = Add(request, {"192.0.2.7/24"});
      kernel_.fail_step = 0;
      if (port.ok()) {
        ASSERT_LT(kernel_.steps, step) << "step " << step << " failed unnoticed";
        ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
        ExpectNothingLeft();
        break;
      }
      ++failures;
      SCOPED_TRACE(
          absl::StrCat(tap ? "tap" : "veth", ", step ", step, ": ", port.status().message()));
      ExpectNothingLeft();
      EXPECT_TRUE(Add(request).ok()) << "the next attempt";
      EXPECT_TRUE(agent_->attachments.Detach(request.key).ok());
      kernel_.links.clear();
    }
    EXPECT_GE(failures, 6);
  }
}

TEST_F(AttachmentsTest, EachWriteOfAddFailsInTurn) {
  // A folder in place of a file makes the write fail: first the file of ports, then the record.
  const std::string ports = run_dir_ + "/clouds.json.new";
  std::filesystem::create_directory(ports);
  EXPECT_THAT(std::string(Plan(Request("c1")).status().message()), HasSubstr("clouds.json"));
  ExpectNothingLeft();
  std::filesystem::remove(ports);

  const std::string record = run_dir_ + "/attachments/" + IdOf(Request("c1")) + ".json.new";
  std::filesystem::create_directory(record);
  EXPECT_THAT(std::string(Add(Request("c1")).status().message()), HasSubstr(".json"));
  ExpectNothingLeft();
  std::filesystem::remove(record);
  EXPECT_TRUE(Add(Request("c1")).ok());
}

TEST_F(AttachmentsTest, ADetachClosesThePortAndDeletesItsLink) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(*agent_->attachments.Detach(Request("c1").key));
  ASSERT_EQ(kernel_.closed_later.size(), 1);
  EXPECT_NE(kernel_.closed_later[0].io, nullptr);
  EXPECT_TRUE(kernel_.closed_later[0].with_link);
  EXPECT_EQ(kernel_.closed_later[0].host_end, kernel_.links[HostIfName(IdOf(Request("c1")))].index);

  PlanRequest tap = Request("c2");
  tap.tap = true;
  ASSERT_TRUE(Add(tap).ok());
  ASSERT_TRUE(*agent_->attachments.Detach(tap.key));
  ASSERT_EQ(kernel_.closed_later.size(), 2);
  EXPECT_TRUE(kernel_.closed_later[1].with_link);
  EXPECT_EQ(kernel_.closed_later[1].host_end, IfIndex::kNone);
}

// The plugin deletes its interface itself.
TEST_F(AttachmentsTest, AFailedCommitClosesThePortOnly) {
  const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  kernel_.AddVeth(plan->id);
  std::filesystem::remove_all(run_dir_ + "/attachments");  // the record cannot be written
  ASSERT_FALSE(Commit(*plan).ok());
  ASSERT_EQ(kernel_.closed_later.size(), 1);
  EXPECT_FALSE(kernel_.closed_later[0].with_link);
}

TEST_F(AttachmentsTest, ADetachWhoseRecordCannotBeRemovedIsTriedAgain) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  // A folder in the record's place cannot be unlinked.
  const std::string path = run_dir_ + "/attachments/" + IdOf(Request("c1")) + ".json";
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_FALSE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_THAT(Cloud().ports, SizeIs(1)) << "unchanged";
  std::filesystem::remove(path);
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, CommitNeedsTheAliasOfThePlan) {
  const auto refused = [&](const std::function<void(LinkInfo&)>& spoil) {
    const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
    EXPECT_TRUE(plan.ok()) << plan.status();
    kernel_.AddVeth(plan->id);
    spoil(kernel_.links[plan->host_ifname]);
    const absl::Status status = Commit(*plan).status();
    EXPECT_FALSE(status.ok());
    ExpectNothingLeft();
    return std::string(status.message());
  };
  EXPECT_THAT(refused([](LinkInfo& link) { link.alias = "other"; }),
              HasSubstr("another program made it"));
}

TEST_F(AttachmentsTest, ClouldsAreChosenByNameLocatorOrDefault) {
  const Refusal unknown = Why(Plan(Request("c1", "red")).status());
  EXPECT_EQ(unknown.code, Code(AttachError::kUnknownCloud));
  EXPECT_THAT(unknown.message, HasSubstr("\"red\""));
  EXPECT_THAT(unknown.remedy, HasSubstr("blue, team, routed"));

  PlanRequest request = Request("c1", "");
  request.vnl = "vxvde://239.1.2.3/vni=42/ttl=9";
  const absl::StatusOr<PlannedAttachment> named = Plan(request);
  EXPECT_EQ(named->cloud, "blue") << "the configured cloud";
  EXPECT_EQ(named->vnl, kVnl) << "with the configured options";

  const absl::StatusOr<PlannedAttachment> by_default = Plan(Request("c2", ""));
  EXPECT_EQ(by_default->vnl, "vxvde://");
  EXPECT_EQ(by_default->cloud, "vxvde://");
  EXPECT_EQ(by_default->mtu, 1450);

  request = Request("c3", "");
  request.vnl = "vxvde://239.1.2.3/nonsense=1";
  EXPECT_EQ(Why(Plan(request).status()).code, kCniInvalidConfig);
}

TEST_F(AttachmentsTest, PolicyAndAddressesAreChecked) {
  PlanRequest request = Request("c1", "team");
  request.pod_namespace = "shop";
  const Refusal forbidden = Why(Plan(request).status());
  EXPECT_EQ(forbidden.code, Code(AttachError::kForbidden));
  EXPECT_THAT(forbidden.message, HasSubstr("namespaces: [team-*]"));
  // The rule also binds the locator of the cloud.
  request.cloud = "";
  request.vnl = "vxvde://239.1.2.3/vni=43";
  EXPECT_EQ(Why(Plan(request).status()).code, Code(AttachError::kForbidden));
  request.pod_namespace = "team-a";
  EXPECT_TRUE(Plan(request).ok());
  EXPECT_TRUE(Plan(Request("c2", "team")).ok()) << "outside Kubernetes there is no limit";

  request = Request("c3", "routed");
  request.addresses_by_caller = false;
  request.cloud = "blue";
  EXPECT_TRUE(Plan(request).ok()) << "no subnets: layer 2 only";
  ASSERT_THAT(agent_->attachments.List(), IsEmpty());
}

TEST_F(AttachmentsTest, TheCallerIsRecorded) {
  PlanRequest podman = Request("c1");
  podman.caller = "netavark";
  ASSERT_TRUE(Add(podman).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());
  Restart();
  for (const AttachmentInfo& info : agent_->attachments.List()) {
    EXPECT_EQ(info.caller, info.container_id == "c1" ? "netavark" : "cni");
  }
}

TEST_F(AttachmentsTest, MacsAreKeptApart) {
  PlanRequest first = Request("c1");
  first.mac = DeriveMac("net", "c2", "eth0", 0);
  ASSERT_TRUE(Add(first).ok());
  // The first derived MAC is in use, so the second one is taken.
  EXPECT_EQ(Plan(Request("c2"))->mac, DeriveMac("net", "c2", "eth0", 1));
  PlanRequest same = Request("c3");
  same.mac = first.mac;
  const Refusal refusal = Why(Plan(same).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kMacInUse));
  EXPECT_THAT(refusal.message, HasSubstr("container c1 interface eth0"));
  same.cloud = "team";
  EXPECT_TRUE(Plan(same).ok()) << "another cloud";

  PlanRequest pod = Request("c4");
  pod.pod_uid = "uid-1";
  const MacAddress mac = Plan(pod)->mac;
  EXPECT_EQ(mac, DeriveMac("net", "uid-1", "eth0", 0)) << "a new sandbox of the pod keeps it";
}

TEST_F(AttachmentsTest, AnAddressIsGivenOnce) {
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  const Refusal refusal = Why(Add(Request("c2"), {"192.0.2.8/24", "192.0.2.7/25"}).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kAddressInUse));
  EXPECT_THAT(refusal.message, HasSubstr("192.0.2.7"));
  EXPECT_THAT(refusal.message, HasSubstr("container c1"));
  EXPECT_TRUE(Add(Request("c3", "team"), {"192.0.2.7/24"}).ok()) << "another cloud";
}

TEST_F(AttachmentsTest, AddTwiceIsRefusedUnlessTheFirstIsDead) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const Refusal refusal = Why(Plan(Request("c1")).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kAlreadyAttached));
  EXPECT_THAT(refusal.remedy, HasSubstr("DEL"));

  kernel_.links.clear();
  EXPECT_TRUE(Add(Request("c1")).ok());
  EXPECT_THAT(Cloud().ports, SizeIs(1));
  EXPECT_THAT(Records(), SizeIs(1));
  EXPECT_EQ(kernel_.Leaves(), 0) << "the cloud stayed joined";

  kernel_.links.clear();
  EXPECT_TRUE(Plan(Request("c1", "team")).ok());
  EXPECT_FALSE(Joined(kVnl)) << "the replaced attachment was the last on its cloud";
}

TEST_F(AttachmentsTest, APlanUnderWayKeepsItsKey) {
  const absl::StatusOr<PlannedAttachment> first = Plan(Request("c1"));
  EXPECT_EQ(Why(Plan(Request("c1")).status()).code, kCniTryAgainLater);
  // After a DEL, the commit and rollback of the plan do nothing.
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  const absl::StatusOr<PlannedAttachment> second = Plan(Request("c1"));
  ASSERT_TRUE(second.ok());
  EXPECT_FALSE(Commit(*first).ok());
  agent_->attachments.Rollback(first->ticket);
  kernel_.AddVeth(second->id);
  EXPECT_TRUE(Commit(*second).ok());
}

TEST_F(AttachmentsTest, JoiningNeedsAnUplinkAndAFreePort) {
  kernel_.no_route = true;
  EXPECT_EQ(Why(Plan(Request("c1")).status()).code, Code(AttachError::kCannotJoin));
  kernel_.no_route = false;

  config_.unicast_ports = {20000, 20001};
  Start();
  kernel_.taken = {20000};
  ASSERT_TRUE(Plan(Request("c1", "blue")).ok());
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), 20001);
  const Refusal refusal = Why(Plan(Request("c2", "team")).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kCannotJoin));
  EXPECT_THAT(refusal.message, HasSubstr("20000-20001"));
  EXPECT_THAT(refusal.remedy, HasSubstr("unicastPorts"));
}

}  // namespace
}  // namespace vxvde
