// For tests of the cloud and a fake fast path. No thread and no clock: the loop never runs,
// ReadNow() reads what was pushed in, and Tick() is told the time.

#ifndef VXVDE_PLUGIN_CLOUD_CLOUD_FAST_FIXTURE_H_
#define VXVDE_PLUGIN_CLOUD_CLOUD_FAST_FIXTURE_H_

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

// vxvde header of VNI 42, by hand.
inline Bytes Wrap(const Bytes& frame) {
  Bytes out(8 + frame.size(), 0);
  out[0] = 0x08;
  out[6] = 42;
  std::copy(frame.begin(), frame.end(), out.begin() + 8);
  return out;
}

// By hand, from docs/PROTOCOL.md.
inline Bytes MakeHello(const MacAddress& from, uint16_t fast_port, bool answer_wanted,
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
    options_.snooping = false;
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
  // With all stations.
  CloudSnapshot Snapshot() {
    CloudSnapshot out = cloud().Snapshot();
    out.stations = cloud().Stations(std::nullopt, out.station_count);
    return out;
  }
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

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_CLOUD_FAST_FIXTURE_H_
