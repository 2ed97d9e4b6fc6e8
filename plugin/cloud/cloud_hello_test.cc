// Tests of the exchange of Hellos and of its results (docs/PROTOCOL.md).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "plugin/cloud/testing/cloud_fixture.h"

namespace vxvde {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

TEST_F(CloudTest, ACloudSaysHelloToTheGroupWhenItIsJoined) {
  Start(node_);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kGroup, Wrap(MakeHello(kAgent, kOurFastPort, true)))));
}

TEST_F(CloudTest, WithoutAFastPathItSaysThatItHasNone) {
  Start(node_, /*with_fast=*/false);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kGroup, Wrap(MakeHello(kAgent, 0, true)))));
}

TEST_F(CloudTest, AnAgentWithoutAnAddressSaysNothing) {
  options_.agent_mac = {};
  Start(node_);
  FromPeer(MakeHello(kFarAgent, 5000, true));
  cloud().Tick(now() + 31s);
  EXPECT_THAT(TakeSent(), IsEmpty());
}

TEST_F(CloudTest, HelloIsSaidEvery30Seconds) {
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

TEST_F(CloudTest, WithoutAFastPathHelloIsRepeatedToo) {
  Start(/*with_fast=*/false);
  cloud().Tick(now() + 31s);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kGroup, Wrap(MakeHello(kAgent, 0, false)))));
}

TEST_F(CloudTest, AHelloIsAnsweredToItsSenderWhenItWantsThatOrIsNews) {
  Start();
  const auto answer = Pair(kPeer, Wrap(MakeHello(kAgent, kOurFastPort, false)));
  const auto trial = [](uint64_t nonce) {
    return Pair(Peer{kPeer.address, 5000},
                Wrap(MakeHello(kAgent, kOurFastPort, false, /*heard=*/false, nonce)));
  };
  FromPeer(MakeHello(kFarAgent, 5000, false));
  EXPECT_THAT(TakeSent(), ElementsAre(answer, trial(1))) << "the first of this peer";
  FromPeer(MakeHello(kFarAgent, 5000, false));
  EXPECT_THAT(TakeSent(), IsEmpty());
  FromPeer(MakeHello(kFarAgent, 0, false));
  EXPECT_THAT(TakeSent(), IsEmpty());
  FromPeer(MakeHello(kFarAgent, 5000, true));
  EXPECT_THAT(TakeSent(), ElementsAre(answer, trial(2)));
}

TEST_F(CloudTest, AFastPortIsUsedWhenWhatWasSentThereWasAnswered) {
  Start();
  FromPeer(MakeHello(kFarAgent, 5000, false));
  EXPECT_THAT(fast().peers, IsEmpty()) << "it may not get there";
  TakeSent();
  const auto tried = ElementsAre(Pair(
      Peer{kPeer.address, 5000}, Wrap(MakeHello(kAgent, kOurFastPort, false, /*heard=*/false, 1))));
  for (int i = 1; i < PeerProbe::kMaxTries; ++i) {
    cloud().Tick(now() + i * 1s);
    EXPECT_THAT(TakeSent(), tried);
  }
  cloud().Tick(now() + 10s);
  EXPECT_THAT(TakeSent(), IsEmpty()) << "until its next Hello";
  for (const uint64_t wrong : {0, 2}) {
    FromPeer(MakeHello(kFarAgent, 5000, false, /*heard=*/true, wrong));
    EXPECT_THAT(fast().peers, IsEmpty()) << "of a host that has not received the trial";
  }
  FromPeer(MakeHello(kFarAgent, 5000, false, /*heard=*/true, 1));
  EXPECT_THAT(fast().peers, ElementsAre(Pair(kPeer, 5000)));
  cloud().Tick(now() + 11s);
  EXPECT_THAT(TakeSent(), IsEmpty());
  FromPeer(MakeHello(kFarAgent, 5001, false));
  EXPECT_THAT(fast().peers, IsEmpty()) << "another port, of which nothing is known";
}

TEST_F(CloudTest, WhatComesToTheFastPortIsAnsweredAsHeard) {
  Start();
  for (const uint64_t nonce : {0x77, 0x78}) {
    fast().datagrams->Push({Wrap(MakeHello(kFarAgent, 0, false, /*heard=*/false, nonce)), kPeer});
    cloud().ReadNow();
    EXPECT_THAT(TakeSent(), ElementsAre(Pair(kPeer, Wrap(MakeHello(kAgent, kOurFastPort, false,
                                                                   /*heard=*/true, nonce)))));
  }
}

TEST_F(CloudTest, WhoHasNoFastPathTellsWhoHasOne) {
  Start(/*with_fast=*/false);
  const auto none = ElementsAre(Pair(kPeer, Wrap(MakeHello(kAgent, 0, false))));
  for (int i = 0; i < 2; ++i) {
    FromPeer(MakeHello(kFarAgent, 5000, false));
    EXPECT_THAT(TakeSent(), none);
  }
  FromPeer(MakeHello(kFarAgent, 0, false));
  EXPECT_THAT(TakeSent(), IsEmpty());
}

TEST_F(CloudTest, AnAgentOf010IsTriedAndBelieved) {
  Start();
  FromPeer(MakeOldHello(kFarAgent, 5000, false, /*heard=*/true));
  EXPECT_THAT(fast().peers, IsEmpty()) << "it had nothing to answer";
  FromPeer(MakeOldHello(kFarAgent, 5000, false, /*heard=*/true));
  EXPECT_THAT(fast().peers, ElementsAre(Pair(kPeer, 5000)));
}

TEST_F(CloudTest, AnEchoIsNoPeer) {
  context_.local = {IpAddress::V4(192, 0, 2, 10)};
  Start();
  const Bytes flood = Wrap(MakeFrame(MacAddress::Broadcast(), kPodA));
  const Bytes hello = Wrap(MakeHello(kAgent, kOurFastPort, true));
  node_.group->Push({flood, {IpAddress::V4(192, 0, 2, 10), kOurPort}});
  node_.group->Push({flood, {IpAddress::V4(0, 0, 0, 0), kOurPort}});
  node_.group->Push({hello, {IpAddress::V4(192, 0, 2, 11), kOurPort}});  // an address that is new
  cloud().ReadNow();
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_EQ(snapshot.drops[Drop::kOwnEcho], 3u);
  EXPECT_THAT(snapshot.peers, IsEmpty());
  EXPECT_THAT(snapshot.stations, IsEmpty());
  EXPECT_EQ(snapshot.from_group.frames, 0u);
  EXPECT_THAT(TakeSent(), IsEmpty());
}

// Delivers the datagrams of each side to the other until both are silent.
TEST_F(CloudTest, TwoAgentsFindEachOtherAndFallSilent) {
  for (const bool a_fast : {false, true}) {
    for (const bool b_fast : {false, true}) {
      Node a, b;
      options_.agent_mac = kAgent;
      Start(a, a_fast);
      TakeSent(a);  // B does not exist yet
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

TEST_F(CloudTest, AHelloIsNeitherLearnedNorDeliveredNorLost) {
  Start();
  const auto a = AddPort(kA, kPodA);
  Bytes unknown = MakeHello(kFarAgent, 5000, true);
  unknown[19] = 2;  // a future version
  FromPeer(MakeHello(kFarAgent, 5000, true));
  FromPeer(unknown, kOther);
  node_.group->Push({Wrap(MakeHello(kFarAgent, 5000, true)), kPeer});
  cloud().ReadNow();
  EXPECT_THAT(a->out, IsEmpty());
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_THAT(snapshot.stations, SizeIs(1));  // the pod
  EXPECT_EQ(snapshot.drops.Total(), 0u);
  for (const auto& [to, bytes] : TakeSent()) EXPECT_EQ(to.address, kPeer.address);
}

TEST_F(CloudTest, AHelloOfAPodIsReserved) {
  Start();
  const auto a = AddPort(kA, kPodA);
  const auto b = AddPort(kB, kPodB, IfIndex::kNone);
  FromPod(a, MakeHello(kPodA, 5000, true));
  cloud().Tick(now() + 1s);
  Punt(kA, MakeHello(kPodA, 5000, true));
  EXPECT_THAT(b->out, IsEmpty());
  EXPECT_THAT(TakeSent(), IsEmpty());
  const CloudSnapshot snapshot = Snapshot();
  EXPECT_EQ(snapshot.ports[0].drops[Drop::kReserved], 2u);
  EXPECT_EQ(snapshot.ports[0].drops.Total(), 2u);
}

TEST_F(CloudTest, AnAgentThatIsSilentByGroupIsAskedAndReportedAndTheGroupIsJoinedAnew) {
  Start(/*with_fast=*/false);
  node_.group->Push({Wrap(MakeHello(kFarAgent, 0, false)), kPeer});
  cloud().ReadNow();
  for (int second = 1; second <= 64; ++second) cloud().Tick(now() + second * 1s);
  TakeSent();
  cloud().Tick(now() + 65s);
  EXPECT_THAT(TakeSent(), ElementsAre(Pair(kPeer, Wrap(MakeHello(kAgent, 0, true)))));
  EXPECT_EQ(node_.group->joins, 0);
  cloud().Tick(now() + 96s);
  EXPECT_EQ(node_.group->joins, 1);
  // The fake socket does not return datagrams that are sent to the group.
  ASSERT_FALSE(node_.events.empty());
  EXPECT_EQ(node_.events.back().kind, SwitchEvent::Kind::kGroupUnheard);
  EXPECT_NE(node_.events.back().text, "");
  EXPECT_EQ(cloud().Snapshot().rejoins, 1u);
}

}  // namespace
}  // namespace vxvde
