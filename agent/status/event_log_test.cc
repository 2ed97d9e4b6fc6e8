#include "agent/status/event_log.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Kind = SwitchEvent::Kind;

const Peer kPeer{IpAddress::V4(192, 0, 2, 7), 51000};
const MacAddress kMac({2, 0, 0x5e, 0x10, 0, 1});

std::vector<std::pair<LogLevel, std::string>> LinesOf(const SwitchEvent& event) {
  std::vector<std::pair<LogLevel, std::string>> lines;
  const Log log([&](LogLevel level, const std::string& line) { lines.emplace_back(level, line); });
  LogEvent(log, event, "blue");
  return lines;
}

TEST(EventLogTest, EveryEventIsOneLineThatNamesTheCloud) {
  // -Wswitch fails the build if a kind is missing here.
  const auto next = [](Kind kind) {
    switch (kind) {
      case Kind::kCloudJoined:
      case Kind::kCloudLeft:
      case Kind::kPortAdded:
      case Kind::kPortRemoved:
      case Kind::kPeerSeen:
      case Kind::kPeerGone:
      case Kind::kStationAdded:
      case Kind::kStationMoved:
      case Kind::kStationGone:
      case Kind::kStationHeld:
      case Kind::kPortBlocked:
      case Kind::kStorm:
      case Kind::kPortFailed:
      case Kind::kGroupUnheard:
        return static_cast<Kind>(static_cast<int>(kind) + 1);
      case Kind::kGroupHeard:
        break;
    }
    return Kind::kCloudJoined;
  };
  Kind kind = Kind::kCloudJoined;
  do {
    const auto lines = LinesOf({.kind = kind});
    ASSERT_EQ(lines.size(), 1u) << static_cast<int>(kind);
    EXPECT_THAT(lines[0].second, HasSubstr("cloud=blue")) << static_cast<int>(kind);
    kind = next(kind);
  } while (kind != Kind::kCloudJoined);
}

TEST(EventLogTest, LevelsSayWhoHasToLook) {
  EXPECT_EQ(LinesOf({.kind = Kind::kCloudJoined})[0].first, LogLevel::kInfo);
  EXPECT_EQ(LinesOf({.kind = Kind::kGroupHeard})[0].first, LogLevel::kInfo);
  EXPECT_EQ(LinesOf({.kind = Kind::kPortAdded})[0].first, LogLevel::kDebug);
  EXPECT_EQ(LinesOf({.kind = Kind::kStationAdded})[0].first, LogLevel::kDebug);
  EXPECT_EQ(LinesOf({.kind = Kind::kPortBlocked})[0].first, LogLevel::kWarn);
  EXPECT_EQ(LinesOf({.kind = Kind::kPortFailed})[0].first, LogLevel::kWarn);
}

TEST(EventLogTest, AStormIsAPortsOrThePeers) {
  EXPECT_THAT(LinesOf({.kind = Kind::kStorm, .port = PortId{7}}),
              ElementsAre(Pair(LogLevel::kWarn, "event=storm cloud=blue port=7")));
  EXPECT_THAT(LinesOf({.kind = Kind::kStorm, .peer = kPeer}),
              ElementsAre(Pair(LogLevel::kWarn,
                               "event=storm cloud=blue from=peers one=" + kPeer.ToString())));
}

TEST(EventLogTest, AStationIsHeldAtAPortOrPeer) {
  EXPECT_THAT(LinesOf({.kind = Kind::kStationHeld, .port = PortId{7}, .mac = kMac})[0].second,
              HasSubstr("mac=" + kMac.ToString() + " at=\"port 7\" reason="));
  EXPECT_THAT(LinesOf({.kind = Kind::kStationHeld, .peer = kPeer, .mac = kMac})[0].second,
              HasSubstr("at=" + kPeer.ToString()));
}

TEST(EventLogTest, ASilentGroupHasItsReason) {
  EXPECT_THAT(LinesOf({.kind = Kind::kGroupUnheard, .text = "no Hello"}),
              ElementsAre(Pair(LogLevel::kWarn,
                               "event=\"group not heard\" cloud=blue reason=\"no Hello\"")));
}

}  // namespace
}  // namespace vxvde
