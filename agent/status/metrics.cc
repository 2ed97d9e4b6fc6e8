#include "agent/status/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/version.h"
#include "plugin/os/fd.h"

namespace vxvde {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;

// Below Prometheus' own default of 10 s, so that a scrape can report vxvde_up 0.
constexpr Duration kLoopDeadline = 2s;

using Labels = std::vector<ClientMetric::Label>;

// All samples of one name.
class Family {
 public:
  Family(MetricType type, const char* name, const char* help) {
    family_.type = type;
    family_.name = name;
    family_.help = help;
  }

  void Add(Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    if (family_.type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    family_.metric.push_back(std::move(metric));
  }
  void Add(Labels labels, uint64_t value) { Add(std::move(labels), static_cast<double>(value)); }

  MetricFamily Take() { return std::move(family_); }

 private:
  MetricFamily family_;
};

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

constexpr MetricType kGauge = MetricType::Gauge;
constexpr MetricType kCounter = MetricType::Counter;

void AddNode(const NodeSnapshot& node, Duration loop_delay, std::vector<MetricFamily>& out) {
  Family uptime(kGauge, "vxvde_uptime_seconds", "Time since the agent started.");
  uptime.Add({}, Seconds(node.uptime));
  out.push_back(uptime.Take());

  Family delay(kGauge, "vxvde_loop_delay_seconds",
               "Time that this scrape waited for the event loop.");
  delay.Add({}, Seconds(loop_delay));
  out.push_back(delay.Take());

  uint64_t unattached = 0;
  for (const AttachmentInfo& attachment : node.attachments) {
    if (attachment.port == PortId::kNone) ++unattached;
  }
  Family problems(kGauge, "vxvde_attachment_problems", "Recorded attachments that have no port.");
  problems.Add({}, unattached);
  out.push_back(problems.Take());
  Family warning(kGauge, "vxvde_node_warning",
                 "1 while the node as a whole has a problem; vxvdectl status describes it.");
  warning.Add({}, uint64_t{node.warning.empty() ? 0u : 1u});
  out.push_back(warning.Take());
  Family rules(kGauge, "vxvde_nftables_problem",
               "1: nftables of this part of the agent are not as they should be.");
  for (const RulesState& state : node.rules) {
    rules.Add({{"part", state.part}, {"reason", state.problem}},
              uint64_t{state.problem.empty() ? 0u : 1u});
  }
  out.push_back(rules.Take());
}

void AddReconciled(const Reconciled& found, std::vector<MetricFamily>& out) {
  Family looks(kCounter, "vxvde_reconcile_looks_total",
               "Comparisons of the attachments with the kernel.");
  looks.Add({}, found.looks);
  out.push_back(looks.Take());

  Family done(kCounter, "vxvde_reconciled_total",
              "Repairs of differences between the run-dir and the kernel, by kind of object.");
  done.Add({{"what", "attachment"}}, found.attachments);
  done.Add({{"what", "link"}}, found.links);
  done.Add({{"what", "lease"}}, found.leases);
  done.Add({{"what", "del"}}, found.dels);
  done.Add({{"what", "record"}}, found.records);
  out.push_back(done.Take());

  Family unreadable(kCounter, "vxvde_unreadable_files_total",
                    "Files of the run-dir that could not be parsed and were set aside.");
  unreadable.Add({}, found.unreadable);
  out.push_back(unreadable.Take());

  Family unknown(kGauge, "vxvde_unknown_links",
                 "Links that carry the mark of an attachment but are not in the run-dir.");
  unknown.Add({}, found.unknown_links);
  out.push_back(unknown.Take());
}

void AddClouds(const NodeSnapshot& node, std::vector<MetricFamily>& out) {
  Family info(kGauge, "vxvde_cloud_info",
              "1 for each joined cloud, with its properties as labels.");
  Family ports(kGauge, "vxvde_ports", "Ports of the cloud on this node.");
  Family peers(kGauge, "vxvde_peers",
               "Other members that were heard and have neither left nor fallen silent.");
  Family stations(kGauge, "vxvde_stations", "Entries of the forwarding database.");
  Family moves(kCounter, "vxvde_station_moves_total", "Moves of stations between ports and peers.");
  Family conflicts(kCounter, "vxvde_mac_conflicts_total",
                   "Frames from elsewhere that carried the MAC address of a local pod.");
  Family refused(kCounter, "vxvde_stations_not_learned_total",
                 "Stations refused because the forwarding database, or the share of their port or "
                 "peer, was full.");
  Family holds(kCounter, "vxvde_station_holds_total",
               "Stations that moved too often and were pinned to their location.");
  Family strangers(kCounter, "vxvde_peers_not_kept_total",
                   "Frames of peers beyond the number of peers that are counted individually.");
  Family frames(kCounter, "vxvde_group_frames_total", "Frames received and sent by multicast.");
  Family bytes(kCounter, "vxvde_group_bytes_total",
               "Bytes of frames received and sent by multicast.");
  Family problems(kGauge, "vxvde_group_problem", "1 while multicast fails on the underlay.");
  Family rejoins(kCounter, "vxvde_group_rejoins_total",
                 "Times that the group was rejoined because nothing was heard through it.");
  for (const CloudInfo& cloud : node.clouds) {
    const CloudSnapshot& state = cloud.state;
    const ClientMetric::Label name{"cloud", cloud.name};
    info.Add({name, {"vnl", cloud.vnl}, {"datapath", cloud.datapath}}, 1.0);
    ports.Add({name}, state.ports.size());
    peers.Add({name}, state.peers.size());
    stations.Add({name}, state.station_count);
    moves.Add({name}, state.moves);
    conflicts.Add({name}, state.conflicts);
    refused.Add({name}, state.not_learned);
    holds.Add({name}, state.holds);
    strangers.Add({name}, state.peers_not_kept);
    frames.Add({name, {"direction", "from_group"}}, state.from_group.frames);
    frames.Add({name, {"direction", "to_group"}}, state.to_group.frames);
    bytes.Add({name, {"direction", "from_group"}}, state.from_group.bytes);
    bytes.Add({name, {"direction", "to_group"}}, state.to_group.bytes);
    problems.Add({name}, uint64_t{state.group_problem.empty() ? 0u : 1u});
    rejoins.Add({name}, state.rejoins);
  }
  for (Family* family : {&info, &ports, &peers, &stations, &moves, &conflicts, &refused, &holds,
                         &strangers, &frames, &bytes, &problems, &rejoins}) {
    out.push_back(family->Take());
  }
}

// Only clouds with snooping have these metrics.
void AddSnooping(const NodeSnapshot& node, std::vector<MetricFamily>& out) {
  Family groups(kGauge, "vxvde_multicast_groups",
                "Multicast groups with a member, here or elsewhere.");
  Family unsure(kGauge, "vxvde_multicast_unsure_ports",
                "Ports that receive every group because their memberships are unknown.");
  Family withheld(kCounter, "vxvde_multicast_withheld_total",
                  "Copies of frames that were not sent to a port that has not joined the group.");
  for (const CloudInfo& cloud : node.clouds) {
    if (!cloud.state.snooping.has_value()) continue;
    const SnoopState& state = *cloud.state.snooping;
    const ClientMetric::Label name{"cloud", cloud.name};
    groups.Add({name}, state.groups.size());
    unsure.Add({name}, state.unsure.size());
    withheld.Add({name}, state.withheld);
  }
  for (Family* family : {&groups, &unsure, &withheld}) out.push_back(family->Take());
}

// All but vxvde_fastpath_obstructed are of clouds with the kernel datapath.
void AddFastPath(const NodeSnapshot& node, std::vector<MetricFamily>& out) {
  Family ports(kGauge, "vxvde_fastpath_ports", "Ports served by the kernel datapath.");
  Family peers(kGauge, "vxvde_fastpath_peers", "Members to which the kernel datapath sends.");
  Family slow(kCounter, "vxvde_fastpath_slow_total",
              "Frames that the kernel datapath punted to the agent.");
  Family obstructed(
      kGauge, "vxvde_fastpath_obstructed",
      "Uplinks and ports where another program keeps frames from the kernel datapath.");
  for (const CloudInfo& cloud : node.clouds) {
    const CloudSnapshot& state = cloud.state;
    const ClientMetric::Label name{"cloud", cloud.name};
    const auto obstructed_ports =
        std::count_if(state.ports.begin(), state.ports.end(),
                      [](const PortSnapshot& port) { return port.obstructed; });
    obstructed.Add({name, {"where", "uplink"}}, uint64_t{state.obstructed ? 1u : 0u});
    obstructed.Add({name, {"where", "port"}}, static_cast<uint64_t>(obstructed_ports));
    if (state.fast_port == 0) continue;
    const auto fast_ports = std::count_if(state.ports.begin(), state.ports.end(),
                                          [](const PortSnapshot& port) { return port.fast; });
    const auto fast_peers = std::count_if(state.peers.begin(), state.peers.end(),
                                          [](const PeerSnapshot& peer) { return peer.fast_port; });
    ports.Add({name}, static_cast<uint64_t>(fast_ports));
    peers.Add({name}, static_cast<uint64_t>(fast_peers));
    for (size_t i = 0; i < kSlowReasons; ++i) {
      slow.Add({name, {"reason", std::string(SlowName(static_cast<Slow>(i)))}}, state.slow[i]);
    }
  }
  for (Family* family : {&obstructed, &ports, &peers, &slow}) out.push_back(family->Take());
}

void AddPorts(const NodeSnapshot& node, std::vector<MetricFamily>& out) {
  Family frames(kCounter, "vxvde_port_frames_total", "Frames that passed a port.");
  Family bytes(kCounter, "vxvde_port_bytes_total", "Bytes of frames that passed a port.");
  Family blocked(kGauge, "vxvde_port_blocked",
                 "1 while nothing is flooded to or from a port because it is in a loop.");
  for (const CloudInfo& cloud : node.clouds) {
    for (const PortSnapshot& port : cloud.state.ports) {
      const auto labels = [&](const char* direction) {
        return Labels{{"cloud", cloud.name}, {"port", port.options.name}, {"direction", direction}};
      };
      frames.Add(labels("from_pod"), port.from_pod.frames);
      frames.Add(labels("to_pod"), port.to_pod.frames);
      bytes.Add(labels("from_pod"), port.from_pod.bytes);
      bytes.Add(labels("to_pod"), port.to_pod.bytes);
      blocked.Add({{"cloud", cloud.name}, {"port", port.options.name}},
                  port.blocked > Duration{} ? 1.0 : 0.0);
    }
  }
  for (Family* family : {&frames, &bytes, &blocked}) out.push_back(family->Take());
}

// A cloud exports all reasons, so that rate() sees the first drop; a port only those that occurred.
void AddDrops(const NodeSnapshot& node, std::vector<MetricFamily>& out) {
  Family drops(kCounter, "vxvde_drops_total",
               "Frames (with a port label) and datagrams (without) that were dropped.");
  for (const CloudInfo& cloud : node.clouds) {
    const ClientMetric::Label name{"cloud", cloud.name};
    for (size_t i = 1; i < kDropReasons; ++i) {  // 0 is not a drop
      const ClientMetric::Label reason{"reason", std::string(DropName(static_cast<Drop>(i)))};
      drops.Add({name, reason}, cloud.state.drops.count[i]);
      for (const PortSnapshot& port : cloud.state.ports) {
        if (port.drops.count[i] == 0) continue;
        drops.Add({name, {"port", port.options.name}, reason}, port.drops.count[i]);
      }
    }
  }
  out.push_back(drops.Take());
}

void AddIpam(const NodeSnapshot& node, std::vector<MetricFamily>& out) {
  Family addresses(kGauge, "vxvde_ipam_addresses",
                   "Addresses of a cloud's subnet for which this node answers, by use.");
  Family others(kGauge, "vxvde_ipam_others",
                "Addresses of a cloud's subnet that were recently heard in use by others.");
  Family claims(kCounter, "vxvde_ipam_claims_total",
                "Addresses that were claimed, including spare ones.");
  Family taken(kCounter, "vxvde_ipam_taken_total",
               "Candidate addresses that a probe found in use.");
  Family exhausted(kCounter, "vxvde_ipam_exhausted_total",
                   "Requests for which no free address was found.");
  Family conflicts(kCounter, "vxvde_address_conflicts_total",
                   "Stations that used an address of a local pod.");
  Family conflicts_now(kGauge, "vxvde_address_conflicts",
                       "Address conflicts of the last five minutes whose pod is still here.");
  for (const AllocatorSnapshot& state : node.ipam) {
    const auto cloud = std::find_if(node.clouds.begin(), node.clouds.end(), [&](const auto& one) {
      return one.state.options.config.key == state.cloud;
    });
    if (cloud == node.clouds.end()) continue;
    const ClientMetric::Label name{"cloud", cloud->name};
    for (const PoolSnapshot& pool : state.pools) {
      const ClientMetric::Label subnet{"subnet", pool.subnet.ToString()};
      addresses.Add({name, subnet, {"use", "leased"}}, pool.leased);
      addresses.Add({name, subnet, {"use", "occupied"}}, pool.occupied);
      addresses.Add({name, subnet, {"use", "kept"}}, pool.kept);
      addresses.Add({name, subnet, {"use", "spare"}}, pool.spare);
      others.Add({name, subnet}, pool.others);
    }
    claims.Add({name}, state.claims);
    taken.Add({name}, state.taken);
    exhausted.Add({name}, state.exhausted);
    conflicts.Add({name}, state.conflicts_total);
    conflicts_now.Add({name}, state.conflicts.size());
  }
  for (Family* family :
       {&addresses, &others, &claims, &taken, &exhausted, &conflicts, &conflicts_now}) {
    out.push_back(family->Take());
  }
}

class Collector final : public prometheus::Collectable {
 public:
  Collector(EventLoop* loop, const NodeView* view) : loop_(loop), view_(view) {}

  std::vector<MetricFamily> Collect() const override {
    const Instant asked = Clock::now();
    const auto answer = loop_->Call(
        [view = view_, asked] { return std::pair(view->Snapshot(), Clock::now() - asked); },
        kLoopDeadline);

    std::vector<MetricFamily> out;
    Family up(kGauge, "vxvde_up", "1 when the event loop answered this scrape, else 0.");
    up.Add({}, answer.ok() ? 1.0 : 0.0);
    out.push_back(up.Take());
    Family build(kGauge, "vxvde_build_info", "1, with the agent's version as a label.");
    build.Add({{"version", kVersion}}, 1.0);
    out.push_back(build.Take());
    if (!answer.ok()) return out;

    const auto& [node, loop_delay] = *answer;
    AddNode(node, loop_delay, out);
    AddReconciled(node.reconciled, out);
    AddClouds(node, out);
    AddFastPath(node, out);
    AddSnooping(node, out);
    AddPorts(node, out);
    AddDrops(node, out);
    AddIpam(node, out);
    return out;
  }

 private:
  EventLoop* const loop_;
  const NodeView* const view_;
};

// Connects, so that a thread that polls for connections there wakes up.
void Knock(const IpAddress& address, int port) {
  sockaddr_storage to;
  const socklen_t size = ToSockaddr(address, static_cast<uint16_t>(port), 0, to);
  const UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), size) != 0) {
    // The listener has already closed its socket, so there is no thread left to wake.
  }
}

// "127.0.0.1:9478", "[::1]:9478", "9478" -> the address; 127.0.0.1 when there is none.
IpAddress AddressOf(absl::string_view listen) {
  absl::string_view host = listen.substr(0, std::min(listen.rfind(':'), listen.size()));
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  const auto address = IpAddress::Parse(host);
  return address.ok() && !address->IsUnspecified() ? *address : IpAddress::V4(127, 0, 0, 1);
}

int PortOf(const prometheus::Exposer& exposer) {
  const std::vector<int> ports = exposer.GetListeningPorts();
  return ports.empty() ? 0 : ports.front();
}

}  // namespace

struct MetricsServer::Impl {
  Impl(EventLoop* loop, const NodeView* view, const std::string& listen)
      : address(AddressOf(listen)),
        collector(std::make_shared<Collector>(loop, view)),
        exposer(std::make_unique<prometheus::Exposer>(listen, /*num_threads=*/1)) {
    exposer->RegisterCollectable(collector);
  }
  // civetweb checks whether it should end only between two polls of 2 s. A restart should not wait
  // for that, so a thread connects until civetweb has ended.
  ~Impl() {
    const int port = PortOf(*exposer);
    std::promise<void> ended;
    std::thread knocker;
    try {
      knocker = std::thread([&, end = ended.get_future()] {
        while (end.wait_for(10ms) != std::future_status::ready) Knock(address, port);
      });
    } catch (const std::system_error&) {  // without the thread civetweb takes its 2 s
    }
    exposer.reset();
    ended.set_value();
    if (knocker.joinable()) knocker.join();
  }

  const IpAddress address;
  const std::shared_ptr<Collector> collector;
  std::unique_ptr<prometheus::Exposer> exposer;
};

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsServer::~MetricsServer() = default;

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(EventLoop* loop,
                                                                    const NodeView* view,
                                                                    const std::string& listen) {
  try {
    return std::unique_ptr<MetricsServer>(
        new MetricsServer(std::make_unique<Impl>(loop, view, listen)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat(
        "cannot serve metrics at '", listen, "' (", error.what(),
        "): give an address of this node and a free port, as in metrics: 127.0.0.1:9478, or "
        "metrics: \"\" to disable them"));
  }
}

int MetricsServer::port() const { return PortOf(*impl_->exposer); }

}  // namespace vxvde
