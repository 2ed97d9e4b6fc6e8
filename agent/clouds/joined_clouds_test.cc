// The names of clouds and the effect of a new configuration. Joining, unicast ports and uplinks are
// tested with their users (agent/attach).

#include "agent/clouds/joined_clouds.h"

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "agent/testing/agent_base.h"
#include "agent/testing/fakes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/cloud/testing/fakes.h"

namespace vxvde {
namespace {

Config ConfigOf(const std::string& clouds) {
  absl::StatusOr<Config> config = ParseConfig("node: n1\nclouds: [" + clouds + "]\n", NoGroups);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

SwitchSockets Sockets() {
  const auto open = [](const UdpOptions& options) -> absl::StatusOr<std::unique_ptr<DatagramIo>> {
    const auto state = std::make_shared<FakeSocket::State>();
    state->port = options.port != 0 ? options.port : options.group_port;
    return std::make_unique<FakeSocket>(state);
  };
  return {.group = open, .unicast = open};
}

Links Uplink() {
  Links links;
  links.by_index = [](IfIndex index) -> absl::StatusOr<LinkInfo> { return FakeUplink(index); };
  links.route = [](const IpAddress&) -> absl::StatusOr<RouteAnswer> {
    RouteAnswer answer;
    answer.interface = IfIndex{2};
    return answer;
  };
  return links;
}

class JoinedCloudsTest : public testing::Test {
 protected:
  JoinedCloudsTest() {
    std::string pattern = testing::TempDir() + "/clouds.XXXXXX";
    run_dir_ = mkdtemp(pattern.data());
    base_ = std::make_unique<AgentBase>(Sockets(), Uplink(), run_dir_, ConfigOf(""));
  }
  ~JoinedCloudsTest() override {
    base_.reset();
    std::filesystem::remove_all(run_dir_);
  }

  std::string run_dir_;
  std::unique_ptr<AgentBase> base_;
};

TEST_F(JoinedCloudsTest, ACloudIsCalledByItsConfiguredNameElseByItsLocator) {
  const CloudKey key = KeyOf(kVnl);
  const JoinedClouds& clouds = base_->clouds;
  EXPECT_EQ(clouds.NameOf(key), kVnl);
  EXPECT_EQ(clouds.LocatorOf(key), kVnl);

  base_->config.Set(ConfigOf("{name: blue, vnl: \"vxvde://239.1.2.3/vni=42/ttl=3\"}"));
  EXPECT_EQ(clouds.NameOf(key), "blue");
  EXPECT_EQ(clouds.LocatorOf(key), "vxvde://239.1.2.3/vni=42/ttl=3");

  // As it was joined, whatever is configured later.
  ASSERT_TRUE(
      base_->clouds.Join("test", *ParseVnl("vxvde://239.1.2.3/vni=42/ttl=9", NoGroups)).ok());
  EXPECT_EQ(clouds.NameOf(key), "blue");
  EXPECT_EQ(clouds.LocatorOf(key), "vxvde://239.1.2.3/vni=42/ttl=9");
  base_->config.Set(ConfigOf(""));
  EXPECT_EQ(clouds.NameOf(key), "vxvde://239.1.2.3/vni=42/ttl=9");
  base_->clouds.Leave("test", key);
  EXPECT_EQ(clouds.NameOf(key), kVnl);
}

TEST_F(JoinedCloudsTest, SnoopingAndStormFollowTheConfiguration) {
  ASSERT_TRUE(base_->clouds.Join("test", *ParseVnl(kVnl, NoGroups)).ok());
  const auto joined = [&] { return base_->the_switch.Snapshot().clouds.at(0).options; };
  EXPECT_TRUE(joined().snooping);
  base_->config.Set(ConfigOf(
      "{name: blue, vnl: \"vxvde://239.1.2.3/vni=42\", snooping: false, storm: {port: 7}}"));
  EXPECT_FALSE(joined().snooping);
  EXPECT_EQ(joined().storm.port, 7u);
  EXPECT_EQ(base_->clouds.Find(KeyOf(kVnl))->storm.port, 7u);
  base_->config.Set(ConfigOf(""));
  EXPECT_TRUE(joined().snooping);
  EXPECT_EQ(joined().storm.port, StormLimits{}.port);
}

}  // namespace
}  // namespace vxvde
