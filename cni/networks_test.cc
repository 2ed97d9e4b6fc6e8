// M2: attachments by annotation. Values follow the grammar in docs/OPERATIONS.md and NPWG 1.3,
// section 4.1.2.

#include "cni/networks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Annotations = std::map<std::string, std::string>;

std::vector<Attachment> Wanted(const Annotations& annotations) {
  const absl::StatusOr<PodNetworks> networks = ParsePodNetworks(annotations, {"lo", "eth0"});
  EXPECT_TRUE(networks.ok()) << networks.status();
  return networks.ok() ? networks->others : std::vector<Attachment>();
}
std::vector<Attachment> Own(const std::string& text) {
  return Wanted({{"vxvde.io/networks", text}});
}
std::vector<Attachment> Npwg(const std::string& text) {
  return Wanted({{"k8s.v1.cni.cncf.io/networks", text}});
}

// "cloud or locator @ interface" of each.
std::vector<std::string> Places(const std::vector<Attachment>& networks) {
  std::vector<std::string> places;
  for (const Attachment& one : networks) {
    places.push_back(one.cloud.name + one.cloud.vnl + " @ " + one.ifname);
  }
  return places;
}

TEST(Networks, M2_NamesLocatorsAndInterfaces) {
  const std::vector<Attachment> wanted =
      Own(" blue, green@net2 ,vxvde://239.1.2.3/vni=7@lab0,vxvde://ff05::1/v6 , red");
  EXPECT_THAT(Places(wanted),
              ElementsAre("blue @ net1", "green @ net2", "vxvde://239.1.2.3/vni=7 @ lab0",
                          "vxvde://ff05::1/v6 @ net3", "red @ net4"));
  EXPECT_EQ(wanted[0].cloud.name, "blue");
  EXPECT_EQ(wanted[2].cloud.vnl, "vxvde://239.1.2.3/vni=7");
  EXPECT_EQ(wanted[2].asked_by,
            "annotation vxvde.io/networks, entry \"vxvde://239.1.2.3/vni=7@lab0\"");
  for (const Attachment& one : wanted) {
    EXPECT_EQ(one.address_source, AddressSource::kAgent);
    EXPECT_THAT(one.ips, IsEmpty());
    EXPECT_FALSE(one.mac);
    EXPECT_FALSE(one.maybe_foreign);
    EXPECT_TRUE(one.problem.ok());
  }
}

TEST(Networks, M2_JsonList) {
  const std::vector<Attachment> wanted = Own(R"( [
    {"name": "blue", "interface": "lab0", "mac": "02:00:5e:10:00:01",
     "ips": ["192.0.2.7/24", "2001:db8::7/64"]},
    {"vnl": "vxvde://239.1.2.3/if=a,b", "ips": [], "mac": "", "interface": null}])");
  EXPECT_THAT(Places(wanted), ElementsAre("blue @ lab0", "vxvde://239.1.2.3/if=a,b @ net1"));
  ASSERT_TRUE(wanted[0].mac);
  EXPECT_EQ(wanted[0].address_source, AddressSource::kCaller);
  EXPECT_EQ(wanted[0].mac->ToString(), "02:00:5e:10:00:01");
  ASSERT_THAT(wanted[0].ips, SizeIs(2));
  EXPECT_EQ(wanted[0].ips[0], (RequestedIp{IpAddress::V4(192, 0, 2, 7), 24}));
  EXPECT_EQ(wanted[0].ips[1], (RequestedIp{*IpAddress::Parse("2001:db8::7"), 64}));
  EXPECT_EQ(wanted[1].address_source, AddressSource::kCaller) << "[] is layer 2 only";
  EXPECT_THAT(wanted[1].ips, IsEmpty());
  EXPECT_FALSE(wanted[1].mac);
  EXPECT_EQ(wanted[1].asked_by,
            "annotation vxvde.io/networks, entry 2 (\"vxvde://239.1.2.3/if=a,b\")");
}

TEST(Networks, DefaultNamesSkipTakenOnes) {
  const absl::StatusOr<PodNetworks> networks = ParsePodNetworks(
      {{"vxvde.io/networks", "a, b@net1, c"}, {"k8s.v1.cni.cncf.io/networks", "d, x/e@net5, f"}},
      {"lo", "eth0", "net2"});
  ASSERT_TRUE(networks.ok()) << networks.status();
  EXPECT_THAT(Places(networks->others),
              ElementsAre("a @ net3", "b @ net1", "c @ net4", "d @ net6", "e @ net5", "f @ net7"));
}

TEST(Networks, None) {
  EXPECT_THAT(Wanted({}), IsEmpty());
  EXPECT_THAT(Own(""), IsEmpty());
  EXPECT_THAT(Own(" \n"), IsEmpty());
  EXPECT_THAT(Own("[]"), IsEmpty());
  EXPECT_THAT(Wanted({{"vxvde.io/cloud", ""}, {"example.com/networks", "{"}}), IsEmpty());
}

TEST(Networks, CloudOfTheFirstInterface) {
  const auto name = ParsePodNetworks({{"vxvde.io/cloud", " blue "}}, {});
  ASSERT_TRUE(name.ok() && name->first);
  EXPECT_EQ(name->first->cloud.name, "blue");
  EXPECT_EQ(name->first->asked_by, "annotation vxvde.io/cloud");
  const auto vnl = ParsePodNetworks({{"vxvde.io/cloud", "vxvde://239.1.2.3"}}, {});
  ASSERT_TRUE(vnl.ok() && vnl->first);
  EXPECT_EQ(vnl->first->cloud.vnl, "vxvde://239.1.2.3");
  EXPECT_THAT(ParsePodNetworks({{"vxvde.io/cloud", "a b"}}, {}).status().message(),
              AllOf(HasSubstr("vxvde.io/cloud"), HasSubstr("a b")));
}

TEST(Networks, Allow) {
  const auto networks = ParsePodNetworks(
      {{"vxvde.io/allow", " 00:00:5e:00:01:0a,10.42.0.200 , "},
       {"vxvde.io/networks", R"([{"name": "blue", "allow": ["router", "10.43.0.0/24"]}])"}},
      {});
  ASSERT_TRUE(networks.ok()) << networks.status();
  EXPECT_THAT(networks->allow, ElementsAre("00:00:5e:00:01:0a", "10.42.0.200"));
  EXPECT_FALSE(networks->first) << "independent of its cloud";
  ASSERT_THAT(networks->others, SizeIs(1));
  EXPECT_THAT(networks->others[0].allow_by_annotation, ElementsAre("router", "10.43.0.0/24"));
}

TEST(Networks, NpwgNamesMayBeForAnotherPlugin) {
  const std::vector<Attachment> wanted = Npwg("blue, kube-system/green@net7");
  EXPECT_THAT(Places(wanted), ElementsAre("blue @ net1", "green @ net7"));
  EXPECT_TRUE(wanted[0].maybe_foreign && wanted[1].maybe_foreign);
}

TEST(Networks, NpwgList) {
  const std::vector<Attachment> wanted = Npwg(R"([
    {"name": "blue", "namespace": "shop", "interface": "lab0", "mac": "02:00:5e:10:00:01",
     "ips": ["192.0.2.7/24"], "default-route": ["192.0.2.1", "2001:db8::1"], "bandwidth": {},
     "infiniband-guid": "c2:11:22:33:44:55:66:77"},
    {"name": "sriov", "ips": ["192.0.2.7"], "deviceID": "0000:03:02.3"},
    {"name": "not ours at all", "interface": "net1"},
    {"name": "green", "ips": ["192.0.2.8", "2001:db8::8"]},
    {"name": "red", "portMappings": [{"hostPort": 80}]},
    {"name": "white", "interface": "lab0"}])");
  EXPECT_THAT(Places(wanted), ElementsAre("blue @ lab0", "sriov @ net2", "green @ net3",
                                          "red @ net4", "white @ lab0"));
  EXPECT_TRUE(wanted[0].problem.ok()) << wanted[0].problem;
  ASSERT_THAT(wanted[0].routes, SizeIs(2));
  EXPECT_EQ(wanted[0].routes[0].destination.ToString(), "0.0.0.0/0");
  EXPECT_EQ(wanted[0].routes[0].gateway, IpAddress::V4(192, 0, 2, 1));
  EXPECT_EQ(wanted[0].routes[1].destination.ToString(), "::/0");
  EXPECT_TRUE(wanted[0].replaces_default_route);
  EXPECT_THAT(wanted[0].notes, ElementsAre(HasSubstr("c2:11:22:33:44:55:66:77")));
  // These count only if the agent knows the cloud.
  EXPECT_THAT(wanted[1].problem.message(), HasSubstr("deviceID"));
  EXPECT_TRUE(wanted[2].problem.ok()) << "the agent knows the length: " << wanted[2].problem;
  EXPECT_EQ(wanted[2].address_source, AddressSource::kAgent);
  EXPECT_THAT(wanted[2].ips,
              ElementsAre(RequestedIp{IpAddress::V4(192, 0, 2, 8), std::nullopt},
                          RequestedIp{*IpAddress::Parse("2001:db8::8"), std::nullopt}));
  EXPECT_FALSE(wanted[2].replaces_default_route);
  EXPECT_THAT(wanted[3].problem.message(), HasSubstr("portMappings"));
  EXPECT_THAT(wanted[4].problem.message(), HasSubstr("lab0"));
}

TEST(Networks, NpwgCniArgs) {
  const std::vector<Attachment> wanted = Npwg(R"([
    {"name": "blue", "cni-args": {"foo": "bar", "mac": "02:00:5e:10:00:01", "ips": ["192.0.2.7"]}},
    {"name": "blue", "mac": "02:00:5e:10:00:02", "ips": ["192.0.2.8/24"],
     "cni-args": {"mac": "02:00:5e:10:00:03", "ips": ["192.0.2.9"]}},
    {"name": "blue", "cni-args": ["foo"]}])");
  ASSERT_THAT(wanted, SizeIs(3));
  EXPECT_TRUE(wanted[0].problem.ok()) << wanted[0].problem;
  EXPECT_EQ(wanted[0].mac->ToString(), "02:00:5e:10:00:01");
  EXPECT_THAT(wanted[0].ips, ElementsAre(RequestedIp{IpAddress::V4(192, 0, 2, 7), std::nullopt}));
  EXPECT_EQ(wanted[1].mac->ToString(), "02:00:5e:10:00:02") << "the entry's own keys come first";
  EXPECT_THAT(wanted[1].ips, ElementsAre(RequestedIp{IpAddress::V4(192, 0, 2, 8), 24}));
  EXPECT_THAT(wanted[2].problem.message(), AllOf(HasSubstr("cni-args"), HasSubstr("a list")));
}

TEST(Networks, M2_AnErrorNamesAnnotationEntryAndValue) {
  struct Case {
    std::string text;
    std::vector<std::string> words;
  };
  const std::string own = "vxvde.io/networks";
  std::string many = "c0";
  for (int i = 1; i <= 32; ++i) many += ",c" + std::to_string(i);
  for (const Case& c : std::vector<Case>{
           {"blue,,green", {"entry \"\"", "empty"}},
           {"blue,", {"empty"}},
           {"blue@", {"\"blue@\"", "after '@'"}},
           {"@net1", {"\"@net1\"", "neither the name of a cloud"}},
           {"a b", {"\"a b\""}},
           {"vde://x", {"\"vde://x\""}},
           {"blue@sixteen-letters-", {"sixteen-letters-", "15 bytes"}},
           {"blue@a/b", {"a/b"}},
           {"blue@x%d", {"x%d", "pattern"}},
           {"blue@.", {"\".\""}},
           {"blue@eth0", {"already has an interface eth0"}},
           {"blue@lo", {"already has an interface lo"}},
           {"blue@x, green@x", {"\"green@x\"", "already has an interface x"}},
           {"{\"name\": \"blue\"}", {"JSON list"}},
           {"[1", {"not JSON"}},
           {"[] , \"x\": 1", {"JSON list"}},
           {"[\"blue\"]", {"entry 1", "\"blue\""}},
           {"[{}]", {"entry 1", "either"}},
           {R"([{"name": "a", "vnl": "vxvde://"}])", {"either"}},
           {R"([{"name": "vxvde://"}])", {"vxvde://", "\"vnl\""}},
           {R"([{"vnl": "blue"}])", {"blue", "not a locator"}},
           {R"([{"name": 7}])", {"entry 1 (7)", "not a string"}},
           {R"([{"name": "a"}, {"name": "b", "colour": "red"}])", {"entry 2", "colour"}},
           {R"([{"name": "a", "ips": "192.0.2.7/24"}])", {"ips", "192.0.2.7/24"}},
           {R"([{"name": "a", "ips": ["192.0.2.7/24", "2001:db8::7"]}])",
            {"192.0.2.7/24", "2001:db8::7", "for all, or for none"}},
           {R"([{"name": "a", "ips": ["192.0.2.300/24"]}])", {"192.0.2.300"}},
           {R"([{"name": "a", "mac": "ff:ff:ff:ff:ff:ff"}])", {"ff:ff:ff:ff:ff:ff"}},
           {R"([{"name": "a", "mac": "soft"}])", {"soft"}},
           {R"([{"name": "a", "allow": "router"}])", {"allow", "router"}},
           {many, {"\"c32\"", "at most 32"}}}) {
    const auto networks = ParsePodNetworks({{own, c.text}}, {"lo", "eth0"});
    ASSERT_FALSE(networks.ok()) << c.text;
    EXPECT_THAT(networks.status().message(), HasSubstr(own)) << c.text;
    for (const std::string& word : c.words) {
      EXPECT_THAT(networks.status().message(), HasSubstr(word)) << c.text;
    }
  }
  // Multus refuses these too.
  for (const char* text : {"[1", "[{}]", "[{\"name\": 7}]", "blue@a/b", "x,,y"}) {
    EXPECT_FALSE(ParsePodNetworks({{"k8s.v1.cni.cncf.io/networks", text}}, {}).ok()) << text;
  }
}

}  // namespace
}  // namespace vxvde
