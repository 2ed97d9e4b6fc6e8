#include "agent/config/config.h"

#include <cstdio>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::optional<uint32_t> NoGroups(absl::string_view) { return std::nullopt; }

absl::StatusOr<Config> Parse(const std::string& yaml) { return ParseConfig(yaml, NoGroups); }

std::string Mistakes(const std::string& yaml) {
  const absl::StatusOr<Config> config = Parse(yaml);
  return config.ok() ? "(none)" : std::string(config.status().message());
}

TEST(ConfigTest, EmptyIsTheDefaults) {
  for (const char* yaml : {"", "# nothing\n", "{}", "---\n"}) {
    const absl::StatusOr<Config> config = Parse(yaml);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->node, "");
    EXPECT_EQ(config->uplink, "");
    EXPECT_EQ(config->unicast_ports, (PortRange{14790, 15813}));
    EXPECT_EQ(config->datapath, Datapath::kAuto);
    EXPECT_EQ(config->metrics, "127.0.0.1:9478");
    EXPECT_TRUE(config->clouds.empty());
    EXPECT_FALSE(config->confine_namespaces);
  }
}

TEST(ConfigTest, ReadsEveryKey) {
  const absl::StatusOr<Config> config = Parse(R"(
node: n1
uplink: eth1
unicastPorts: 20000-20009
datapath: user
metrics: ""
allowVnl: true
clouds:
  - name: blue
    vnl: vxvde://239.1.2.3/vni=42
    mtu: 1400
    subnets: [10.42.0.0/16, "fd42::/64"]
    conflicts: defend
    gateway: true
    masquerade: true
    portSecurity: false
    allowByAnnotation: [00:00:5e:00:01:00/40, 10.42.0.200, "fd42::/120", router]
    storm: {port: 500, cloud: 0}
    snooping: false
    namespaces: [team-*, shop]
  - name: green
    vnl: vxvde://ff05::7/vni=42
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->node, "n1");
  EXPECT_EQ(config->uplink, "eth1");
  EXPECT_TRUE(config->allow_vnl);
  EXPECT_EQ(config->unicast_ports, (PortRange{20000, 20009}));
  EXPECT_EQ(config->datapath, Datapath::kUser);
  EXPECT_EQ(config->metrics, "");
  ASSERT_EQ(config->clouds.size(), 2u);
  const NamedCloud& blue = config->clouds[0];
  EXPECT_EQ(blue.name, "blue");
  EXPECT_EQ(blue.config.key.group, IpAddress::V4(239, 1, 2, 3));
  EXPECT_EQ(blue.config.key.vni.value(), 42u);
  EXPECT_EQ(blue.mtu, 1400);
  EXPECT_TRUE(blue.defend);
  EXPECT_EQ(blue.storm, (StormLimits{.port = 500, .cloud = 0}));
  EXPECT_EQ(config->clouds[1].storm, StormLimits{});
  EXPECT_THAT(blue.subnets,
              ElementsAre(*IpPrefix::Parse("10.42.0.0/16"), *IpPrefix::Parse("fd42::/64")));
  EXPECT_THAT(blue.namespaces, ElementsAre("team-*", "shop"));
  EXPECT_FALSE(blue.port_security);
  EXPECT_THAT(FormatAllowed(blue.allow_by_annotation),
              ElementsAre("00:00:5e:00:01:00/40", "10.42.0.200", "fd42::/120", "router"));
  EXPECT_FALSE(blue.snooping);
  EXPECT_TRUE(config->clouds[1].snooping);
  EXPECT_THAT(config->clouds[1].namespaces, ElementsAre("*"));
  EXPECT_TRUE(config->clouds[1].port_security);
  EXPECT_TRUE(config->clouds[1].allow_by_annotation.empty());
  EXPECT_EQ(config->FindByName("green"), &config->clouds[1]);
  EXPECT_EQ(config->FindByName("red"), nullptr);
  EXPECT_EQ(config->FindByKey(blue.config.key), &config->clouds[0]);
}

// Callers are confined if there are configured clouds, unless pods may name any cloud.
TEST(ConfigTest, NamespacesAreConfinedOnceCloudsHaveNames) {
  const std::string blue = "clouds: [{name: blue, vnl: \"vxvde://\"}]\n";
  EXPECT_TRUE(Parse(blue)->confine_namespaces);
  EXPECT_FALSE(Parse("allowVnl: true\n" + blue)->confine_namespaces);
  EXPECT_FALSE(Parse("confineNamespaces: false\n" + blue)->confine_namespaces);
  EXPECT_TRUE(Parse("confineNamespaces: true\n")->confine_namespaces);
}

TEST(ConfigTest, EachDatapathIsReadAsItIsWritten) {
  for (const Datapath datapath : {Datapath::kAuto, Datapath::kKernel, Datapath::kUser}) {
    const absl::StatusOr<Config> config = Parse("datapath: " + std::string(DatapathName(datapath)));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->datapath, datapath);
  }
}

TEST(ConfigTest, ACloudMayReachOthersAndBeReached) {
  const absl::StatusOr<Config> config = Parse(R"(clouds:
  - {name: blue, vnl: "vxvde://", subnets: [10.42.0.0/16], gateway: true, reaches: [green]}
  - {name: green, vnl: "vxvde:///vni=2", subnets: [10.43.0.0/16], gateway: true, routed: true}
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->clouds[0].reaches, ElementsAre("green"));
  EXPECT_FALSE(config->clouds[0].routed);
  EXPECT_TRUE(config->clouds[1].reaches.empty());
  EXPECT_TRUE(config->clouds[1].routed);
  EXPECT_FALSE(config->clouds[0] == config->clouds[1]);
}

TEST(ConfigTest, EveryMistakeIsToldWithItsLineAndKey) {
  const std::string mistakes = Mistakes(R"(node: n1
uplnk: eth1
unicastPorts: 9-1
clouds:
  - name: blue
    vnl: vxvde://239.1.2.3
    mtu: lots
  - name: blue
    vnl: vxvde://239.1.2.4
  - name: teal
    vnl: vxvde://239.1.2.3/ttl=9
)");
  EXPECT_THAT(mistakes, HasSubstr("2: uplnk: unknown key"));
  EXPECT_THAT(mistakes, HasSubstr("use one of: node, uplink, unicastPorts"));
  EXPECT_THAT(mistakes, HasSubstr("3: unicastPorts: \"9-1\""));
  EXPECT_THAT(mistakes, HasSubstr("7: mtu: must be a whole number"));
  EXPECT_THAT(mistakes, HasSubstr("8: name: \"blue\" names two clouds"));
  EXPECT_THAT(mistakes, HasSubstr("10: vnl: \"teal\" is the same cloud as \"blue\""));
}

struct Case {
  const char* yaml;
  const char* message;
};

class BadConfig : public testing::TestWithParam<Case> {};

TEST_P(BadConfig, IsRefused) {
  EXPECT_THAT(Mistakes(GetParam().yaml), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadConfig,
    testing::Values(
        Case{"[1, 2]", "1: the configuration: must be a map"}, Case{"a: [b", "not YAML"},
        Case{"node: a\n---\nnode: b\n", "several documents"}, Case{",", "several documents"},
        Case{"node: a\n,", "2: not YAML"}, Case{"node: a\nnode: b\n", "2: node: given twice"},
        Case{"node: [a]\n", "node: must be a string"},
        Case{"node: \"a b\"\n", "node: must be at most 253"},
        Case{"uplink: averyveryverylongname\n", "is not an interface name"},
        Case{"unicastPorts: 0-5\n", "not a range of UDP ports"},
        Case{"unicastPorts: 14790\n", "not a range of UDP ports"},
        Case{"unicastPorts: 1-70000\n", "not a range of UDP ports"},
        Case{"datapath: fast\n",
             "1: datapath: \"fast\" is not a datapath; use auto, kernel or user"},
        Case{"datapath:\n", "use auto, kernel or user"},
        Case{"datapath: [user]\n", "datapath: must be a string"},
        Case{"metrics: 9478\n", "not an address with a port"},
        Case{"metrics: localhost:9478\n", "not an address with a port"},
        Case{"allowVnl: maybe\n", "must be true or false"},
        Case{"confineNamespaces: 1\n", "must be true or false"},
        Case{"allowVnl: true\nconfineNamespaces: true\n", "2: confineNamespaces: true contradicts"},
        Case{"clouds: blue\n", "must be a list"},
        Case{"clouds: [blue]\n", "a cloud: must be a map"},
        Case{"clouds: [{name: blue}]\n", "vnl: cloud \"blue\" has no locator"},
        Case{"clouds: [{vnl: \"vxvde://\"}]\n", "name: \"\" cannot name a cloud"},
        Case{"clouds: [{name: ../x, vnl: \"vxvde://\"}]\n", "cannot name a cloud"},
        Case{"clouds: [{name: b, vnl: \"vxlan://\"}]\n", "1: vnl: "},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", mtu: 20}]\n", "20 is below 68"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", mtu: 70000}]\n", "from 0 to 65485"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", gateway: true}]\n",
             "gateway: true needs `subnets:`"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", masquerade: true}]\n",
             "masquerade: true needs gateway: true"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", routed: true}]\n",
             "routed: true needs gateway: true"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", reaches: [c]}]\n",
             "reaches: needs gateway: true"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [10.42.0.0/16], gateway: true,\n"
             "  reaches: [c]}]\n",
             "2: reaches: there is no cloud \"c\""},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [10.42.0.0/16], gateway: true,\n"
             "  reaches: [b]}]\n",
             "2: reaches: \"b\" is the cloud itself"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [10.42.0.0/16], gateway: true,\n"
             "  reaches: [c]}, {name: c, vnl: \"vxvde:///vni=2\"}]\n",
             "2: reaches: the node cannot route into \"c\""},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", gateway: 1}]\n", "must be true or false"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", snooping: auto}]\n", "must be true or false"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", conflicts: ignore}]\n", "report or defend"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", storm: 5}]\n", "storm: must be a map"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", storm: {port: -1}}]\n",
             "storm.port: must be a whole number from 0"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", storm: {peer: 1}}]\n",
             "unknown key in storm; use one of: port, cloud"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [10.42.0.1/16]}]\n",
             "has host bits; write 10.42.0.0/16"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [10.42.0.0]}]\n", "10.42.0.0"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [239.0.0.0/8]}]\n",
             "cannot hold pods"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [10.42.0.0/32]}]\n",
             "cannot hold pods"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [10.42.0.0/16, 10.42.7.0/24]}]\n",
             "10.42.7.0/24 overlaps with 10.42.0.0/16 of this cloud"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", subnets: [10.42.0.0/16]},"
             " {name: c, vnl: \"vxvde:///vni=2\", subnets: [10.0.0.0/8]}]\n",
             "10.0.0.0/8 overlaps with 10.42.0.0/16 of b"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", portSecurity: maybe}]\n",
             "portSecurity: must be true or false"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", allowByAnnotation: router}]\n",
             "must be a list"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", allowByAnnotation: [anything]}]\n",
             "allowByAnnotation: \"anything\" is neither"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", namespaces: [[x]]}]\n", "must be a string"},
        Case{"clouds: [{name: b, vnl: \"vxvde://\", namespaces: [\"\"]}]\n", "an entry is empty"}));

TEST(MayUseTest, GlobsLimitPodsOnly) {
  NamedCloud cloud;
  EXPECT_TRUE(MayUse(cloud, "anything"));
  cloud.namespaces = {"team-?", "shop"};
  EXPECT_TRUE(MayUse(cloud, "team-a"));
  EXPECT_TRUE(MayUse(cloud, "shop"));
  EXPECT_FALSE(MayUse(cloud, "team-ab"));
  EXPECT_FALSE(MayUse(cloud, "default"));
  EXPECT_TRUE(MayUse(cloud, ""));  // podman, bare CNI
  cloud.namespaces = {};
  EXPECT_FALSE(MayUse(cloud, "shop"));
}

TEST(SampleTest, SaysTheDefaultsAndItsExamplesAreRight) {
  std::ifstream file("deploy/agent.yaml");
  ASSERT_TRUE(file);
  std::string as_it_is;
  std::string with_examples;  // "#key: value" and "#  - item" are examples, "# Text" a comment
  for (std::string line; std::getline(file, line);) {
    as_it_is += line + "\n";
    const bool example = line.size() > 2 && line[0] == '#' && (line[1] != ' ' || line[2] == ' ');
    if (line != "clouds: []") with_examples += (example ? line.substr(1) : line) + "\n";
  }
  const absl::StatusOr<Config> defaults = Parse(as_it_is);
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->unicast_ports, Config().unicast_ports);
  EXPECT_EQ(defaults->datapath, Config().datapath);
  EXPECT_EQ(defaults->metrics, Config().metrics);
  EXPECT_TRUE(defaults->clouds.empty());
  const absl::StatusOr<Config> examples = Parse(with_examples);
  ASSERT_TRUE(examples.ok()) << examples.status();
  EXPECT_EQ(examples->node, "n1");
  ASSERT_EQ(examples->clouds.size(), 1u);
  EXPECT_EQ(examples->clouds[0].subnets.size(), 2u);
}

TEST(LoadConfigTest, AMissingFileIsAnErrorWhenItWasNamed) {
  const absl::StatusOr<Config> config = LoadConfig(testing::TempDir() + "/none.yaml", NoGroups);
  EXPECT_TRUE(absl::IsNotFound(config.status())) << config.status();
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("none.yaml"));
}

TEST(LoadConfigTest, EachMistakeBeginsWithTheFile) {
  const std::string path = testing::TempDir() + "/bad.yaml";
  std::ofstream(path) << "a: 1\nb: 2\n";
  const absl::StatusOr<Config> config = LoadConfig(path, NoGroups);
  ASSERT_FALSE(config.ok());
  const std::string message(config.status().message());
  EXPECT_THAT(message, StartsWith(path + ":1: a: "));
  EXPECT_THAT(message, HasSubstr("\n" + path + ":2: b: "));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace vxvde
