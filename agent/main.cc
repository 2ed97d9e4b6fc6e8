// vxvde-agent: builds everything, runs the loop until a signal ends it. Not here: what any of the
// parts does. docs/OPERATIONS.md has the flags.

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "agent/attach/attachments.h"
#include "agent/attach/reconciler.h"
#include "agent/base/log.h"
#include "agent/config/config.h"
#include "agent/handoff/server.h"
#include "agent/ipam/ipam.h"
#include "agent/kernel/kept_io.h"
#include "agent/kernel/kernel_snapshot.h"
#include "agent/kernel/links.h"
#include "agent/lifecycle/holder.h"
#include "agent/lifecycle/kept_fds.h"
#include "agent/lifecycle/process.h"
#include "agent/node_port/firewall.h"
#include "agent/node_port/host_end_wall.h"
#include "agent/node_port/host_ports.h"
#include "agent/node_port/node_link.h"
#include "agent/node_port/underlay_wall.h"
#include "agent/status/live_node.h"
#include "agent/status/metrics.h"
#include "agent/status/server.h"
#include "agent/store/store.h"
#include "plugin/base/status.h"
#include "plugin/base/version.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/netlink.h"
#include "plugin/os/nftables.h"
#include "plugin/os/privileges.h"
#include "plugin/switch.h"

namespace vxvde {
namespace {

constexpr std::chrono::seconds kUplinkTick(2);
constexpr unsigned kMaxShutdown = 5;  // seconds; gRPC takes 2 for calls that do not end

// What docs/OPERATIONS.md gives the reasons for ("What the agent may do").
constexpr Capabilities kCapabilitiesToStart = {
    CAP_NET_ADMIN, CAP_NET_RAW,    CAP_NET_BIND_SERVICE, CAP_BPF,
    CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH};
constexpr Capabilities kCapabilitiesToRun = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE,
                                             CAP_BPF};

struct Flags {
  std::string config;  // empty: the default path, which may be absent
  std::string run_dir = "/run/vxvde";
  std::string proc_sys = "/proc/sys";
  int ready_fd = -1;
  bool check_config = false;
  std::string log_level = "info";
};

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "node";
  return name;
}

// For grp= and vni= of a locator (group(5)).
std::optional<uint32_t> UnixGroupId(absl::string_view name) {
  std::vector<char> buffer(65536);
  group entry{};
  group* found = nullptr;
  if (getgrnam_r(std::string(name).c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return std::nullopt;
  }
  return found->gr_gid;
}

absl::StatusOr<Config> ReadConfig(const Flags& flags) {
  ASSIGN_OR_RETURN(Config config, LoadConfig(flags.config, UnixGroupId));
  if (config.node.empty()) config.node = HostName();
  return config;
}

Log StderrLog(const std::string& level) {
  const auto logger = std::make_shared<spdlog::logger>(
      "vxvde-agent", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("time=%Y-%m-%dT%H:%M:%S.%e%z level=%l %v");
  logger->set_level(spdlog::level::from_str(level));
  return Log([logger](LogLevel line_level, const std::string& line) {
    switch (line_level) {
      case LogLevel::kDebug:
        logger->debug(line);
        break;
      case LogLevel::kInfo:
        logger->info(line);
        break;
      case LogLevel::kWarn:
        logger->warn(line);
        break;
      case LogLevel::kError:
        logger->error(line);
        break;
    }
  });
}

void LogEvent(const Log& log, const SwitchEvent& event, const std::string& cloud) {
  using Kind = SwitchEvent::Kind;
  const std::string port = absl::StrCat(static_cast<uint32_t>(event.port));
  const std::string peer = event.peer.has_value() ? event.peer->ToString() : "";
  const std::string mac = event.mac.has_value() ? event.mac->ToString() : "";
  switch (event.kind) {
    case Kind::kCloudJoined:
      return log.Info("cloud joined", {{"cloud", cloud}});
    case Kind::kCloudLeft:
      return log.Info("cloud left", {{"cloud", cloud}});
    case Kind::kPortFailed:
      return log.Warn("port failed", {{"cloud", cloud}, {"port", port}});
    case Kind::kPortBlocked:
      return log.Warn(
          "loop",
          {{"cloud", cloud},
           {"port", port},
           {"seen", "frames of other ports come from it"},
           {"effect", "nothing is flooded to or from it for 30 s; end the bridge behind it"}});
    case Kind::kStorm:
      if (event.port != PortId::kNone) {
        return log.Warn("storm", {{"cloud", cloud}, {"port", port}});
      }
      return log.Warn("storm", {{"cloud", cloud}, {"from", "peers"}, {"one", peer}});
    case Kind::kStationHeld:
      return log.Warn("station held",
                      {{"cloud", cloud},
                       {"mac", mac},
                       {"at", peer.empty() ? absl::StrCat("port ", port) : peer},
                       {"reason", "it moves too often: a loop, or a MAC used twice"}});
    case Kind::kPortAdded:
      return log.Debug("port added", {{"cloud", cloud}, {"port", port}});
    case Kind::kPortRemoved:
      return log.Debug("port removed", {{"cloud", cloud}, {"port", port}});
    case Kind::kPeerSeen:
      return log.Debug("peer seen", {{"cloud", cloud}, {"peer", peer}});
    case Kind::kPeerGone:
      return log.Debug("peer gone", {{"cloud", cloud}, {"peer", peer}});
    case Kind::kStationAdded:
      return log.Debug("station added", {{"cloud", cloud}, {"mac", mac}, {"peer", peer}});
    case Kind::kStationMoved:
      return log.Debug("station moved", {{"cloud", cloud}, {"mac", mac}, {"peer", peer}});
    case Kind::kGroupUnheard:
      return log.Warn("group not heard", {{"cloud", cloud}, {"reason", event.text}});
    case Kind::kGroupHeard:
      return log.Info("group heard again", {{"cloud", cloud}});
    case Kind::kStationGone:
      return log.Debug("station gone", {{"cloud", cloud}, {"mac", mac}, {"peer", peer}});
  }
}

absl::Status TellLocalAddresses(Netlink& netlink, Switch& the_switch) {
  ASSIGN_OR_RETURN(const std::vector<AddressInfo> infos, netlink.ListAddresses());
  std::vector<IpAddress> addresses;
  for (const AddressInfo& info : infos) addresses.push_back(info.prefix.address);
  the_switch.SetLocalAddresses(std::move(addresses));
  return absl::OkStatus();
}

void Warn(const Log& log, absl::string_view event, const absl::Status& status) {
  if (!status.ok()) log.Warn(event, {{"error", std::string(status.message())}});
}

uint64_t RandomNumber() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

std::vector<UnderlayCloud> UnderlayClouds(const JoinedClouds& clouds, const Switch& the_switch) {
  std::vector<UnderlayCloud> list;
  for (const auto& [key, options] : clouds.all()) {
    const absl::StatusOr<CloudHandle*> handle = the_switch.Find(key);
    list.push_back({.uplink = options.uplink_name,
                    .ttl = options.config.ttl,
                    .group_port = key.port,
                    .unicast_port = options.unicast_port,
                    .fast_port = handle.ok() ? (*handle)->FastPort() : uint16_t{0}});
  }
  return list;
}

struct NodeFastPath {
  std::unique_ptr<FastPath> fast;  // nullptr: the clouds do without
  std::string why_not;             // empty when there is one
};

// An error only where `wanted` forbids to do without.
absl::StatusOr<NodeFastPath> OpenFastPath(Datapath wanted, FdStore* store, const Log& log) {
  std::string why = "the agent was started with `datapath: user`; restart it";
  if (wanted != Datapath::kUser) {
    absl::StatusOr<std::unique_ptr<FastPath>> fast = OpenKernelFastPath(store);
    if (fast.ok()) {
      if (const std::string anew = (*fast)->WhyNotInherited(); !anew.empty()) {
        log.Warn("kernel datapath begun anew",
                 {{"reason", anew}, {"effect", "pods' ports are the agent's for a moment"}});
      }
      log.Info("kernel datapath", {{"hooks", (*fast)->Hooks()}});
      return NodeFastPath{*std::move(fast), ""};
    }
    if (wanted == Datapath::kKernel) return Annotate(fast.status(), "`datapath: kernel`");
    why = std::string(fast.status().message());
    log.Info("no kernel datapath", {{"reason", why}, {"fallback", "user"}});
  }
  // One before us may have had it, and not ended well.
  Warn(log, "fast path not removed", RemoveKernelFastPath());
  return NodeFastPath{nullptr, why};
}

// All that begins with the kernel and the namespaces of pods is done, but for taps that could not
// be opened: their next try is to enter namespaces, too.
absl::Status DropPrivileges(const std::vector<AttachmentInfo>& attachments, bool with_bpf,
                            const Log& log) {
  if (std::any_of(attachments.begin(), attachments.end(), [](const AttachmentInfo& one) {
        return one.mode == "tap" && one.port == PortId::kNone;
      })) {
    log.Warn("privileges kept", {{"reason", "taps of pods are still to be opened"}});
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(KeepCapabilities(kCapabilitiesToRun));
  // A kernel or container without seccomp is no reason to leave pods without network.
  Warn(log, "system calls not limited", RefuseSystemCalls(with_bpf));
  return absl::OkStatus();
}

// A file that cannot be used is refused whole, and the running configuration stays.
void Reload(const Flags& flags, const Log& log, Ipam& claims, Attachments& attachments,
            HostPorts& node_ports, JoinedClouds& clouds, const NodeFastPath& fast) {
  absl::StatusOr<Config> config = ReadConfig(flags);
  if (!config.ok()) {
    log.Error("configuration refused",
              {{"error", std::string(config.status().message())}, {"running", "the one before"}});
    return;
  }
  if (config->metrics != attachments.config().metrics) {
    log.Warn("metrics address kept", {{"was", attachments.config().metrics},
                                      {"configured", config->metrics},
                                      {"reason", "it is bound at start; restart the agent"}});
  }
  if (config->datapath != attachments.config().datapath) {
    log.Warn("datapath changed", {{"was", std::string(DatapathName(attachments.config().datapath))},
                                  {"configured", std::string(DatapathName(config->datapath))},
                                  {"for", "clouds that are joined from now on"},
                                  {"kernel", fast.fast != nullptr ? "can" : fast.why_not}});
  }
  claims.SetConfig(*config);
  attachments.SetConfig(*std::move(config));
  node_ports.SetConfig(attachments.config());
  clouds.Follow(attachments.config());
  log.Info("configuration reloaded",
           {{"clouds", absl::StrCat(attachments.config().clouds.size())}});
}

// Keeps descriptors while no agent runs. systemd sets $FDSTORE since version 254; for older ones
// the unit file does.
FdKeeper OpenFdKeeper(const std::string& run_dir, std::map<std::string, UniqueFd> passed,
                      const Log& log) {
  int places = 0;
  if (!Environment("NOTIFY_SOCKET").empty() && absl::SimpleAtoi(Environment("FDSTORE"), &places) &&
      places > 0) {
    return {
        .what = "service manager", .found = std::move(passed), .keep = StoreFd, .drop = UnstoreFd};
  }
  absl::StatusOr<FdKeeper> holder = OpenHolder(run_dir);
  if (holder.ok()) return *std::move(holder);
  log.Warn("no holder", {{"error", std::string(holder.status().message())},
                         {"effect", "frames that come while the agent is restarted are lost"}});
  return {.what = "nobody"};
}

absl::Status Run(const Flags& flags, const Log& log, const UniqueFd& signals, Config config) {
  const std::string handoff_path = absl::StrCat(flags.run_dir, "/handoff.sock");
  ASSIGN_OR_RETURN(InheritedFds inherited, TakeInherited());

  RETURN_IF_ERROR(KeepCapabilities(kCapabilitiesToStart));
  ASSIGN_OR_RETURN(const UniqueFd lock, LockRunDir(flags.run_dir));
  // Before any thread.
  KeptFds kept(OpenFdKeeper(flags.run_dir, TakeKept(inherited), log), &log);
  ASSIGN_OR_RETURN(Store store, Store::Open(flags.run_dir));
  Links links;
  RETURN_IF_ERROR(RunWithCapabilities(kCapabilitiesToRun, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(links, KernelLinks(&kept));
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(const NodeLinkKernel node_links, KernelNodeLinks(flags.proc_sys));
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(NetlinkMonitor monitor, NetlinkMonitor::Open());
  ASSIGN_OR_RETURN(const std::unique_ptr<EventLoop> loop, EventLoop::Create());

  const std::string metrics_address = config.metrics;
  ASSIGN_OR_RETURN(const NodeFastPath fast, OpenFastPath(config.datapath, &kept, log));
  Switch the_switch(
      loop.get(),
      {.group = [&](const UdpOptions& options) { return OpenKeptGroupSocket(&kept, options); },
       .unicast = [&](const UdpOptions& options) { return OpenKeptUnicastSocket(&kept, options); }},
      fast.fast.get());
  JoinedClouds clouds(&the_switch, &store, &log, &links);
  Ipam claims({.loop = loop.get(), .the_switch = &the_switch, .store = &store, .log = &log}, config,
              RandomNumber);
  absl::StatusOr<NftMonitor> rules = NftMonitor::Open();
  if (!rules.ok()) {
    log.Info("no nftables", {{"error", std::string(rules.status().message())},
                             {"without", "gateways and published ports"}});
  }
  Firewall firewall(
      loop.get(), &log,
      rules.ok() ? KernelFirewall() : FirewallKernel{.rules = NoFirewall(rules.status())});
  ASSIGN_OR_RETURN(UnderlayView underlay_view, KernelUnderlayView());
  UnderlayWall underlay_wall(loop.get(), &log,
                             rules.ok() ? KernelUnderlayRules() : NoFirewall(rules.status()),
                             std::move(underlay_view));
  ASSIGN_OR_RETURN(HostEndLinks host_ends, KernelHostEndLinks());
  HostEndWall host_end_wall(loop.get(), &log,
                            rules.ok() ? KernelHostEndRules() : NoFirewall(rules.status()),
                            std::move(host_ends));
  HostPorts node_ports({.loop = loop.get(),
                        .the_switch = &the_switch,
                        .clouds = &clouds,
                        .claims = &claims,
                        .firewall = &firewall,
                        .links = &links,
                        .kernel = &node_links,
                        .log = &log},
                       config);
  Attachments attachments({.loop = loop.get(),
                           .the_switch = &the_switch,
                           .store = &store,
                           .log = &log,
                           .links = &links,
                           .clouds = &clouds,
                           .claims = &claims,
                           .node_ports = &node_ports},
                          UnixGroupId, std::move(config));
  const auto follow_clouds = [&] {
    underlay_wall.Follow(UnderlayClouds(clouds, the_switch), attachments.config().unicast_ports);
  };
  clouds.SetWatcher({.joined =
                         [&](const CloudOptions& joined) {
                           loop->Post(follow_clouds);  // once it is listed
                           host_end_wall.Want(true);
                           claims.OnJoined(joined.config.key);
                         },
                     .leaving =
                         [&](const CloudKey& cloud) {
                           loop->Post([&] {
                             follow_clouds();
                             host_end_wall.Want(!clouds.all().empty());
                           });
                           claims.OnLeaving(cloud);
                         }});
  const auto warning = [&] {
    const std::string of_underlay = underlay_wall.problem();
    return of_underlay.empty() ? host_end_wall.problem() : of_underlay;
  };
  const LiveNode node(loop.get(), &the_switch, &attachments, &claims, &node_ports, UnixGroupId,
                      fast.why_not, warning);
  // What people and programs send us is read by threads that may do nothing else.
  std::unique_ptr<StatusServer> status;
  RETURN_IF_ERROR(RunWithCapabilities({}, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(status, StatusServer::Start(loop.get(), &node,
                                                 absl::StrCat(flags.run_dir, "/status.sock")));
    return absl::OkStatus();
  }));
  std::unique_ptr<MetricsServer> metrics;
  if (!metrics_address.empty()) {
    // Pods matter more than numbers: a second agent on the machine, or a namespace whose loopback
    // is down, is no reason not to attach them.
    Warn(log, "metrics off", RunWithCapabilities({CAP_NET_BIND_SERVICE}, [&]() -> absl::Status {
           ASSIGN_OR_RETURN(metrics, MetricsServer::Start(loop.get(), &node, metrics_address));
           return absl::OkStatus();
         }));
  }

  the_switch.SetListener([&](const SwitchEvent& event) {
    const std::string cloud = attachments.CloudName(event.cloud);
    LogEvent(log, event, cloud);
    claims.OnEvent(event);
    attachments.OnEvent(event);
    node_ports.OnEvent(event);
    status->Publish(event, cloud);
  });
  RETURN_IF_ERROR(TellLocalAddresses(netlink, the_switch));
  RETURN_IF_ERROR(loop->Watch(monitor.fd(), EPOLLIN, [&](uint32_t) {
    if (monitor.Drain()) {
      Warn(log, "local addresses not read", TellLocalAddresses(netlink, the_switch));
      clouds.FollowUplinks(attachments.config());
      follow_clouds();
      underlay_wall.OnLinkChange();
      host_end_wall.OnLinkChange();
    }
  }));
  // Of routes nobody tells us, and a new uplink's comes after its address.
  loop->Every(kUplinkTick, [&] {
    clouds.FollowUplinks(attachments.config());
    follow_clouds();
  });

  if (rules.ok()) {
    RETURN_IF_ERROR(loop->Watch(rules->fd(), EPOLLIN, [&](uint32_t) {
      rules->Drain();
      firewall.OnChange();
      underlay_wall.OnRulesChange();
      host_end_wall.OnRulesChange();
    }));
  }

  // However this ends: what all these objects have is for the next agent.
  const absl::Cleanup seal = [&] {
    kept.Seal();
    if (fast.fast != nullptr) fast.fast->KeepForNextAgent();
  };

  // Ports come back before anyone can ask for new ones.
  host_end_wall.MarkLinks();
  RETURN_IF_ERROR(claims.Restore());
  RETURN_IF_ERROR(attachments.Restore());
  follow_clouds();
  node_ports.Start();
  // It may have removed the last host end, and this agent may end before a link event is handled.
  host_end_wall.MarkLinks();
  ASSIGN_OR_RETURN(std::optional<UniqueFd> passed,
                   InheritedSocket(std::move(inherited), handoff_path));
  UniqueFd listener;
  if (passed.has_value()) {
    listener = *std::move(passed);
  } else {
    ASSIGN_OR_RETURN(listener, ListenForHandoff(handoff_path));
  }
  attachments.DetachQueued();
  kept.DropUnused();
  if (fast.fast != nullptr) fast.fast->DropInherited();
  ASSIGN_OR_RETURN(const std::unique_ptr<HandoffServer> handoff,
                   HandoffServer::Start(loop.get(), &attachments, &log, std::move(listener)));
  Reconciler reconciler(loop.get(), &attachments, TakeSnapshot);

  std::thread stopping;  // ends the status calls while the loop still answers them
  RETURN_IF_ERROR(loop->Watch(signals.get(), EPOLLIN, [&](uint32_t) {
    while (const std::optional<int> signal = NextSignal(signals)) {
      if (*signal == SIGHUP) {
        Warn(log, "not notified", NotifyServiceManager("RELOADING=1"));
        Reload(flags, log, claims, attachments, node_ports, clouds, fast);
        reconciler.LookNow();
        Warn(log, "not notified", NotifyServiceManager("READY=1"));
      } else if (!stopping.joinable()) {
        log.Info("stopping", {{"signal", strsignal(*signal)}});
        Warn(log, "not notified", NotifyServiceManager("STOPPING=1"));
        // gRPC never ends if it could not start one of its threads; all else can as by kill -9.
        alarm(kMaxShutdown);
        try {
          stopping = std::thread([&] {
            status->Shutdown();
            loop->Stop();
          });
        } catch (const std::system_error& error) {
          log.Warn("status calls cut off", {{"error", error.what()}});
          loop->Stop();
        }
      }
    }
  }));
  RETURN_IF_ERROR(DropPrivileges(attachments.List(), fast.fast != nullptr, log));
  reconciler.Start();
  status->SetServing(true);

  log.Info("ready", {{"node", attachments.config().node},
                     {"version", kVersion},
                     {"run-dir", flags.run_dir},
                     {"datapath", fast.fast != nullptr ? "kernel" : "user"},
                     {"metrics", metrics != nullptr ? metrics_address : "off"}});
  if (flags.ready_fd >= 0) RETURN_IF_ERROR(WriteReady(UniqueFd(flags.ready_fd)));
  Warn(log, "not notified", NotifyServiceManager("READY=1"));
  loop->Run();
  if (stopping.joinable()) stopping.join();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app{"Node agent of vxvde CNI: attaches pods to vxvde clouds.", "vxvde-agent"};
  app.set_version_flag("--version", absl::StrCat("vxvde-agent ", kVersion));
  app.add_option(
         "--config", flags.config,
         absl::StrCat("configuration file; default ", kDefaultConfigPath, ", if it is there"))
      ->check([](const std::string& path) {
        return path.empty() ? std::string("the path is empty") : std::string();
      });
  app.add_option("--run-dir", flags.run_dir, "sockets and state")->capture_default_str();
  app.add_option("--proc-sys", flags.proc_sys,
                 "where sysctls of the network can be written; a container has /proc/sys read-only")
      ->capture_default_str();
  app.add_option("--ready-fd", flags.ready_fd, "descriptor that gets a newline when all answers")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--check-config", flags.check_config, "say what is wrong with it, and exit");
  app.add_option("--log-level", flags.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  absl::StatusOr<Config> config = ReadConfig(flags);
  if (!config.ok()) {
    std::fprintf(stderr, "%s\n", std::string(config.status().message()).c_str());
    return 1;
  }
  if (flags.check_config) return 0;

  const Log log = StderrLog(flags.log_level);
  RaiseFileLimit();
  absl::StatusOr<UniqueFd> signals = SignalFd();  // before any thread
  absl::Status status =
      signals.ok() ? Run(flags, log, *signals, *std::move(config)) : signals.status();
  if (!status.ok()) {
    log.Error("cannot run", {{"error", std::string(status.message())}});
    return 1;
  }
  log.Info("stopped", {});
  return 0;
}

}  // namespace
}  // namespace vxvde

int main(int argc, char** argv) { return vxvde::Main(argc, argv); }
