// For tests of a whole switch with one cloud: fake sockets and ports, and its loop on a thread.

#ifndef VXVDE_PLUGIN_SWITCH_FIXTURE_H_
#define VXVDE_PLUGIN_SWITCH_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "plugin/cloud/testing/fakes.h"
#include "plugin/switch.h"

namespace vxvde {

using std::chrono_literals::operator""s;

inline constexpr MacAddress kPodA({0x02, 0, 0, 0, 0, 0x0a});
inline constexpr MacAddress kPodB({0x02, 0, 0, 0, 0, 0x0b});
inline constexpr MacAddress kFar({0x02, 0, 0, 0, 0, 0xf1});
inline constexpr MacAddress kNested({0x02, 0, 0, 0, 0, 0x77});
inline const IpAddress kSelf = IpAddress::V4(192, 0, 2, 10);
inline const Peer kPeer{IpAddress::V4(192, 0, 2, 1), 40001};
inline const Peer kOther{IpAddress::V4(192, 0, 2, 2), 40002};
inline const Peer kGroup{IpAddress::V4(239, 1, 2, 3), 14789};
inline constexpr uint16_t kOurPort = 14790;

inline Bytes MakeFrame(const MacAddress& to, const MacAddress& from, size_t size = 60) {
  Bytes frame(size, 0);
  std::copy(to.bytes().begin(), to.bytes().end(), frame.begin());
  std::copy(from.bytes().begin(), from.bytes().end(), frame.begin() + 6);
  frame[12] = 0x88;  // local experimental ethertype 1 (IEEE 802, RFC 9542)
  frame[13] = 0xb5;
  return frame;
}

// vxvde header of VNI 42, by hand.
inline Bytes Wrap(const Bytes& frame, uint8_t vni = 42) {
  Bytes out = {0x08, 0, 0, 0, 0, 0, vni, 0};
  out.insert(out.end(), frame.begin(), frame.end());
  return out;
}

class SwitchTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    unicast_->port = kOurPort;
    group_->port = kGroup.port;
    thread_ = std::thread([this] { loop_->Run(); });
    On([&] {
      switch_ = std::make_unique<Switch>(
          loop_.get(),
          SwitchSockets{
              .group = [this](const UdpOptions&) { return std::make_unique<FakeSocket>(group_); },
              .unicast =
                  [this](const UdpOptions&) { return std::make_unique<FakeSocket>(unicast_); }});
      switch_->SetListener([this](const SwitchEvent& event) { events_.push_back(event); });
      switch_->SetLocalAddresses({kSelf, IpAddress::V4(127, 0, 0, 1)});
      options_.config.key = {kGroup.address, kGroup.port, *Vni::Make(42)};
      EXPECT_TRUE(switch_->Join(options_).ok());
    });
  }
  void TearDown() override {
    if (!thread_.joinable()) return;
    On([&] { switch_.reset(); });
    loop_->Stop();
    thread_.join();
  }

  // Runs on the loop. What was pushed into sockets and ports before has been read by then.
  template <typename Function>
  void On(Function function) {
    const auto done = loop_->Call(
        [&] {
          function();
          return true;
        },
        10s);
    ASSERT_TRUE(done.ok()) << done.status();
  }
  const CloudKey& key() const { return options_.config.key; }
  // Only on the loop, while the cloud is joined.
  CloudHandle* cloud() const { return switch_->Find(key()).value(); }

  PortId AddPort(const MacAddress& mac, const std::shared_ptr<FakePort::State>& state) {
    PortId id = PortId::kNone;
    On([&] {
      auto added =
          cloud()->AddPort({.name = mac.ToString(), .mac = mac}, std::make_unique<FakePort>(state));
      ASSERT_TRUE(added.ok()) << added.status();
      id = *added;
    });
    return id;
  }
  void FromPeer(const std::shared_ptr<FakeSocket::State>& socket, Bytes bytes, const Peer& from,
                uint16_t segment_size = 0) {
    On([&] { socket->Push({std::move(bytes), from, segment_size}); });
  }
  void FromPod(const std::shared_ptr<FakePort::State>& port, Bytes bytes, Offload offload = {}) {
    On([&] { port->Push({std::move(bytes), offload}); });
  }
  CloudSnapshot Snapshot() {
    CloudSnapshot out;
    On([&] {
      const SwitchSnapshot all = switch_->Snapshot();
      ASSERT_EQ(all.clouds.size(), 1u);
      out = all.clouds[0];
      out.stations = cloud()->Stations(std::nullopt, 1000);
    });
    return out;
  }
  static std::vector<Bytes> Frames(const FakePort::State& port) {
    std::vector<Bytes> out;
    for (const auto& item : port.out) out.push_back(item.bytes);
    return out;
  }

  std::unique_ptr<EventLoop> loop_;
  std::thread thread_;
  std::shared_ptr<FakeSocket::State> group_ = std::make_shared<FakeSocket::State>();
  std::shared_ptr<FakeSocket::State> unicast_ = std::make_shared<FakeSocket::State>();
  std::shared_ptr<FakePort::State> a_ = std::make_shared<FakePort::State>();
  std::shared_ptr<FakePort::State> b_ = std::make_shared<FakePort::State>();
  CloudOptions options_;
  std::unique_ptr<Switch> switch_;
  std::vector<SwitchEvent> events_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_SWITCH_FIXTURE_H_
