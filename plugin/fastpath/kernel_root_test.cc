// The programs against Forward(): the same frames through both, by BPF_PROG_TEST_RUN. Either the
// programs do what Forward() says, and what they send is what docs/PROTOCOL.md says, or they punt.
//
// A test run carries no redirection out: where a frame went is read from the counters.

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/cloud/forward.h"
#include "plugin/cloud/guard.h"
#include "plugin/fastpath/kernel.h"
#include "plugin/offload/testing/packets.h"
#include "plugin/os/testing.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using packets::Bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Instant kNow{std::chrono::hours(1)};
constexpr uint16_t kUnicastPort = 14790;

MacAddress Mac(uint8_t last) { return MacAddress({0x02, 0, 0, 0, 0, last}); }

struct Ran {
  int action = 0;
  uint32_t mark = 0;
  Bytes out;
};

Ran RunProgram(int program, IfIndex interface, const Bytes& frame, uint32_t mark = 0) {
  Ran run{.action = -1, .out = Bytes(frame.size() + 256)};
  __sk_buff context = {};
  __sk_buff after = {};
  context.mark = mark;
  context.ifindex = static_cast<uint32_t>(interface);
  bpf_test_run_opts options = {};
  options.sz = sizeof(options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<uint32_t>(frame.size());
  options.data_out = run.out.data();
  options.data_size_out = static_cast<uint32_t>(run.out.size());
  options.ctx_in = &context;
  options.ctx_size_in = sizeof(context);
  options.ctx_out = &after;
  options.ctx_size_out = sizeof(after);
  const int error = bpf_prog_test_run_opts(program, &options);
  EXPECT_EQ(error, 0) << std::strerror(-error) << ", frame of " << frame.size();
  run.action = static_cast<int>(options.retval);
  run.mark = after.mark;
  run.out.resize(options.data_size_out);
  return run;
}

uint64_t Total(const SlowCounters& slow) {
  uint64_t sum = 0;
  for (const uint64_t count : slow) sum += count;
  return sum;
}

// A node with an uplink, two fast ports, one slow one, and a cloud over IPv4 or IPv6.
class KernelFastPathTest : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr PortId kPort1{1}, kPort2{2}, kSlowPort{3}, kTap{4};

  bool v6() const { return GetParam(); }
  IpAddress Address(uint8_t host) const {
    return v6() ? IpAddress::Parse(absl::StrCat("2001:db8::", host)).value()
                : IpAddress::V4(192, 0, 2, host);
  }
  Peer FastPeer() const { return {Address(2), 14800}; }
  Peer OtherFastPeer() const { return {Address(3), 14801}; }
  Peer PlainPeer() const { return {Address(4), 40000}; }
  static constexpr uint16_t kTheirFastPort = 15824;

  void SetUp() override {
    ConnectVeth(node_, "eth0", fabric_, "eth0");
    ConnectVeth(node_, "vx-1", pod1_, "eth0");
    ConnectVeth(node_, "vx-2", pod2_, "eth0");
    fabric_.SetUp("eth0", v6() ? "2001:db8::fe/64" : "192.0.2.254/24");
    uplink_ = node_.SetUp("eth0", v6() ? "2001:db8::1/64" : "192.0.2.1/24");
    node_.Shell("ip link set vx-1 up; ip link set vx-2 up");
    node_.Run([&] {
      fast_ = ValueOrDie(KernelFastPath::Open());
      fast_->SetLocalAddresses({Address(1)});
      cloud_ = ValueOrDie(fast_->Join(
          {.group = v6() ? ValueOrDie(IpAddress::Parse("ff05::1")) : IpAddress::V4(239, 1, 2, 3),
           .vni = *Vni::Make(0x123456),
           .unicast_port = kUnicastPort,
           .uplink = uplink_,
           .ttl = 3,
           .bind = {}}));
      Netlink netlink = ValueOrDie(Netlink::Open());
      end1_ = ValueOrDie(netlink.GetLink("vx-1")).index;
      end2_ = ValueOrDie(netlink.GetLink("vx-2")).index;
      uplink_mac_ = ValueOrDie(netlink.GetLink("eth0")).mac;
    });
    node_.Run([&] {
      ASSERT_TRUE(cloud_->AddPort(kPort1, end1_).ok());
      ASSERT_TRUE(cloud_->AddPort(kPort2, end2_).ok());
      ASSERT_TRUE(cloud_->SetPeer(FastPeer(), kTheirFastPort).ok());
      ASSERT_TRUE(cloud_->SetPeer(OtherFastPeer(), kTheirFastPort).ok());
    });
    Static(Mac(1), kPort1);
    Static(Mac(2), kPort2);
    Static(Mac(3), kSlowPort);
    Learn(Mac(0x11), kPort1);  // behind the pod
    Learn(Mac(0x20), FastPeer());
    Learn(Mac(0x21), FastPeer());
    Learn(Mac(0x30), OtherFastPeer());
    Learn(Mac(0x40), PlainPeer());
  }
  void TearDown() override {
    node_.Run([&] {
      cloud_.reset();
      fast_.reset();
      killed_cloud_.reset();
      killed_.reset();
    });
  }

  // All frames that can be read within a while, which ends early when `enough`.
  std::vector<std::pair<PuntedFrame, Bytes>> Punted(const std::function<bool(size_t)>& enough) {
    std::vector<std::pair<PuntedFrame, Bytes>> all;
    Buffers buffers(4);
    std::vector<PuntedFrame> some;
    DropCounters drops;
    for (int i = 0; i < 100 && !enough(all.size()); ++i) {
      pollfd wait = {.fd = cloud_->frames().fd(), .events = POLLIN, .revents = 0};
      poll(&wait, 1, 100);
      EXPECT_TRUE(cloud_->frames().Receive(buffers, some, drops).ok());
      for (const PuntedFrame& one : some) {
        all.emplace_back(one, Bytes(one.frame.bytes.begin(), one.frame.bytes.end()));
      }
    }
    EXPECT_EQ(drops.Total(), 0u);
    return all;
  }
  // From the fabric, through the uplink and whatever then takes it.
  void SendForReal(Bytes packet) {
    if (!v6()) {  // ip_rcv() looks at the header's checksum
      uint32_t sum = 0;
      for (size_t i = 14; i < 34; i += 2) sum += LoadBe16(&packet[i]);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
      StoreBe16(&packet[24], static_cast<uint16_t>(~sum));
    }
    fabric_.Run([&] {
      Netlink netlink = ValueOrDie(Netlink::Open());
      const UniqueFd raw(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
      sockaddr_ll to = {};
      to.sll_family = AF_PACKET;
      to.sll_ifindex = static_cast<int>(ValueOrDie(netlink.GetLink("eth0")).index);
      ASSERT_EQ(sendto(raw.get(), packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&to),
                       sizeof(to)),
                static_cast<ssize_t>(packet.size()));
    });
  }

  void Static(const MacAddress& mac, PortId port) {
    ASSERT_TRUE(fdb_.AddStatic(mac, port));
    cloud_->SetStation(mac, port, kNow);
  }
  void Learn(const MacAddress& mac, const Location& where) {
    fdb_.Learn(mac, where, kNow);
    cloud_->SetStation(mac, where, kNow);
  }

  // All addresses that can stand in a frame here.
  std::vector<MacAddress> Macs() const {
    std::vector<MacAddress> macs = {MacAddress::Broadcast(), MacAddress(),
                                    MacAddress({0x33, 0x33, 0, 0, 0, 1})};
    for (const uint8_t last : {1, 2, 3, 0x11, 0x20, 0x21, 0x30, 0x40, 0x50})
      macs.push_back(Mac(last));
    return macs;
  }

  // Frames of all kinds with these addresses.
  std::vector<Bytes> Frames(const MacAddress& destination, const MacAddress& source) const {
    std::vector<Bytes> frames;
    for (const bool ipv6 : {false, true}) {
      for (const bool udp : {false, true}) {
        for (const size_t size : {size_t{0}, size_t{1000}, size_t{1600}}) {
          packets::Spec spec;
          spec.ipv6 = ipv6;
          spec.udp = udp;
          spec.payload = packets::Payload(size);
          frames.push_back(packets::Build(spec));
        }
      }
    }
    packets::Spec tagged;
    tagged.tags = 1;
    frames.push_back(packets::Build(tagged));
    Bytes arp(60, 0);
    StoreBe16(&arp[12], kEtherTypeArp);
    frames.push_back(arp);
    Bytes bare(40, 0);  // an IPv4 packet that is none
    StoreBe16(&bare[12], kEtherTypeIpv4);
    frames.push_back(bare);
    for (Bytes& frame : frames) {
      std::copy(destination.bytes().begin(), destination.bytes().end(), frame.begin());
      std::copy(source.bytes().begin(), source.bytes().end(), frame.begin() + 6);
    }
    return frames;
  }

  // Of a pod that may do nothing: it has no address, and is no server.
  static PortGuard Strict() {
    return {.on = true,
            .macs = {MacPrefix{.address = Mac(0x11)}},
            .addresses = {},
            .reserved = {IpPrefix::Parse("0.0.0.0/0").value(), IpPrefix::Parse("::/0").value()}};
  }

  struct Outcome {
    bool slow = false;
    std::optional<PortId> port;
    std::optional<Peer> peer;
    Ran run;
  };
  // One run, and what the counters say of it.
  Outcome Send(int program, IfIndex interface, const Bytes& frame) {
    const std::vector<PortId> ports = {kPort1, kPort2};
    const std::vector<Peer> peers = {FastPeer(), OtherFastPeer()};
    const auto counts = [&] {
      std::vector<uint64_t> out = {Total(cloud_->slow())};
      for (const PortId port : ports) out.push_back(cloud_->CountersOf(port).to.frames);
      for (const Peer& peer : peers) out.push_back(cloud_->CountersOf(peer).to.frames);
      return out;
    };
    const std::vector<uint64_t> before = counts();
    Outcome outcome;
    node_.Run([&] { outcome.run = RunProgram(program, interface, frame); });
    const std::vector<uint64_t> after = counts();
    uint64_t moved = 0;
    for (size_t i = 0; i < after.size(); ++i) {
      const uint64_t by = after[i] - before[i];
      moved += by;
      if (by == 0) continue;
      if (i == 0) outcome.slow = true;
      if (i >= 1 && i <= ports.size()) outcome.port = ports[i - 1];
      if (i > ports.size()) outcome.peer = peers[i - 1 - ports.size()];
    }
    EXPECT_LE(moved, 1u) << "in one place or none";
    return outcome;
  }

  // The frame as the datagram that docs/PROTOCOL.md describes, from `from` to our fast port.
  Bytes Datagram(const Bytes& frame, const Peer& from) const {
    Bytes out(14, 0);
    std::copy(uplink_mac_.bytes().begin(), uplink_mac_.bytes().end(), out.begin());
    out[6] = 0x02;
    StoreBe16(&out[12], v6() ? kEtherTypeIpv6 : kEtherTypeIpv4);
    const uint16_t udp_size = static_cast<uint16_t>(8 + 8 + frame.size());
    Bytes ip(v6() ? 40 : 20, 0);
    if (v6()) {
      ip[0] = 0x60;
      StoreBe16(&ip[4], udp_size);
      ip[6] = 17;
      ip[7] = 64;
      std::copy_n(from.address.wire().begin(), 16, ip.begin() + 8);
      const IpAddress us = Address(1);
      std::copy_n(us.wire().begin(), 16, ip.begin() + 24);
    } else {
      ip[0] = 0x45;
      StoreBe16(&ip[2], static_cast<uint16_t>(20 + udp_size));
      ip[8] = 1;
      ip[9] = 17;
      std::copy_n(from.address.wire().begin(), 4, ip.begin() + 12);
      const IpAddress us = Address(1);
      std::copy_n(us.wire().begin(), 4, ip.begin() + 16);
    }
    out.insert(out.end(), ip.begin(), ip.end());
    Bytes udp(16, 0);
    StoreBe16(&udp[0], from.port);
    StoreBe16(&udp[2], cloud_->fast_port());
    StoreBe16(&udp[4], udp_size);
    udp[8] = 0x08;
    udp[12] = 0x12;
    udp[13] = 0x34;
    udp[14] = 0x56;
    out.insert(out.end(), udp.begin(), udp.end());
    out.insert(out.end(), frame.begin(), frame.end());
    return out;
  }
  size_t OuterSize() const { return v6() ? 14 + 40 + 16 : 14 + 20 + 16; }

  TestNetNs node_, fabric_, pod1_, pod2_;
  IfIndex uplink_{}, end1_{}, end2_{};
  MacAddress uplink_mac_;
  std::unique_ptr<KernelFastPath> fast_;
  std::unique_ptr<FastCloud> cloud_;
  std::unique_ptr<KernelFastPath> killed_;  // of an agent before
  std::unique_ptr<FastCloud> killed_cloud_;
  Fdb fdb_{{.expiry = std::chrono::seconds(128)}};
};

INSTANTIATE_TEST_SUITE_P(Underlay, KernelFastPathTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "IPv6" : "IPv4"; });

TEST_P(KernelFastPathTest, FromAPodItDoesWhatForwardSaysOrPunts) {
  int fast_to_port = 0;
  int fast_to_peer = 0;
  for (const MacAddress& destination : Macs()) {
    for (const MacAddress& source : Macs()) {
      for (const Bytes& frame : Frames(destination, source)) {
        SCOPED_TRACE(absl::StrCat(source.ToString(), " -> ", destination.ToString(), ", ",
                                  frame.size(), " bytes of ", LoadBe16(&frame[12])));
        const Outcome outcome = Send(fast_->from_pod(), end1_, frame);
        ASSERT_EQ(outcome.run.action, TC_ACT_REDIRECT);
        // What Forward() would learn first makes a difference only where the source is not where
        // the FDB has it, and there the program may not decide.
        const FdbEntry* from = fdb_.Find(source, kNow);
        const bool at_home = from != nullptr && from->where == Location(kPort1);
        const Verdict verdict = Forward(destination, source, kPort1, fdb_, kNow);
        if (outcome.slow) {
          EXPECT_EQ(outcome.run.out, frame) << "punted as it came";
          const bool plain_ip = LoadBe16(&frame[12]) != kEtherTypeVlan &&
                                LoadBe16(&frame[12]) != kEtherTypeArp && frame.size() < 1400 &&
                                CheckFromPort(frame, Mac(1), Strict()) != Drop::kUnreadable;
          if (!at_home || !plain_ip) continue;
          EXPECT_FALSE(verdict.action == Verdict::Action::kToPort && verdict.port == kPort2);
          EXPECT_FALSE(verdict.action == Verdict::Action::kToPeer && verdict.peer != PlainPeer());
          continue;
        }
        ASSERT_TRUE(at_home);
        if (outcome.port.has_value()) {
          EXPECT_EQ(verdict.action, Verdict::Action::kToPort);
          EXPECT_EQ(verdict.port, *outcome.port);
          EXPECT_EQ(outcome.run.out, frame);
          EXPECT_LE(frame.size(), 1514u);
          ++fast_to_port;
        } else {
          ASSERT_TRUE(outcome.peer.has_value());
          EXPECT_EQ(verdict.action, Verdict::Action::kToPeer);
          EXPECT_EQ(verdict.peer, *outcome.peer);
          ++fast_to_peer;
          // What we send is what they would send to us, but for addresses, ports and TTL.
          const Bytes& out = outcome.run.out;
          ASSERT_EQ(out.size(), OuterSize() + frame.size());
          EXPECT_LE(out.size(), 1514u);
          Bytes expected = Datagram(frame, {Address(1), kUnicastPort});
          const size_t ip = 14;
          const IpAddress to = outcome.peer->address;
          std::copy(to.wire().begin(), to.wire().end(), expected.begin() + ip + (v6() ? 24 : 16));
          StoreBe16(&expected[ip + (v6() ? 40 : 20) + 2], kTheirFastPort);
          if (!v6()) {
            expected[ip + 8] = 3;                                             // ttl=
            std::copy_n(out.begin() + ip + 4, 2, expected.begin() + ip + 4);  // any identification
            uint32_t sum = 0;
            for (size_t i = 0; i < 20; i += 2) sum += LoadBe16(&expected[ip + i]);
            while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
            StoreBe16(&expected[ip + 10], static_cast<uint16_t>(~sum));
          }
          // The outer Ethernet addresses are the neighbour's, filled in on the way out.
          std::fill_n(expected.begin(), 12, uint8_t{0});
          EXPECT_EQ(out, expected);
        }
      }
    }
  }
  EXPECT_GT(fast_to_port, 10);
  EXPECT_GT(fast_to_peer, 20);
}

// Unicast that a guard must see, with headers in all places where they can stand.
std::vector<Bytes> GuardedFrames() {
  std::vector<Bytes> packets;  // from the EtherType on
  const auto add = [&](Bytes head, const Bytes& rest) {
    head.insert(head.end(), rest.begin(), rest.end());
    packets.push_back(std::move(head));
  };
  const auto ipv6 = [&](uint8_t next, const Bytes& payload) {
    Bytes head = {0x86, 0xdd, 0x60, 0, 0, 0, 0, static_cast<uint8_t>(payload.size()), next, 255};
    head.resize(2 + 40, 0x20);
    add(head, payload);
  };
  const auto ipv4 = [&](uint8_t words, uint16_t fragment, const Bytes& payload) {
    Bytes head = {0x08, 0x00, static_cast<uint8_t>(0x40 + words), 0, 0, 0, 0, 1, 0, 0, 64, 17};
    StoreBe16(&head[4], static_cast<uint16_t>(4 * words + payload.size()));
    StoreBe16(&head[8], fragment);
    head.resize(2 + size_t{4} * words, 1);
    add(head, payload);
  };
  for (const uint8_t type : {133, 134, 135, 136, 137, 138, 128}) {
    Bytes message = {type, 0, 0, 0, 0x20, 0, 0, 0};
    message.resize(24, 0x20);
    message.insert(message.end(), {2, 1, 2, 0, 0, 0, 0, 0x20});
    ipv6(58, message);
    for (const uint8_t kind : {0, 43, 44, 51, 60, 135, 139, 140}) {
      Bytes behind = {58, 0, 0, 0, 0, 0, 0, 0};
      behind.insert(behind.end(), message.begin(), message.end());
      ipv6(kind, behind);
    }
  }
  for (const auto& [source, destination] :
       {std::pair<uint16_t, uint16_t>{67, 68}, {68, 67}, {1, 68}, {547, 546}, {1, 546}, {1, 2}}) {
    Bytes udp(16, 0);
    StoreBe16(&udp[0], source);
    StoreBe16(&udp[2], destination);
    ipv6(17, udp);
    for (const uint16_t fragment : {0, 0x4000, 0x2000, 0x2001, 1}) {
      ipv4(5, fragment, udp);
      ipv4(15, fragment, udp);
    }
  }
  packets.push_back({0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0,   0, 0, 0,
                     1,    192,  0, 2, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 2});
  packets.push_back({0x00, 0x26, 0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2});
  std::vector<Bytes> frames;
  for (const Bytes& packet : packets) {
    Bytes frame;
    for (const MacAddress& mac : {Mac(2), Mac(1)}) {
      frame.insert(frame.end(), mac.bytes().begin(), mac.bytes().end());
    }
    frame.insert(frame.end(), packet.begin(), packet.end());
    frame.resize(std::max(frame.size(), size_t{60}));
    frames.push_back(frame);
    frame.insert(frame.begin() + 12, {0x81, 0x00, 0xe0, 0x00});
    frames.push_back(frame);
  }
  return frames;
}

TEST_P(KernelFastPathTest, WhatAGuardMayRefuseIsPunted) {
  std::mt19937 random(20);  // NOLINT: the same each time
  int refused = 0;
  int passed = 0;
  const auto check = [&](const Bytes& frame) {
    const Outcome outcome = Send(fast_->from_pod(), end1_, frame);
    const Drop drop = CheckFromPort(frame, Mac(1), Strict());
    if (drop != Drop::kNone) {
      ++refused;
      EXPECT_TRUE(outcome.slow) << DropName(drop);
    } else if (!outcome.slow) {
      ++passed;
    }
  };
  const std::vector<Bytes> frames = GuardedFrames();
  for (const Bytes& frame : frames) {
    SCOPED_TRACE(::testing::PrintToString(frame));
    check(frame);
    for (int i = 0; i < 20; ++i) {
      Bytes bad = frame;
      const int changes = 1 + static_cast<int>(random() % 3);
      for (int change = 0; change < changes; ++change) {
        bad[12 + random() % (bad.size() - 12)] = static_cast<uint8_t>(random());
      }
      SCOPED_TRACE(::testing::PrintToString(bad));
      check(bad);
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(passed, 200) << "clients, later fragments, pings";
}

TEST_P(KernelFastPathTest, FromThePeersItDoesWhatForwardSaysOrPunts) {
  int fast = 0;
  for (const Peer& from : {FastPeer(), OtherFastPeer(), PlainPeer(), Peer{FastPeer().address, 1}}) {
    for (const MacAddress& destination : Macs()) {
      for (const MacAddress& source : Macs()) {
        for (const Bytes& frame : Frames(destination, source)) {
          SCOPED_TRACE(absl::StrCat(from.ToString(), ": ", source.ToString(), " -> ",
                                    destination.ToString(), ", ", frame.size(), " bytes of ",
                                    LoadBe16(&frame[12])));
          const Bytes datagram = Datagram(frame, from);
          const Outcome outcome = Send(fast_->from_uplink(), uplink_, datagram);
          ASSERT_EQ(outcome.run.action, TC_ACT_REDIRECT);
          ASSERT_FALSE(outcome.peer.has_value()) << "never to another peer";
          const FdbEntry* entry = fdb_.Find(source, kNow);
          const bool at_home = entry != nullptr && entry->where == Location(from);
          const Verdict verdict = Forward(destination, source, from, fdb_, kNow);
          if (outcome.slow) {
            EXPECT_EQ(outcome.run.out, datagram) << "punted as it came";
            InDatagram parsed;
            Bytes copy = datagram;
            ASSERT_EQ(ParseDatagram(copy, cloud_->fast_port(), parsed), Drop::kNone);
            EXPECT_EQ(parsed.from, from);
            EXPECT_EQ(Bytes(parsed.bytes.begin() + 8, parsed.bytes.end()), frame);
            // Before Linux 6.3 an IPv4 packet in IPv6 is taken out only if an IPv6 header would
            // fit.
            const bool plain_ip =
                LoadBe16(&frame[12]) == kEtherTypeIpv4 && frame.size() < 1514 && frame.size() >= 54;
            if (at_home && plain_ip && from != PlainPeer()) {
              EXPECT_FALSE(verdict.action == Verdict::Action::kToPort && verdict.port != kSlowPort);
            }
            continue;
          }
          ASSERT_TRUE(at_home);
          ASSERT_TRUE(outcome.port.has_value());
          EXPECT_EQ(verdict.action, Verdict::Action::kToPort);
          EXPECT_EQ(verdict.port, *outcome.port);
          EXPECT_EQ(outcome.run.out, frame);
          ++fast;
        }
      }
    }
  }
  EXPECT_GT(fast, 20);
}

// Every bit of the headers of a datagram that would pass, changed in turn.
TEST_P(KernelFastPathTest, OfADatagramEveryBitOfTheHeadersIsLookedAt) {
  packets::Spec spec;
  spec.payload = packets::Payload(100);
  Bytes frame = packets::Build(spec);
  std::copy_n(Mac(2).bytes().begin(), 6, frame.begin());
  std::copy_n(Mac(0x30).bytes().begin(), 6, frame.begin() + 6);
  const Bytes good = Datagram(frame, OtherFastPeer());
  ASSERT_EQ(Send(fast_->from_uplink(), uplink_, good).port, kPort2);
  const size_t ip = 14;
  const size_t udp = ip + (v6() ? 40 : 20);
  // Not ours to judge: traffic class and flow label, identification, TTL, the header checksum (the
  // kernel looks at it in ip_rcv(), which the frame never reaches: flagged below), the outer MACs.
  const auto free_bit = [&](size_t byte, int bit) {
    if (byte < 12) return true;
    if (byte >= udp + 16 + 14) return true;  // the inner packet is the pod's business
    if (v6()) return (byte == ip && bit < 4) || (byte > ip && byte < ip + 4) || byte == ip + 7;
    return byte == ip + 1 || byte == ip + 4 || byte == ip + 5 || byte == ip + 8 ||
           (byte == ip + 6 && (bit == 6 || bit == 7)) || byte == ip + 10 || byte == ip + 11;
  };
  for (size_t byte = 0; byte < good.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      if (free_bit(byte, bit)) continue;
      Bytes bad = good;
      bad[byte] ^= static_cast<uint8_t>(1 << bit);
      const Outcome outcome = Send(fast_->from_uplink(), uplink_, bad);
      EXPECT_FALSE(outcome.port.has_value()) << "byte " << byte << ", bit " << bit;
      EXPECT_EQ(outcome.run.out, bad);
      EXPECT_TRUE(outcome.slow ? outcome.run.action == TC_ACT_REDIRECT
                               : outcome.run.action == TC_ACT_OK)
          << "byte " << byte << ", bit " << bit;
    }
  }
  for (size_t size = 0; size < good.size(); ++size) {
    if (size < (v6() ? 54 : 34)) continue;  // bpf_prog_test_run_skb() takes no less
    const Outcome outcome = Send(fast_->from_uplink(), uplink_,
                                 Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size)));
    EXPECT_FALSE(outcome.port.has_value()) << size;
  }
}

// ---------------------------------------------------------------- taps

TEST_P(KernelFastPathTest, WhatIsForACarriedPortIsUnpackedByTheKernelAndReadByTheCloud) {
  ASSERT_TRUE(cloud_->AddCarried(kTap).ok());
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
  // From somebody else it is looked at by the cloud, and what has no mark is nobody's.
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
  EXPECT_EQ(read[0].first.way, PuntedFrame::Way::kProof);
  Buffers buffers(4);
  std::vector<InDatagram> datagrams;
  DropCounters drops;
  ASSERT_TRUE(cloud_->datagrams().Receive(buffers, datagrams, drops).ok());
  ASSERT_EQ(datagrams.size(), 1u);
  EXPECT_EQ(datagrams[0].from, PlainPeer());
  EXPECT_EQ(Bytes(datagrams[0].bytes.begin() + 8, datagrams[0].bytes.end()), hello);
  EXPECT_EQ(cloud_->slow()[static_cast<size_t>(Slow::kGroup)], 1u);
}

TEST_P(KernelFastPathTest, WhatACarriedPortSendsGoesToAPeerOrComesBack) {
  ASSERT_TRUE(cloud_->AddCarried(kTap).ok());
  Static(Mac(5), kTap);
  const auto carry = [&](const MacAddress& destination, const MacAddress& source, bool arp) {
    Bytes frame = packets::Build({});
    std::copy_n(destination.bytes().begin(), 6, frame.begin());
    std::copy_n(source.bytes().begin(), 6, frame.begin() + 6);
    if (arp) StoreBe16(&frame[12], kEtherTypeArp);
    const iovec whole{frame.data(), frame.size()};
    EXPECT_EQ(cloud_->Carry(kTap, {.parts = {&whole, 1}, .size = frame.size(), .offload = {}}),
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
  // Of another kind, from a station that is unknown or at another port, to one that is at no peer.
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

// One frame for each reason, those that a pod sends and those that come in.
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

// More than the taps' queues hold, and nobody reads them.
TEST_P(KernelFastPathTest, WhatAFullTapDidNotTakeIsCounted) {
  EXPECT_EQ(cloud_->lost().frames, 0u);
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
  flood(pod1_, broadcast, [&] { return cloud_->lost().frames; });
  flood(fabric_, datagram, [&] { return cloud_->lost().datagrams; });
  EXPECT_GT(cloud_->lost().frames, 0u);
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
  EXPECT_EQ(gone.run.action, TC_ACT_OK) << "another reader has it";
  EXPECT_FALSE(gone.slow || gone.port || gone.peer);
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
    // As after a kill: only what the kernel keeps by itself is there.
    killed_cloud_ = std::move(cloud_);
    killed_ = std::move(fast_);
  });
  node_.Shell("ip link del vxt14790; ip link del vxd14790; ip link set vxf14790 down");
  node_.Run([&] {
    fast_ = ValueOrDie(KernelFastPath::Open());
    node_.Shell("! tc filter show dev vx-1 ingress | grep -q from_pod");
    cloud_ = ValueOrDie(fast_->Join(options));
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

}  // namespace
}  // namespace vxvde
