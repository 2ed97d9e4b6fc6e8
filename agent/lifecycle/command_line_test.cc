#include "agent/lifecycle/command_line.h"

#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/base/version.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;

class CommandLineTest : public testing::Test {
 protected:
  std::variant<CommandLine, ExitCode> Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "vxvde-agent");
    return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data(),
                            "/etc/here/agent.yaml", out_, err_);
  }
  int CodeOf(const std::vector<const char*>& arguments) {
    const auto parsed = Parse(arguments);
    const auto* exit = std::get_if<ExitCode>(&parsed);
    return exit != nullptr ? exit->code : -1;
  }

  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(CommandLineTest, WithoutFlagsAllAreTheDefaults) {
  const CommandLine flags = std::get<CommandLine>(Parse({}));
  EXPECT_EQ(flags.config, "");
  EXPECT_EQ(flags.run_dir, "/run/vxvde");
  EXPECT_EQ(flags.proc_sys, "/proc/sys");
  EXPECT_EQ(flags.ready_fd, -1);
  EXPECT_FALSE(flags.check_config);
  EXPECT_EQ(flags.log_level, "info");
}

TEST_F(CommandLineTest, EachFlagIsRead) {
  const CommandLine flags =
      std::get<CommandLine>(Parse({"--config", "/a.yaml", "--run-dir=/b", "--proc-sys", "/c",
                                   "--ready-fd", "7", "--check-config", "--log-level", "debug"}));
  EXPECT_EQ(flags.config, "/a.yaml");
  EXPECT_EQ(flags.run_dir, "/b");
  EXPECT_EQ(flags.proc_sys, "/c");
  EXPECT_EQ(flags.ready_fd, 7);
  EXPECT_TRUE(flags.check_config);
  EXPECT_EQ(flags.log_level, "debug");
}

TEST_F(CommandLineTest, HelpAndVersionGoToStandardOutput) {
  EXPECT_EQ(CodeOf({"--version"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr(kVersion));
  EXPECT_EQ(CodeOf({"--help"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("/etc/here/agent.yaml"));
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandLineTest, WrongFlagsAreRefused) {
  for (const std::vector<const char*>& wrong : {std::vector<const char*>{"--none"},
                                                {"--config", ""},
                                                {"--ready-fd", "-1"},
                                                {"--ready-fd", "x"},
                                                {"--log-level", "loud"},
                                                {"left-over"}}) {
    EXPECT_EQ(CodeOf(wrong), 2) << wrong[0];
    EXPECT_NE(err_.str(), "") << wrong[0];
    err_.str("");
  }
  EXPECT_EQ(out_.str(), "");
}

}  // namespace
}  // namespace vxvde
