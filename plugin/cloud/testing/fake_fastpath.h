// A fast path without a kernel, for tests. It records its table, and hands over the frames that a
// test pushes in.

#ifndef VXVDE_PLUGIN_CLOUD_TESTING_FAKE_FASTPATH_H_
#define VXVDE_PLUGIN_CLOUD_TESTING_FAKE_FASTPATH_H_

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plugin/cloud/testing/fakes.h"
#include "plugin/fastpath/fastpath.h"

namespace vxvde {

class FakeFastCloud : public FastCloud {
 public:
  struct Station {
    Location where;
    Instant seen;
  };
  // Outlives the fast cloud, which the cloud owns.
  struct State {
    bool alive = false;
    uint16_t fast_port = 51105;
    IfIndex uplink = IfIndex::kNone;
    std::map<PortId, IfIndex> ports;  // kNone: a relayed one
    std::map<Peer, uint16_t> peers;
    std::set<Peer> stopped;                  // of these; gone with ForgetPeer
    std::map<MacAddress, Station> stations;  // `seen` may be set, as the programs do
    std::map<PortId, FastCounters> port_counters;
    std::map<Peer, FastCounters> peer_counters;
    // State of an earlier agent.
    std::set<IfIndex> inherited_ports;
    std::set<MacAddress> inherited_taps;
    std::vector<InheritedPeer> inherited_peers;
    std::map<Location, std::vector<InheritedStation>> inherited_stations;
    SlowCounters slow = {};
    FastLost lost = {};
    absl::Status no_port, no_peer, no_uplink;  // the results of AddPort, SetPeer and MoveTo
    absl::Status not_now;                      // the result of CheckPort
    uint32_t flood_limit = 0;
    std::string obstacle;                     // at the uplink
    std::map<PortId, std::string> obstacles;  // at ports
    std::function<void()> on_add_port = [] {};
    int port_attempts = 0;
    int discarded = 0;  // descriptors
    std::shared_ptr<FakeSocket::State> datagrams = std::make_shared<FakeSocket::State>();
    struct Punted {
      PuntedFrame::Way way;
      PortId port;
      FakePort::Item item;
    };
    std::deque<Punted> punted;
    ReadyFd ready;
    std::vector<std::pair<PortId, std::vector<uint8_t>>> relayed;
    Drop no_relay = Drop::kNone;  // the result of Relay
    void Punt(PortId from, FakePort::Item frame) {
      Push({PuntedFrame::Way::kFrom, from, std::move(frame)});
    }
    void Push(Punted frame) {
      punted.push_back(std::move(frame));
      ready.Set(true);
    }
  };

  explicit FakeFastCloud(std::shared_ptr<State> state) : state_(std::move(state)) {
    state_->alive = true;
  }
  ~FakeFastCloud() override { state_->alive = false; }

  uint16_t fast_port() const override { return state_->fast_port; }
  DatagramIo& datagrams() override { return datagrams_; }
  PuntIo& frames() override { return frames_; }

  absl::Status CheckPort(IfIndex) override { return state_->not_now; }
  absl::Status AddPort(PortId port, IfIndex host_end) override {
    ++state_->port_attempts;
    state_->on_add_port();
    if (state_->no_port.ok()) state_->ports[port] = host_end;
    return state_->no_port;
  }
  absl::Status AddRelayed(PortId port, const MacAddress&) override {
    return AddPort(port, IfIndex::kNone);
  }
  Drop Relay(PortId port, const OutFrame& frame) override {
    std::vector<uint8_t> bytes;
    for (const iovec& part : frame.parts) {
      const auto* first = static_cast<const uint8_t*>(part.iov_base);
      bytes.insert(bytes.end(), first, first + part.iov_len);
    }
    if (state_->no_relay == Drop::kNone) state_->relayed.emplace_back(port, std::move(bytes));
    return state_->no_relay;
  }
  void RemovePort(PortId port) override {
    state_->ports.erase(port);
    state_->port_counters.erase(port);
  }
  absl::Status SetPeer(const Peer& peer, uint16_t fast_port) override {
    if (state_->no_peer.ok()) {
      state_->peers[peer] = fast_port;
    } else if (state_->peers.contains(peer)) {
      StopPeer(peer);
    }
    return state_->no_peer;
  }
  void ForgetPeer(const Peer& peer) override {
    state_->peers.erase(peer);
    state_->stopped.erase(peer);
    state_->peer_counters.erase(peer);
  }
  void StopPeer(const Peer& peer) override { state_->stopped.insert(peer); }
  void SetStation(const MacAddress& mac, const Location& where, Instant seen) override {
    state_->stations[mac] = {where, seen};
  }
  void ForgetStation(const MacAddress& mac) override { state_->stations.erase(mac); }
  std::optional<Instant> LastSeen(const MacAddress& mac) const override {
    const auto it = state_->stations.find(mac);
    if (it == state_->stations.end()) return std::nullopt;
    return it->second.seen;
  }
  bool IsInheritedPort(IfIndex host_end) const override {
    return state_->inherited_ports.contains(host_end);
  }
  bool IsInheritedTap(const MacAddress& mac) const override {
    return state_->inherited_taps.contains(mac);
  }
  std::vector<InheritedPeer> InheritedPeers() const override { return state_->inherited_peers; }
  std::vector<InheritedStation> InheritedStations(const Location& where) const override {
    const auto it = state_->inherited_stations.find(where);
    return it != state_->inherited_stations.end() ? it->second : std::vector<InheritedStation>();
  }
  void Discard(UniqueFd) override { ++state_->discarded; }
  absl::Status MoveTo(IfIndex uplink) override {
    if (state_->no_uplink.ok()) state_->uplink = uplink;
    return state_->no_uplink;
  }
  FastCounters CountersOf(PortId port) const override {
    const auto it = state_->port_counters.find(port);
    return it != state_->port_counters.end() ? it->second : FastCounters{};
  }
  FastCounters CountersOf(const Peer& peer) const override {
    const auto it = state_->peer_counters.find(peer);
    return it != state_->peer_counters.end() ? it->second : FastCounters{};
  }
  void Tick() override {}
  void SetFloodLimit(uint32_t rate) override { state_->flood_limit = rate; }
  SlowCounters slow() const override { return state_->slow; }
  FastLost lost() const override { return state_->lost; }
  std::string Obstacle() const override { return state_->obstacle; }
  std::string Obstacle(PortId port) const override {
    const auto it = state_->obstacles.find(port);
    return it != state_->obstacles.end() ? it->second : "";
  }
  std::string Explain(const MacAddress& source, const MacAddress& destination) const override {
    return absl::StrCat("From ", source.ToString(), " to ", destination.ToString(), ": fast.");
  }

 private:
  class Frames : public PuntIo {
   public:
    explicit Frames(std::shared_ptr<State> state) : state_(std::move(state)) {}
    int fd() const override { return state_->ready.fd(); }
    absl::Status Receive(Buffers& buffers, std::vector<PuntedFrame>& out, DropCounters&) override {
      out.clear();
      while (!state_->punted.empty() && out.size() < buffers.count()) {
        const auto [way, port, item] = std::move(state_->punted.front());
        state_->punted.pop_front();
        if (way != PuntedFrame::Way::kTunnelProbe && !state_->ports.contains(port)) continue;
        const std::span<uint8_t> buffer = buffers[out.size()].first(item.bytes.size());
        std::copy(item.bytes.begin(), item.bytes.end(), buffer.begin());
        out.push_back({.way = way, .port = port, .frame = {buffer, item.offload}});
      }
      if (state_->punted.empty()) state_->ready.Set(false);
      return absl::OkStatus();
    }

   private:
    std::shared_ptr<State> state_;
  };

  std::shared_ptr<State> state_;
  FakeSocket datagrams_{state_->datagrams};
  Frames frames_{state_};
};

class FakeFastPath : public FastPath {
 public:
  absl::Status refuse;  // the result of Join
  std::vector<FastCloudOptions> joined;
  std::vector<IpAddress> local;
  std::shared_ptr<FakeFastCloud::State> cloud = std::make_shared<FakeFastCloud::State>();

  absl::StatusOr<std::unique_ptr<FastCloud>> Join(const FastCloudOptions& options) override {
    joined.push_back(options);
    if (!refuse.ok()) return refuse;
    cloud->uplink = options.uplink;
    return std::make_unique<FakeFastCloud>(cloud);
  }
  void SetLocalAddresses(const std::vector<IpAddress>& addresses) override { local = addresses; }
  std::string WhyNotInherited() const override { return ""; }
  void DropInherited() override {}
  void KeepForNextAgent() override {}
  std::string Hooks() const override { return "tcx"; }
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_TESTING_FAKE_FASTPATH_H_
