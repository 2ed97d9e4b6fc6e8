// The cloud and a fake fast path. No thread and no clock: the loop never runs, ReadNow() reads what
// was pushed in, and Tick() is told the time.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plugin/cloud/cloud.h"
#include "plugin/cloud/fake_fastpath.h"
#include "plugin/cloud/fakes.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

constexpr MacAddress kAgent({0x02, 0, 0, 0, 0, 0xa0});
constexpr MacAddress kFarAgent({0x02, 0, 0, 0, 0, 0xa1});
constexpr MacAddress kPodA({0x02, 0, 0, 0, 0, 0x0a});
constexpr MacAddress kPodB({0x02, 0, 0, 0, 0, 0x0b});
constexpr MacAddress kFar({0x02, 0, 0, 0, 0, 0xf1});
constexpr MacAddress kFar2({0x02, 0, 0, 0, 0, 0xf2});
constexpr MacAddress kNested({0x02, 0, 0, 0, 0, 0x77});
constexpr IfIndex kHostEnd{12};
constexpr PortId kA{1};
constexpr PortId kB{2};
constexpr uint16_t kOurPort = 14790;
constexpr uint16_t kOurFastPort = 51105;  // c7 a1
const Peer kGroup{IpAddress::V4(239, 1, 2, 3), 14789};
const Peer kPeer{IpAddress::V4(192, 0, 2, 1), 40001};
const Peer kOther{IpAddress::V4(192, 0, 2, 2), 40002};

Bytes MakeFrame(const MacAddress& to, const MacAddress& from, size_t size = 60) {
  Bytes frame(size, 0);
  std::copy(to.bytes().begin(), to.bytes().end(), frame.begin());
  std::copy(from.bytes().begin(), from.bytes().end(), frame.begin() + 6);
  frame[12] = 0x88;
  frame[13] = 0xb6;  // local experimental EtherType 2 (IEEE 802)
  return frame;
}

// vxvde header of VNI 42, by hand.
Bytes Wrap(const Bytes& frame) {
  Bytes out(8 + frame.size(), 0);
  out[0] = 0x08;
  out[6] = 42;
  std::copy(frame.begin(), frame.end(), out.begin() + 8);
  return out;
}

// By hand, from docs/PROTOCOL.md.
Bytes MakeHello(const MacAddress& from, uint16_t fast_port, bool answer_wanted,
                bool heard = false) {
  Bytes frame = MakeFrame(MacAddress({0x03, 0x76, 0x78, 0x76, 0x64, 0x65}), from);
  frame[13] = 0xb5;  // local experimental EtherType 1
  const std::string mark = "vxvde";
  std::copy(mark.begin(), mark.end(), frame.begin() + 14);
  frame[19] = 1;  // version
  frame[20] = static_cast<uint8_t>((answer_wanted ? 1 : 0) | (heard ? 2 : 0));
  frame[22] = static_cast<uint8_t>(fast_port >> 8);
  frame[23] = static_cast<uint8_t>(fast_port);
  return frame;
}

// One cloud with its fakes.
struct Node {
  std::shared_ptr<FakeSocket::State> group = std::make_shared<FakeSocket::State>();
  std::shared_ptr<FakeSocket::State> unicast = std::make_shared<FakeSocket::State>();
  std::shared_ptr<FakeFastCloud::State> fast = std::make_shared<FakeFastCloud::State>();
  std::vector<SwitchEvent> events;
  std::unique_ptr<Cloud> cloud;
};

class CloudFastTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    options_.config.key = {kGroup.address, kGroup.port, *Vni::Make(42)};
    options_.uplink = IfIndex{2};
    options_.agent_mac = kAgent;
  }
  void TearDown() override { node_.cloud.reset(); }

  void Start(Node& node, bool with_fast = true) {
    node.unicast->port = kOurPort;
    Cloud::Fast fast;
    if (with_fast) fast.cloud = std::make_unique<FakeFastCloud>(node.fast);
    node.cloud = std::make_unique<Cloud>(
        options_, std::make_unique<FakeSocket>(node.group),
        std::make_unique<FakeSocket>(node.unicast), std::move(fast), loop_.get(), &buffers_,
        &local_, [&node](const SwitchEvent& event) { node.events.push_back(event); });
    const absl::Status started = node.cloud->Start();
    ASSERT_TRUE(started.ok()) << started;
  }
  void Start(bool with_fast = true) {
    Start(node_, with_fast);
    node_.unicast->out.clear();  // Hello
  }

  Cloud& cloud() { return *node_.cloud; }
  FakeFastCloud::State& fast() { return *node_.fast; }
  Instant now() const { return loop_->now(); }

  std::shared_ptr<FakePort::State> AddPort(PortId id, const MacAddress& mac,
                                           IfIndex host_end = kHostEnd) {
    auto state = std::make_shared<FakePort::State>();
    const absl::Status added =
        cloud().AddPort(id, {.name = mac.ToString(), .mac = mac, .host_end = host_end},
                        std::make_unique<FakePort>(state));
    EXPECT_TRUE(added.ok()) << added;
    return state;
  }
  std::shared_ptr<FakePort::State> AddFastPort(PortId id, const MacAddress& mac) {
    auto state = AddPort(id, mac);
    cloud().Tick(now() + 1s);
    EXPECT_TRUE(fast().ports.contains(id));
    return state;
  }
  void FromPeer(Bytes frame, const Peer& from = kPeer) {
    node_.unicast->Push({Wrap(frame), from});
    cloud().ReadNow();
  }
  void FromPod(const std::shared_ptr<FakePort::State>& port, Bytes frame) {
    port->Push({std::move(frame)});
    cloud().ReadNow();
  }
  void Punt(PortId from, Bytes frame) {
    fast().Punt(from, {std::move(frame)});
    cloud().ReadNow();
  }
  // The peer says that it has a fast path, and hears us there.
  void Hello(const Peer& from = kPeer, uint16_t fast_port = 5000) {
    FromPeer(MakeHello(kFarAgent, fast_port, false, /*heard=*/fast_port != 0), from);
    node_.unicast->out.clear();
  }
  std::vector<MacAddress> Copied() {
    std::vector<MacAddress> out;
    for (const auto& [mac, station] : fast().stations) out.push_back(mac);
    return out;
  }
  std::vector<std::pair<Peer, Bytes>> TakeSent(Node& node) {
    std::vector<std::pair<Peer, Bytes>> out;
    for (auto& sent : node.unicast->out) out.emplace_back(sent.to, std::move(sent.bytes));
    node.unicast->out.clear();
    return out;
  }
  std::vector<std::pair<Peer, Bytes>> TakeSent() { return TakeSent(node_); }

  std::unique_ptr<EventLoop> loop_;
  Buffers buffers_{64};
  Cloud::LocalAddresses local_;
  CloudOptions options_;
  Node node_;
};

// ---------------------------------------------------------------- Hello

TEST_F(CloudFastTest, ACloudSaysHelloToTheGroupWhenItIsJoined) {
  Start(node_);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kGroup, Wrap(MakeHello(kAgent, kOurFastPort, true)))));
}

TEST_F(CloudFastTest, WithoutAFastPathItSaysThatItHasNone) {
  Start(node_, /*with_fast=*/false);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kGroup, Wrap(MakeHello(kAgent, 0, true)))));
}

TEST_F(CloudFastTest, AnAgentWithoutAnAddressSaysNothing) {
  options_.agent_mac = {};
  Start(node_);
  FromPeer(MakeHello(kFarAgent, 5000, true));
  cloud().Tick(now() + 31s);
  EXPECT_THAT(TakeSent(), IsEmpty());
}

TEST_F(CloudFastTest, HelloIsSaidEvery30Seconds) {
  Start();
  cloud().Tick(now() + 29s);
  EXPECT_THAT(TakeSent(), IsEmpty());
  for (const auto after : {30s, 60s}) {
    cloud().Tick(now() + after);
    EXPECT_THAT(TakeSent(),
                ElementsAre(Pair(kGroup, Wrap(MakeHello(kAgent, kOurFastPort, false)))));
    cloud().Tick(now() + after + 1s);
    EXPECT_THAT(TakeSent(), IsEmpty());
  }
}

TEST_F(CloudFastTest, WithoutAFastPathHelloIsNotRepeated) {
  Start(/*with_fast=*/false);
  cloud().Tick(now() + 31s);
  EXPECT_THAT(TakeSent(), IsEmpty());
}

TEST_F(CloudFastTest, AHelloIsAnsweredToItsSenderWhenItWantsThatOrIsNews) {
  Start();
  const auto answer = Pair(kPeer, Wrap(MakeHello(kAgent, kOurFastPort, false)));
  const auto to_its_fast_port =
      Pair(Peer{kPeer.address, 5000}, Wrap(MakeHello(kAgent, kOurFastPort, false)));
  FromPeer(MakeHello(kFarAgent, 5000, false));
  EXPECT_THAT(TakeSent(), ElementsAre(answer, to_its_fast_port)) << "the first of this peer";
  FromPeer(MakeHello(kFarAgent, 5000, false));
  EXPECT_THAT(TakeSent(), IsEmpty());
  FromPeer(MakeHello(kFarAgent, 0, false));
  EXPECT_THAT(TakeSent(), IsEmpty());
  FromPeer(MakeHello(kFarAgent, 5000, true));
  EXPECT_THAT(TakeSent(), ElementsAre(answer, to_its_fast_port));
}

TEST_F(CloudFastTest, AFastPortIsUsedWhenWhatWasSentThereWasAnswered) {
  Start();
  FromPeer(MakeHello(kFarAgent, 5000, false));
  EXPECT_THAT(fast().peers, IsEmpty()) << "it may not get there";
  TakeSent();
  const auto tried =
      ElementsAre(Pair(Peer{kPeer.address, 5000}, Wrap(MakeHello(kAgent, kOurFastPort, false))));
  for (int i = 1; i < Cloud::kTries; ++i) {
    cloud().Tick(now() + 1s);
    EXPECT_THAT(TakeSent(), tried);
  }
  cloud().Tick(now() + 2s);
  EXPECT_THAT(TakeSent(), IsEmpty()) << "until its next Hello";
  FromPeer(MakeHello(kFarAgent, 5000, false, /*heard=*/true));
  EXPECT_THAT(fast().peers, ElementsAre(Pair(kPeer, 5000)));
  cloud().Tick(now() + 3s);
  EXPECT_THAT(TakeSent(), IsEmpty());
  FromPeer(MakeHello(kFarAgent, 5001, false));
  EXPECT_THAT(fast().peers, IsEmpty()) << "another port, of which nothing is known";
}

TEST_F(CloudFastTest, WhatComesToTheFastPortIsAnsweredAsHeard) {
  Start();
  const auto heard = Pair(kPeer, Wrap(MakeHello(kAgent, kOurFastPort, false, /*heard=*/true)));
  for (int i = 0; i < 2; ++i) {
    fast().datagrams->Push({Wrap(MakeHello(kFarAgent, 0, false)), kPeer});
    cloud().ReadNow();
    EXPECT_THAT(TakeSent(), ElementsAre(heard));
  }
}

TEST_F(CloudFastTest, WhoHasNoFastPathTellsWhoHasOne) {
  Start(/*with_fast=*/false);
  const auto none = ElementsAre(Pair(kPeer, Wrap(MakeHello(kAgent, 0, false))));
  for (int i = 0; i < 2; ++i) {
    FromPeer(MakeHello(kFarAgent, 5000, false));
    EXPECT_THAT(TakeSent(), none);
  }
  FromPeer(MakeHello(kFarAgent, 0, false));
  EXPECT_THAT(TakeSent(), IsEmpty());
}

// Each way round, what one says the other hears, until both are silent.
TEST_F(CloudFastTest, TwoAgentsFindEachOtherAndFallSilent) {
  for (const bool a_fast : {false, true}) {
    for (const bool b_fast : {false, true}) {
      Node a, b;
      options_.agent_mac = kAgent;
      Start(a, a_fast);
      TakeSent(a);  // B is not there yet
      options_.agent_mac = kFarAgent;
      b.fast->fast_port = 5000;
      Start(b, b_fast);
      int said = 0;
      const auto carry = [&](Node& from, Node& to, const Peer& as) {
        bool any = false;
        for (auto& [where, bytes] : TakeSent(from)) {
          ++said;
          any = true;
          const bool fast = where.port == to.fast->fast_port;
          (where == kGroup ? to.group
           : fast          ? to.fast->datagrams
                           : to.unicast)
              ->Push({std::move(bytes), as});
        }
        to.cloud->ReadNow();
        return any;
      };
      for (bool more = true; more && said < 20;) {
        more = carry(b, a, kOther);
        more |= carry(a, b, kPeer);
      }
      EXPECT_LE(said, 8) << a_fast << b_fast;
      using Peers = std::map<Peer, uint16_t>;
      EXPECT_EQ(a.fast->peers, a_fast && b_fast ? Peers({{kOther, 5000}}) : Peers());
      EXPECT_EQ(b.fast->peers, a_fast && b_fast ? Peers({{kPeer, kOurFastPort}}) : Peers());
      a.cloud->Tick(now() + 30s);
      for (bool more = true; more && said < 20;) {
        more = carry(a, b, kPeer);
        more |= carry(b, a, kOther);
      }
      EXPECT_LE(said, 10) << a_fast << b_fast;
    }
  }
}

TEST_F(CloudFastTest, AHelloIsNeitherLearnedNorDeliveredNorLost) {
  Start();
  const auto a = AddPort(kA, kPodA);
  Bytes unknown = MakeHello(kFarAgent, 5000, true);
  unknown[19] = 2;  // a version of the future
  FromPeer(MakeHello(kFarAgent, 5000, true));
  FromPeer(unknown, kOther);
  node_.group->Push({Wrap(MakeHello(kFarAgent, 5000, true)), kPeer});
  cloud().ReadNow();
  EXPECT_THAT(a->out, IsEmpty());
  const CloudSnapshot snapshot = cloud().Snapshot();
  EXPECT_THAT(snapshot.stations, SizeIs(1));  // the pod
  EXPECT_EQ(snapshot.drops.Total(), 0u);
  for (const auto& [to, bytes] : TakeSent()) EXPECT_EQ(to.address, kPeer.address);
}

TEST_F(CloudFastTest, AHelloOfAPodIsReserved) {
  Start();
  const auto a = AddPort(kA, kPodA);
  const auto b = AddPort(kB, kPodB, IfIndex::kNone);
  FromPod(a, MakeHello(kPodA, 5000, true));
  cloud().Tick(now() + 1s);
  Punt(kA, MakeHello(kPodA, 5000, true));
  EXPECT_THAT(b->out, IsEmpty());
  EXPECT_THAT(TakeSent(), IsEmpty());
  const CloudSnapshot snapshot = cloud().Snapshot();
  EXPECT_EQ(snapshot.ports[0].drops[Drop::kReserved], 2u);
  EXPECT_EQ(snapshot.ports[0].drops.Total(), 2u);
}

// ---------------------------------------------------------------- peers and stations

TEST_F(CloudFastTest, StationsAtPortsAreCopiedAlwaysAndThoseAtPeersWhileTheseAreFast) {
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
  EXPECT_EQ(cloud().Snapshot().peers[0].fast_port, 5000);

  Hello(kPeer, 0);
  EXPECT_THAT(Copied(), ElementsAre(kPodA));
  EXPECT_THAT(fast().peers, IsEmpty());
  EXPECT_EQ(cloud().Snapshot().peers[0].fast_port, 0);
}

TEST_F(CloudFastTest, AFastPeerThatLeavesIsForgotten) {
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

TEST_F(CloudFastTest, AFastPeerIsForgotten128SecondsAfterItsLastHello) {
  options_.config.expiry = 1000s;
  Start();
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  cloud().Tick(now() + 127s);
  EXPECT_THAT(fast().peers, SizeIs(1));
  cloud().Tick(now() + 128s);
  EXPECT_THAT(fast().peers, IsEmpty());
  EXPECT_THAT(Copied(), IsEmpty());
  EXPECT_THAT(cloud().Snapshot().peers, SizeIs(1)) << "it is a plain member now";
  EXPECT_THAT(cloud().Snapshot().stations, SizeIs(1));
  TakeSent();
  FromPeer(MakeHello(kFarAgent, 5000, false));
  EXPECT_THAT(TakeSent(), SizeIs(2)) << "news again, and a port to be tried";
  EXPECT_THAT(fast().peers, IsEmpty());
}

TEST_F(CloudFastTest, AFastPortThatNoLongerAnswersIsNotUsed) {
  Start();
  Hello();
  FromPeer(MakeHello(kFarAgent, 5000, false));  // it is there, but what is sent to the port is lost
  cloud().Tick(now() + 127s);
  EXPECT_THAT(fast().peers, SizeIs(1));
  cloud().Tick(now() + 128s);
  EXPECT_THAT(fast().peers, IsEmpty());
}

TEST_F(CloudFastTest, AFastPeerThatFellSilentIsForgotten) {
  options_.config.expiry = 10s;
  Start();
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  cloud().Tick(now() + 10s);
  EXPECT_THAT(fast().peers, IsEmpty());
  EXPECT_THAT(Copied(), IsEmpty());
  EXPECT_THAT(cloud().Snapshot().peers, IsEmpty());
}

TEST_F(CloudFastTest, APeerToWhichThereIsNoWayIsSlowUntilAHelloFindsOne) {
  Start();
  fast().no_peer = absl::FailedPreconditionError("no route");
  FromPeer(MakeFrame(kPodA, kFar));
  Hello();
  EXPECT_THAT(Copied(), IsEmpty());
  EXPECT_EQ(cloud().Snapshot().peers[0].fast_port, 0);
  fast().no_peer = absl::OkStatus();
  Hello();
  EXPECT_THAT(Copied(), ElementsAre(kFar));
  EXPECT_EQ(cloud().Snapshot().peers[0].fast_port, 5000);

  fast().peer_counters[kPeer].from = {7, 700};
  const uint64_t before = cloud().Snapshot().peers[0].from_peer.frames;
  fast().no_peer = absl::FailedPreconditionError("no route");
  Hello();
  EXPECT_THAT(Copied(), IsEmpty()) << "the way was lost";
  EXPECT_EQ(cloud().Snapshot().peers[0].from_peer.frames, before + 1)
      << "the Hello, and all before";
}

TEST_F(CloudFastTest, AFastPortThatChangesIsPassedOn) {
  Start();
  Hello(kPeer, 5000);
  Hello(kPeer, 5001);
  EXPECT_THAT(fast().peers, ElementsAre(Pair(kPeer, 5001)));
}

TEST_F(CloudFastTest, WhatTheProgramsSawDoesNotExpire) {
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
  const CloudSnapshot snapshot = cloud().Snapshot();
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
  EXPECT_THAT(cloud().Snapshot().peers, IsEmpty());
}

// ---------------------------------------------------------------- ports

TEST_F(CloudFastTest, APortBecomesFastAfterASecondAndIsNoLongerRead) {
  Start();
  const auto a = AddPort(kA, kPodA);
  AddPort(kB, kPodB, IfIndex::kNone);
  cloud().Tick(now() + 999ms);
  EXPECT_THAT(fast().ports, IsEmpty());
  EXPECT_TRUE(a->receiving);
  EXPECT_FALSE(cloud().Snapshot().ports[0].fast);
  EXPECT_EQ(cloud().Snapshot().ports[0].why_not_fast, "") << "it is soon to be";

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

  const CloudSnapshot snapshot = cloud().Snapshot();
  EXPECT_TRUE(snapshot.ports[0].fast);
  EXPECT_FALSE(snapshot.ports[1].fast);
  EXPECT_THAT(snapshot.ports[1].why_not_fast, HasSubstr("veth"));
}

TEST_F(CloudFastTest, AFastPortCostsNoSocketThatReceivesAndIsHeardAll) {
  for (const bool reopens : {true, false}) {
    loop_ = *EventLoop::Create();  // one that was stopped runs no more
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

TEST_F(CloudFastTest, ACrowdOfPortsBecomesFastBitByBit) {
  Start();
  constexpr int kPorts = Cloud::kMostMadeFast + 3;
  for (int i = 1; i <= kPorts; ++i) {
    AddPort(PortId{static_cast<uint32_t>(i)}, MacAddress({2, 0, 0, 0, 1, static_cast<uint8_t>(i)}));
  }
  cloud().Tick(now() + 1s);
  EXPECT_THAT(fast().ports, SizeIs(Cloud::kMostMadeFast));
  cloud().Tick(now() + 2s);
  EXPECT_THAT(fast().ports, SizeIs(kPorts));
}

TEST_F(CloudFastTest, APortThatCannotBeFastGoesOnAndIsNotTriedAgain) {
  Start();
  fast().no_port = absl::FailedPreconditionError("it is enslaved to br0");
  const auto a = AddPort(kA, kPodA);
  for (const auto after : {1s, 2s}) cloud().Tick(now() + after);
  EXPECT_EQ(fast().port_attempts, 1);
  EXPECT_TRUE(a->receiving);
  FromPod(a, MakeFrame(kFar, kPodA));
  EXPECT_THAT(TakeSent(), SizeIs(1));
  const CloudSnapshot snapshot = cloud().Snapshot();
  EXPECT_FALSE(snapshot.ports[0].fast);
  EXPECT_EQ(snapshot.ports[0].why_not_fast, "it is enslaved to br0");
}

TEST_F(CloudFastTest, APortThatCannotStopReceivingIsNotFast) {
  Start();
  const auto a = AddPort(kA, kPodA);
  a->no_switch = absl::UnimplementedError("cannot stop receiving");
  for (const auto after : {1s, 2s}) cloud().Tick(now() + after);
  EXPECT_EQ(fast().port_attempts, 0);
  EXPECT_EQ(cloud().Snapshot().ports[0].why_not_fast, "cannot stop receiving");
}

TEST_F(CloudFastTest, PuntedFramesAreThoseOfTheirPorts) {
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
  EXPECT_THAT(a->out, SizeIs(3));  // two floods of B's, and what is for A
  EXPECT_THAT(b->out, SizeIs(2));
  const CloudSnapshot snapshot = cloud().Snapshot();
  EXPECT_EQ(snapshot.ports[0].from_pod.frames, 2u);
  EXPECT_EQ(snapshot.ports[1].from_pod.frames, 3u);
  EXPECT_EQ(fast().stations[kNested].where, Location(kA));
}

TEST_F(CloudFastTest, PuntedDatagramsAreThoseOfTheirSenders) {
  Start();
  const auto a = AddFastPort(kA, kPodA);
  fast().datagrams->Push({Wrap(MakeFrame(kPodA, kFar)), kPeer});
  fast().datagrams->Push({Wrap(MakeHello(kFarAgent, 5000, false, /*heard=*/true)), kPeer});
  cloud().ReadNow();
  EXPECT_THAT(a->out, SizeIs(1));
  EXPECT_EQ(fast().stations[kFar].where, Location(kPeer));
}

TEST_F(CloudFastTest, APortThatIsRemovedOrFailsIsNoFastOne) {
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
  EXPECT_EQ(cloud().Snapshot().ports[0].from_pod.frames, 7u) << "no counter runs backwards";
}

// ---------------------------------------------------------------- the whole cloud

TEST_F(CloudFastTest, TheFastPathMovesWithItsCloud) {
  Start();
  AddFastPort(kA, kPodA);
  Hello();
  fast().peers.clear();
  const auto group = std::make_shared<FakeSocket::State>();
  ASSERT_TRUE(cloud().MoveTo(IfIndex{9}, "eth1", 1500, std::make_unique<FakeSocket>(group)).ok());
  EXPECT_EQ(fast().uplink, IfIndex{9});
  EXPECT_THAT(fast().peers, ElementsAre(Pair(kPeer, 5000))) << "routes have changed";
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kGroup, Wrap(MakeHello(kAgent, kOurFastPort, true)))));
  EXPECT_EQ(cloud().Snapshot().fast_port, kOurFastPort);
}

TEST_F(CloudFastTest, ACloudThatCannotMoveKeepsItsFastPathWhereItIs) {
  Start();
  fast().uplink = IfIndex{2};
  node_.unicast->no_uplink = absl::NotFoundError("no such device");
  const auto group = std::make_shared<FakeSocket::State>();
  EXPECT_FALSE(cloud().MoveTo(IfIndex{9}, "eth1", 1500, std::make_unique<FakeSocket>(group)).ok());
  EXPECT_EQ(fast().uplink, IfIndex{2});
  EXPECT_TRUE(fast().alive);
}

TEST_F(CloudFastTest, AFastPathThatCannotFollowIsLeftBehind) {
  Start();
  const auto a = AddFastPort(kA, kPodA);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  a->out.clear();
  fast().no_uplink = absl::FailedPreconditionError("wg0 has no Ethernet header");
  fast().port_counters[kA] = {.from = {7, 700}, .to = {8, 800}};
  fast().peer_counters[kPeer] = {.from = {9, 900}, .to = {10, 1000}};
  const CloudSnapshot before = cloud().Snapshot();
  fast().Punt(kA, {MakeFrame(kFar, kPodA)});
  node_.group = std::make_shared<FakeSocket::State>();
  ASSERT_TRUE(
      cloud().MoveTo(IfIndex{9}, "wg0", 1420, std::make_unique<FakeSocket>(node_.group)).ok());

  EXPECT_FALSE(fast().alive);
  EXPECT_TRUE(a->receiving);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kPeer, Wrap(MakeFrame(kFar, kPodA))),
                                      Pair(kGroup, Wrap(MakeHello(kAgent, 0, false)))));
  const CloudSnapshot after = cloud().Snapshot();
  EXPECT_EQ(after.options.uplink_name, "wg0");
  EXPECT_EQ(after.fast_port, 0);
  EXPECT_THAT(after.why_not_fast, HasSubstr("wg0 has no Ethernet header"));
  EXPECT_FALSE(after.ports[0].fast);
  EXPECT_EQ(after.ports[0].from_pod.frames, before.ports[0].from_pod.frames + 1);
  EXPECT_EQ(after.ports[0].to_pod.frames, before.ports[0].to_pod.frames);
  EXPECT_EQ(after.peers[0].fast_port, 0);
  EXPECT_EQ(after.peers[0].from_peer.frames, before.peers[0].from_peer.frames);
  EXPECT_EQ(after.peers[0].to_peer.frames, before.peers[0].to_peer.frames + 1);

  // And on it goes: from the port, to it, and through time.
  FromPod(a, MakeFrame(kFar, kPodA));
  EXPECT_THAT(TakeSent(), SizeIs(1));
  FromPeer(MakeFrame(kPodA, kFar));
  EXPECT_THAT(a->out, SizeIs(1));
  cloud().Tick(now() + 200s);
  EXPECT_TRUE(cloud().TakePort(kA).ok());
}

TEST_F(CloudFastTest, WhatTheProgramsForwardedCounts) {
  Start();
  AddFastPort(kA, kPodA);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  const CloudSnapshot before = cloud().Snapshot();
  EXPECT_EQ(before.fast_port, kOurFastPort);
  EXPECT_EQ(before.why_not_fast, "");
  fast().port_counters[kA] = {.from = {1, 100}, .to = {2, 200}};
  fast().peer_counters[kPeer] = {.from = {3, 300}, .to = {4, 400}};
  fast().slow[static_cast<size_t>(Slow::kUnknown)] = 5;
  const CloudSnapshot after = cloud().Snapshot();
  const auto more = [](const FlowCounters& a, const FlowCounters& b) {
    return std::pair(a.frames - b.frames, a.bytes - b.bytes);
  };
  EXPECT_THAT(more(after.ports[0].from_pod, before.ports[0].from_pod), Pair(1, 100));
  EXPECT_THAT(more(after.ports[0].to_pod, before.ports[0].to_pod), Pair(2, 200));
  EXPECT_THAT(more(after.peers[0].from_peer, before.peers[0].from_peer), Pair(3, 300));
  EXPECT_THAT(more(after.peers[0].to_peer, before.peers[0].to_peer), Pair(4, 400));
  EXPECT_EQ(after.slow[static_cast<size_t>(Slow::kUnknown)], 5u);
}

TEST_F(CloudFastTest, ExplainSaysWhatTheProgramsWouldDo) {
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
