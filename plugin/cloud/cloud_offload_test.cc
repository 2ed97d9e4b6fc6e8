// Tests of a cloud with a kernel datapath: offloaded peers and ports, and the cloud as a whole.
// cloud_hello_test.cc has those of Hello.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugin/cloud/testing/cloud_fixture.h"

namespace vxvde {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

// ---------------------------------------------------------------- peers and stations

TEST_F(CloudTest, StationsAtPortsAreCopiedAlwaysAndThoseAtPeersWhileTheseAreFast) {
  Start();
  const auto a = AddPort(kA, kPodA);
  FromPod(a, MakeFrame(MacAddress::Broadcast(), kNested));
  FromPeer(MakeFrame(kPodA, kFar));
  EXPECT_THAT(Copied(), ElementsAre(kPodA, kNested));
  EXPECT_EQ(fast().stations[kNested].where, Location(kA));
  EXPECT_EQ(fast().stations[kNested].seen, now());

  Hello();
  EXPECT_THAT(fast().peers, ElementsAre(Pair(kPeer, 5000)));
  EXPECT_THAT(Copied(), ElementsAre(kPodA, kNested, kFar)) << "known before its peer was fast";
  EXPECT_EQ(fast().stations[kFar].where, Location(kPeer));
  FromPeer(MakeFrame(kPodA, kFar2));
  EXPECT_THAT(Copied(), ElementsAre(kPodA, kNested, kFar, kFar2));
  FromPeer(MakeFrame(kPodA, kFar2), kOther);
  EXPECT_THAT(Copied(), ElementsAre(kPodA, kNested, kFar)) << "moved to a plain member";
  FromPeer(MakeFrame(kPodA, kNested));
  EXPECT_EQ(fast().stations[kNested].where, Location(kPeer));
  EXPECT_EQ(Snapshot().peers[0].fast_port, 5000);

  Hello(kPeer, 0);
  EXPECT_THAT(Copied(), ElementsAre(kPodA));
  EXPECT_THAT(fast().peers, IsEmpty());
  EXPECT_EQ(Snapshot().peers[0].fast_port, 0);
}

TEST_F(CloudTest, AFastPeerThatLeavesIsForgotten) {
  Start();
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  EXPECT_THAT(Copied(), ElementsAre(kFar));
  FromPeer({});
  EXPECT_THAT(Copied(), IsEmpty());
  EXPECT_THAT(fast().peers, IsEmpty());
  FromPeer(MakeFrame(kPodA, kFar));
  EXPECT_THAT(Copied(), IsEmpty()) << "heard again, but not its Hello";
}

TEST_F(CloudTest, AFastPeerIsForgotten128SecondsAfterItsLastHello) {
  options_.config.expiry = 1000s;
  Start();
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  cloud().Tick(now() + 127s);
  EXPECT_THAT(fast().peers, SizeIs(1));
  cloud().Tick(now() + 128s);
  EXPECT_THAT(fast().peers, IsEmpty());
  EXPECT_THAT(Copied(), IsEmpty());
  EXPECT_THAT(Snapshot().peers, SizeIs(1)) << "it is a plain member now";
  EXPECT_THAT(Snapshot().stations, SizeIs(1));
  TakeSent();
  FromPeer(MakeHello(kFarAgent, 5000, false));
  EXPECT_THAT(TakeSent(), SizeIs(2)) << "news again, and a port to be tried";
  EXPECT_THAT(fast().peers, IsEmpty());
}

TEST_F(CloudTest, AFastPortThatNoLongerAnswersIsNotUsed) {
  Start();
  Hello();
  FromPeer(MakeHello(kFarAgent, 5000, false));  // announced, but datagrams to the port are lost
  cloud().Tick(now() + 127s);
  EXPECT_THAT(fast().peers, SizeIs(1));
  cloud().Tick(now() + 128s);
  EXPECT_THAT(fast().peers, IsEmpty());
}

TEST_F(CloudTest, AFastPeerThatFellSilentIsForgotten) {
  options_.config.expiry = 10s;
  Start();
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  cloud().Tick(now() + 10s);
  EXPECT_THAT(fast().peers, IsEmpty());
  EXPECT_THAT(Copied(), IsEmpty());
  EXPECT_THAT(Snapshot().peers, IsEmpty());
}

TEST_F(CloudTest, APeerToWhichThereIsNoWayIsSlowUntilAHelloFindsOne) {
  Start();
  fast().no_peer = absl::FailedPreconditionError("no route");
  FromPeer(MakeFrame(kPodA, kFar));
  Hello();
  EXPECT_THAT(Copied(), IsEmpty());
  EXPECT_EQ(Snapshot().peers[0].fast_port, 0);
  fast().no_peer = absl::OkStatus();
  Hello();
  EXPECT_THAT(Copied(), ElementsAre(kFar));
  EXPECT_EQ(Snapshot().peers[0].fast_port, 5000);

  fast().peer_counters[kPeer].from = {7, 700};
  const uint64_t before = Snapshot().peers[0].from_peer.frames;
  fast().no_peer = absl::FailedPreconditionError("no route");
  Hello();
  EXPECT_THAT(Copied(), IsEmpty()) << "the way was lost";
  EXPECT_EQ(Snapshot().peers[0].from_peer.frames, before + 1) << "the Hello, and all before";
}

TEST_F(CloudTest, AFastPortThatChangesIsPassedOn) {
  Start();
  Hello(kPeer, 5000);
  Hello(kPeer, 5001);
  EXPECT_THAT(fast().peers, ElementsAre(Pair(kPeer, 5001)));
}

TEST_F(CloudTest, WhatTheProgramsSawDoesNotExpire) {
  options_.config.expiry = 20s;
  Start();
  const auto a = AddFastPort(kA, kPodA);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  FromPeer(MakeFrame(kPodA, kFar2));
  Punt(kA, MakeFrame(MacAddress::Broadcast(), kNested));
  fast().stations[kFar].seen = now() + 15s;
  fast().stations[kNested].seen = now() + 15s;
  cloud().Tick(now() + 18s);
  cloud().Tick(now() + 20s);
  EXPECT_THAT(Copied(), ElementsAre(kPodA, kNested, kFar));
  EXPECT_THAT(fast().peers, SizeIs(1)) << "nor does its peer";
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_THAT(snapshot.peers, SizeIs(1));
  EXPECT_THAT(snapshot.stations, SizeIs(3));
  for (const SwitchEvent& event : node_.events) {
    EXPECT_NE(event.kind, SwitchEvent::Kind::kPeerGone);
    if (event.kind == SwitchEvent::Kind::kStationGone) {
      EXPECT_EQ(event.mac, kFar2);
    }
  }
  cloud().Tick(now() + 35s);
  EXPECT_THAT(Copied(), ElementsAre(kPodA));
  EXPECT_THAT(Snapshot().peers, IsEmpty());
}

// ---------------------------------------------------------------- ports

TEST_F(CloudTest, APortBecomesFastAfterASecondAndIsNoLongerRead) {
  Start();
  const auto a = AddPort(kA, kPodA);
  AddPort(kB, kPodB, IfIndex::kNone);
  cloud().Tick(now() + 999ms);
  EXPECT_THAT(fast().ports, IsEmpty());
  EXPECT_TRUE(a->receiving);
  EXPECT_FALSE(Snapshot().ports[0].fast);
  EXPECT_EQ(Snapshot().ports[0].why_not_fast, "") << "it is soon to be";

  FromPod(a, MakeFrame(kFar, kNested));
  TakeSent();
  fast().stations.clear();
  fast().on_add_port = [&] {
    EXPECT_FALSE(a->receiving) << "a frame would be forwarded twice";
    EXPECT_THAT(a->in, IsEmpty()) << "a frame would be overtaken";
    EXPECT_THAT(TakeSent(), ElementsAre(Pair(kGroup, Wrap(MakeFrame(kFar, kPodA)))));
  };
  a->Push({MakeFrame(kFar, kPodA)});
  cloud().Tick(now() + 1s);
  EXPECT_THAT(fast().ports, ElementsAre(Pair(kA, kHostEnd)));
  EXPECT_THAT(Copied(), ElementsAre(kPodA, kNested)) << "now as stations of a fast port";
  cloud().Tick(now() + 2s);
  EXPECT_EQ(fast().port_attempts, 1);

  const CloudSnapshot snapshot = Snapshot();
  EXPECT_TRUE(snapshot.ports[0].fast);
  EXPECT_FALSE(snapshot.ports[1].fast);
  EXPECT_THAT(snapshot.ports[1].why_not_fast, HasSubstr("it is a tap"));
}

TEST_F(CloudTest, AFastPortCostsNoSocketThatReceivesAndIsHeardAll) {
  for (const bool reopens : {true, false}) {
    loop_ = *EventLoop::Create();  // a stopped loop cannot run again
    Start();
    const auto a = AddPort(kA, kPodA);
    a->reopens = reopens;
    const int before = fast().discarded;
    cloud().Tick(now() + 1s);
    EXPECT_EQ(fast().discarded - before, reopens ? 1 : 0);
    a->Break(absl::NotFoundError("gone"));
    const auto failed = [&] { return node_.events.back().kind == SwitchEvent::Kind::kPortFailed; };
    const Instant deadline = Clock::now() + 10s;
    const auto timer = loop_->Every(1ms, [&] {
      if (failed() || Clock::now() > deadline) loop_->Stop();
    });
    loop_->Run();
    loop_->Cancel(timer);
    EXPECT_TRUE(failed()) << reopens;
    node_.cloud.reset();
  }
}

TEST_F(CloudTest, ACrowdOfPortsBecomesFastBitByBit) {
  Start();
  constexpr int kPorts = KernelOffload::kMaxStartedPerTick + 3;
  for (int i = 1; i <= kPorts; ++i) {
    AddPort(PortId{static_cast<uint32_t>(i)}, MacAddress({2, 0, 0, 0, 1, static_cast<uint8_t>(i)}));
  }
  cloud().Tick(now() + 1s);
  EXPECT_THAT(fast().ports, SizeIs(KernelOffload::kMaxStartedPerTick));
  cloud().Tick(now() + 2s);
  EXPECT_THAT(fast().ports, SizeIs(kPorts));
}

TEST_F(CloudTest, APortThatCannotBeFastGoesOnAndIsNotTriedAgain) {
  Start();
  fast().no_port = absl::FailedPreconditionError("it is enslaved to br0");
  const auto a = AddPort(kA, kPodA);
  for (const auto after : {1s, 2s}) cloud().Tick(now() + after);
  EXPECT_EQ(fast().port_attempts, 1);
  EXPECT_TRUE(a->receiving);
  FromPod(a, MakeFrame(kFar, kPodA));
  EXPECT_THAT(TakeSent(), SizeIs(1));
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_FALSE(snapshot.ports[0].fast);
  EXPECT_EQ(snapshot.ports[0].why_not_fast, "it is enslaved to br0");
}

TEST_F(CloudTest, APortThatCannotStopReceivingIsNotFast) {
  Start();
  const auto a = AddPort(kA, kPodA);
  a->no_switch = absl::UnimplementedError("cannot stop receiving");
  for (const auto after : {1s, 2s}) cloud().Tick(now() + after);
  EXPECT_EQ(fast().port_attempts, 0);
  EXPECT_EQ(Snapshot().ports[0].why_not_fast, "cannot stop receiving");
}

TEST_F(CloudTest, PuntedFramesAreThoseOfTheirPorts) {
  Start();
  const auto a = AddFastPort(kA, kPodA);
  const auto b = AddFastPort(kB, kPodB);
  fast().Punt(kA, {MakeFrame(kFar, kPodA)});
  fast().Punt(kB, {MakeFrame(kFar, kPodB)});
  fast().Punt(kB, {MakeFrame(kFar, kNested)});
  fast().Punt(kA, {MakeFrame(kFar, kNested)});  // moved
  fast().Punt(kB, {MakeFrame(kPodA, kPodB)});
  fast().Punt(PortId{99}, {MakeFrame(kPodA, kPodB)});
  cloud().ReadNow();
  EXPECT_THAT(TakeSent(), SizeIs(4));
  EXPECT_THAT(a->out, SizeIs(3));  // two floods of B's, and the frame for A
  EXPECT_THAT(b->out, SizeIs(2));
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_EQ(snapshot.ports[0].from_pod.frames, 2u);
  EXPECT_EQ(snapshot.ports[1].from_pod.frames, 3u);
  EXPECT_EQ(fast().stations[kNested].where, Location(kA));
}

TEST_F(CloudTest, PuntedDatagramsAreThoseOfTheirSenders) {
  Start();
  const auto a = AddFastPort(kA, kPodA);
  fast().datagrams->Push({Wrap(MakeFrame(kPodA, kFar)), kPeer});
  fast().datagrams->Push({Wrap(MakeHello(kFarAgent, 5000, false)), kPeer});
  cloud().ReadNow();
  EXPECT_THAT(a->out, SizeIs(1));
  fast().datagrams->Push({Wrap(MakeHello(kFarAgent, 5000, false, /*heard=*/true, nonces_)), kPeer});
  cloud().ReadNow();
  EXPECT_EQ(fast().stations[kFar].where, Location(kPeer));
}

TEST_F(CloudTest, APortThatIsRemovedOrFailsIsNoFastOne) {
  Start();
  const auto a = AddFastPort(kA, kPodA);
  const auto b = AddFastPort(kB, kPodB);
  EXPECT_TRUE(cloud().TakePort(kA).ok());
  EXPECT_THAT(fast().ports, ElementsAre(Pair(kB, kHostEnd)));
  EXPECT_THAT(Copied(), ElementsAre(kPodB));

  fast().port_counters[kB].from = {7, 700};
  fast().stations.clear();
  b->Break(absl::NotFoundError("gone"));
  cloud().ReadNow();
  EXPECT_THAT(fast().ports, IsEmpty());
  EXPECT_THAT(Copied(), ElementsAre(kPodB)) << "as the station of a slow port";
  cloud().Tick(now() + 5s);
  EXPECT_THAT(fast().ports, IsEmpty()) << "nor is it tried again";
  EXPECT_EQ(Snapshot().ports[0].from_pod.frames, 7u) << "no counter runs backwards";
}

// ---------------------------------------------------------------- taps

TEST_F(CloudTest, ATapIsCarriedAsLongAsTheNodesOwnStackLetsItsFramesThrough) {
  Start();
  const auto tap = AddPort(kA, kPodA, IfIndex::kNone);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  cloud().Tick(now() + 2s);
  EXPECT_THAT(fast().ports, IsEmpty());
  EXPECT_THAT(Snapshot().ports[0].why_not_fast, HasSubstr("UDP port 51105"));
  TakeSent();
  FromPod(tap, MakeFrame(kFar, kPodA));
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kPeer, Wrap(MakeFrame(kFar, kPodA)))));

  fast().Push({PuntedFrame::Way::kTunnelProbe, PortId::kNone, {MakeHello(kFarAgent, 5000, false)}});
  cloud().ReadNow();
  cloud().Tick(now() + 3s);
  EXPECT_THAT(fast().ports, ElementsAre(Pair(kA, IfIndex::kNone)));
  EXPECT_TRUE(fast().stations.contains(kPodA));
  EXPECT_TRUE(Snapshot().ports[0].fast);
  EXPECT_EQ(Snapshot().ports[0].why_not_fast, "");

  cloud().Tick(now() + PeerProbe::kHelloLife - 1s);
  Hello();  // the peer stays fast
  cloud().Tick(now() + PeerProbe::kHelloLife + 1s);
  EXPECT_THAT(fast().ports, IsEmpty()) << "a firewall may be in the way by now";
  EXPECT_FALSE(Snapshot().ports[0].fast);
}

TEST_F(CloudTest, WhatACarriedPortSendsToAFastPeerIsCarried) {
  Start();
  const auto tap = AddPort(kA, kPodA, IfIndex::kNone);
  const auto veth = AddPort(kB, kPodB);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  FromPeer(MakeFrame(kPodA, kFar2), kOther);
  fast().Push({PuntedFrame::Way::kTunnelProbe, PortId::kNone, {MakeHello(kFarAgent, 5000, false)}});
  cloud().ReadNow();
  cloud().Tick(now() + 2s);
  TakeSent();

  const Bytes to_fast = MakeFrame(kFar, kPodA);
  FromPod(tap, to_fast);
  EXPECT_THAT(fast().relayed, ElementsAre(Pair(kA, to_fast)));
  EXPECT_THAT(TakeSent(), IsEmpty());
  const Bytes to_plain = MakeFrame(kFar2, kPodA);
  FromPod(tap, to_plain);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kOther, Wrap(to_plain))));
  FromPod(tap, MakeFrame(kPodB, kPodA));
  EXPECT_THAT(veth->out, SizeIs(1));
  EXPECT_THAT(fast().relayed, SizeIs(1));

  // Given back: sent as to a plain member, and counted once.
  const uint64_t counted = Snapshot().ports[0].from_pod.frames;
  Punt(kA, to_fast);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kPeer, Wrap(to_fast))));
  EXPECT_THAT(fast().relayed, SizeIs(1));
  EXPECT_EQ(Snapshot().ports[0].from_pod.frames, counted);

  // A frame that the kernel has decapsulated for it.
  tap->out.clear();
  fast().Push({PuntedFrame::Way::kTo, kA, {MakeFrame(kPodA, kFar)}});
  cloud().ReadNow();
  EXPECT_THAT(tap->out, SizeIs(1));

  fast().no_relay = Drop::kSendFailed;
  FromPod(tap, to_fast);
  EXPECT_EQ(Snapshot().ports[0].drops[Drop::kSendFailed], 1u);
}

TEST_F(CloudTest, ACarriedPortGoesOnWithoutTheFastPath) {
  Start();
  const auto tap = AddPort(kA, kPodA, IfIndex::kNone);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  fast().Push({PuntedFrame::Way::kTunnelProbe, PortId::kNone, {MakeHello(kFarAgent, 5000, false)}});
  cloud().ReadNow();
  cloud().Tick(now() + 2s);
  ASSERT_TRUE(Snapshot().ports[0].fast);
  fast().no_uplink = absl::FailedPreconditionError("wg0 has no Ethernet header");
  node_.group = std::make_shared<FakeSocket::State>();
  ASSERT_TRUE(
      cloud().MoveTo(IfIndex{9}, "wg0", 1420, std::make_unique<FakeSocket>(node_.group)).ok());
  TakeSent();
  FromPod(tap, MakeFrame(kFar, kPodA));
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kPeer, Wrap(MakeFrame(kFar, kPodA)))));
  EXPECT_FALSE(Snapshot().ports[0].fast);
}

// ---------------------------------------------------------------- the whole cloud

TEST_F(CloudTest, TheFastPathMovesWithItsCloud) {
  Start();
  AddFastPort(kA, kPodA);
  Hello();
  fast().peers.clear();
  const auto group = std::make_shared<FakeSocket::State>();
  ASSERT_TRUE(cloud().MoveTo(IfIndex{9}, "eth1", 1500, std::make_unique<FakeSocket>(group)).ok());
  EXPECT_EQ(fast().uplink, IfIndex{9});
  EXPECT_THAT(fast().peers, ElementsAre(Pair(kPeer, 5000))) << "routes have changed";
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kGroup, Wrap(MakeHello(kAgent, kOurFastPort, true)))));
  EXPECT_EQ(Snapshot().fast_port, kOurFastPort);
}

TEST_F(CloudTest, ACloudThatCannotMoveKeepsItsFastPathWhereItIs) {
  Start();
  fast().uplink = IfIndex{2};
  node_.unicast->no_uplink = absl::NotFoundError("no such device");
  const auto group = std::make_shared<FakeSocket::State>();
  EXPECT_FALSE(cloud().MoveTo(IfIndex{9}, "eth1", 1500, std::make_unique<FakeSocket>(group)).ok());
  EXPECT_EQ(fast().uplink, IfIndex{2});
  EXPECT_TRUE(fast().alive);
}

TEST_F(CloudTest, AFastPathThatCannotFollowIsLeftBehind) {
  Start();
  const auto a = AddFastPort(kA, kPodA);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  a->out.clear();
  fast().no_uplink = absl::FailedPreconditionError("wg0 has no Ethernet header");
  fast().port_counters[kA] = {.from = {7, 700}, .to = {8, 800}};
  fast().peer_counters[kPeer] = {.from = {9, 900}, .to = {10, 1000}};
  const CloudSnapshot before = Snapshot();
  fast().Punt(kA, {MakeFrame(kFar, kPodA)});
  node_.group = std::make_shared<FakeSocket::State>();
  ASSERT_TRUE(
      cloud().MoveTo(IfIndex{9}, "wg0", 1420, std::make_unique<FakeSocket>(node_.group)).ok());

  EXPECT_FALSE(fast().alive);
  EXPECT_TRUE(a->receiving);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kPeer, Wrap(MakeFrame(kFar, kPodA))),
                                      Pair(kGroup, Wrap(MakeHello(kAgent, 0, false)))));
  const CloudSnapshot after = Snapshot();
  EXPECT_EQ(after.options.uplink_name, "wg0");
  EXPECT_EQ(after.fast_port, 0);
  EXPECT_THAT(after.why_not_fast, HasSubstr("wg0 has no Ethernet header"));
  EXPECT_FALSE(after.ports[0].fast);
  EXPECT_EQ(after.ports[0].from_pod.frames, before.ports[0].from_pod.frames + 1);
  EXPECT_EQ(after.ports[0].to_pod.frames, before.ports[0].to_pod.frames);
  EXPECT_EQ(after.peers[0].fast_port, 0);
  EXPECT_EQ(after.peers[0].from_peer.frames, before.peers[0].from_peer.frames);
  EXPECT_EQ(after.peers[0].to_peer.frames, before.peers[0].to_peer.frames + 1);

  // The cloud continues: from the port, to the port, and over time.
  FromPod(a, MakeFrame(kFar, kPodA));
  EXPECT_THAT(TakeSent(), SizeIs(1));
  FromPeer(MakeFrame(kPodA, kFar));
  EXPECT_THAT(a->out, SizeIs(1));
  cloud().Tick(now() + 200s);
  EXPECT_TRUE(cloud().TakePort(kA).ok());
}

TEST_F(CloudTest, WhatTheProgramsForwardedCounts) {
  Start();
  AddFastPort(kA, kPodA);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  const CloudSnapshot before = Snapshot();
  EXPECT_EQ(before.fast_port, kOurFastPort);
  EXPECT_EQ(before.why_not_fast, "");
  fast().port_counters[kA] = {.from = {1, 100}, .to = {2, 200}};
  fast().peer_counters[kPeer] = {.from = {3, 300}, .to = {4, 400}};
  fast().slow[static_cast<size_t>(Slow::kUnknown)] = 5;
  const CloudSnapshot after = Snapshot();
  const auto more = [](const FlowCounters& a, const FlowCounters& b) {
    return std::pair(a.frames - b.frames, a.bytes - b.bytes);
  };
  EXPECT_THAT(more(after.ports[0].from_pod, before.ports[0].from_pod), Pair(1, 100));
  EXPECT_THAT(more(after.ports[0].to_pod, before.ports[0].to_pod), Pair(2, 200));
  EXPECT_THAT(more(after.peers[0].from_peer, before.peers[0].from_peer), Pair(3, 300));
  EXPECT_THAT(more(after.peers[0].to_peer, before.peers[0].to_peer), Pair(4, 400));
  EXPECT_EQ(after.slow[static_cast<size_t>(Slow::kUnknown)], 5u);
}

TEST_F(CloudTest, WhatWasPuntedAndLostIsCountedAlsoAfterTheFastPathIsGone) {
  Start();
  fast().lost = {.frames = 3, .datagrams = 4, .not_from_here = 5};
  const auto lost = [&] {
    const DropCounters drops = Snapshot().drops;
    return std::vector<uint64_t>{drops[Drop::kPortOverrun], drops[Drop::kSocketOverrun],
                                 drops[Drop::kNotFromHere]};
  };
  EXPECT_THAT(lost(), ElementsAre(3, 4, 5));
  fast().no_uplink = absl::FailedPreconditionError("wg0 has no Ethernet header");
  node_.group = std::make_shared<FakeSocket::State>();
  ASSERT_TRUE(
      cloud().MoveTo(IfIndex{9}, "wg0", 1420, std::make_unique<FakeSocket>(node_.group)).ok());
  EXPECT_FALSE(fast().alive);
  EXPECT_THAT(lost(), ElementsAre(3, 4, 5));
}

TEST_F(CloudTest, ExplainSaysWhatTheProgramsWouldDo) {
  Start();
  EXPECT_EQ(cloud().Explain(kPodA, kFar).fast,
            "From " + kPodA.ToString() + " to " + kFar.ToString() + ": fast.");
  Node slow;
  Start(slow, /*with_fast=*/false);
  EXPECT_EQ(slow.cloud->Explain(kPodA, kFar).fast, "");
  EXPECT_EQ(slow.cloud->Snapshot().fast_port, 0);
}

}  // namespace
}  // namespace vxvde
