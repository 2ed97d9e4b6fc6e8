// vxvde: the CNI plugin, and netavark's. Arguments, environment and standard input in, JSON out;
// builds everything.

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cni/agent_client.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "cni/ipam.h"
#include "cni/links.h"
#include "cni/netavark.h"
#include "cni/request.h"
#include "cni/result.h"
#include "plugin/base/status.h"
#include "plugin/base/version.h"
#include "plugin/os/fd.h"

namespace vxvde {
namespace {

// Longer than an agent needs to join a cloud, shorter than runtimes wait for a plugin.
constexpr std::chrono::seconds kAgentTimeout(10);
constexpr size_t kMaxConfig = 16 << 20;

Environment ReadEnvironment() {
  Environment environment;
  for (char** pair = environ; *pair != nullptr; ++pair) {
    const std::string text = *pair;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) environment[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return environment;
}

absl::StatusOr<std::string> ReadConfig() {
  std::string config;
  char buffer[16 * 1024];
  while (true) {
    const ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (n == 0) return config;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return CniStatus(kCniIoFailure, ErrnoStatus(errno, "read standard input").message());
    }
    config.append(buffer, static_cast<size_t>(n));
    if (config.size() > kMaxConfig) {
      return CniStatus(kCniIoFailure, "the configuration on standard input is longer than 16 MiB");
    }
  }
}

absl::Status Write(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return CniStatus(kCniIoFailure, ErrnoStatus(errno, "write the result").message());
    text.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status Print(absl::string_view line) {
  return Write(STDOUT_FILENO, absl::StrCat(line, "\n"));
}

void Log(absl::string_view line) {
  (void)Write(STDERR_FILENO, absl::StrCat("vxvde: ", line, "\n"));
}

void PrintAbout() {
  (void)Write(STDERR_FILENO, absl::StrCat("vxvde ", kVersion,
                                          ": CNI plugin, puts containers onto vxvde clouds\n"
                                          "CNI protocol versions supported: ",
                                          absl::StrJoin(kSpecVersions, ", "), "\n"));
}

absl::Status Run(const Environment& environment, const std::string& config) {
  ASSIGN_OR_RETURN(const Request request, ParseRequest(environment, config));
  KernelPodLinks links;
  SocketAgentClient agent(request.agent, kAgentTimeout);
  ExecIpamPlugin ipam(environment);
  const Outside outside = {links, agent, ipam, Print, Log};
  switch (request.command) {
    case Command::kAbout:
      return absl::OkStatus();
    case Command::kVersion:
      return Print(FormatVersions(request.version));
    case Command::kAdd:
      return Add(request, outside);
    case Command::kDel:
      return Delete(request, outside);
    case Command::kStatus:
      return CheckStatus(request, outside);
  }
  return absl::OkStatus();
}

// `vxvde VERB [NETNS]`, as podman and netavark run it.
absl::Status RunNetavark(absl::string_view verb, absl::string_view netns) {
  if (verb == "info") return Print(FormatNetavarkInfo());
  ASSIGN_OR_RETURN(const std::string input, ReadConfig());
  if (verb == "create") {
    ASSIGN_OR_RETURN(const CreatedNetwork network, CreateNetwork(input));
    for (const std::string& note : network.notes) Log(note);
    return Print(network.json);
  }
  ASSIGN_OR_RETURN(const Request request,
                   verb == "setup" ? ParseSetup(netns, input) : ParseTeardown(netns, input));
  KernelPodLinks links;
  SocketAgentClient agent(request.agent, kAgentTimeout);
  ExecIpamPlugin ipam({});
  const Outside outside = {links, agent, ipam, Print, Log};
  return request.command == Command::kAdd ? Add(request, outside) : Delete(request, outside);
}

bool IsNetavarkVerb(absl::string_view word) {
  return word == "create" || word == "setup" || word == "teardown" || word == "info";
}

int Main(int argc, char** argv) {
  // A reader that went away is an error of write(), and undone like any other.
  signal(SIGPIPE, SIG_IGN);
  if (argc > 1 && IsNetavarkVerb(argv[1])) {
    const absl::Status status = RunNetavark(argv[1], argc > 2 ? argv[2] : "");
    if (status.ok()) return 0;
    (void)Print(FormatNetavarkError(status));
    return 1;
  }
  if (argc > 1) {
    if (argc == 2 && std::string(argv[1]) == "--version") {
      return Print(absl::StrCat("vxvde ", kVersion)).ok() ? 0 : 1;
    }
    Log(absl::StrCat("unknown argument ", argv[1],
                     "; there are --version, the CNI environment, and for podman create, info, "
                     "setup NETNS and teardown NETNS"));
    return 2;
  }
  const Environment environment = ReadEnvironment();
  absl::StatusOr<Command> command = ParseCommand(environment);
  if (command.ok() && *command == Command::kAbout) {
    PrintAbout();
    return 0;
  }
  absl::StatusOr<std::string> config = ReadConfig();
  absl::Status status = config.ok() ? Run(environment, *config) : config.status();
  if (status.ok()) return 0;
  (void)Print(FormatError(ToCniError(status), AnswerVersion(config.value_or(""))));
  return 1;
}

}  // namespace
}  // namespace vxvde

int main(int argc, char** argv) { return vxvde::Main(argc, argv); }
