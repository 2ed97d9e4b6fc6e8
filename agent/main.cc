// vxvde-agent: reads command line and configuration, builds the node and its sockets, and runs the
// loop until a signal ends it. Not here: what any of the parts does.

#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "agent/base/log.h"
#include "agent/base/stderr_log.h"
#include "agent/config/config.h"
#include "agent/config/system_config.h"
#include "agent/handoff/server.h"
#include "agent/lifecycle/command_line.h"
#include "agent/lifecycle/fd_keeper.h"
#include "agent/lifecycle/kept_fds.h"
#include "agent/lifecycle/privileges.h"
#include "agent/lifecycle/process.h"
#include "agent/lifecycle/signal_handler.h"
#include "agent/node/node.h"
#include "agent/node/node_system.h"
#include "agent/status/metrics.h"
#include "agent/status/server.h"
#include "agent/store/store.h"
#include "plugin/base/status.h"
#include "plugin/base/version.h"
#include "plugin/os/event_loop.h"

namespace vxvde {
namespace {

void Warn(const Log& log, absl::string_view event, const absl::Status& status) {
  if (!status.ok()) log.Warn(event, {{"error", std::string(status.message())}});
}

// Threads that read requests of people and programs may do nothing else.
absl::StatusOr<std::unique_ptr<StatusServer>> StartStatus(Node& node, const std::string& run_dir) {
  std::unique_ptr<StatusServer> status;
  RETURN_IF_ERROR(RunWithCapabilities({}, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(status, StatusServer::Start(&node.loop(), &node.view(),
                                                 absl::StrCat(run_dir, "/status.sock")));
    return absl::OkStatus();
  }));
  return status;
}

// nullptr: they are off. Pods matter more than numbers: a second agent on the machine, or a
// namespace whose loopback is down, is no reason not to attach them.
std::unique_ptr<MetricsServer> StartMetrics(Node& node, const std::string& address,
                                            const Log& log) {
  std::unique_ptr<MetricsServer> metrics;
  if (address.empty()) return metrics;
  Warn(log, "metrics off", RunWithCapabilities({CAP_NET_BIND_SERVICE}, [&]() -> absl::Status {
         ASSIGN_OR_RETURN(metrics, MetricsServer::Start(&node.loop(), &node.view(), address));
         return absl::OkStatus();
       }));
  return metrics;
}

// The service manager's socket, if it passed one.
absl::StatusOr<UniqueFd> OpenHandoff(InheritedFds inherited, const std::string& path) {
  ASSIGN_OR_RETURN(std::optional<UniqueFd> passed, InheritedSocket(std::move(inherited), path));
  if (passed.has_value()) return *std::move(passed);
  return ListenForHandoff(path);
}

absl::Status Run(const CommandLine& flags, const Log& log, const UniqueFd& signals, Config config) {
  ASSIGN_OR_RETURN(InheritedFds inherited, TakeInherited());
  RETURN_IF_ERROR(KeepCapabilities(kCapabilitiesToStart));
  ASSIGN_OR_RETURN(const UniqueFd lock, LockRunDir(flags.run_dir));
  // Before any thread.
  KeptFds kept(OpenFdKeeper(flags.run_dir, TakeKept(inherited), log), &log);
  ASSIGN_OR_RETURN(Store store, Store::Open(flags.run_dir));
  ASSIGN_OR_RETURN(NodeSystem system, OpenNodeSystem(&kept, config.datapath, flags.proc_sys, log));
  ASSIGN_OR_RETURN(std::unique_ptr<EventLoop> loop, EventLoop::Create());
  const std::string metrics_address = config.metrics;
  const std::string name = config.node;
  Node node(std::move(system), std::move(loop), std::move(store), std::move(config), &log);

  ASSIGN_OR_RETURN(const std::unique_ptr<StatusServer> status, StartStatus(node, flags.run_dir));
  const std::unique_ptr<MetricsServer> metrics = StartMetrics(node, metrics_address, log);
  node.SetListener(
      [&](const SwitchEvent& event, const std::string& cloud) { status->Publish(event, cloud); });
  RETURN_IF_ERROR(node.Watch());

  // However this ends: what all these objects have is for the next agent.
  const absl::Cleanup seal = [&] {
    kept.Seal();
    node.KeepForNextAgent();
  };
  // Ports come back before anyone can ask for new ones.
  RETURN_IF_ERROR(node.Restore());
  ASSIGN_OR_RETURN(UniqueFd listener,
                   OpenHandoff(std::move(inherited), absl::StrCat(flags.run_dir, "/handoff.sock")));
  node.attachments().orphans().DetachQueued();
  kept.DropUnused();
  node.DropInherited();
  ASSIGN_OR_RETURN(
      const std::unique_ptr<HandoffServer> handoff,
      HandoffServer::Start(&node.loop(), &node.attachments(), &log, std::move(listener)));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<SignalHandler> signal_handler,
      SignalHandler::Start(&node.loop(), &log, &signals,
                           {.reload = [&] { node.Reload(LoadSystemConfig(flags.config)); },
                            .end_calls = [&] { status->Shutdown(); }}));
  RETURN_IF_ERROR(DropPrivileges(node.TapsWait(), node.HasFastPath(), log));
  node.StartReconciling();
  status->SetServing(true);

  log.Info("ready", {{"node", name},
                     {"version", kVersion},
                     {"run-dir", flags.run_dir},
                     {"datapath", node.HasFastPath() ? "kernel" : "user"},
                     {"metrics", metrics != nullptr ? metrics_address : "off"}});
  if (flags.ready_fd >= 0) RETURN_IF_ERROR(WriteReady(UniqueFd(flags.ready_fd)));
  Warn(log, "not notified", NotifyServiceManager("READY=1"));
  node.loop().Run();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const auto parsed = ParseCommandLine(argc, argv, kDefaultConfigPath, std::cout, std::cerr);
  if (const auto* exit = std::get_if<ExitCode>(&parsed)) return exit->code;
  const CommandLine& flags = std::get<CommandLine>(parsed);

  absl::StatusOr<Config> config = LoadSystemConfig(flags.config);
  if (!config.ok()) {
    std::fprintf(stderr, "%s\n", std::string(config.status().message()).c_str());
    return 1;
  }
  if (flags.check_config) return 0;

  const Log log = StderrLog(flags.log_level);
  RaiseFileLimit();
  absl::StatusOr<UniqueFd> signals = SignalFd();  // before any thread
  const absl::Status status =
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
