// vxvdectl: the status and operation of a node from a shell. Arguments -> one call -> text and exit
// status.

#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/ctl/attachments.h"
#include "agent/ctl/client.h"
#include "agent/ctl/views.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/status.h"
#include "plugin/base/version.h"

namespace vxvde {
namespace {

constexpr int kFine = 0;
constexpr int kNotSo = 1;
constexpr int kUsage = 2;
constexpr int kUnreachable = 3;

struct Arguments {
  std::string run_dir = "/run/vxvde";
  std::string address;
  std::string output = "table";
  std::string command;
  std::string cloud;  // empty: all
  std::string source, destination;
  bool dry_run = false;
};

// Accepts both "aa-bb-.." and "aa:bb:..".
std::string CheckMac(const std::string& text) {
  const auto mac = MacAddress::Parse(text);
  return mac.ok() ? "" : std::string(mac.status().message());
}

// kFine: continue with `out`. Otherwise, or when `done`, exit with the returned status.
int ParseArguments(int argc, char** argv, Arguments& out, bool& done) {
  CLI::App app("Shows the clouds, ports, peers and stations of a vxvde node.", "vxvdectl");
  app.footer(
      "Exit status: 0 success, 1 the request failed or a problem was found, 2 wrong usage, 3 no "
      "answer from the agent.");
  app.set_version_flag("--version", absl::StrCat("vxvdectl ", kVersion));
  app.add_option("--run-dir", out.run_dir, "Run directory of the agent, which contains its sockets")
      ->capture_default_str();
  app.add_option("--address", out.address,
                 "gRPC address of the agent, instead of unix:RUN_DIR/status.sock")
      ->excludes("--run-dir");
  app.add_option("-o,--output", out.output, "Output format: table, wide, json or yaml")
      ->check(CLI::IsMember({"table", "wide", "json", "yaml"}).description(""))
      ->capture_default_str();
  app.require_subcommand(1);
  app.fallthrough();

  const auto command = [&](const char* name, const char* text) {
    CLI::App* sub = app.add_subcommand(name, text);
    sub->callback([&out, name] { out.command = name; });
    return sub;
  };
  const auto with_cloud = [&](CLI::App* sub) {
    sub->add_option("CLOUD", out.cloud, "Show only this cloud, given by name or locator");
  };
  command("status", "The node, its clouds and its ports on one screen");
  command("clouds", "Clouds that this node has joined");
  with_cloud(command("ports", "Ports of this node, with their pods and traffic"));
  with_cloud(command("peers", "Other members of the clouds"));
  with_cloud(command("fdb", "Forwarding database: the location of each station"));
  with_cloud(command("groups", "Multicast groups and the ports that have joined them"));
  with_cloud(command("drops", "Dropped frames and datagrams, by reason"));
  with_cloud(command("ipam", "Addresses that the agent assigns: pools, owners and conflicts"));
  with_cloud(command("watch", "Print events as they happen, one a line, until Ctrl-C"));
  command(
      "check",
      "Check that each attachment has its interface, its cloud an uplink, and nothing keeps its "
      "frames from the kernel datapath; exit with 1 otherwise");
  command("gc", "Forget attachments that ended without DEL and whose namespace is gone")
      ->add_flag("--dry-run", out.dry_run, "Only list them");
  CLI::App* explain = command("explain", "Explain how a frame is forwarded or why it is dropped");
  explain->add_option("CLOUD", out.cloud, "Name or locator")->required();
  explain->add_option("SRC", out.source, "Source MAC address")->required()->check(CheckMac);
  explain->add_option("DST", out.destination, "Destination MAC address")
      ->required()
      ->check(CheckMac);

  done = false;
  try {
    app.parse(argc, argv);
    if (!out.address.empty() && (out.command == "check" || out.command == "gc")) {
      throw CLI::ValidationError(out.command,
                                 "uses RUN_DIR/handoff.sock: give --run-dir instead of --address");
    }
  } catch (const CLI::ParseError& error) {
    done = true;
    return app.exit(error) == 0 ? kFine : kUsage;
  }
  return kFine;
}

bool ForPrograms(const Arguments& arguments) {
  return arguments.output == "json" || arguments.output == "yaml";
}

void Print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void PrintMessage(const Arguments& arguments, const google::protobuf::Message& message) {
  Print(arguments.output == "json" ? JsonOf(message, true) : YamlOf(message));
}

// Prints a list: the message itself for programs, formatted by `view` for people.
template <typename Response>
absl::Status Show(const Arguments& arguments, const absl::StatusOr<Response>& response,
                  std::string (*view)(const Response&, bool)) {
  RETURN_IF_ERROR(response.status());
  if (ForPrograms(arguments)) {
    PrintMessage(arguments, *response);
  } else {
    Print(view(*response, arguments.output == "wide"));
  }
  return absl::OkStatus();
}

absl::Status ShowStatus(const Arguments& arguments, StatusClient& client) {
  ASSIGN_OR_RETURN(const v1::Node node, client.GetNode());
  if (ForPrograms(arguments)) {
    PrintMessage(arguments, node);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto clouds, client.ListClouds());
  ASSIGN_OR_RETURN(const auto ports, client.ListPorts(""));
  Print(StatusView(node, clouds, ports, arguments.output == "wide"));
  return absl::OkStatus();
}

absl::Status ShowExplanation(const Arguments& arguments, StatusClient& client) {
  v1::ExplainRequest request;
  request.set_cloud(arguments.cloud);
  request.set_source(arguments.source);
  request.set_destination(arguments.destination);
  ASSIGN_OR_RETURN(const v1::ExplainResponse response, client.Explain(request));
  if (ForPrograms(arguments)) {
    PrintMessage(arguments, response);
  } else {
    Print(ExplainView(response));
  }
  return absl::OkStatus();
}

absl::Status Watch(const Arguments& arguments, StatusClient& client) {
  const absl::TimeZone zone = absl::LocalTimeZone();
  if (!ForPrograms(arguments)) Print(WatchHeader());
  return client.Watch(arguments.cloud, [&](const v1::WatchResponse& response) {
    if (arguments.output == "json") {
      Print(JsonOf(response, false));
    } else if (arguments.output == "yaml") {
      Print("---\n" + YamlOf(response));
    } else {
      Print(WatchLine(response, zone));
    }
  });
}

void PrintFindings(const Arguments& arguments, const std::vector<AttachmentFinding>& all,
                   const char* title, const char* name) {
  if (ForPrograms(arguments)) {
    PrintMessage(arguments, FindingsMessage(all, name));
  } else {
    Print(FindingsView(all, title, arguments.output == "wide"));
  }
}

absl::Status Check(const Arguments& arguments, const std::string& socket, StatusClient& client) {
  ASSIGN_OR_RETURN(std::vector<AttachmentFinding> all, CheckAttachments(socket));
  ASSIGN_OR_RETURN(const auto clouds, client.ListClouds());
  ASSIGN_OR_RETURN(const auto ports, client.ListPorts(""));
  AddObstacles(clouds, ports, all);
  PrintFindings(arguments, all, "PROBLEM", "problem");
  const auto wrong = std::count_if(
      all.begin(), all.end(), [](const AttachmentFinding& one) { return !one.finding.empty(); });
  if (wrong == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(wrong, " of ", all.size(), " attachments have a problem"));
}

absl::Status Collect(const Arguments& arguments, const std::string& socket) {
  ASSIGN_OR_RETURN(const std::vector<AttachmentFinding> all,
                   CollectEnded(socket, arguments.dry_run));
  PrintFindings(arguments, all, "RESULT", "result");
  return absl::OkStatus();
}

absl::Status Run(const Arguments& arguments) {
  const std::string handoff = arguments.run_dir + "/handoff.sock";
  if (arguments.command == "gc") return Collect(arguments, handoff);
  const std::string address =
      arguments.address.empty() ? absl::StrCat("unix:", arguments.run_dir, "/status.sock")
      : absl::StartsWith(arguments.address, "/") ? absl::StrCat("unix:", arguments.address)
                                                 : arguments.address;
  StatusClient client(address);
  if (arguments.command == "check") return Check(arguments, handoff, client);
  const std::string& command = arguments.command;
  const std::string& cloud = arguments.cloud;
  if (command == "status") return ShowStatus(arguments, client);
  if (command == "clouds") return Show(arguments, client.ListClouds(), CloudsView);
  if (command == "ports") return Show(arguments, client.ListPorts(cloud), PortsView);
  if (command == "peers") return Show(arguments, client.ListPeers(cloud), PeersView);
  if (command == "fdb") return Show(arguments, client.ListFdb(cloud), FdbView);
  if (command == "groups") return Show(arguments, client.ListGroups(cloud), GroupsView);
  if (command == "drops") return Show(arguments, client.ListDrops(cloud), DropsView);
  if (command == "ipam") return Show(arguments, client.GetIpam(cloud), IpamView);
  if (command == "watch") return Watch(arguments, client);
  return ShowExplanation(arguments, client);
}

int ExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kFine;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kUnreachable;
    default:
      return kNotSo;
  }
}

int Main(int argc, char** argv) {
  Arguments arguments;
  bool done = false;
  const int parsed = ParseArguments(argc, argv, arguments, done);
  if (done) return parsed;

  if (arguments.command == "watch") {
    // Blocked before gRPC creates threads, which inherit the mask. StatusClient::Watch waits for
    // these signals.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }
  const absl::Status status = Run(arguments);
  if (!status.ok()) {
    std::fprintf(stderr, "vxvdectl: %s\n", std::string(status.message()).c_str());
  }
  return ExitCode(status);
}

}  // namespace
}  // namespace vxvde

int main(int argc, char** argv) {
  try {
    return vxvde::Main(argc, argv);
  } catch (const std::exception& error) {  // CLI11 and yaml-cpp throw
    std::fprintf(stderr, "vxvdectl: %s\n", error.what());
    return vxvde::kNotSo;
  }
}
