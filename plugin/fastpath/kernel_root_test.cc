// Tests the programs against Forward(): the same frames through both, by BPF_PROG_TEST_RUN. The
// programs either do what Forward() decides, and send what docs/PROTOCOL.md describes, or punt.

#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/cloud/guard.h"
#include "plugin/fastpath/kernel_fixture.h"
#include "plugin/fastpath/punt.h"

namespace vxvde {
namespace {

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
        // The caller of Forward() learns first. That matters only for a source that is not where
        // the FDB has it, about which the program may not decide.
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
          // A peer would send the same to this node, with other addresses, ports and TTL.
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

// Unicast that a guard must see, with headers in all possible positions.
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
            // Before Linux 6.3 an IPv4 packet in IPv6 is decapsulated only if an IPv6 header would
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

// Changes each bit of the headers of a good datagram in turn.
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
  // The program ignores traffic class and flow label, identification, TTL, the header checksum
  // (ip_rcv() would check it), and the outer MACs.
  const auto free_bit = [&](size_t byte, int bit) {
    if (byte < 12) return true;
    if (byte >= udp + 16 + 14) return true;  // the inner packet is not checked
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
                               : outcome.run.action == TC_ACT_UNSPEC)
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

}  // namespace
}  // namespace vxvde
