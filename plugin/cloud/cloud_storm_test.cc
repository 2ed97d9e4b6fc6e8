// Tests of storms, loops and crowds on a cloud with a fake fast path. The loop's clock stands
// still, so no bucket is refilled.

#include "gmock/gmock.h"
#include "plugin/cloud/testing/cloud_fixture.h"

namespace vxvde {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Kind = SwitchEvent::Kind;

MacAddress Station(uint32_t n) {
  return MacAddress({0x02, 1, static_cast<uint8_t>(n >> 24), static_cast<uint8_t>(n >> 16),
                     static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)});
}

class CloudStormTest : public CloudTest {
 protected:
  static constexpr MacAddress kAll = MacAddress::Broadcast();

  size_t Events(Kind kind) const {
    return static_cast<size_t>(
        std::count_if(node_.events.begin(), node_.events.end(),
                      [&](const SwitchEvent& event) { return event.kind == kind; }));
  }
  const PortSnapshot Port(PortId id) {
    for (const PortSnapshot& port : Snapshot().ports) {
      if (port.id == id) return port;
    }
    return {};
  }
};

TEST_F(CloudStormTest, APortFloodsUpToItsLimitAndSpeaksToOneStationWithout) {
  options_.storm = {.port = 1000, .cloud = 0};
  Start();
  const auto a = AddPort(kA, kPodA);
  const auto b = AddPort(kB, kPodB);
  for (int i = 0; i < 800; ++i) a->Push({MakeFrame(kAll, kPodA)});
  for (int i = 0; i < 800; ++i) a->Push({MakeFrame(kPodB, kPodA)});
  cloud().ReadNow();
  EXPECT_THAT(b->out, SizeIs(500 + 800));
  EXPECT_THAT(TakeSent(), SizeIs(500));
  EXPECT_EQ(Port(kA).drops[Drop::kStorm], 300u);
  EXPECT_EQ(Port(kA).from_pod.frames, 1600u);
  EXPECT_EQ(Events(Kind::kStorm), 1u);

  FromPod(b, MakeFrame(kAll, kPodB));
  EXPECT_THAT(a->out, SizeIs(1)) << "another port has its own limit";
  cloud().SetStorm({.port = 0, .cloud = 0});
  FromPod(a, MakeFrame(kAll, kPodA));
  EXPECT_EQ(Port(kA).drops[Drop::kStorm], 300u);
}

TEST_F(CloudStormTest, PuntedFramesCountAsThePortsOwn) {
  options_.storm = {.port = 1000, .cloud = 0};
  Start();
  AddFastPort(kA, kPodA);
  const auto b = AddPort(kB, kPodB);
  for (int i = 0; i < 800; ++i) fast().Punt(kA, {MakeFrame(kAll, kPodA)});
  cloud().ReadNow();
  EXPECT_THAT(b->out, SizeIs(500));
  EXPECT_EQ(Port(kA).drops[Drop::kStorm], 300u);
}

TEST_F(CloudStormTest, PeersAreLimitedOneByOneAndTogether) {
  options_.storm = {.port = 1000, .cloud = 4000};
  Start();
  const auto a = AddPort(kA, kPodA);
  for (int i = 0; i < 800; ++i) node_.group->Push({Wrap(MakeFrame(kAll, kFar)), kPeer});
  for (int i = 0; i < 800; ++i) node_.group->Push({Wrap(MakeFrame(kPodA, kFar)), kPeer});
  cloud().ReadNow();
  EXPECT_THAT(a->out, SizeIs(500 + 800)) << "of one peer, and all that is for one station";
  a->out.clear();
  // All strangers together get half of the cloud's limit, less the frames of the first one.
  for (uint16_t port = 1; port <= 1000; ++port) {
    for (int i = 0; i < 3; ++i) {
      node_.group->Push({Wrap(MakeFrame(kAll, kFar2)), {kOther.address, port}});
    }
  }
  cloud().ReadNow();
  EXPECT_THAT(a->out, SizeIs(500));
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_EQ(snapshot.drops[Drop::kStorm], 300u + 2500u);
  EXPECT_EQ(Events(Kind::kStorm), 1u);
}

TEST_F(CloudStormTest, PeersThatAreNotCountedShareOneLimit) {
  options_.storm = {.port = 1000, .cloud = 0};
  Start();
  const auto a = AddPort(kA, kPodA);
  for (uint32_t i = 0; i < PeerTable::kMaxPeers + 800; ++i) {
    const Peer peer{IpAddress::V4(198, 51, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)),
                    14790};
    node_.group->Push({Wrap(MakeFrame(kAll, kFar)), peer});
    if (i % 1024 == 0) cloud().ReadNow();
  }
  cloud().ReadNow();
  cloud().ReadNow();
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_THAT(snapshot.peers, SizeIs(PeerTable::kMaxPeers));
  EXPECT_EQ(snapshot.peers_not_kept, 800u);
  EXPECT_EQ(snapshot.drops[Drop::kStorm], 300u);
  EXPECT_THAT(a->out, SizeIs(PeerTable::kMaxPeers + 500));
}

TEST_F(CloudStormTest, HellosOfOnePeerAndOfAllStrangersAreLimited) {
  Start();
  for (uint32_t i = 0; i < 100; ++i) FromPeer(MakeHello(kFarAgent, 5000, true));
  EXPECT_EQ(Snapshot().drops[Drop::kStorm], 36u) << "a bucket holds 64 at the least";
  for (uint16_t port = 1; port <= 1500; ++port) {
    node_.unicast->Push({Wrap(MakeHello(kFarAgent, 5000, true)), {kOther.address, port}});
  }
  cloud().ReadNow();
  EXPECT_EQ(Snapshot().drops[Drop::kStorm], 36u + 564u);
}

// A pod that bridges two of its interfaces in this cloud: frames that are flooded to one come back
// from the other with an unchanged source.
TEST_F(CloudStormTest, APortThatLeadsFramesInACircleIsBlocked) {
  Start();
  const auto a = AddPort(kA, kPodA);
  const auto b = AddPort(kB, kPodB);
  constexpr PortId kC{3};
  const auto c = AddPort(kC, kNested);
  TakeSent();
  // The first frames are no evidence, and are not forwarded.
  for (int i = 1; i < LoopGuard::kSigns; ++i) FromPod(b, MakeFrame(kAll, kPodA));
  EXPECT_EQ(Port(kB).blocked, Duration{});
  EXPECT_THAT(a->out, IsEmpty());
  EXPECT_THAT(c->out, IsEmpty());
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_EQ(Port(kB).drops[Drop::kLoop], 7u);

  FromPod(b, MakeFrame(kAll, kPodA));
  EXPECT_EQ(Port(kB).blocked, LoopGuard::kBlocked);
  EXPECT_EQ(Port(kB).blocks, 1u);
  EXPECT_EQ(Events(Kind::kPortBlocked), 1u);
  EXPECT_EQ(node_.events.back().port, kB);

  // Frames still on their way through the other end do not block that end, too.
  for (int i = 0; i < 50; ++i) FromPod(c, MakeFrame(kAll, kPodA));
  EXPECT_EQ(Port(kC).blocks, 0u);

  // Nothing is flooded to it or from it, whatever the source, and nothing is learned from it.
  FromPod(a, MakeFrame(kAll, kPodA));
  EXPECT_THAT(b->out, IsEmpty());
  EXPECT_THAT(c->out, SizeIs(1));
  TakeSent();
  c->out.clear();
  FromPod(b, MakeFrame(kAll, kPodB));
  FromPod(b, MakeFrame(kFar2, kPodB));
  FromPod(b, MakeFrame(kAll, kFar));
  FromPod(b, MakeFrame(kPodA, kFar));
  EXPECT_THAT(a->out, IsEmpty());
  EXPECT_THAT(c->out, IsEmpty());
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_THAT(Snapshot().stations, SizeIs(3));
  node_.group->Push({Wrap(MakeFrame(kAll, kFar)), kPeer});
  cloud().ReadNow();
  EXPECT_THAT(b->out, IsEmpty());
  EXPECT_THAT(a->out, SizeIs(1));

  const Explanation from_it = cloud().Explain(kPodB, kAll);
  EXPECT_EQ(from_it.verdict.drop, Drop::kLoop);
  EXPECT_THAT(from_it.reasons, Contains(HasSubstr("Dropped (loop)")));
  const Explanation to_it = cloud().Explain(kPodA, kAll);
  EXPECT_EQ(to_it.verdict.action, Verdict::Action::kFlood);
  EXPECT_THAT(to_it.reasons, Contains("Not to port 2: it is in a loop."));
  EXPECT_EQ(cloud().Explain(kPodB, kPodA).verdict.port, kA);

  // It still reaches the stations that it knows.
  FromPod(b, MakeFrame(kPodA, kPodB));
  EXPECT_THAT(a->out, SizeIs(2));
  FromPod(a, MakeFrame(kPodB, kPodA));
  EXPECT_THAT(b->out, SizeIs(1));
  // Each frame is accounted for: 8 signs, 4 from it, 2 to it.
  EXPECT_EQ(Port(kB).drops.Total(), 8u + 4u + 2u);
}

TEST_F(CloudStormTest, OurOwnHelloFromAPortIsAProof) {
  Start();
  const auto a = AddPort(kA, kPodA);
  FromPod(a, MakeHello(kFarAgent, 5000, true));
  EXPECT_EQ(Port(kA).blocks, 0u) << "another agent's: a mistake, and no loop";
  FromPod(a, MakeHello(kAgent, kOurFastPort, true));
  EXPECT_EQ(Port(kA).blocks, 1u);
  EXPECT_EQ(Port(kA).drops[Drop::kReserved], 2u);
}

// The circling frame has no local source, so only the moves of its station reveal the loop.
TEST_F(CloudStormTest, APeersFrameThatCirclesBlocksOneOfTheTwo) {
  Start();
  const auto a = AddPort(kA, kPodA);
  const auto b = AddPort(kB, kPodB);
  FromPeer(MakeFrame(kAll, kFar));
  for (int i = 0; i < Fdb::kHoldMoves; ++i) FromPod(i % 2 == 0 ? a : b, MakeFrame(kAll, kFar));
  EXPECT_EQ(Port(kA).blocks + Port(kB).blocks, 0u);
  FromPod(b, MakeFrame(kAll, kFar));
  EXPECT_EQ(Port(kA).blocks, 0u);
  EXPECT_EQ(Port(kB).blocks, 1u);
  EXPECT_EQ(Port(kB).drops[Drop::kLoop], 1u) << "and that frame goes nowhere";
}

TEST_F(CloudStormTest, PeersBlockNoPortAndTheirLoopsDieDown) {
  Start();
  const auto a = AddPort(kA, kPodA);
  const auto b = AddPort(kB, kPodB);
  for (int i = 0; i < 1000; ++i) node_.group->Push({Wrap(MakeFrame(kAll, kPodA)), kPeer});
  cloud().ReadNow();
  EXPECT_THAT(b->out, SizeIs(64)) << "so many at once, and 100 a second";
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_EQ(snapshot.drops[Drop::kLoop], 1000u - 64u);
  EXPECT_EQ(snapshot.conflicts, 1000u);
  EXPECT_EQ(snapshot.ports[0].blocks + snapshot.ports[1].blocks, 0u);
  EXPECT_EQ(snapshot.stations[0].where, Location(kA));
}

TEST_F(CloudStormTest, AStationThatMovesTooOftenIsHeldAndItsCopyStaysRight) {
  Start();
  AddFastPort(kA, kPodA);
  Hello();
  for (int i = 0; i < 20; ++i) {
    Punt(kA, MakeFrame(kAll, kNested));
    FromPeer(MakeFrame(kAll, kNested));
  }
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_EQ(snapshot.moves, 6u) << "five, and the way back";
  EXPECT_EQ(snapshot.holds, 1u);
  EXPECT_EQ(Events(Kind::kStationMoved), 6u);
  EXPECT_EQ(Events(Kind::kStationHeld), 1u);
  for (const StationSnapshot& station : snapshot.stations) {
    EXPECT_EQ(station.held, station.mac == kNested);
    EXPECT_EQ(fast().stations[station.mac].where, station.where);
  }
}

TEST_F(CloudStormTest, AStrangersLeaveTakesNothingFromOthers) {
  Start();
  FromPeer(MakeFrame(kAll, kFar), kPeer);
  node_.group->Push({Wrap({}), kOther});
  node_.group->Push({Wrap({}), {kPeer.address, 1}});
  cloud().ReadNow();
  EXPECT_THAT(Snapshot().stations, SizeIs(1));
  EXPECT_EQ(Events(Kind::kPeerGone), 0u);
}

// I4 of plugin/cloud/cloud.h, by the number of stations that are removed in each turn of the loop.
class CloudCrowdTest : public CloudStormTest {
 protected:
  static constexpr uint32_t kMany = 10'000;
  static constexpr size_t kMost = StationSweep::kWorkPerTurn / (Fdb::kCost + 1) + 1;

  void Crowd(const Peer& from, uint32_t first) {
    for (uint32_t n = first; n < first + kMany; ++n) {
      node_.unicast->Push({Wrap(MakeFrame(kPodA, Station(n))), from});
      if (n % 1024 == 0) cloud().ReadNow();
    }
    for (int i = 0; i < 4; ++i) cloud().ReadNow();
    node_.events.clear();
  }
  // Runs the loop until nothing is left to sweep. Returns the number of stations that were removed
  // in each turn.
  std::vector<size_t> Turns() {
    std::vector<size_t> gone;
    gone.push_back(Events(Kind::kStationGone));
    std::function<void()> count = [&] {
      gone.push_back(Events(Kind::kStationGone));
      if (gone.back() == gone[gone.size() - 2]) return loop_->Stop();
      loop_->Post(count);
    };
    loop_->Post(count);
    loop_->Run();
    for (size_t i = gone.size() - 1; i > 0; --i) gone[i] -= gone[i - 1];
    return gone;
  }
};

TEST_F(CloudCrowdTest, AMemberWithManyStationsLeavesBitByBit) {
  Start();
  AddFastPort(kA, kPodA);
  Hello(kPeer);
  Crowd(kPeer, 1);
  Crowd(kOther, 1'000'000);
  EXPECT_THAT(fast().stations, SizeIs(1 + kMany));
  node_.events.clear();

  node_.unicast->Push({Wrap({}), kPeer});
  cloud().ReadNow();
  // Nothing is sent to it any more at once, and its slot is still reserved.
  EXPECT_LE(Events(Kind::kStationGone), kMost);
  EXPECT_GE(Events(Kind::kStationGone), kMost * 9 / 10);
  EXPECT_EQ(Events(Kind::kPeerGone), 1u);
  EXPECT_THAT(fast().stopped, ElementsAre(kPeer));
  EXPECT_THAT(fast().peers, SizeIs(1));
  EXPECT_THAT(Snapshot().stations, SizeIs(1 + kMany));
  EXPECT_EQ(cloud().Explain(kPodA, Station(9'999)).verdict.action, Verdict::Action::kFlood);
  // It returns before all of its stations are gone: as a plain peer, and with the stations that it
  // sends now.
  FromPeer(MakeFrame(kPodA, Station(1)), kPeer);
  Hello(kPeer);
  EXPECT_THAT(fast().stopped, ElementsAre(kPeer));
  EXPECT_FALSE(fast().stations.contains(Station(1)));

  const std::vector<size_t> turns = Turns();
  EXPECT_GE(turns.size(), kMany / kMost);
  for (const size_t gone : turns) EXPECT_LE(gone, kMost + 1);  // one came back
  EXPECT_EQ(Events(Kind::kStationGone), kMany);
  EXPECT_THAT(fast().peers, IsEmpty());
  EXPECT_THAT(Copied(), ElementsAre(kPodA));
  EXPECT_THAT(Snapshot().stations, SizeIs(2 + kMany));
  Hello(kPeer);
  EXPECT_THAT(Copied(), ElementsAre(kPodA, Station(1)));
}

TEST_F(CloudCrowdTest, ManySilentStationsGoBitByBitAndTheirPeerAfterThem) {
  Start();
  AddPort(kA, kPodA);
  Crowd(kPeer, 1);
  cloud().Tick(now() + options_.config.expiry);
  EXPECT_LE(Events(Kind::kStationGone), kMost);
  EXPECT_EQ(Events(Kind::kPeerGone), 0u);
}

// A peer that announces and withdraws its fast port costs bounded turns as well.
TEST_F(CloudCrowdTest, APeerWithManyStationsIsOffloadedAndStoppedBitByBit) {
  Start();
  AddFastPort(kA, kPodA);
  Crowd(kPeer, 1);
  Hello(kPeer);
  EXPECT_THAT(fast().peers, SizeIs(1));
  EXPECT_THAT(fast().stations, SizeIs(1 + KernelOffload::kStationsPerTurn));
  Hello(kPeer, 0);
  EXPECT_THAT(fast().stopped, ElementsAre(kPeer)) << "at once";
  EXPECT_GT(fast().stations.size(), 1u);
  Hello(kPeer);
  EXPECT_THAT(fast().stopped, ElementsAre(kPeer)) << "not before its stations are gone";

  std::vector<size_t> left = {fast().stations.size()};
  std::function<void()> count = [&] {
    left.push_back(fast().stations.size());
    if (fast().peers.empty()) return loop_->Stop();
    loop_->Post(count);
  };
  loop_->Post(count);
  loop_->Run();
  for (size_t i = 1; i < left.size(); ++i) {
    EXPECT_LE(left[i - 1] - left[i], KernelOffload::kStationsPerTurn);
  }
  EXPECT_THAT(Copied(), ElementsAre(kPodA));
  EXPECT_THAT(Snapshot().stations, SizeIs(1 + kMany)) << "the cloud knows them all the time";
}

// Any number of members may leave at once, known or unknown.
TEST_F(CloudCrowdTest, ManyPeersLeaveBitByBit) {
  Start();
  AddPort(kA, kPodA);
  constexpr uint32_t kPeers = 3000;
  const auto peer = [](uint32_t n) {
    return Peer{IpAddress::V4(198, 51, static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)), 1};
  };
  for (uint32_t n = 0; n < kPeers; ++n) {
    node_.unicast->Push({Wrap(MakeFrame(kPodA, Station(n + 1))), peer(n)});
  }
  for (uint32_t n = 0; n <= kPeers / 64; ++n) cloud().ReadNow();
  node_.events.clear();
  for (uint32_t n = 0; n < 2 * kPeers; ++n) node_.unicast->Push({Wrap({}), peer(n)});
  for (uint32_t n = 0; n <= 2 * kPeers / 64; ++n) cloud().ReadNow();
  EXPECT_EQ(Events(Kind::kPeerGone), kPeers);
  EXPECT_LE(Events(Kind::kStationGone), kMost);
  EXPECT_THAT(Snapshot().stations, SizeIs(1)) << "none is found any more";
  for (const size_t gone : Turns()) EXPECT_LE(gone, kMost);
  EXPECT_EQ(Events(Kind::kStationGone), kPeers);
}

TEST_F(CloudCrowdTest, ManySilentPeersGoBitByBit) {
  Start();
  constexpr uint32_t kPeers = 2000;
  for (uint32_t n = 0; n < kPeers; ++n) {
    // A group address is no station: the peers have none.
    node_.unicast->Push({Wrap(MakeFrame(kPodA, MacAddress::Broadcast())),
                         {IpAddress::V4(198, 51, 0, 1), static_cast<uint16_t>(n + 1)}});
  }
  for (uint32_t n = 0; n <= kPeers / 64; ++n) cloud().ReadNow();
  node_.events.clear();
  cloud().Tick(now() + options_.config.expiry);
  EXPECT_EQ(Events(Kind::kPeerGone), StationSweep::kMaxPeersPerTurn);
}

TEST_F(CloudCrowdTest, AFloodOfSourcesLeavesRoomAndTakesNobodysPlace) {
  Start();
  AddPort(kA, kPodA);
  FromPeer(MakeFrame(kPodA, kFar), kPeer);
  constexpr uint32_t kPlaces = 1 << 18;
  for (uint32_t n = 0; n < kPlaces + 10'000; ++n) {
    node_.unicast->Push({Wrap(MakeFrame(kPodA, Station(n + 1))), kOther});
    if (n % 1024 == 0) cloud().ReadNow();
  }
  cloud().ReadNow();
  EXPECT_EQ(cloud().Explain(kPodA, kFar).verdict.peer, kPeer);
  FromPeer(MakeFrame(kPodA, kFar2), kPeer);
  EXPECT_EQ(cloud().Explain(kPodA, kFar2).verdict.peer, kPeer);
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_EQ(snapshot.stations.size(), 1u + 2u + kPlaces / 2);
  EXPECT_EQ(snapshot.not_learned, kPlaces / 2 + 10'000);
}

}  // namespace
}  // namespace vxvde
