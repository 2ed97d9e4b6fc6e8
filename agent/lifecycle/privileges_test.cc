#include "agent/lifecycle/privileges.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What is given up never comes back, so a child gives it up. Its exit code: the mode of seccomp
// afterwards.
int SeccompAfterDrop(bool taps_wait) {
  const pid_t child = fork();
  if (child == 0) {
    const Log log([](LogLevel, const std::string&) {});
    _exit(DropPrivileges(taps_wait, /*with_bpf=*/false, log).ok() ? prctl(PR_GET_SECCOMP) : 99);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  return WEXITSTATUS(status);
}

TEST(PrivilegesTest, SystemCallsAreLimitedOnceAllTapsAreOpen) {
  const int before = prctl(PR_GET_SECCOMP);
  EXPECT_EQ(SeccompAfterDrop(/*taps_wait=*/true), before);
  EXPECT_EQ(SeccompAfterDrop(/*taps_wait=*/false), 2) << "SECCOMP_MODE_FILTER";
}

TEST(PrivilegesTest, TheLogSaysWhyPrivilegesAreKept) {
  std::vector<std::string> lines;
  const Log log([&](LogLevel level, const std::string& line) {
    EXPECT_EQ(level, LogLevel::kWarn);
    lines.push_back(line);
  });
  EXPECT_TRUE(DropPrivileges(/*taps_wait=*/true, /*with_bpf=*/true, log).ok());
  EXPECT_THAT(lines, ElementsAre(HasSubstr("taps of pods")));
}

}  // namespace
}  // namespace vxvde
