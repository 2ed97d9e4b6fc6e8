#include "agent/ipam/in_use_table.h"

#include "gtest/gtest.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

const IpAddress kAddress = IpAddress::V4(192, 0, 2, 1);
const MacAddress kOne({0x02, 0, 0x5e, 0, 0, 1});
const MacAddress kTwo({0x02, 0, 0x5e, 0, 0, 2});
constexpr Instant kStart = Instant{} + std::chrono::seconds(1000);

TEST(InUseTable, AnEntryLivesAsLongAsItsLongestNote) {
  InUseTable table;
  table.NoteInUse(kStart, kAddress, kOne, 10s);
  table.NoteInUse(kStart + 1s, kAddress, kTwo, 2s);
  EXPECT_TRUE(table.InUse(kStart + 9s, kAddress));
  EXPECT_FALSE(table.InUse(kStart + 10s, kAddress));
  EXPECT_FALSE(table.InUse(kStart, IpAddress::V4(192, 0, 2, 2)));
}

TEST(InUseTable, CountsWhatIsAliveInASubnet) {
  InUseTable table;
  table.NoteInUse(kStart, kAddress, kOne, 10s);
  table.NoteInUse(kStart, IpAddress::V4(192, 0, 2, 2), kOne, 2s);
  table.NoteInUse(kStart, IpAddress::V4(198, 51, 100, 1), kOne, 10s);
  EXPECT_EQ(table.Count(kStart, *IpPrefix::Parse("192.0.2.0/24")), 2u);
  EXPECT_EQ(table.Count(kStart + 2s, *IpPrefix::Parse("192.0.2.0/24")), 1u);
}

TEST(InUseTable, IsBoundedAndHasRoomAgainAfterExpiry) {
  InUseTable table;
  const auto address = [](size_t i) {
    return IpAddress::V4(10, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i));
  };
  for (size_t i = 0; i < InUseTable::kMaxEntries; ++i) {
    table.NoteInUse(kStart, address(i), kOne, 10s);
  }
  const IpAddress more = address(InUseTable::kMaxEntries);
  table.NoteInUse(kStart, more, kOne, 10s);
  EXPECT_FALSE(table.InUse(kStart, more));
  table.NoteInUse(kStart + 5s, address(0), kOne, 10s);
  EXPECT_TRUE(table.InUse(kStart + 14s, address(0))) << "a known address is noted in any case";
  table.Expire(kStart + 10s);
  table.NoteInUse(kStart + 10s, more, kOne, 10s);
  EXPECT_TRUE(table.InUse(kStart + 10s, more));
}

TEST(InUseTable, OneFreeForProbesInQuickSuccession) {
  InUseTable table;
  EXPECT_TRUE(table.ShouldSendFree(kStart, kAddress, kOne)) << "an unknown address";
  table.NoteInUse(kStart, kAddress, kOne, 10s);
  EXPECT_TRUE(table.ShouldSendFree(kStart, kAddress, kOne));
  EXPECT_FALSE(table.ShouldSendFree(kStart + 10ms, kAddress, kOne));
  EXPECT_TRUE(table.ShouldSendFree(kStart + 10ms, kAddress, kTwo)) << "another station";
  EXPECT_TRUE(table.ShouldSendFree(kStart + 60ms, kAddress, kOne));
}

}  // namespace
}  // namespace vxvde
