#include "agent/lifecycle/fd_keeper.h"

#include <sys/eventfd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A holder itself is tested with kept_fds_test.
class FdKeeperTest : public testing::Test {
 protected:
  FdKeeperTest() { SetEnvironment(nullptr, nullptr); }
  ~FdKeeperTest() override { SetEnvironment(nullptr, nullptr); }

  static void SetEnvironment(const char* notify_socket, const char* fdstore) {
    unsetenv("NOTIFY_SOCKET");
    unsetenv("FDSTORE");
    if (notify_socket != nullptr) setenv("NOTIFY_SOCKET", notify_socket, /*overwrite=*/1);
    if (fdstore != nullptr) setenv("FDSTORE", fdstore, /*overwrite=*/1);
  }

  std::vector<std::string> lines_;
  const Log log_ = Log([this](LogLevel, const std::string& line) { lines_.push_back(line); });
};

TEST_F(FdKeeperTest, TheServiceManagerKeepsThemWhereItHasRoom) {
  const struct {
    const char* notify_socket;
    const char* fdstore;
    bool keeps;
  } cases[] = {
      {"/run/notify", "512", true}, {"/run/notify", "0", false},     {"/run/notify", "", false},
      {"/run/notify", "x", false},  {"/run/notify", "-1", false},    {"", "512", false},
      {nullptr, "512", false},      {"/run/notify", nullptr, false},
  };
  for (const auto& one : cases) {
    SetEnvironment(one.notify_socket, one.fdstore);
    EXPECT_EQ(ServiceManagerKeepsFds(), one.keeps)
        << (one.notify_socket ? one.notify_socket : "unset") << ", "
        << (one.fdstore ? one.fdstore : "unset");
  }
}

TEST_F(FdKeeperTest, WhatTheServiceManagerPassedIsFound) {
  SetEnvironment("/run/notify", "512");
  std::map<std::string, UniqueFd> passed;
  passed["unicast-51000"] = UniqueFd(eventfd(0, EFD_CLOEXEC));
  const FdKeeper keeper = OpenFdKeeper("/none", std::move(passed), log_);
  EXPECT_EQ(keeper.what, "service manager");
  EXPECT_TRUE(keeper.found.contains("unicast-51000"));
  EXPECT_TRUE(keeper.keep && keeper.drop);
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(FdKeeperTest, WithoutAnyKeeperTheLogSaysTheEffect) {
  const FdKeeper keeper = OpenFdKeeper("/proc/none", {}, log_);
  EXPECT_FALSE(keeper.keep || keeper.drop);
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("are lost")));
}

}  // namespace
}  // namespace vxvde
