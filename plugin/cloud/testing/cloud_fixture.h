// For tests of a cloud with a fake fast path. There is no thread and no clock: the loop never runs,
// ReadNow() reads the pushed frames, and Tick() receives the time.

#ifndef VXVDE_PLUGIN_CLOUD_TESTING_CLOUD_FIXTURE_H_
#define VXVDE_PLUGIN_CLOUD_TESTING_CLOUD_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plugin/cloud/cloud.h"
#include "plugin/cloud/testing/fake_fastpath.h"
#include "plugin/cloud/testing/fakes.h"

namespace vxvde {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

inline constexpr MacAddress kAgent({0x02, 0, 0, 0, 0, 0xa0});
inline constexpr MacAddress kFarAgent({0x02, 0, 0, 0, 0, 0xa1});
inline constexpr MacAddress kPodA({0x02, 0, 0, 0, 0, 0x0a});
inline constexpr MacAddress kPodB({0x02, 0, 0, 0, 0, 0x0b});
inline constexpr MacAddress kFar({0x02, 0, 0, 0, 0, 0xf1});
inline constexpr MacAddress kFar2({0x02, 0, 0, 0, 0, 0xf2});
inline constexpr MacAddress kNested({0x02, 0, 0, 0, 0, 0x77});
inline constexpr IfIndex kHostEnd{12};
inline constexpr PortId kA{1};
inline constexpr PortId kB{2};
inline constexpr uint16_t kOurPort = 14790;
inline constexpr uint16_t kOurFastPort = 51105;  // c7 a1
inline const Peer kGroup{IpAddress::V4(239, 1, 2, 3), 14789};
inline const Peer kPeer{IpAddress::V4(192, 0, 2, 1), 40001};
inline const Peer kOther{IpAddress::V4(192, 0, 2, 2), 40002};

inline Bytes MakeFrame(const MacAddress& to, const MacAddress& from, size_t size = 60) {
  Bytes frame(size, 0);
  std::copy(to.bytes().begin(), to.bytes().end(), frame.begin());
  std::copy(from.bytes().begin(), from.bytes().end(), frame.begin() + 6);
  frame[12] = 0x88;
  frame[13] = 0xb6;  // local experimental EtherType 2 (IEEE 802)
  return frame;
}

// The vxvde header of VNI 42, written by hand.
inline Bytes Wrap(const Bytes& frame) {
  Bytes out(8 + frame.size(), 0);
  out[0] = 0x08;
  out[6] = 42;
  std::copy(frame.begin(), frame.end(), out.begin() + 8);
  return out;
}

// A Hello of an agent of 0.1.0, written by hand from docs/PROTOCOL.md.
inline Bytes MakeOldHello(const MacAddress& from, uint16_t fast_port, bool answer_wanted,
                          bool heard = false) {
  Bytes frame = MakeFrame(MacAddress({0x03, 0x76, 0x78, 0x76, 0x64, 0x65}), from);
  frame[13] = 0xb5;  // local experimental EtherType 1
  const std::string mark = "vxvde";
  std::copy(mark.begin(), mark.end(), frame.begin() + 14);
  frame[19] = 1;  // version
  frame[20] = static_cast<uint8_t>((answer_wanted ? 1 : 0) | (heard ? 2 : 0) | 4);
  frame[22] = static_cast<uint8_t>(fast_port >> 8);
  frame[23] = static_cast<uint8_t>(fast_port);
  return frame;
}

// Of an agent that returns nonces.
inline Bytes MakeHello(const MacAddress& from, uint16_t fast_port, bool answer_wanted,
                       bool heard = false, uint64_t nonce = 0) {
  Bytes frame = MakeOldHello(from, fast_port, answer_wanted, heard);
  frame[20] |= 8;
  for (size_t i = 0; i < 8; ++i) frame[31 - i] = static_cast<uint8_t>(nonce >> (8 * i));
  return frame;
}

// The nonce of a datagram that holds a Hello.
inline uint64_t NonceOf(const Bytes& datagram) {
  uint64_t nonce = 0;
  for (size_t i = 0; i < 8; ++i) nonce = nonce << 8 | datagram.at(8 + 24 + i);
  return nonce;
}

// One cloud with its fakes.
struct Node {
  std::shared_ptr<FakeSocket::State> group = std::make_shared<FakeSocket::State>();
  std::shared_ptr<FakeSocket::State> unicast = std::make_shared<FakeSocket::State>();
  std::shared_ptr<FakeFastCloud::State> fast = std::make_shared<FakeFastCloud::State>();
  std::vector<SwitchEvent> events;
  std::unique_ptr<Cloud> cloud;
};

class CloudTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    context_.random = [this] { return ++nonces_; };
    options_.config.key = {kGroup.address, kGroup.port, *Vni::Make(42)};
    options_.uplink = IfIndex{2};
    options_.agent_mac = kAgent;
    options_.snooping = false;
  }
  void TearDown() override { node_.cloud.reset(); }

  void Start(Node& node, bool with_fast = true) {
    node.unicast->port = kOurPort;
    context_.loop = loop_.get();
    OffloadStart offload;
    if (with_fast) offload.fast = std::make_unique<FakeFastCloud>(node.fast);
    node.cloud = std::make_unique<Cloud>(
        options_, std::make_unique<FakeSocket>(node.group),
        std::make_unique<FakeSocket>(node.unicast), std::move(offload), &context_,
        [&node](const SwitchEvent& event) { node.events.push_back(event); });
    const absl::Status started = node.cloud->Start();
    ASSERT_TRUE(started.ok()) << started;
  }
  void Start(bool with_fast = true) {
    Start(node_, with_fast);
    node_.unicast->out.clear();  // Hello
  }

  Cloud& cloud() { return *node_.cloud; }
  // With all stations.
  CloudSnapshot Snapshot() {
    CloudSnapshot out = cloud().Snapshot();
    out.stations = cloud().Stations(std::nullopt, out.station_count);
    return out;
  }
  FakeFastCloud::State& fast() { return *node_.fast; }
  Instant now() const { return loop_->now(); }

  // The next port gets this number.
  absl::Status AddPort(PortId id, const PortOptions& options, std::unique_ptr<FrameIo> io) {
    context_.last_port = static_cast<uint32_t>(id) - 1;
    const absl::StatusOr<PortId> added = cloud().AddPort(options, std::move(io));
    if (added.ok()) {
      EXPECT_EQ(*added, id);
    }
    return added.status();
  }
  std::shared_ptr<FakePort::State> AddPort(PortId id, const MacAddress& mac,
                                           IfIndex host_end = kHostEnd) {
    auto state = std::make_shared<FakePort::State>();
    const absl::Status added =
        AddPort(id, PortOptions{.name = mac.ToString(), .mac = mac, .host_end = host_end},
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
  // The peer announces a fast path, and answers the trial of it, if there is one.
  void Hello(const Peer& from = kPeer, uint16_t fast_port = 5000) {
    node_.unicast->out.clear();
    FromPeer(MakeHello(kFarAgent, fast_port, false), from);
    for (const auto& [to, bytes] : TakeSent()) {
      if (to != Peer{from.address, fast_port}) continue;
      FromPeer(MakeHello(kFarAgent, fast_port, false, /*heard=*/true, NonceOf(bytes)), from);
    }
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
  CloudContext context_{nullptr};
  uint64_t nonces_ = 0;  // the last one
  CloudOptions options_;
  Node node_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_TESTING_CLOUD_FIXTURE_H_
