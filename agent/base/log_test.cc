#include "agent/base/log.h"

#include "gtest/gtest.h"

namespace vxvde {
namespace {

TEST(LogTest, PlainValuesStandAsTheyAre) {
  EXPECT_EQ(FormatLogLine("ready", {{"node", "n1"}, {"addresses", "192.0.2.1/24,2001:db8::1/64"}}),
            "event=ready node=n1 addresses=192.0.2.1/24,2001:db8::1/64");
}

TEST(LogTest, NoValueCanForgeALineOrAKey) {
  EXPECT_EQ(
      FormatLogLine("cloud joined", {{"cloud", "a\nevent=forged"}, {"empty", ""}, {"q", "a\"b"}}),
      R"(event="cloud joined" cloud="a\nevent=forged" empty="" q="a\"b")");
}

TEST(LogTest, LinesGoToTheSinkWithTheirLevel) {
  std::string seen;
  const Log log([&](LogLevel level, const std::string& line) {
    seen = (level == LogLevel::kWarn ? "warn " : "other ") + line;
  });
  log.Warn("port failed", {{"port", "7"}});
  EXPECT_EQ(seen, "warn event=\"port failed\" port=7");
}

}  // namespace
}  // namespace vxvde
