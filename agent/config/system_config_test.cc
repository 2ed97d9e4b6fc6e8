#include "agent/config/system_config.h"

#include <unistd.h>

#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<Config> LoadText(const std::string& text) {
  const std::string path = testing::TempDir() + "/agent.yaml";
  std::ofstream(path) << text;
  return LoadSystemConfig(path);
}

TEST(SystemConfigTest, GroupsOfTheSystemHaveNumbers) {
  EXPECT_EQ(UnixGroupId("root"), 0u);
  EXPECT_EQ(UnixGroupId("no-such-group"), std::nullopt);
  const absl::StatusOr<Config> config =
      LoadText("clouds: [{name: blue, vnl: \"vxvde://239.1.2.3/vni=no-such-group\"}]\n");
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("no-such-group"));
}

TEST(SystemConfigTest, ANodeWithoutANameHasTheHosts) {
  char host[256] = {};
  ASSERT_EQ(gethostname(host, sizeof host - 1), 0);
  absl::StatusOr<Config> config = LoadText("clouds: []\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->node, host);
  config = LoadText("node: n1\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->node, "n1");
}

}  // namespace
}  // namespace vxvde
