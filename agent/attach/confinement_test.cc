// Tests each request that a caller in a Kubernetes namespace can make, at its limit and beyond.

#include "agent/attach/confinement.h"

#include <string>
#include <vector>

#include "agent/base/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

NamedCloud Cloud(const std::vector<std::string>& subnets) {
  NamedCloud cloud;
  cloud.name = "blue";
  for (const std::string& subnet : subnets) cloud.subnets.push_back(*IpPrefix::Parse(subnet));
  return cloud;
}

PlanRequest InShop() {
  PlanRequest request;
  request.pod_namespace = "shop";
  return request;
}

std::string Message(const absl::Status& status) {
  if (status.ok()) return "";
  const Refusal refusal = RefusalOf(status);
  EXPECT_EQ(refusal.code, static_cast<uint32_t>(AttachError::kForbidden));
  EXPECT_THAT(refusal.message, AllOf(HasSubstr("\"shop\""), HasSubstr("confineNamespaces: true")));
  EXPECT_NE(refusal.remedy, "");
  return refusal.message;
}

TEST(ConfinementTest, BindsCallersWithANamespaceOnly) {
  Config config;
  EXPECT_FALSE(IsConfined(config, "shop"));
  config.confine_namespaces = true;
  EXPECT_TRUE(IsConfined(config, "shop"));
  EXPECT_FALSE(IsConfined(config, ""));
}

TEST(ConfinementTest, OnlyConfiguredClouds) {
  EXPECT_THAT(Message(CheckConfinedPlan(InShop(), nullptr, "vxvde://239.1.2.9")),
              HasSubstr("vxvde://239.1.2.9"));
  const NamedCloud blue = Cloud({});
  EXPECT_EQ(Message(CheckConfinedPlan(InShop(), &blue, "blue")), "");
}

TEST(ConfinementTest, AddressesOfTheSubnetsOnly) {
  const NamedCloud blue = Cloud({"10.42.0.0/16", "fd42::/64"});
  const auto bring = [&](const char* address) {
    PlanRequest request = InShop();
    request.brought = {*IpPrefix::Parse(address)};
    return Message(CheckConfinedPlan(request, &blue, "blue"));
  };
  EXPECT_EQ(bring("10.42.0.7/16"), "");
  EXPECT_EQ(bring("10.42.0.7/32"), "");
  EXPECT_EQ(bring("fd42::7/64"), "");
  EXPECT_THAT(bring("10.42.0.7/8"), HasSubstr("10.42.0.7/8"));
  EXPECT_THAT(bring("10.43.0.7/16"), HasSubstr("[10.42.0.0/16, fd42::/64]"));
  EXPECT_THAT(bring("fd43::7/64"), HasSubstr("fd43::7/64"));
}

TEST(ConfinementTest, AddressesThatWereClaimedOnly) {
  const NamedCloud blue = Cloud({"10.42.0.0/16"});
  const IpAddress claimed = *IpAddress::Parse("10.42.0.7");
  const auto commit = [&](const char* address) {
    return Message(CheckConfinedAddresses("shop", blue, {*IpPrefix::Parse(address)}, {claimed}));
  };
  EXPECT_EQ(commit("10.42.0.7/16"), "");
  EXPECT_THAT(commit("10.42.0.8/16"), HasSubstr("IPAM plugin"));
  EXPECT_THAT(commit("192.0.2.7/24"), HasSubstr("192.0.2.7/24"));
  EXPECT_EQ(
      Message(CheckConfinedAddresses("shop", Cloud({}), {*IpPrefix::Parse("192.0.2.7/24")}, {})),
      "")
      << "layer 2: agents claim no addresses there";
}

TEST(ConfinementTest, PortsOnlyWhereTheNodeChoosesItsAddress) {
  PlanRequest request = InShop();
  request.port_mappings = {
      {.host_port = 8080, .container_port = 80, .protocol = "tcp", .host_ip = std::nullopt}};
  const NamedCloud layer2 = Cloud({});
  EXPECT_THAT(Message(CheckConfinedPlan(request, &layer2, "blue")), HasSubstr("port 8080"));
  const NamedCloud routed = Cloud({"10.42.0.0/16"});
  EXPECT_EQ(Message(CheckConfinedPlan(request, &routed, "blue")), "");
}

TEST(ConfinementTest, AnMtuUpToTheClouds) {
  EXPECT_EQ(Message(CheckConfinedMtu("shop", "blue", 1400, 1400)), "");
  EXPECT_THAT(Message(CheckConfinedMtu("shop", "blue", 1401, 1400)),
              AllOf(HasSubstr("1401"), HasSubstr("1400")));
}

}  // namespace
}  // namespace vxvde
