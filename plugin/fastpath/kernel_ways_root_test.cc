// Tests of everything but the verdict on one frame: the paths of taps, counters, uplinks, and the
// lifetime of entries and devices.

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/fastpath/kernel_fixture.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// ---------------------------------------------------------------- taps

TEST_P(KernelFastPathTest, TheKernelDecapsulatesFramesForARelayedPort) {
  ASSERT_TRUE(cloud_->AddRelayed(kTap, Mac(4)).ok());
  Static(Mac(5), kTap);
  packets::Spec spec;
  spec.payload = packets::Payload(700);
  for (const bool tagged : {false, true}) {
    spec.tags = tagged ? 1 : 0;
    Bytes frame = packets::Build(spec);
    std::copy_n(Mac(5).bytes().begin(), 6, frame.begin());
    std::copy_n(Mac(0x20).bytes().begin(), 6, frame.begin() + 6);
    const Bytes datagram = Datagram(frame, FastPeer());
    const uint64_t counted = cloud_->CountersOf(FastPeer()).from.frames;
    const Outcome outcome = Send(fast_->from_uplink(), uplink_, datagram);
    EXPECT_EQ(outcome.run.action, TC_ACT_OK);
    EXPECT_EQ(outcome.run.out, datagram) << "as it came";
    EXPECT_EQ(outcome.run.mark & FP_MARK_MASK, FP_MARK);
    EXPECT_FALSE(outcome.slow);
    EXPECT_EQ(cloud_->CountersOf(FastPeer()).from.frames, counted + 1);

    SendForReal(datagram);
    const auto read = Punted([](size_t got) { return got == 1; });
    ASSERT_EQ(read.size(), 1u);
    EXPECT_EQ(read[0].first.way, PuntedFrame::Way::kTo);
    EXPECT_EQ(read[0].first.port, kTap);
    EXPECT_EQ(read[0].second, frame);
  }
  // The cloud handles the frame from another peer, and a frame without a mark is dropped.
  Bytes frame = packets::Build(spec);
  std::copy_n(Mac(5).bytes().begin(), 6, frame.begin());
  std::copy_n(Mac(0x20).bytes().begin(), 6, frame.begin() + 6);
  EXPECT_TRUE(Send(fast_->from_uplink(), uplink_, Datagram(frame, OtherFastPeer())).slow);
  node_.Run([&] {
    EXPECT_EQ(RunProgram(fast_->from_tunnel(), uplink_, frame).action, TC_ACT_SHOT);
    EXPECT_EQ(RunProgram(fast_->from_tunnel(), uplink_, frame, 0x76ff0000).action, TC_ACT_SHOT)
        << "of a cloud that is none";
  });
  cloud_->RemovePort(kTap);
  cloud_->SetStation(Mac(5), kTap, kNow);
  EXPECT_TRUE(Send(fast_->from_uplink(), uplink_, Datagram(frame, FastPeer())).slow);
}

TEST_P(KernelFastPathTest, HelloComesBothWays) {
  Bytes hello(60, 0);
  const std::vector<uint8_t> agents = {0x03, 0x76, 0x78, 0x76, 0x64, 0x65};
  std::copy(agents.begin(), agents.end(), hello.begin());
  std::copy_n(Mac(0x40).bytes().begin(), 6, hello.begin() + 6);
  StoreBe16(&hello[12], 0x88b5);
  SendForReal(Datagram(hello, PlainPeer()));
  const auto read = Punted([](size_t got) { return got == 1; });
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].first.way, PuntedFrame::Way::kTunnelProbe);
  Buffers buffers(4);
  std::vector<InDatagram> datagrams;
  DropCounters drops;
  ASSERT_TRUE(cloud_->datagrams().Receive(buffers, datagrams, drops).ok());
  ASSERT_EQ(datagrams.size(), 1u);
  EXPECT_EQ(datagrams[0].from, PlainPeer());
  EXPECT_EQ(Bytes(datagrams[0].bytes.begin() + 8, datagrams[0].bytes.end()), hello);
  EXPECT_EQ(cloud_->slow()[static_cast<size_t>(Slow::kGroup)], 1u);
}

TEST_P(KernelFastPathTest, FramesOfARelayedPortGoToAPeerOrComeBack) {
  ASSERT_TRUE(cloud_->AddRelayed(kTap, Mac(4)).ok());
  Static(Mac(5), kTap);
  const auto carry = [&](const MacAddress& destination, const MacAddress& source, bool arp) {
    Bytes frame = packets::Build({});
    std::copy_n(destination.bytes().begin(), 6, frame.begin());
    std::copy_n(source.bytes().begin(), 6, frame.begin() + 6);
    if (arp) StoreBe16(&frame[12], kEtherTypeArp);
    const iovec whole{frame.data(), frame.size()};
    EXPECT_EQ(cloud_->Relay(kTap, {.parts = {&whole, 1}, .size = frame.size(), .offload = {}}),
              Drop::kNone);
    return frame;
  };
  const auto sent = [&] { return cloud_->CountersOf(FastPeer()).to.frames; };
  carry(Mac(0x20), Mac(5), false);
  EXPECT_EQ(sent(), 1u);
  EXPECT_EQ(cloud_->CountersOf(kTap).from.frames, 0u) << "the cloud has read it, and counted it";
  EXPECT_NE(cloud_->LastSeen(Mac(5)), kNow);

  struct Case {
    MacAddress destination, source;
    bool arp;
  };
  // Another kind; a source that is unknown or at another port; a destination that is at no peer.
  const std::vector<Case> cases = {
      {Mac(0x20), Mac(5), true},  {Mac(0x20), Mac(0x50), false},
      {Mac(0x20), Mac(1), false}, {Mac(2), Mac(5), false},
      {Mac(0x50), Mac(5), false}, {MacAddress::Broadcast(), Mac(5), false}};
  for (const Case& one : cases) {
    const Bytes frame = carry(one.destination, one.source, one.arp);
    const auto back = Punted([](size_t got) { return got == 1; });
    ASSERT_EQ(back.size(), 1u);
    EXPECT_EQ(back[0].first.way, PuntedFrame::Way::kFrom);
    EXPECT_EQ(back[0].first.port, kTap);
    EXPECT_EQ(back[0].second, frame);
  }
  EXPECT_EQ(sent(), 1u);
  EXPECT_THAT(cloud_->Explain(Mac(5), Mac(0x20)), HasSubstr("to peer"));
  EXPECT_THAT(cloud_->Explain(Mac(5), Mac(2)), HasSubstr("slow"));
}

// One frame for each reason, from a pod and from a peer.
TEST_P(KernelFastPathTest, EachReasonIsCounted) {
  const auto frame = [](const MacAddress& destination, const MacAddress& source, size_t payload) {
    packets::Spec spec;
    spec.payload = packets::Payload(payload);
    Bytes out = packets::Build(spec);
    std::copy_n(destination.bytes().begin(), 6, out.begin());
    std::copy_n(source.bytes().begin(), 6, out.begin() + 6);
    return out;
  };
  const auto as_arp = [](Bytes out) {
    StoreBe16(&out[12], kEtherTypeArp);
    return out;
  };
  const auto to_dhcp_client = [](Bytes out) {
    out[14 + 9] = 17;  // UDP
    StoreBe16(&out[14 + 20 + 2], 68);
    return out;
  };
  const MacAddress group = MacAddress::Broadcast();
  struct Case {
    Slow pod, peer;
    Bytes from_pod, from_peer;
  };
  const std::vector<Case> cases = {
      {Slow::kGroup, Slow::kGroup, frame(group, Mac(1), 9), frame(group, Mac(0x20), 9)},
      {Slow::kUnknown, Slow::kUnknown, frame(Mac(0x50), Mac(1), 9), frame(Mac(0x50), Mac(0x20), 9)},
      {Slow::kUnknown, Slow::kUnknown, frame(Mac(0x40), Mac(1), 9), frame(Mac(0x30), Mac(0x20), 9)},
      {Slow::kMoved, Slow::kMoved, frame(Mac(2), Mac(0x20), 9), frame(Mac(2), Mac(0x30), 9)},
      {Slow::kKind, Slow::kKind, as_arp(frame(Mac(0x20), Mac(1), 9)),
       as_arp(frame(Mac(2), Mac(0x20), 9))},
      {Slow::kTooBig, Slow::kTooBig, frame(Mac(0x20), Mac(1), 1460),
       frame(Mac(2), Mac(0x20), 1500)},
      {Slow::kSlowPort, Slow::kSlowPort, frame(Mac(3), Mac(1), 9), frame(Mac(3), Mac(0x20), 9)},
      {Slow::kSamePort, Slow::kOdd, frame(Mac(0x11), Mac(1), 9), frame(Mac(2), group, 9)},
      {Slow::kOdd, Slow::kOdd, frame(Mac(2), group, 9), frame(Mac(2), group, 9)},
      {Slow::kGuarded, Slow::kGroup, to_dhcp_client(frame(Mac(2), Mac(1), 9)),
       frame(group, Mac(0x20), 9)},
  };
  std::set<Slow> seen;
  for (const Case& one : cases) {
    const auto counted = [&](int program, IfIndex interface, const Bytes& bytes) {
      const SlowCounters before = cloud_->slow();
      EXPECT_TRUE(Send(program, interface, bytes).slow);
      const SlowCounters after = cloud_->slow();
      std::set<Slow> reasons;
      for (size_t i = 0; i < kSlowReasons; ++i) {
        if (after[i] != before[i]) reasons.insert(static_cast<Slow>(i));
      }
      return reasons;
    };
    EXPECT_THAT(counted(fast_->from_pod(), end1_, one.from_pod), ElementsAre(one.pod));
    EXPECT_THAT(counted(fast_->from_uplink(), uplink_, Datagram(one.from_peer, FastPeer())),
                ElementsAre(one.peer));
    seen.insert(one.pod);
  }
  EXPECT_EQ(seen.size(), kSlowReasons) << "a reason without a case";
}

// Sends more than the taps' queues hold, and reads nothing. One port alone cannot fill the queue of
// frames.
TEST_P(KernelFastPathTest, WhatAFullTapDidNotTakeIsCounted) {
  EXPECT_EQ(cloud_->lost().datagrams, 0u);
  pod1_.SetUp("eth0", "198.51.100.1/24");
  Bytes broadcast(60, 0);
  std::fill_n(broadcast.begin(), 6, uint8_t{0xff});
  std::copy_n(Mac(1).bytes().begin(), 6, broadcast.begin() + 6);
  const Bytes datagram = Datagram(broadcast, FastPeer());
  const auto flood = [](TestNetNs& from, const Bytes& frame, const auto& lost) {
    from.Run([&] {
      Netlink netlink = ValueOrDie(Netlink::Open());
      const UniqueFd raw(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
      sockaddr_ll to = {};
      to.sll_family = AF_PACKET;
      to.sll_ifindex = static_cast<int>(ValueOrDie(netlink.GetLink("eth0")).index);
      for (int i = 0; i < 100'000 && lost() == 0; ++i) {
        sendto(raw.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
               sizeof(to));
      }
    });
  };
  flood(pod1_, broadcast, [&] { return cloud_->CountersOf(kPort1).refused; });
  flood(fabric_, datagram, [&] { return cloud_->lost().datagrams; });
  EXPECT_GT(cloud_->CountersOf(kPort1).refused, 0u);
  EXPECT_EQ(cloud_->lost().frames, 0u);
  EXPECT_GT(cloud_->lost().datagrams, 0u);
}

TEST_P(KernelFastPathTest, WhatIsTakenAwayIsSlowAtOnce) {
  packets::Spec spec;
  Bytes frame = packets::Build(spec);
  std::copy_n(Mac(0x20).bytes().begin(), 6, frame.begin());
  std::copy_n(Mac(1).bytes().begin(), 6, frame.begin() + 6);
  const auto to_peer = [&] { return Send(fast_->from_pod(), end1_, frame); };
  EXPECT_EQ(to_peer().peer, FastPeer());
  EXPECT_THAT(cloud_->Explain(Mac(1), Mac(0x20)), HasSubstr(FastPeer().ToString()));

  cloud_->ForgetPeer(FastPeer());
  EXPECT_TRUE(to_peer().slow);
  EXPECT_THAT(cloud_->Explain(Mac(1), Mac(0x20)), HasSubstr("slow"));
  ASSERT_TRUE(cloud_->SetPeer(FastPeer(), kTheirFastPort).ok());
  cloud_->SetStation(Mac(0x20), FastPeer(), kNow);
  EXPECT_EQ(to_peer().peer, FastPeer());
  cloud_->ForgetStation(Mac(0x20));
  EXPECT_TRUE(to_peer().slow);
  cloud_->SetStation(Mac(0x20), PlainPeer(), kNow);
  EXPECT_TRUE(to_peer().slow);
  cloud_->SetStation(Mac(0x20), kPort2, kNow);
  EXPECT_EQ(to_peer().port, kPort2);

  cloud_->RemovePort(kPort1);
  const Outcome gone = to_peer();
  EXPECT_EQ(gone.run.action, TC_ACT_UNSPEC) << "later filters decide, and the agent reads it";
  EXPECT_FALSE(gone.slow || gone.port || gone.peer);
}

TEST_P(KernelFastPathTest, NoPortTakesTheRoomOfOthersAtTheTap) {
  const auto frame = [](const MacAddress& to, const MacAddress& from) {
    Bytes bytes = packets::Build({});
    std::copy_n(to.bytes().begin(), 6, bytes.begin());
    std::copy_n(from.bytes().begin(), 6, bytes.begin() + 6);
    return bytes;
  };
  const auto punted = [&](IfIndex host_end, const Bytes& bytes) {
    int action = 0;
    node_.Run([&] { action = RunProgram(fast_->from_pod(), host_end, bytes).action; });
    return action == TC_ACT_REDIRECT;
  };
  const Bytes group = frame(MacAddress::Broadcast(), Mac(1));
  const Bytes unknown = frame(Mac(0x50), Mac(1));
  for (int i = 0; i < FP_PUNT_ROOM; ++i) ASSERT_TRUE(punted(end1_, group)) << i;
  EXPECT_FALSE(punted(end1_, group));
  EXPECT_EQ(cloud_->CountersOf(kPort1).refused, 1u);
  for (int i = 0; i < FP_PUNT_ROOM; ++i) ASSERT_TRUE(punted(end1_, unknown)) << i;
  EXPECT_FALSE(punted(end1_, unknown));
  EXPECT_EQ(cloud_->CountersOf(kPort1).refused, 2u);
  EXPECT_TRUE(punted(end2_, frame(MacAddress::Broadcast(), Mac(2))));
  EXPECT_EQ(cloud_->CountersOf(kPort2).refused, 0u);
  EXPECT_EQ(Send(fast_->from_pod(), end1_, frame(Mac(2), Mac(1))).port, kPort2) << "no need of it";

  // Frames that the tap dropped are never read: the room comes back after a while without change.
  for (int i = 0; i < FP_PUNT_ROOM; ++i) ASSERT_TRUE(punted(end1_, group)) << i;
  ASSERT_FALSE(punted(end1_, group));
  cloud_->Tick();
  EXPECT_FALSE(punted(end1_, group));
  cloud_->Tick();
  EXPECT_TRUE(punted(end1_, group));
}

TEST_P(KernelFastPathTest, FramesToGroupsAreLimitedAsTheCloudLimitsThem) {
  Bytes group = packets::Build({});
  std::copy_n(MacAddress::Broadcast().bytes().begin(), 6, group.begin());
  std::copy_n(Mac(1).bytes().begin(), 6, group.begin() + 6);
  const auto slow = [&] { return Send(fast_->from_pod(), end1_, group).slow; };
  cloud_->SetFloodLimit(1);  // one each second, with a burst of 64
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(slow()) << i;
  int refused = 0;
  for (int i = 0; i < 100; ++i) refused += slow() ? 0 : 1;
  EXPECT_GT(refused, 0);
  EXPECT_EQ(cloud_->CountersOf(kPort1).refused, static_cast<uint64_t>(refused));
  std::copy_n(Mac(0x50).bytes().begin(), 6, group.begin());
  EXPECT_TRUE(slow()) << "not to a group";
  cloud_->SetFloodLimit(0);
  std::copy_n(MacAddress::Broadcast().bytes().begin(), 6, group.begin());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(slow()) << i;
}

TEST_P(KernelFastPathTest, AStationIsSeenWhenItSends) {
  packets::Spec spec;
  Bytes frame = packets::Build(spec);
  std::copy_n(Mac(2).bytes().begin(), 6, frame.begin());
  std::copy_n(Mac(0x11).bytes().begin(), 6, frame.begin() + 6);
  ASSERT_EQ(cloud_->LastSeen(Mac(0x11)), kNow);
  ASSERT_EQ(cloud_->LastSeen(Mac(0x50)), std::nullopt);
  EXPECT_EQ(Send(fast_->from_pod(), end1_, frame).port, kPort2);
  const Instant seen = cloud_->LastSeen(Mac(0x11)).value_or(Instant{});
  EXPECT_LE(seen, Clock::now());
  EXPECT_GT(seen, Clock::now() - std::chrono::minutes(1));
}

TEST_P(KernelFastPathTest, ItsLikeIsReplacedAndNothingStays) {
  const uint16_t fast_port = cloud_->fast_port();
  EXPECT_NE(fast_port, kUnicastPort);
  node_.Shell("tc filter show dev vx-1 ingress | grep -q from_pod");
  node_.Shell("tc filter show dev eth0 ingress | grep -q from_uplink");
  const FastCloudOptions options{
      .group = v6() ? ValueOrDie(IpAddress::Parse("ff05::1")) : IpAddress::V4(239, 1, 2, 3),
      .vni = *Vni::Make(1),
      .unicast_port = kUnicastPort,
      .uplink = uplink_,
      .bind = {}};
  node_.Run([&] {
    // Another cloud than the killed agent's (kernel_inherited_root_test.cc has the same one).
    fast_->KeepForNextAgent();
    killed_cloud_ = std::move(cloud_);
    killed_ = std::move(fast_);
  });
  node_.Shell("ip link del vxt14790; ip link del vxd14790; ip link set vxf14790 down");
  node_.Run([&] {
    fast_ = ValueOrDie(KernelFastPath::Open());
    cloud_ = ValueOrDie(fast_->Join(options));
    fast_->DropInherited();
    node_.Shell("! tc filter show dev vx-1 ingress | grep -q from_pod");
    EXPECT_EQ(cloud_->fast_port(), fast_port);
    node_.Shell("ip link show up | grep -q vxf14790");
    cloud_.reset();
    fast_.reset();
  });
  node_.Shell("test $(ip -o link | grep -c vx[tdf]14790) = 0");
  node_.Shell("! tc filter show dev eth0 ingress | grep -q from_uplink");
}

TEST_P(KernelFastPathTest, WhatCannotBeFastSaysWhy) {
  node_.Shell("ip link add br0 type bridge; ip link set br0 up");
  ConnectVeth(node_, "vx-4", pod1_, "eth1");
  node_.Shell("tc qdisc add dev vx-4 ingress");
  const Peer far = {v6() ? ValueOrDie(IpAddress::Parse("3fff::1")) : IpAddress::V4(198, 51, 100, 1),
                    1};
  node_.Run([&] {
    Netlink netlink = ValueOrDie(Netlink::Open());
    const auto why = [&](const std::string& link) {
      const absl::Status status =
          cloud_->AddPort(PortId{8}, ValueOrDie(netlink.GetLink(link)).index);
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
      return std::string(status.message());
    };
    EXPECT_THAT(why("br0"), HasSubstr("br0 is a bridge"));
    EXPECT_THAT(why("vx-4"), HasSubstr("ingress qdisc"));
    EXPECT_TRUE(absl::IsFailedPrecondition(cloud_->SetPeer(far, 2)));
    const absl::Status lo = fast_
                                ->Join({.group = IpAddress::V4(239, 1, 2, 4),
                                        .vni = {},
                                        .unicast_port = 14791,
                                        .uplink = IfIndex{1},
                                        .bind = {}})
                                .status();
    EXPECT_TRUE(absl::IsFailedPrecondition(lo));
    EXPECT_THAT(std::string(lo.message()), HasSubstr("uplink lo is not an Ethernet interface"));
  });
  node_.Shell("test $(ip -o link | grep -c vx[tdf]14791) = 0");
}

// ---------------------------------------------------------------- uplinks

TEST_P(KernelFastPathTest, DatagramsByAnotherUplinkAreNotForThisCloud) {
  ConnectVeth(node_, "eth1", fabric_, "eth1");
  fabric_.SetUp("eth1", v6() ? "2001:db8:1::fe/64" : "198.51.100.254/24");
  const IfIndex other = node_.SetUp("eth1", v6() ? "2001:db8:1::1/64" : "198.51.100.1/24");
  // The node accepts packets at any interface, whatever the routes to their source.
  node_.Shell("for i in all eth1; do echo 0 >/proc/sys/net/ipv4/conf/$i/rp_filter; done");
  std::unique_ptr<FastCloud> second;  // which is on the other uplink
  MacAddress other_mac;
  node_.Run([&] {
    second = ValueOrDie(fast_->Join(
        {.group = v6() ? ValueOrDie(IpAddress::Parse("ff05::1")) : IpAddress::V4(239, 1, 2, 3),
         .vni = *Vni::Make(0x234567),
         .unicast_port = kUnicastPort + 1,
         .uplink = other,
         .bind = {}}));
    other_mac = ValueOrDie(ValueOrDie(Netlink::Open()).GetLink("eth1")).mac;
  });
  Bytes frame = packets::Build({});
  std::copy_n(Mac(2).bytes().begin(), 6, frame.begin());
  std::copy_n(Mac(0x20).bytes().begin(), 6, frame.begin() + 6);
  Bytes datagram = Datagram(frame, FastPeer());
  Bytes odd = datagram;
  odd[OuterSize() - 8] ^= 1;  // not the header of vxvde
  const auto passes_by = [&](IfIndex uplink, const Bytes& bytes) {
    const Outcome outcome = Send(fast_->from_uplink(), uplink, bytes);
    return outcome.run.action == TC_ACT_UNSPEC && outcome.run.out == bytes && !outcome.slow &&
           !outcome.port.has_value();
  };
  EXPECT_EQ(Send(fast_->from_uplink(), uplink_, datagram).port, kPort2);
  EXPECT_TRUE(Send(fast_->from_uplink(), uplink_, odd).slow);
  EXPECT_TRUE(passes_by(other, datagram));
  EXPECT_TRUE(passes_by(other, odd));

  EXPECT_EQ(cloud_->lost().not_from_here, 0u);
  const uint64_t delivered = cloud_->CountersOf(kPort2).to.frames;
  std::copy_n(other_mac.bytes().begin(), 6, datagram.begin());
  SendForReal(datagram, "eth1");
  EXPECT_TRUE(WaitFor([&] { return cloud_->lost().not_from_here == 1; }));
  EXPECT_EQ(cloud_->CountersOf(kPort2).to.frames, delivered);
  EXPECT_EQ(second->lost().not_from_here, 0u);

  node_.Run([&] { ASSERT_TRUE(cloud_->MoveTo(other).ok()); });
  EXPECT_EQ(Send(fast_->from_uplink(), other, datagram).port, kPort2);
  EXPECT_TRUE(passes_by(uplink_, datagram));
  node_.Run([&] { second.reset(); });
}

}  // namespace
}  // namespace vxvde
