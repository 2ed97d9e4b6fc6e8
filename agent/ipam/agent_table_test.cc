#include "agent/ipam/agent_table.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;
using ::testing::ElementsAre;

constexpr Instant kStart = Instant{} + std::chrono::seconds(1000);

MacAddress Mac(size_t number) {
  return MacAddress(
      {0x02, 0, 0x5e, 0xa0, static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)});
}
AgentMark Mark(uint32_t beat, uint16_t agents = 0) {
  return {.kind = AgentMark::Kind::kBeat, .beat = beat, .agents = agents};
}

TEST(AgentTable, ANewSilentOrSkippingAgentMayHaveMissedAnnouncements) {
  AgentTable table;
  EXPECT_TRUE(table.OnAgentSeen(kStart, Mac(1), Mark(7))) << "new";
  EXPECT_FALSE(table.OnAgentSeen(kStart + 1s, Mac(1), Mark(8)));
  EXPECT_FALSE(table.OnAgentSeen(kStart + 2s, Mac(1), Mark(10))) << "one heartbeat was lost";
  EXPECT_TRUE(table.OnAgentSeen(kStart + 3s, Mac(1), Mark(13))) << "two were lost";
  EXPECT_FALSE(table.OnAgentSeen(kStart + 3s, Mac(1), Mark(12))) << "overtaken";
  EXPECT_TRUE(table.OnAgentSeen(kStart + 8s, Mac(1), Mark(13))) << "silent";
}

TEST(AgentTable, TheNumberOfABeatWrapsAround) {
  AgentTable table;
  table.OnAgentSeen(kStart, Mac(1), Mark(0xffff'ffff));
  EXPECT_FALSE(table.OnAgentSeen(kStart + 1s, Mac(1), Mark(0)));
}

TEST(AgentTable, CountsTheLiving) {
  AgentTable table;
  EXPECT_EQ(table.count(), 1);
  table.OnAgentSeen(kStart, Mac(1), Mark(1));
  table.OnAgentSeen(kStart + 3s, Mac(2), Mark(1));
  EXPECT_EQ(table.count(), 3);
  EXPECT_THAT(table.Alive(kStart + 4s), ElementsAre(Mac(1), Mac(2)));
  table.Expire(kStart + 5s);
  EXPECT_EQ(table.count(), 2);
  EXPECT_THAT(table.Alive(kStart + 5s), ElementsAre(Mac(2)));
}

TEST(AgentTable, IsIncompleteWhileAnotherAgentHasHeardMore) {
  AgentTable table;
  EXPECT_TRUE(table.complete());
  table.OnAgentSeen(kStart, Mac(1), Mark(1, /*agents=*/3));
  EXPECT_FALSE(table.complete()) << "2 of 3";
  table.OnAgentSeen(kStart, Mac(2), Mark(1, /*agents=*/3));
  EXPECT_TRUE(table.complete());
  table.Expire(kStart + 1s);
  EXPECT_TRUE(table.complete());
  // The counts of the others include the one that leaves.
  table.OnAgentGone(Mac(2));
  EXPECT_TRUE(table.complete());
  EXPECT_EQ(table.count(), 2);
  table.OnAgentGone(Mac(9));
  EXPECT_EQ(table.count(), 2) << "not an agent";
}

TEST(AgentTable, IsBounded) {
  AgentTable table;
  for (size_t i = 0; i < AgentTable::kMaxAgents; ++i) table.OnAgentSeen(kStart, Mac(i), Mark(1));
  EXPECT_FALSE(table.OnAgentSeen(kStart, Mac(AgentTable::kMaxAgents), Mark(1)));
  EXPECT_EQ(table.count(), AgentTable::kMaxAgents + 1);
  table.Expire(kStart + AgentTable::kForgetTimeout + 1s);
  EXPECT_EQ(table.count(), 1);
  EXPECT_TRUE(table.OnAgentSeen(kStart + AgentTable::kForgetTimeout + 1s,
                                Mac(AgentTable::kMaxAgents), Mark(1)));
}

}  // namespace
}  // namespace vxvde
