// The enum, its names and its texts agree and never change.

#include "plugin/base/drop.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace vxvde {
namespace {

TEST(Drop, EveryReasonHasItsOwnNameAndSentence) {
  std::set<std::string> names, texts;
  for (size_t i = 0; i < kDropReasons; ++i) {
    const std::string name(DropName(static_cast<Drop>(i)));
    const std::string text(DropText(static_cast<Drop>(i)));
    EXPECT_TRUE(names.insert(name).second) << i << ": " << name;
    EXPECT_TRUE(texts.insert(text).second) << i << ": " << text;
    // A metric label and a table cell.
    ASSERT_FALSE(name.empty()) << i;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string::npos) << name;
    // One sentence.
    ASSERT_FALSE(text.empty()) << i;
    EXPECT_EQ(text.find('.'), text.size() - 1) << text;
  }
}

TEST(Drop, NothingBehindTheLastReason) {
  EXPECT_EQ(DropName(static_cast<Drop>(kDropReasons)), "");
  EXPECT_EQ(DropText(static_cast<Drop>(kDropReasons)), "");
  EXPECT_EQ(DropName(static_cast<Drop>(255)), "");
}

// The enumerators that the compiler knows, compared with kDropReasons. A new reason must be added
// here too: -Wswitch, an error in this tree, requires it.
int NumberOf(Drop drop) {
  switch (drop) {
    case Drop::kNone:
      return 0;
    case Drop::kShortDatagram:
      return 1;
    case Drop::kBadHeader:
      return 2;
    case Drop::kWrongVni:
      return 3;
    case Drop::kShortFrame:
      return 4;
    case Drop::kOwnEcho:
      return 5;
    case Drop::kHairpin:
      return 6;
    case Drop::kSamePort:
      return 7;
    case Drop::kBadSource:
      return 8;
    case Drop::kBadOffload:
      return 9;
    case Drop::kUnsupportedOffload:
      return 10;
    case Drop::kTooBig:
      return 11;
    case Drop::kSocketFull:
      return 12;
    case Drop::kSendFailed:
      return 13;
    case Drop::kPortFull:
      return 14;
    case Drop::kPortDown:
      return 15;
    case Drop::kTooBigForPort:
      return 16;
    case Drop::kTruncated:
      return 17;
    case Drop::kSocketOverrun:
      return 18;
    case Drop::kPortOverrun:
      return 19;
    case Drop::kReserved:
      return 20;
    case Drop::kSpoofedMac:
      return 21;
    case Drop::kSpoofedAddress:
      return 22;
    case Drop::kRogueServer:
      return 23;
    case Drop::kUnreadable:
      return 24;
    case Drop::kStorm:
      return 25;
    case Drop::kLoop:
      return 26;
    case Drop::kNotFromHere:
      return 27;
  }
  return -1;
}

TEST(Drop, NumbersAndNamesNeverChange) {
  const char* const names[] = {
      "none",
      "short-datagram",
      "bad-header",
      "wrong-vni",
      "short-frame",
      "own-echo",
      "hairpin",
      "same-port",
      "bad-source",
      "bad-offload",
      "unsupported-offload",
      "too-big",
      "socket-full",
      "send-failed",
      "port-full",
      "port-down",
      "too-big-for-port",
      "truncated",
      "socket-overrun",
      "port-overrun",
      "reserved",
      "spoofed-mac",
      "spoofed-address",
      "rogue-server",
      "unreadable",
      "storm",
      "loop",
      "not-from-here",
  };
  ASSERT_EQ(std::size(names), kDropReasons);
  for (size_t i = 0; i < kDropReasons; ++i) {
    EXPECT_EQ(NumberOf(static_cast<Drop>(i)), static_cast<int>(i));
    EXPECT_EQ(DropName(static_cast<Drop>(i)), names[i]);
  }
  EXPECT_EQ(NumberOf(static_cast<Drop>(kDropReasons)), -1);
}

TEST(DropCounters, TotalLeavesOutWhatWasNotDropped) {
  DropCounters counters;
  counters.Add(Drop::kNone, 100);
  counters.Add(Drop::kWrongVni);
  counters.Add(Drop::kOwnEcho, 7);
  counters.Add(Drop::kPortOverrun, 4);
  EXPECT_EQ(counters[Drop::kWrongVni], 1u);
  EXPECT_EQ(counters.Total(), 5u);
}

}  // namespace
}  // namespace vxvde
