// Frames of other agents and of hosts, on a simulated cloud.

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/ipam/allocator.h"
#include "agent/ipam/testing/fake_lan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/wire/announce.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Use = HeldAddress::Use;

TEST(Allocator, AnAddressHeardInUseIsNotProbed) {
  const IpPrefix subnet = P("192.0.2.0/24");
  FakeLan lan({subnet});
  FakeLan::Node& node = lan.AddNode();
  const IpAddress first = *Candidates(subnet, kCloud.ToString(), "a").Next();
  lan.Send(BuildAnnouncement(Mac(0xb0, 1), first));
  lan.Run(10ms);
  lan.Claim(node, lan.Wish("a"));
  lan.Run(1s);
  EXPECT_NE(node.leases["a"].at(0).address, first);
  EXPECT_EQ(lan.Snapshot(node).taken, 0u);
}

// I2: an agent that knows of a busy one waits for it, and so does one that has just joined.
TEST(Allocator, WaitsForABusyAgent) {
  for (const bool just_come : {false, true}) {
    FakeLan lan({P("192.0.2.0/28")});
    FakeLan::Node& busy = lan.AddNode();
    FakeLan::Node& idle = lan.AddNode();
    lan.Claim(busy, lan.Wish("x"));
    lan.Claim(idle, lan.Wish("y"));
    lan.Run(5s);
    busy.busy_until = lan.now_ + 900ms;
    FakeLan::Node& node = just_come ? lan.AddNode() : idle;
    AddressWish wish = lan.Wish("z");
    wish.wanted = {busy.leases["x"].at(0).address};
    lan.Claim(node, wish);
    lan.Run(3s);
    EXPECT_TRUE(node.refused.contains("z"));
    EXPECT_GT(node.took["z"], 850ms);
    EXPECT_THAT(lan.Duplicates(), IsEmpty());
  }
}

TEST(Allocator, DoesNotWaitLongForAnAgentThatLeft) {
  FakeLan lan({P("192.0.2.0/28")});
  FakeLan::Node& gone = lan.AddNode();
  FakeLan::Node& node = lan.AddNode();
  lan.Claim(gone, lan.Wish("x"));
  lan.Claim(node, lan.Wish("y"));
  lan.Run(5s);
  gone.side = 1;
  lan.Claim(node, lan.Wish("a"));
  lan.Run(3s);
  EXPECT_GE(node.took["a"], 1400ms) << "it may be busy";
  EXPECT_LE(node.took["a"], 1700ms);
  lan.Run(5s);
  lan.Claim(node, lan.Wish("b"));
  lan.Run(3s);
  EXPECT_LE(node.took["b"], 320ms) << "silent for too long";
  gone.side = 0;
  lan.Run(5s);
  node.allocator->OnStationGone(gone.mac);
  gone.side = 1;
  lan.Claim(node, lan.Wish("c"));
  lan.Run(3s);
  EXPECT_LE(node.took["c"], 320ms) << "it left the cloud";
}

TEST(Allocator, AnswersProbesForALease) {
  FakeLan lan({P("192.0.2.0/24"), P("2001:db8::/64")});
  FakeLan::Node& node = lan.AddNode();
  const AddressWish wish = lan.Wish("a");
  lan.Claim(node, wish);
  lan.Run(1s);
  Allocator& allocator = *node.allocator;
  for (const IpPrefix& address : node.leases["a"]) {
    Neighbour probe;
    probe.address = address.address;
    probe.mac = probe.source = Mac(0xb0, 9);
    allocator.OnFrame(lan.now_, probe);
    const auto frames = allocator.TakeFrames();
    ASSERT_THAT(frames, SizeIs(1));
    Neighbour answer;
    ASSERT_TRUE(ParseNeighbour(frames[0], true, answer));
    EXPECT_EQ(answer.kind, Neighbour::Kind::kHas);
    EXPECT_EQ(answer.mac, wish.mac) << "the pod's";

    probe.mac = probe.source = wish.mac;
    allocator.OnFrame(lan.now_, probe);
    EXPECT_THAT(allocator.TakeFrames(), IsEmpty()) << "its own kernel detects duplicates";
    Neighbour question = probe;
    question.kind = Neighbour::Kind::kAsk;
    question.mac = question.source = Mac(0xb0, 9);
    question.asker = address.address.is_v4() ? A("192.0.2.200") : A("2001:db8::200");
    allocator.OnFrame(lan.now_, question);
    EXPECT_THAT(allocator.TakeFrames(), IsEmpty()) << "the pod answers for itself";
  }
  // No pod answers for a spare address.
  IpAddress spare;
  for (const HeldAddress& held : lan.Snapshot(node).held) {
    if (held.use == Use::kSpare) spare = held.address;
  }
  Neighbour question;
  question.kind = Neighbour::Kind::kAsk;
  question.address = spare;
  question.mac = question.source = Mac(0xb0, 9);
  question.asker = spare.is_v4() ? A("192.0.2.200") : A("2001:db8::200");
  allocator.OnFrame(lan.now_, question);
  EXPECT_THAT(allocator.TakeFrames(), SizeIs(1));
}

TEST(Allocator, AfterAPartitionBothSidesReportEachDuplicate) {
  for (const bool defend : {false, true}) {
    FakeLan lan({P("192.0.2.0/27"), P("2001:db8::/123")}, 3);
    for (int i = 0; i < 4; ++i) lan.AddNode(defend);
    lan.Claim(*lan.nodes_[0], lan.Wish("before"));
    lan.Claim(*lan.nodes_[2], lan.Wish("before"));
    lan.Run(5s);
    for (int i = 0; i < 4; ++i) lan.nodes_[i]->side = i / 2;
    lan.Run(10s);
    for (const auto& node : lan.nodes_) {
      for (int i = 0; i < 10; ++i) lan.Claim(*node, lan.Wish(absl::StrCat("pod", i)));
    }
    lan.Run(10s);
    const std::vector<IpAddress> twice = lan.Duplicates();
    ASSERT_GT(twice.size(), 5u);
    for (const auto& node : lan.nodes_) {
      ASSERT_THAT(node->conflicts, IsEmpty());
      node->side = 0;
    }
    lan.Run(5s);
    for (const IpAddress& address : twice) {
      int reported = 0;
      for (const auto& node : lan.nodes_) {
        const bool has = std::any_of(node->leases.begin(), node->leases.end(), [&](auto& lease) {
          return std::any_of(lease.second.begin(), lease.second.end(),
                             [&](const IpPrefix& one) { return one.address == address; });
        });
        const auto& seen = node->conflicts;
        const bool saw = std::any_of(seen.begin(), seen.end(),
                                     [&](auto& one) { return one.address == address; });
        EXPECT_EQ(has, saw) << address.ToString();
        reported += saw;
      }
      EXPECT_EQ(reported, 2) << address.ToString();
    }
    const AllocatorSnapshot snapshot = lan.Snapshot(*lan.nodes_[0]);
    EXPECT_EQ(snapshot.conflicts_total, snapshot.conflicts.size());
    const AddressConflict& one = snapshot.conflicts.at(0);
    EXPECT_EQ(one.where, "peer 192.0.2.9:14790");
    EXPECT_NE(one.mac, one.other);
    lan.Release(*lan.nodes_[0], one.lease);
    for (const AddressConflict& left : lan.Snapshot(*lan.nodes_[0]).conflicts) {
      EXPECT_NE(left.lease, one.lease);
    }
  }
}

// A host that uses a leased address is a conflict. A spare address is released to it.
TEST(Allocator, AHostThatUsesALeasedAddressIsAConflict) {
  FakeLan lan({P("192.0.2.0/24")});
  FakeLan::Node& node = lan.AddNode();
  lan.Claim(node, lan.Wish("x"));
  lan.Run(1s);
  const IpAddress leased = node.leases["x"].at(0).address;
  for (int i = 0; i < 3; ++i) {
    lan.Send(BuildAnnouncement(Mac(0xb0, 1), leased));
    lan.Run(2s);
  }
  ASSERT_THAT(node.conflicts, SizeIs(1));
  EXPECT_EQ(node.conflicts[0].other, Mac(0xb0, 1));
  EXPECT_EQ(lan.Snapshot(node).conflicts.at(0).count, 3u);

  IpAddress spare;
  for (const HeldAddress& held : lan.Snapshot(node).held) {
    if (held.use == Use::kSpare) spare = held.address;
  }
  lan.Send(BuildAnnouncement(Mac(0xb0, 2), spare));
  lan.Run(2s);
  for (const HeldAddress& held : lan.Snapshot(node).held) EXPECT_NE(held.address, spare);
  EXPECT_THAT(node.conflicts, SizeIs(1));
}

// The cost of I3 and of heartbeats.
TEST(Allocator, AnIdleCloudHasFewFrames) {
  FakeLan lan({P("10.42.0.0/16")});
  for (int i = 0; i < 2; ++i) lan.AddNode();
  for (int i = 0; i < 20; ++i) {
    for (const auto& node : lan.nodes_) lan.Claim(*node, lan.Wish(absl::StrCat(i)));
    lan.Run(100ms);
  }
  lan.Run(10s);
  const size_t before = lan.frames;
  lan.Run(60s);
  EXPECT_LT(lan.frames - before, 110u) << "about one heartbeat in 1.5 s of each of two agents";
  EXPECT_GT(lan.frames - before, 50u);
}

// Random frames at random times.
TEST(Allocator, NoFrameBreaksTheInvariants) {
  std::minstd_rand random(5);
  FakeLan lan({P("192.0.2.0/29"), P("2001:db8::/125")});
  FakeLan::Node& node = lan.AddNode();
  for (int i = 0; i < 20000; ++i) {
    Neighbour message;
    message.kind = static_cast<Neighbour::Kind>(random() % 3);
    const auto address = [&] {
      return random() % 2 == 0 ? IpAddress::V4(192, 0, 2, random() % 9)
                               : A(absl::StrCat("2001:db8::", random() % 9));
    };
    message.address = address();
    message.mac = random() % 8 == 0 ? node.mac : Mac(0xb0, random() % 4);
    message.source = random() % 4 == 0 ? Mac(0xb0, random() % 4) : message.mac;
    if (message.kind == Neighbour::Kind::kAsk) message.asker = address();
    if (random() % 2 == 0) {
      message.mark = AgentMark{.kind = static_cast<AgentMark::Kind>(1 + random() % 4),
                               .beat = static_cast<uint32_t>(random())};
    }
    node.allocator->OnFrame(lan.now_, message);
    const std::string lease = absl::StrCat(random() % 5);
    if (random() % 8 == 0) lan.Claim(node, lan.Wish(lease, random() % 2 ? "a/b" : "c"));
    if (random() % 8 == 0) lan.Release(node, lease);
    if (random() % 16 == 0) {
      node.allocator->RegisterExternal(lan.now_, absl::StrCat("o", random() % 3), Mac(0xc0, 200),
                                       {{address(), 29}});
    }
    lan.Run(std::chrono::milliseconds(random() % 60));
    std::set<IpAddress> held;
    for (const HeldAddress& one : lan.Snapshot(node).held)
      EXPECT_TRUE(held.insert(one.address).second);
  }
  for (int i = 0; i < 5; ++i) lan.Release(node, absl::StrCat(i));
  for (int i = 0; i < 3; ++i) lan.Release(node, absl::StrCat("o", i));
  EXPECT_TRUE(node.allocator->idle());
}

}  // namespace
}  // namespace vxvde
