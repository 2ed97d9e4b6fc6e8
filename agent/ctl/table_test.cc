#include "agent/ctl/table.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

namespace vxvde {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""us;

TEST(Table, AlignsColumns) {
  Table table({{"NAME"}, {"BYTES", Table::Align::kRight}, {"NOTE"}});
  table.Add({"a", "1", "x"});
  table.Add({"longer", "123456", ""});
  EXPECT_EQ(table.Render(),
            "NAME     BYTES  NOTE\n"
            "a            1  x\n"
            "longer  123456  -\n");
}

TEST(Table, WithoutRowsIsItsHeader) { EXPECT_EQ(Table({{"ONE"}, {"TWO"}}).Render(), "ONE  TWO\n"); }

TEST(Table, LetsNoControlCharacterThrough) {
  Table table({{"NAME"}});
  table.Add({"\x1b[31mred\n"});
  EXPECT_EQ(table.Render(), "NAME\n?[31mred?\n");
}

TEST(HumanNumber, HasAboutThreeDigits) {
  EXPECT_EQ(HumanNumber(0), "0");
  EXPECT_EQ(HumanNumber(999), "999");
  EXPECT_EQ(HumanNumber(1000), "1.0k");
  EXPECT_EQ(HumanNumber(1999), "1.9k");
  EXPECT_EQ(HumanNumber(34567), "34k");
  EXPECT_EQ(HumanNumber(999999), "999k");
  EXPECT_EQ(HumanNumber(1300000000), "1.3G");
  EXPECT_EQ(HumanNumber(UINT64_MAX), "18E");
}

TEST(HumanDuration, HasTwoUnits) {
  EXPECT_EQ(HumanDuration(0s), "0s");
  EXPECT_EQ(HumanDuration(340us), "0.3ms");
  EXPECT_EQ(HumanDuration(250ms), "250ms");
  EXPECT_EQ(HumanDuration(3s + 900ms), "3s");
  EXPECT_EQ(HumanDuration(150s), "2m30s");
  EXPECT_EQ(HumanDuration(5min), "5m");
  EXPECT_EQ(HumanDuration(1h + 5min + 7s), "1h5m");
  EXPECT_EQ(HumanDuration(25h + 1min), "1d1h");
  EXPECT_EQ(HumanDuration(240h), "10d");
}

}  // namespace
}  // namespace vxvde
