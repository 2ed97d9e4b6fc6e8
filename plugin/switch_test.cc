#include "plugin/switch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "plugin/offload/testing/packets.h"
#include "plugin/switch_fixture.h"
#include "plugin/wire/checksum.h"
#include "plugin/wire/header.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// IPv4 TCP, `payload` bytes counting up, checksums finished.
Bytes MakeTcp(const MacAddress& to, const MacAddress& from, uint32_t sequence, size_t payload) {
  Bytes frame = MakeFrame(to, from, 54 + payload);
  uint8_t* ip = frame.data() + 14;
  uint8_t* tcp = ip + 20;
  StoreBe16(frame.data() + 12, kEtherTypeIpv4);
  ip[0] = 0x45;
  StoreBe16(ip + 2, static_cast<uint16_t>(40 + payload));
  StoreBe16(ip + 6, 0x4000);  // DF
  ip[8] = 64;
  ip[9] = kProtocolTcp;
  const uint8_t addresses[] = {10, 0, 0, 1, 10, 0, 0, 2};
  std::copy(std::begin(addresses), std::end(addresses), ip + 12);
  StoreBe16(ip + 10, ChecksumFinish(ChecksumAdd({ip, 20})));
  StoreBe16(tcp, 5001);
  StoreBe16(tcp + 2, 80);
  StoreBe32(tcp + 4, sequence);
  StoreBe32(tcp + 8, 1);
  tcp[12] = 0x50;
  tcp[13] = 0x10;  // ACK
  StoreBe16(tcp + 14, 1000);
  for (size_t i = 0; i < payload; ++i) tcp[20 + i] = static_cast<uint8_t>(sequence + i);
  const uint64_t pseudo = PseudoHeaderSum({ip + 12, 4}, {ip + 16, 4}, kProtocolTcp,
                                          static_cast<uint32_t>(20 + payload));
  StoreBe16(tcp + 16, ChecksumFinish(ChecksumAdd({tcp, 20 + payload}, pseudo)));
  return frame;
}

TEST_F(SwitchTest, AnUnknownStationIsAskedForInTheGroupAndAnsweredByUnicast) {
  AddPort(kPodA, a_);
  FromPod(a_, MakeFrame(kFar, kPodA));
  On([&] {
    ASSERT_THAT(unicast_->out, SizeIs(1));
    EXPECT_EQ(unicast_->out[0].to, kGroup);
    EXPECT_EQ(unicast_->out[0].bytes, Wrap(MakeFrame(kFar, kPodA)));
  });

  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  On([&] { EXPECT_THAT(Frames(*a_), ElementsAre(MakeFrame(kPodA, kFar))); });

  FromPod(a_, MakeFrame(kFar, kPodA, 100));
  On([&] {
    ASSERT_THAT(unicast_->out, SizeIs(2));
    EXPECT_EQ(unicast_->out[1].to, kPeer);
    EXPECT_EQ(unicast_->out[1].bytes, Wrap(MakeFrame(kFar, kPodA, 100)));
  });
}

TEST_F(SwitchTest, ABroadcastFromAPodReachesOtherPodsAndTheGroupButNotItself) {
  AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  FromPod(a_, MakeFrame(MacAddress::Broadcast(), kPodA));
  On([&] {
    EXPECT_THAT(a_->out, IsEmpty());
    EXPECT_THAT(b_->out, SizeIs(1));
    ASSERT_THAT(unicast_->out, SizeIs(1));
    EXPECT_EQ(unicast_->out[0].to, kGroup);
  });
}

TEST_F(SwitchTest, ABroadcastFromAPeerReachesAllPodsAndGoesNoFurther) {
  AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  FromPeer(group_, Wrap(MakeFrame(MacAddress::Broadcast(), kFar)), kPeer);
  On([&] {
    EXPECT_THAT(a_->out, SizeIs(1));
    EXPECT_THAT(b_->out, SizeIs(1));
    EXPECT_THAT(unicast_->out, IsEmpty());
  });
  const CloudSnapshot cloud = Snapshot();
  EXPECT_EQ(cloud.from_group.frames, 1u);
  ASSERT_THAT(cloud.peers, SizeIs(1));
  EXPECT_EQ(cloud.peers[0].peer, kPeer);
  EXPECT_EQ(cloud.peers[0].stations, 1u);
}

TEST_F(SwitchTest, PodsOfOneNodeTalkWithoutTheWireAndKeepTheirSuperFrames) {
  AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  const Bytes frame = MakeTcp(kPodB, kPodA, 1, 9000);
  const Offload offload{.gso = Gso::kTcp4,
                        .needs_checksum = true,
                        .gso_size = 1400,
                        .header_size = 54,
                        .checksum_start = 34,
                        .checksum_offset = 16};
  FromPod(a_, frame, offload);
  On([&] {
    ASSERT_THAT(b_->out, SizeIs(1));
    EXPECT_EQ(b_->out[0].bytes, frame);
    EXPECT_EQ(b_->out[0].offload.gso_size, 1400);
    EXPECT_TRUE(b_->out[0].offload.needs_checksum);
    EXPECT_THAT(unicast_->out, IsEmpty());
  });
  const CloudSnapshot cloud = Snapshot();
  EXPECT_EQ(cloud.ports[0].from_pod.frames, 7u);  // 6 x 1400 + 600
  EXPECT_EQ(cloud.ports[1].to_pod.frames, 7u);
}

TEST_F(SwitchTest, ASuperFrameLeavesAsOneRunOfCorrectDatagrams) {
  AddPort(kPodA, a_);
  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  Bytes frame = MakeTcp(kFar, kPodA, 1000, 14 * 1400 + 100);
  // CHECKSUM_PARTIAL: the field holds the folded pseudo-header sum.
  const uint8_t* ip = frame.data() + 14;
  StoreBe16(frame.data() + 50,
            ChecksumFold(PseudoHeaderSum({ip + 12, 4}, {ip + 16, 4}, kProtocolTcp,
                                         static_cast<uint32_t>(frame.size() - 34))));
  FromPod(a_, frame,
          {.gso = Gso::kTcp4,
           .needs_checksum = true,
           .gso_size = 1400,
           .header_size = 54,
           .checksum_start = 34,
           .checksum_offset = 16});
  On([&] {
    ASSERT_THAT(unicast_->out, SizeIs(1));
    const FakeSocket::Out& run = unicast_->out[0];
    EXPECT_EQ(run.to, kPeer);
    EXPECT_EQ(run.segment_size, 8 + 54 + 1400);
    EXPECT_EQ(run.datagrams, 15u);
    size_t payload = 0;
    for (size_t at = 0; at < run.bytes.size(); at += run.segment_size) {
      const auto datagram = std::span(run.bytes).subspan(
          at, std::min<size_t>(run.segment_size, run.bytes.size() - at));
      const Bytes inner(datagram.begin() + 8, datagram.end());
      Bytes expected =
          MakeTcp(kFar, kPodA, static_cast<uint32_t>(1000 + payload), inner.size() - 54);
      // IPv4 ids count up.
      StoreBe16(expected.data() + 18, static_cast<uint16_t>(at / run.segment_size));
      StoreBe16(expected.data() + 24, 0);
      StoreBe16(expected.data() + 24, ChecksumFinish(ChecksumAdd({expected.data() + 14, 20})));
      EXPECT_EQ(Wrap(inner), Wrap(expected)) << "segment at " << at;
      payload += inner.size() - 54;
    }
    EXPECT_EQ(payload, 14u * 1400 + 100);
  });
}

TEST_F(SwitchTest, ARunOfSegmentsFromAPeerReachesThePodAsOneSuperFrame) {
  AddPort(kPodA, a_);
  Bytes run;
  for (uint32_t i = 0; i < 10; ++i) {
    const Bytes datagram = Wrap(MakeTcp(kPodA, kFar, i * 1000, 1000));
    run.insert(run.end(), datagram.begin(), datagram.end());
  }
  FromPeer(unicast_, run, kPeer, 8 + 54 + 1000);
  On([&] {
    ASSERT_THAT(a_->out, SizeIs(1));
    EXPECT_EQ(a_->out[0].offload.gso, Gso::kTcp4);
    EXPECT_EQ(a_->out[0].offload.gso_size, 1000);
    EXPECT_EQ(a_->out[0].bytes.size(), 54u + 10'000);
  });
  EXPECT_EQ(Snapshot().ports[0].to_pod.frames, 10u);
}

TEST_F(SwitchTest, DatagramsGoAloneToAPortWhoseKernelRefusesThemTogether) {
  packets::Spec spec;
  spec.udp = true;
  spec.payload = packets::Payload(3 * 18);
  Bytes run;
  size_t size = 0;
  for (const Bytes& frame : packets::Segments(spec, 18)) {
    const Bytes datagram = Wrap(frame);
    size = datagram.size();
    run.insert(run.end(), datagram.begin(), datagram.end());
  }
  AddPort(DestinationMac(std::span(run).subspan(8)), a_);
  On([&] { a_->refuse = Drop::kBadOffload; });
  FromPeer(unicast_, run, kPeer, static_cast<uint16_t>(size));
  EXPECT_EQ(Snapshot().ports[0].drops[Drop::kBadOffload], 3u);
  On([&] { a_->refuse = Drop::kNone; });
  FromPeer(unicast_, run, kPeer, static_cast<uint16_t>(size));
  EXPECT_EQ(Snapshot().ports[0].to_pod.frames, 3u);
  On([&] {
    ASSERT_THAT(a_->out, SizeIs(3));
    EXPECT_EQ(a_->out[0].bytes, Bytes(run.begin() + 8, run.begin() + static_cast<long>(size)));
  });
}

TEST_F(SwitchTest, DropsAreCountedByReason) {
  AddPort(kPodA, a_);
  FromPeer(unicast_, {0x08, 0, 0}, kPeer);
  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kFar), 43), kPeer);
  Bytes bad = Wrap(MakeFrame(kPodA, kFar));
  bad[7] = 1;
  FromPeer(unicast_, bad, kPeer);
  FromPeer(unicast_, Wrap(Bytes(14, 0)), kPeer);
  FromPeer(group_, Wrap(MakeFrame(kPodA, kFar)), {kSelf, kOurPort});
  FromPeer(group_, Wrap(MakeFrame(kPodA, MacAddress({0x01, 0, 0x5e, 0, 0, 1}))), kPeer);
  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  FromPeer(unicast_, Wrap(MakeFrame(kFar, kNested)), kOther);  // to a station of another peer
  FromPod(a_, Bytes(14, 0));
  FromPod(a_, MakeFrame(kPodA, kPodA));
  FromPod(a_, MakeFrame(kFar, kPodA), {.gso = Gso::kTcp4, .gso_size = 0});
  On([&] { EXPECT_THAT(Frames(*a_), ElementsAre(MakeFrame(kPodA, kFar))); });

  const CloudSnapshot cloud = Snapshot();
  EXPECT_EQ(cloud.drops[Drop::kShortDatagram], 1u);
  EXPECT_EQ(cloud.drops[Drop::kWrongVni], 1u);
  EXPECT_EQ(cloud.drops[Drop::kBadHeader], 1u);
  EXPECT_EQ(cloud.drops[Drop::kShortFrame], 1u);
  EXPECT_EQ(cloud.drops[Drop::kOwnEcho], 1u);
  EXPECT_EQ(cloud.drops[Drop::kBadSource], 1u);
  EXPECT_EQ(cloud.drops[Drop::kHairpin], 1u);
  EXPECT_EQ(cloud.drops.Total(), 6u);  // the echo is not a loss
  EXPECT_EQ(cloud.ports[0].drops[Drop::kShortFrame], 1u);
  EXPECT_EQ(cloud.ports[0].drops[Drop::kSamePort], 1u);
  EXPECT_EQ(cloud.ports[0].drops[Drop::kBadOffload], 1u);
  EXPECT_EQ(cloud.ports[0].drops.Total(), 3u);
}

TEST_F(SwitchTest, AMemberOnThisHostIsNotTakenForOurEcho) {
  AddPort(kPodA, a_);
  FromPeer(group_, Wrap(MakeFrame(kPodA, kFar)), {kSelf, 40'000});  // our address, another port
  FromPeer(group_, Wrap(MakeFrame(kPodA, kFar)), {kPeer.address, kOurPort});  // our port elsewhere
  On([&] { EXPECT_THAT(a_->out, SizeIs(2)); });
}

TEST_F(SwitchTest, ALeaveForgetsTheSendersStationsAndNobodyElses) {
  AddPort(kPodA, a_);
  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kNested)), kOther);
  FromPeer(group_, Wrap({}), kPeer);
  const CloudSnapshot cloud = Snapshot();
  ASSERT_THAT(cloud.peers, SizeIs(1));
  EXPECT_EQ(cloud.peers[0].peer, kOther);
  std::vector<MacAddress> stations;
  for (const auto& station : cloud.stations) stations.push_back(station.mac);
  EXPECT_THAT(stations, ElementsAre(kPodA, kNested));
  On([&] {
    EXPECT_THAT(events_,
                Contains(testing::Field(&SwitchEvent::kind, SwitchEvent::Kind::kPeerGone)));
  });
}

TEST_F(SwitchTest, APodsOwnAddressCannotBeTakenFromOutside) {
  const PortId id = AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  FromPeer(group_, Wrap(MakeFrame(MacAddress::Broadcast(), kPodA)), kPeer);
  FromPod(b_, MakeFrame(kPodA, kPodB));
  On([&] {
    EXPECT_THAT(a_->out, SizeIs(2));  // the broadcast, then B's frame
    EXPECT_THAT(unicast_->out, IsEmpty());
  });
  const CloudSnapshot cloud = Snapshot();
  EXPECT_EQ(cloud.conflicts, 1u);
  EXPECT_EQ(cloud.stations[0].where, Location(id));
}

TEST_F(SwitchTest, AStationBehindAPodIsLearnedThere) {
  AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  FromPod(a_, MakeFrame(MacAddress::Broadcast(), kNested));
  FromPod(b_, MakeFrame(kNested, kPodB));
  On([&] { EXPECT_THAT(Frames(*a_), ElementsAre(MakeFrame(kNested, kPodB))); });
}

TEST_F(SwitchTest, WhatAGuardRefusesGoesNowhereAndTeachesNothing) {
  const PortId port = AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  On([&] { ASSERT_TRUE(cloud()->SetGuard(port, {.on = true}).ok()); });
  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  for (const MacAddress& source : {kFar, kPodB, kNested}) {
    FromPod(a_, MakeFrame(MacAddress::Broadcast(), source));
  }
  CloudSnapshot seen = Snapshot();
  EXPECT_EQ(seen.ports[0].drops[Drop::kSpoofedMac], 3u);
  EXPECT_TRUE(b_->out.empty());
  EXPECT_TRUE(unicast_->out.empty());
  EXPECT_EQ(seen.moves, 0u) << "the peer's station is where it was";
  EXPECT_EQ(seen.conflicts, 0u);
  EXPECT_EQ(seen.stations.size(), 3u);
  On([&] {
    EXPECT_THAT(cloud()->Explain(kNested, kPodA).reasons,
                testing::Contains(testing::HasSubstr("spoofed-mac")));
    EXPECT_THAT(cloud()->Explain(kPodB, kPodA).reasons,
                testing::Not(testing::Contains(testing::HasSubstr("spoofed-mac"))));
  });

  FromPod(a_, MakeFrame(kPodB, kPodA));
  EXPECT_EQ(Snapshot().ports[0].drops.Total(), 3u);
  EXPECT_EQ(b_->out.size(), 1u);
}

TEST_F(SwitchTest, AnotherGuardForgetsWhatThePortHadTaught) {
  const PortId port = AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  const PortGuard nested{.on = true, .macs = {MacPrefix{.address = kNested}}};
  On([&] { ASSERT_TRUE(cloud()->SetGuard(port, nested).ok()); });
  FromPod(a_, MakeFrame(kPodB, kNested));
  EXPECT_EQ(Snapshot().stations.size(), 3u);
  EXPECT_EQ(b_->out.size(), 1u);
  On([&] { ASSERT_TRUE(cloud()->SetGuard(port, nested).ok()); });
  EXPECT_EQ(Snapshot().stations.size(), 3u) << "nothing has changed";
  On([&] { ASSERT_TRUE(cloud()->SetGuard(port, {.on = true}).ok()); });
  EXPECT_EQ(Snapshot().stations.size(), 2u);
  FromPod(a_, MakeFrame(kPodB, kNested));
  EXPECT_EQ(Snapshot().ports[0].drops[Drop::kSpoofedMac], 1u);
  EXPECT_EQ(b_->out.size(), 1u);
  On([&] { EXPECT_TRUE(absl::IsNotFound(cloud()->SetGuard(PortId{99}, {}))); });
}

TEST_F(SwitchTest, OnlyALeavingCloudSaysSo) {
  const PortId id = AddPort(kPodA, a_);
  On([&] {
    EXPECT_TRUE(cloud()->TakePort(id).ok());
    EXPECT_THAT(unicast_->out, IsEmpty());
    switch_->Leave(key());
    ASSERT_THAT(unicast_->out, SizeIs(1));
    EXPECT_EQ(unicast_->out[0].to, kGroup);
    EXPECT_EQ(unicast_->out[0].bytes, Wrap({}));
    EXPECT_FALSE(switch_->IsJoined(key()));
    EXPECT_TRUE(switch_->Join(options_).ok());
    unicast_->out.clear();
    switch_.reset();  // an agent that stops
    EXPECT_THAT(unicast_->out, IsEmpty());
  });
}

TEST_F(SwitchTest, TwoPortsCannotHaveOneMac) {
  AddPort(kPodA, a_);
  On([&] {
    const auto again =
        cloud()->AddPort({.name = "second", .mac = kPodA}, std::make_unique<FakePort>(b_));
    EXPECT_TRUE(absl::IsAlreadyExists(again.status())) << again.status();
    EXPECT_THAT(std::string(again.status().message()), testing::HasSubstr(kPodA.ToString()));
    const auto group = cloud()->AddPort({.name = "group", .mac = MacAddress::Broadcast()},
                                        std::make_unique<FakePort>(b_));
    EXPECT_TRUE(absl::IsInvalidArgument(group.status()));
  });
  EXPECT_THAT(Snapshot().ports, SizeIs(1));
}

TEST_F(SwitchTest, APortWhoseInterfaceIsGoneIsReportedOnceAndMayBeRemovedInAnswer) {
  const PortId id = AddPort(kPodA, a_);
  On([&] {
    switch_->SetListener([&](const SwitchEvent& event) {
      events_.push_back(event);
      if (event.kind == SwitchEvent::Kind::kPortFailed) {
        EXPECT_TRUE(cloud()->TakePort(event.port).ok());
      }
    });
    events_.clear();
    a_->Break(absl::NotFoundError("gone"));
  });
  On([] {});  // the report is posted, so it comes a turn later
  On([&] {
    ASSERT_GE(events_.size(), 1u);
    EXPECT_EQ(events_[0].kind, SwitchEvent::Kind::kPortFailed);
    EXPECT_EQ(events_[0].port, id);
    EXPECT_THAT(switch_->Snapshot().clouds[0].ports, IsEmpty());
  });
}

TEST_F(SwitchTest, ACloudThatMovesKeepsPortsStationsAndItsUnicastPort) {
  AddPort(kPodA, a_);
  FromPeer(group_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  const auto before = Snapshot();
  const auto old_group = std::exchange(group_, std::make_shared<FakeSocket::State>());
  group_->port = kGroup.port;
  On([&] { EXPECT_TRUE(switch_->Move(key(), IfIndex{9}, "eth1", 9000).ok()); });
  EXPECT_EQ(unicast_->uplink, IfIndex{9});
  const auto after = Snapshot();
  EXPECT_EQ(after.options.uplink_name, "eth1");
  EXPECT_EQ(after.options.uplink_mtu, 9000);
  EXPECT_EQ(after.options.unicast_port, kOurPort);
  EXPECT_EQ(after.stations.size(), before.stations.size());
  On([&] { a_->out.clear(); });
  FromPeer(old_group, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  On([&] { EXPECT_THAT(a_->out, IsEmpty()) << "nobody hears the old uplink's group"; });
  FromPeer(group_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  On([&] { EXPECT_THAT(a_->out, SizeIs(1)); });

  On([&] { unicast_->no_uplink = absl::NotFoundError("no such device"); });
  const auto kept = std::exchange(group_, std::make_shared<FakeSocket::State>());
  On([&] { EXPECT_FALSE(switch_->Move(key(), IfIndex{10}, "eth2", 1500).ok()); });
  EXPECT_EQ(Snapshot().options.uplink_name, "eth1");
  FromPeer(kept, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  On([&] { EXPECT_THAT(a_->out, SizeIs(2)) << "it stays where it was"; });
}

TEST_F(SwitchTest, OfAPortThatIsGoneNothingIsReported) {
  AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  On([&] {
    switch_->SetListener([&](const SwitchEvent& event) {
      events_.push_back(event);
      if (event.kind != SwitchEvent::Kind::kPortFailed) return;
      const SwitchSnapshot now = switch_->Snapshot();
      for (const PortSnapshot& port : now.clouds.at(0).ports) {
        EXPECT_TRUE(cloud()->TakePort(port.id).ok());
      }
      switch_->Leave(key());
    });
    events_.clear();
    a_->Break(absl::NotFoundError("gone"));
    b_->Break(absl::NotFoundError("gone"));
  });
  On([] {});
  On([&] {
    const auto failed = [](const SwitchEvent& event) {
      return event.kind == SwitchEvent::Kind::kPortFailed;
    };
    EXPECT_EQ(std::count_if(events_.begin(), events_.end(), failed), 1);
  });
}

TEST_F(SwitchTest, APortThatTakesNothingCostsOnlyItsOwnFrames) {
  AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  On([&] { a_->refuse = Drop::kPortFull; });
  FromPeer(group_, Wrap(MakeFrame(MacAddress::Broadcast(), kFar)), kPeer);
  const CloudSnapshot cloud = Snapshot();
  EXPECT_EQ(cloud.ports[0].drops[Drop::kPortFull], 1u);
  EXPECT_EQ(cloud.ports[1].to_pod.frames, 1u);
}

TEST_F(SwitchTest, SilentStationsAndPeersAreForgotten) {
  On([&] {
    switch_->Leave(key());
    options_.config.expiry = 1s;
    EXPECT_TRUE(switch_->Join(options_).ok());
  });
  AddPort(kPodA, a_);
  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  EXPECT_THAT(Snapshot().peers, SizeIs(1));
  const Instant deadline = Clock::now() + 20s;
  while (!Snapshot().peers.empty() && Clock::now() < deadline) std::this_thread::yield();
  const CloudSnapshot cloud = Snapshot();
  EXPECT_THAT(cloud.peers, IsEmpty());
  EXPECT_THAT(cloud.stations, SizeIs(1));  // the pod's own stays
  FromPod(a_, MakeFrame(kFar, kPodA));
  On([&] { EXPECT_EQ(unicast_->out.back().to, kGroup); });
}

TEST_F(SwitchTest, ExplainsWhatForwardDecides) {
  const PortId id = AddPort(kPodA, a_);
  FromPeer(unicast_, Wrap(MakeFrame(kPodA, kFar)), kPeer);
  On([&] {
    const auto out = cloud()->Explain(kPodA, kFar);
    EXPECT_EQ(out.verdict.action, Verdict::Action::kToPeer);
    EXPECT_EQ(out.verdict.peer, kPeer);
    EXPECT_EQ(out.from, Location(id));
    EXPECT_THAT(out.reasons, SizeIs(3));
    const auto back = cloud()->Explain(kFar, kPodA);
    EXPECT_EQ(back.verdict.action, Verdict::Action::kToPort);
    const auto unknown = cloud()->Explain(kNested, kNested);
    EXPECT_EQ(unknown.verdict.action, Verdict::Action::kFlood);
    EXPECT_FALSE(unknown.source_known);
    EXPECT_FALSE(unknown.destination_known);
    EXPECT_TRUE(absl::IsNotFound(switch_->Find({}).status()));
  });
}

TEST_F(SwitchTest, AnInjectedFrameLooksLikeThePods) {
  const PortId id = AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  On([&] {
    const Bytes frame = MakeFrame(MacAddress::Broadcast(), kPodA);
    EXPECT_TRUE(cloud()->Inject(id, frame).ok());
    EXPECT_THAT(Frames(*b_), ElementsAre(frame));
    ASSERT_THAT(unicast_->out, SizeIs(1));
    EXPECT_EQ(unicast_->out[0].bytes, Wrap(frame));
    EXPECT_TRUE(absl::IsNotFound(cloud()->Inject(PortId{99}, frame)));
  });
}

TEST_F(SwitchTest, WhatIsInjectedToTheGroupGoesToNoPortHere) {
  const PortId id = AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  On([&] {
    const Bytes frame = MakeFrame(MacAddress::Broadcast(), kPodA);
    EXPECT_TRUE(cloud()->InjectToGroup(id, frame).ok());
    EXPECT_THAT(Frames(*b_), IsEmpty());
    ASSERT_THAT(unicast_->out, SizeIs(1));
    EXPECT_EQ(unicast_->out[0].bytes, Wrap(frame));
    EXPECT_TRUE(absl::IsNotFound(cloud()->InjectToGroup(PortId{99}, frame)));
  });
}

// More than a batch waits at every port and socket, and one turn reads all of it.
TEST_F(SwitchTest, ReadNowReadsAllThatIsThere) {
  AddPort(kPodA, a_);
  AddPort(kPodB, b_);
  On([&] {
    constexpr size_t kMany = 150;
    const Bytes from_peer = MakeFrame(MacAddress::Broadcast(), kFar);
    const Bytes from_pod = MakeFrame(MacAddress::Broadcast(), kPodA);
    for (size_t i = 0; i < kMany; ++i) {
      group_->Push({Wrap(from_peer), kPeer});
      unicast_->Push({Wrap(from_peer), kPeer});
      a_->Push({from_pod});
    }
    cloud()->ReadNow();
    EXPECT_THAT(Frames(*b_), SizeIs(3 * kMany));
  });
}

}  // namespace
}  // namespace vxvde
