// For tests of the programs in a node of their own, by BPF_PROG_TEST_RUN or with real packets. A
// test run does not carry out a redirection: the counters show where a frame would have gone.

#ifndef VXVDE_PLUGIN_FASTPATH_KERNEL_FIXTURE_H_
#define VXVDE_PLUGIN_FASTPATH_KERNEL_FIXTURE_H_

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plugin/cloud/forward.h"
#include "plugin/cloud/guard.h"
#include "plugin/fastpath/kernel.h"
#include "plugin/offload/testing/packets.h"
#include "plugin/os/testing.h"
#include "plugin/wire/packet.h"

namespace vxvde {

using packets::Bytes;

inline constexpr Instant kNow{std::chrono::hours(1)};
inline constexpr uint16_t kUnicastPort = 14790;

inline MacAddress Mac(uint8_t last) { return MacAddress({0x02, 0, 0, 0, 0, last}); }

struct Ran {
  int action = 0;
  uint32_t mark = 0;
  Bytes out;
};

inline Ran RunProgram(int program, IfIndex interface, const Bytes& frame, uint32_t mark = 0) {
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

inline uint64_t Total(const SlowCounters& slow) {
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
  static constexpr uint32_t kSlots = 8;  // more than the ports here use

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

  // Reads frames until `enough`, or for ten seconds.
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
  // Sends from the fabric to the node's interface of the same name.
  void SendForReal(Bytes packet, const std::string& interface = "eth0") {
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
      to.sll_ifindex = static_cast<int>(ValueOrDie(netlink.GetLink(interface)).index);
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

  // All addresses that occur in frames here.
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
    Bytes bare(40, 0);  // an invalid IPv4 packet
    StoreBe16(&bare[12], kEtherTypeIpv4);
    frames.push_back(bare);
    for (Bytes& frame : frames) {
      std::copy(destination.bytes().begin(), destination.bytes().end(), frame.begin());
      std::copy(source.bytes().begin(), source.bytes().end(), frame.begin() + 6);
    }
    return frames;
  }

  // For a pod without any permission: it has no address, and is no server.
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
  // One run, with its outcome by the counters.
  Outcome Send(int program, IfIndex interface, const Bytes& frame) {
    const std::vector<PortId> ports = {kPort1, kPort2};
    const std::vector<Peer> peers = {FastPeer(), OtherFastPeer()};
    const auto counts = [&] {
      std::vector<uint64_t> out = {Total(cloud_->slow())};
      for (const PortId port : ports) out.push_back(cloud_->CountersOf(port).to.frames);
      for (const Peer& peer : peers) out.push_back(cloud_->CountersOf(peer).to.frames);
      return out;
    };
    // A test run carries no frame to the tap, so none is ever read there.
    for (uint32_t slot = 0; slot < kSlots; ++slot) fast_->punts().Reset(slot);
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
    EXPECT_LE(moved, 1u) << "in one or none";
    return outcome;
  }

  // The frame as the datagram of docs/PROTOCOL.md, from `from` to this node's fast port.
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
  std::unique_ptr<KernelFastPath> killed_;  // of an earlier agent
  std::unique_ptr<FastCloud> killed_cloud_;
  Fdb fdb_{{.expiry = std::chrono::seconds(128)}};
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_KERNEL_FIXTURE_H_
