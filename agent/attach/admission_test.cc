// Tests of the policy for ADDs, on plain values.

#include "agent/attach/admission.h"

#include <optional>
#include <string>
#include <vector>

#include "agent/base/derive.h"
#include "agent/base/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::optional<uint32_t> NoGroups(absl::string_view) { return std::nullopt; }

class AdmissionTest : public testing::Test {
 protected:
  AdmissionTest() {
    const absl::StatusOr<Config> config = ParseConfig(R"(
node: n1
confineNamespaces: false
clouds:
  - {name: blue, vnl: "vxvde://239.1.2.3/vni=42", mtu: 1400, allowByAnnotation: [10.42.0.200]}
  - {name: team, vnl: "vxvde://239.1.2.3/vni=43", namespaces: ["team-*"]}
  - {name: routed, vnl: "vxvde://239.1.2.3/vni=44", subnets: [10.42.0.0/16]}
)",
                                                      NoGroups);
    EXPECT_TRUE(config.ok()) << config.status();
    config_ = *config;
    request_.key = {"net", "c1", "eth0"};
  }

  CloudConfig Cloud(const std::string& name) {
    const absl::StatusOr<CloudConfig> cloud = Choose(name, "");
    EXPECT_TRUE(cloud.ok()) << cloud.status();
    return *cloud;
  }
  absl::StatusOr<CloudConfig> Choose(const std::string& name, const std::string& vnl) {
    return ChooseCloud(config_, NoGroups, name, vnl);
  }
  absl::Status Policy(const std::string& name) {
    return CheckPolicy(config_, request_, Cloud(name));
  }
  absl::StatusOr<std::optional<AddressWish>> Addresses(const std::string& name) {
    return ChooseAddresses(config_, request_, Cloud(name), "id", mac_);
  }
  static AttachmentRecord Other(const std::string& container, const MacAddress& mac,
                                const std::vector<IpPrefix>& addresses = {}) {
    AttachmentRecord record;
    record.network = "net";
    record.container_id = container;
    record.ifname = "eth0";
    record.mac = mac;
    record.addresses = addresses;
    return record;
  }
  static uint32_t CodeOf(const absl::Status& status) { return RefusalOf(status).code; }
  static uint32_t Code(AttachError error) { return static_cast<uint32_t>(error); }

  Config config_;
  PlanRequest request_;
  const MacAddress mac_{{2, 0, 0x5e, 0x10, 0, 1}};
};

TEST_F(AdmissionTest, ACloudIsChosenByNameLocatorOrDefault) {
  EXPECT_EQ(FormatVnl(*Choose("blue", "")), "vxvde://239.1.2.3/vni=42");
  EXPECT_EQ(FormatVnl(*Choose("", "vxvde://239.1.2.9")), "vxvde://239.1.2.9");
  EXPECT_EQ(FormatVnl(*Choose("", "")), "vxvde://");
  EXPECT_EQ(Choose("", "vxvde://239.1.2.3/vni=42/ttl=9")->ttl, kDefaultTtl)
      << "the configured cloud has the configured options";
}

TEST_F(AdmissionTest, AnUnknownNameAndABadLocatorAreRefused) {
  const absl::Status unknown = Choose("red", "").status();
  EXPECT_EQ(CodeOf(unknown), Code(AttachError::kUnknownCloud));
  EXPECT_THAT(RefusalOf(unknown).message, AllOf(HasSubstr("\"red\""), HasSubstr("n1")));
  EXPECT_THAT(RefusalOf(unknown).remedy, HasSubstr("blue, team, routed"));
  config_.clouds.clear();
  EXPECT_THAT(RefusalOf(Choose("red", "").status()).remedy, HasSubstr("clouds:"));
  EXPECT_EQ(CodeOf(Choose("", "vxvde://239.1.2.3/nonsense=1").status()), kCniInvalidConfig);
}

TEST_F(AdmissionTest, NamespacesLimitACloud) {
  request_.pod_namespace = "shop";
  EXPECT_EQ(CodeOf(Policy("team")), Code(AttachError::kForbidden));
  request_.pod_namespace = "team-a";
  EXPECT_TRUE(Policy("team").ok());
  request_.pod_namespace = "";
  EXPECT_TRUE(Policy("team").ok()) << "outside Kubernetes";
}

TEST_F(AdmissionTest, AnAnnotationNamesALocatorOnlyWhereAllowed) {
  request_.vnl = "vxvde://239.1.2.9";
  request_.by_annotation = true;
  const CloudConfig cloud = *Choose("", request_.vnl);
  EXPECT_EQ(CodeOf(CheckPolicy(config_, request_, cloud)), Code(AttachError::kForbidden));
  config_.allow_vnl = true;
  EXPECT_TRUE(CheckPolicy(config_, request_, cloud).ok());
}

TEST_F(AdmissionTest, AnnotationsAllowWhatTheCloudCovers) {
  request_.allow = {*Allowed::Parse("router")};
  request_.allow_by_annotation = {*Allowed::Parse("10.42.0.200")};
  EXPECT_TRUE(Policy("blue").ok()) << "the operator may allow anything";
  EXPECT_EQ(CodeOf(Policy("routed")), Code(AttachError::kForbidden));

  config_.confine_namespaces = true;
  request_.pod_namespace = "shop";
  EXPECT_EQ(CodeOf(Policy("blue")), Code(AttachError::kForbidden)) << "`allow` as well";
  request_.allow.clear();
  EXPECT_TRUE(Policy("blue").ok());

  request_.allow_by_annotation.resize(kMaxAllowed + 1, request_.allow_by_annotation[0]);
  EXPECT_EQ(CodeOf(Policy("blue")), kCniInvalidConfig);
}

TEST_F(AdmissionTest, TheMtuIsRequestedConfiguredOrTheUplinks) {
  EXPECT_EQ(*ChooseMtu(config_, request_, Cloud("blue"), 1500), 1400);
  EXPECT_EQ(*ChooseMtu(config_, request_, Cloud("routed"), 1500), 1450);
  request_.mtu = 1450;
  EXPECT_EQ(*ChooseMtu(config_, request_, Cloud("blue"), 1500), 1450);
  request_.pod_namespace = "shop";
  config_.confine_namespaces = true;
  EXPECT_EQ(CodeOf(ChooseMtu(config_, request_, Cloud("blue"), 1500).status()),
            Code(AttachError::kForbidden));
  request_.mtu = 60;
  EXPECT_EQ(CodeOf(ChooseMtu(config_, request_, Cloud("blue"), 1500).status()),
            Code(AttachError::kMtuImpossible));
}

TEST_F(AdmissionTest, ADerivedMacSkipsThoseInUse) {
  EXPECT_EQ(*ChooseMac(request_, {}), DeriveMac("net", "c1", "eth0", 0));
  std::vector<AttachmentRecord> records;
  for (uint32_t i = 0; i < 16; ++i) {
    records.push_back(Other("other", DeriveMac("net", "c1", "eth0", i)));
  }
  std::vector<const AttachmentRecord*> others = {&records[0], &records[1]};
  EXPECT_EQ(*ChooseMac(request_, others), DeriveMac("net", "c1", "eth0", 2));
  others.clear();
  for (const AttachmentRecord& record : records) others.push_back(&record);
  EXPECT_EQ(CodeOf(ChooseMac(request_, others).status()), Code(AttachError::kMacInUse));
  request_.pod_uid = "uid";
  EXPECT_EQ(*ChooseMac(request_, others), DeriveMac("net", "uid", "eth0", 0));
}

TEST_F(AdmissionTest, ARequestedMacMustBeFree) {
  request_.mac = mac_;
  EXPECT_EQ(*ChooseMac(request_, {}), mac_);
  const AttachmentRecord other = Other("c2", mac_);
  const absl::Status refused = ChooseMac(request_, {&other}).status();
  EXPECT_EQ(CodeOf(refused), Code(AttachError::kMacInUse));
  EXPECT_THAT(RefusalOf(refused).message, HasSubstr("container c2 interface eth0 of network net"));
}

TEST_F(AdmissionTest, AgentsAllocateOnlyInSubnets) {
  EXPECT_EQ(*Addresses("blue"), std::nullopt) << "layer 2";
  const std::optional<AddressWish> wish = *Addresses("routed");
  ASSERT_TRUE(wish.has_value());
  EXPECT_EQ(wish->lease, "id");
  EXPECT_EQ(wish->mac, mac_);
  EXPECT_EQ(wish->owner, "container/c1");
  EXPECT_THAT(wish->wanted, testing::IsEmpty());
  request_.pod_namespace = "shop";
  request_.pod_name = "web-0";
  EXPECT_EQ((*Addresses("routed"))->owner, "shop/web-0");
}

TEST_F(AdmissionTest, AddressesOfTheCallerAreClaimedInSubnetsOnly) {
  request_.addresses_by_caller = true;
  EXPECT_EQ(*Addresses("routed"), std::nullopt) << "an IPAM plugin gives them later";
  request_.brought = {*IpPrefix::Parse("192.0.2.7/24")};
  EXPECT_EQ(*Addresses("routed"), std::nullopt);
  request_.brought.push_back(*IpPrefix::Parse("10.42.0.7/16"));
  EXPECT_THAT((*Addresses("routed"))->wanted, ElementsAre(*IpAddress::Parse("10.42.0.7")));
}

// A7.
TEST_F(AdmissionTest, ARequestedAddressNeedsASubnet) {
  request_.addresses = {*IpAddress::Parse("10.42.0.7")};
  EXPECT_THAT((*Addresses("routed"))->wanted, ElementsAre(*IpAddress::Parse("10.42.0.7")));
  EXPECT_EQ(CodeOf(Addresses("blue").status()), kCniInvalidConfig);
}

TEST_F(AdmissionTest, AConfinedAttachmentCommitsClaimedAddresses) {
  AttachmentRecord record = Other("c1", mac_);
  const std::vector<IpPrefix> addresses = {*IpPrefix::Parse("10.42.0.7/16")};
  const auto commit = [&](const std::vector<IpAddress>& claimed) {
    return CheckCommit(config_, record, Cloud("routed"), addresses, claimed);
  };
  EXPECT_TRUE(commit({}).ok());
  config_.confine_namespaces = true;
  record.pod_namespace = "shop";
  EXPECT_EQ(CodeOf(commit({})), Code(AttachError::kForbidden));
  EXPECT_TRUE(commit({*IpAddress::Parse("10.42.0.7")}).ok());
}

TEST_F(AdmissionTest, AnAddressHasOneHolderOnACloud) {
  const AttachmentRecord other = Other("c2", mac_, {*IpPrefix::Parse("10.42.0.7/24")});
  AttachmentInfo node;
  node.ifname = "vx-routed";
  node.cloud = Cloud("routed").key;
  node.addresses = {*IpPrefix::Parse("10.42.0.1/16")};
  const auto check = [&](const char* address, const char* cloud) {
    return RefusalOf(CheckAddressesFree(config_, Cloud(cloud), {*IpPrefix::Parse(address)},
                                        {&other}, {node}))
        .message;
  };
  EXPECT_THAT(check("10.42.0.7/16", "routed"),
              AllOf(HasSubstr("10.42.0.7"), HasSubstr("cloud routed"), HasSubstr("container c2")));
  EXPECT_THAT(check("10.42.0.1/16", "routed"), HasSubstr("vx-routed"));
  EXPECT_EQ(check("10.42.0.1/16", "blue"), "") << "another cloud";
  EXPECT_EQ(check("10.42.0.8/16", "routed"), "");
}

TEST_F(AdmissionTest, PortSecurityIsOfTheConfiguration) {
  AttachmentRecord record = Other("c1", mac_, {*IpPrefix::Parse("10.42.0.7/16")});
  const CloudKey cloud = Cloud("routed").key;
  PortGuard guard = GuardFor(config_, cloud, record);
  EXPECT_TRUE(guard.on);
  EXPECT_THAT(guard.addresses, ElementsAre(*IpPrefix::Parse("10.42.0.7/32")));
  config_.clouds[2].port_security = false;
  EXPECT_EQ(GuardFor(config_, cloud, record), PortGuard{});
}

}  // namespace
}  // namespace vxvde
