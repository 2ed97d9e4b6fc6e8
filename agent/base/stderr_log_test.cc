#include "agent/base/stderr_log.h"

#include <algorithm>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::MatchesRegex;

std::string Written(const std::string& level) {
  testing::internal::CaptureStderr();
  {
    const Log log = StderrLog(level);
    log.Debug("a", {});
    log.Info("b", {{"percent", "{}%s"}});
    log.Warn("c", {});
    log.Error("d", {});
  }
  return testing::internal::GetCapturedStderr();
}

TEST(StderrLogTest, ALineHasTimeAndLevel) {
  constexpr char kTime[] = "time=20[0-9-]*T[0-9:.]*[+-][0-9:]* ";
  EXPECT_THAT(Written("info"),
              MatchesRegex(std::string(kTime) + "level=info event=b percent=\\{\\}%s\n" + kTime +
                           "level=warning event=c\n" + kTime + "level=error event=d\n"));
}

TEST(StderrLogTest, LinesBelowTheLevelAreLeftOut) {
  const auto lines = [](const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(lines(Written("debug")), 4);
  EXPECT_EQ(lines(Written("warn")), 2);
  EXPECT_EQ(lines(Written("error")), 1);
}

}  // namespace
}  // namespace vxvde
