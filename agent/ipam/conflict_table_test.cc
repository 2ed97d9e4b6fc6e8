#include "agent/ipam/conflict_table.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Instant kStart = Instant{} + std::chrono::seconds(1000);
const IpAddress kAddress = IpAddress::V4(192, 0, 2, 1);
const MacAddress kPod({0x02, 0, 0x5e, 0xc0, 0, 1});

MacAddress Other(size_t number) {
  return MacAddress(
      {0x02, 0, 0x5e, 0xb0, static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)});
}

TEST(ConflictTable, AConflictIsNewOnceAndCounted) {
  ConflictTable table;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(table.Note(kStart + i * 1s, kAddress, "a", kPod, Other(1), "port 3"));
  }
  const std::vector<AddressConflict> fresh = table.TakeNew();
  ASSERT_THAT(fresh, SizeIs(1));
  EXPECT_EQ(fresh[0].other, Other(1));
  EXPECT_EQ(fresh[0].where, "port 3");
  EXPECT_THAT(table.TakeNew(), IsEmpty());
  const std::vector<AddressConflict> all = table.Snapshot(kStart + 10s);
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(all[0].count, 3u);
  EXPECT_EQ(all[0].first, 10s);
  EXPECT_EQ(all[0].last, 8s);
  EXPECT_EQ(all[0].lease, "a");
  EXPECT_TRUE(table.Note(kStart, kAddress, "a", kPod, Other(2), ""));
  EXPECT_EQ(table.total(), 2u) << "each station is a conflict";
}

TEST(ConflictTable, AConflictEndsWithItsPodOrWithSilence) {
  ConflictTable table;
  const IpAddress second = IpAddress::V4(192, 0, 2, 2);
  table.Note(kStart, kAddress, "a", kPod, Other(1), "");
  table.Note(kStart, second, "b", kPod, Other(1), "");
  table.Remove(kAddress);
  EXPECT_THAT(table.Snapshot(kStart), SizeIs(1));
  table.Expire(kStart + ConflictTable::kLifetime);
  EXPECT_THAT(table.Snapshot(kStart), SizeIs(1));
  table.Expire(kStart + ConflictTable::kLifetime + 1s);
  EXPECT_THAT(table.Snapshot(kStart), IsEmpty());
  EXPECT_EQ(table.total(), 2u);
}

TEST(ConflictTable, IsBounded) {
  ConflictTable table;
  for (size_t i = 0; i < ConflictTable::kMaxConflicts; ++i) {
    EXPECT_TRUE(table.Note(kStart, kAddress, "a", kPod, Other(i), ""));
  }
  EXPECT_FALSE(table.Note(kStart, kAddress, "a", kPod, Other(ConflictTable::kMaxConflicts), ""));
  EXPECT_TRUE(table.Note(kStart, kAddress, "a", kPod, Other(0), "")) << "a known one";
}

}  // namespace
}  // namespace vxvde
