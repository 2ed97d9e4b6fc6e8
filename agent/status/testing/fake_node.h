// A made-up node for tests: a snapshot with one of everything, a NodeView over it, and an event
// loop on a thread of its own that can be blocked.

#ifndef VXVDE_AGENT_STATUS_TESTING_FAKE_NODE_H_
#define VXVDE_AGENT_STATUS_TESTING_FAKE_NODE_H_

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "agent/status/node_view.h"
#include "plugin/os/event_loop.h"

namespace vxvde {

inline MacAddress Mac(uint8_t last) { return MacAddress({0x02, 0, 0x5e, 0x10, 0, last}); }

// Clouds "blue" (kernel datapath: ports 1 and 3, two peers, four stations, two multicast groups,
// some drops) and "green" (empty); an allocator with a lease, an address brought by a pod, a spare
// address and a conflict; three attachments: both ports of blue, and one that could not be attached
// to another cloud.
inline NodeSnapshot SampleNode() {
  using std::chrono_literals::operator""s;
  using std::chrono_literals::operator""ms;

  NodeSnapshot node;
  node.node = "n1";
  node.version = "9.8.7";
  node.uptime = 90061s + 500ms;

  CloudInfo blue;
  blue.name = "blue";
  blue.vnl = "vxvde://239.1.2.3/vni=42";
  blue.datapath = "kernel";
  CloudSnapshot& state = blue.state;
  state.options.config.key = {IpAddress::V4(239, 1, 2, 3), 14789, *Vni::Make(42)};
  state.options.uplink_name = "eth1";
  state.options.uplink_mtu = 1500;
  state.options.unicast_port = 14790;
  state.fast_port = 31790;
  state.slow[static_cast<size_t>(Slow::kGroup)] = 30;
  state.slow[static_cast<size_t>(Slow::kMoved)] = 4;
  state.age = 3600s;
  state.from_group = {10, 1000};
  state.to_group = {20, 2000};
  state.moves = 1;
  state.conflicts = 2;
  state.not_learned = 3;
  state.holds = 4;
  state.peers_not_kept = 5;
  state.drops.Add(Drop::kWrongVni, 7);

  PortSnapshot port;
  port.id = PortId{1};
  port.options = {.name = "vx0000000000001", .mac = Mac(1), .mtu = 1450};
  port.from_pod = {100, 150000};
  port.to_pod = {200, 1300000000};
  port.drops.Add(Drop::kPortFull, 5);
  port.drops.Add(Drop::kTooBig, 1);
  port.fast = true;
  port.options.guard.on = true;
  port.age = 120s;
  state.ports.push_back(port);
  port = {};
  port.id = PortId{3};
  port.options = {.name = "c3/eth0", .mac = Mac(3), .mtu = 1450};
  port.why_not_fast = "tcx program 7";
  port.obstructed = true;
  port.age = 60s;
  port.blocked = 21s + 500ms;
  port.blocks = 2;
  state.ports.push_back(port);

  const Peer v4{IpAddress::V4(192, 0, 2, 2), 14790};
  const Peer v6{*IpAddress::Parse("2001:db8::2"), 40000};
  state.peers.push_back({.peer = v4,
                         .stations = 2,
                         .fast_port = 31790,
                         .from_peer = {1, 60},
                         .to_peer = {2, 120},
                         .age = 30s,
                         .idle = 3s});
  state.peers.push_back(
      {.peer = v6, .stations = 0, .from_peer = {}, .to_peer = {}, .age = 20s, .idle = 250ms});
  state.station_count = 4;
  state.stations.push_back({Mac(1), PortId{1}, true, {}});
  state.stations.push_back({Mac(3), PortId{3}, true, {}});
  state.stations.push_back({Mac(8), v4, false, 3s});
  state.stations.push_back({Mac(9), v4, false, 4s, /*held=*/true});

  state.group_problem = "nobody is heard";
  state.rejoins = 6;
  state.snooping = SnoopState{
      .querier =
          {SnoopState::Querier{.ours = true, .source = {}, .mac = {}, .where = {}, .idle = {}},
           SnoopState::Querier{
               .source = *IpAddress::Parse("fe80::1"), .mac = Mac(9), .where = v4, .idle = 7s}},
      .groups = {{.group = IpAddress::V4(233, 252, 0, 1), .ports = {PortId{1}, PortId{3}}},
                 {.group = *IpAddress::Parse("ff0e::101"), .ports = {}, .elsewhere = true}},
      .routers = {PortId{3}},
      .unsure = {PortId{1}, PortId{3}},
      .withheld = 77};

  CloudInfo green;
  green.name = "green";
  green.vnl = "vxvde://239.1.2.4";
  green.datapath = "user";
  green.datapath_reason = "no eBPF here";
  green.state.options.config.key = {IpAddress::V4(239, 1, 2, 4), 14789, *Vni::Make(1)};

  AttachmentInfo first;
  first.id = "0000000000001";
  first.network = "blue-net";
  first.container_id = "c1";
  first.ifname = "eth0";
  first.pod_namespace = "default";
  first.pod_name = "web-0";
  first.mode = "veth";
  first.host_ifname = "vx0000000000001";
  first.netns = "/run/netns/c1";
  first.addresses = {*IpPrefix::Parse("10.42.0.7/16"), *IpPrefix::Parse("2001:db8:42::7/64")};
  first.allow = {"00:00:5e:00:01:0a", "10.42.0.200"};
  first.cloud = state.options.config.key;
  first.port = PortId{1};
  AttachmentInfo second;
  second.id = "0000000000003";
  second.network = "blue-net";
  second.container_id = "c3";
  second.ifname = "eth0";
  second.mode = "tap";
  second.cloud = state.options.config.key;
  second.port = PortId{3};
  AttachmentInfo broken;
  broken.id = "0000000000009";
  broken.network = "red-net";
  broken.container_id = "c9";
  broken.ifname = "net1";
  broken.caller = "netavark";
  broken.mode = "veth";
  broken.host_ifname = "vx0000000000009";
  broken.cloud = {IpAddress::V4(239, 9, 9, 9), 14789, *Vni::Make(9)};
  broken.problem = "no route to 239.9.9.9";

  AllocatorSnapshot ipam;
  ipam.cloud = state.options.config.key;
  ipam.pools.push_back({.subnet = *IpPrefix::Parse("10.42.0.0/16"),
                        .usable = 65534,
                        .leased = 1,
                        .occupied = 1,
                        .kept = 0,
                        .spare = 1,
                        .others = 9,
                        .exhausted = true});
  ipam.held.push_back({.address = IpAddress::V4(10, 42, 0, 7),
                       .use = HeldAddress::Use::kLeased,
                       .lease = "0000000000001",
                       .owner = "default/web-0",
                       .mac = Mac(1),
                       .age = 120s});
  ipam.held.push_back({.address = IpAddress::V4(10, 42, 0, 8),
                       .use = HeldAddress::Use::kOccupied,
                       .lease = "0000000000003",
                       .owner = "",
                       .mac = Mac(3),
                       .age = 60s});
  ipam.held.push_back({.address = IpAddress::V4(10, 42, 0, 9),
                       .use = HeldAddress::Use::kSpare,
                       .lease = "",
                       .owner = "",
                       .mac = Mac(0xa0),
                       .age = 5s});
  ipam.conflicts.push_back({.address = IpAddress::V4(10, 42, 0, 7),
                            .lease = "0000000000001",
                            .mac = Mac(1),
                            .other = Mac(0xb0),
                            .where = "peer 192.0.2.2:14790",
                            .count = 12,
                            .first = 90s,
                            .last = 2s});
  ipam.conflicts_total = 4;
  ipam.claims = 5;
  ipam.taken = 2;
  ipam.exhausted = 1;

  node.rules = {{.part = "firewall", .problem = "refused"}, {.part = "watch"}};
  node.ipam = {std::move(ipam)};
  node.clouds = {std::move(blue), std::move(green)};
  node.attachments = {std::move(first), std::move(second), std::move(broken)};
  return node;
}

// Explains any frame in "blue" as one for port 1.
class FakeNode final : public NodeView {
 public:
  NodeSnapshot Snapshot() const override {
    NodeSnapshot out = node;
    for (CloudInfo& cloud : out.clouds) {
      cloud.state.station_count = cloud.state.stations.size();
      cloud.state.stations.clear();
    }
    return out;
  }
  std::string WhyNotReady() const override { return node.not_ready; }
  std::vector<StationSnapshot> Stations(const CloudKey& cloud,
                                        const std::optional<MacAddress>& after,
                                        size_t limit) const override {
    std::vector<StationSnapshot> out;
    for (const CloudInfo& one : node.clouds) {
      if (one.state.options.config.key != cloud) continue;
      for (const StationSnapshot& station : one.state.stations) {
        if (out.size() < limit && (!after || *after < station.mac)) out.push_back(station);
      }
    }
    return out;
  }
  absl::StatusOr<Explanation> Explain(const std::string& cloud, const MacAddress& source,
                                      const MacAddress&) const override {
    if (cloud != "blue") return absl::NotFoundError(absl::StrCat("no cloud '", cloud, "'"));
    Explanation explanation;
    explanation.verdict.action = Verdict::Action::kToPort;
    explanation.verdict.port = PortId{1};
    explanation.from = Peer{IpAddress::V4(192, 0, 2, 2), 14790};
    explanation.source_known = true;
    explanation.destination_known = true;
    explanation.reasons = {absl::StrCat(source.ToString(), " is behind a peer."), "Off it goes."};
    explanation.fast = "It is redirected to port 1.";
    return explanation;
  }

  NodeSnapshot node = SampleNode();  // modified on the loop only
};

class LoopThread {
 public:
  LoopThread() : loop_(*EventLoop::Create()), thread_([this] { loop_->Run(); }) {}
  ~LoopThread() {
    Release();
    loop_->Stop();
    thread_.join();
  }

  EventLoop* loop() { return loop_.get(); }

  // Returns once the loop is blocked.
  void Hold() {
    held_ = std::promise<void>();
    auto halted = std::make_shared<std::promise<void>>();
    loop_->Post([halted, until = held_.get_future().share()] {
      halted->set_value();
      until.wait();
    });
    halted->get_future().wait();
    holding_ = true;
  }
  void Release() {
    if (holding_) held_.set_value();
    holding_ = false;
  }

  // Runs `function` on the loop and waits for it.
  template <typename Function>
  void Run(Function function) {
    std::promise<void> done;
    loop_->Post([&] {
      function();
      done.set_value();
    });
    done.get_future().wait();
  }

 private:
  std::unique_ptr<EventLoop> loop_;
  std::promise<void> held_;
  bool holding_ = false;
  std::thread thread_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_TESTING_FAKE_NODE_H_
