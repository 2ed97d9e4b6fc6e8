// vxvde: the CNI plugin, which is also netavark's. Reads arguments, environment and standard input,
// builds everything, and runs one command.
//
// It decides nothing about a request: request.h, netavark.h and commands.h do. Specification: CNI
// SPEC 1.1.0, section 2, and netavark's plugin-API.md, for the calling conventions (E1, E2, N2).

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <variant>

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

// Longer than an agent takes to join a cloud, shorter than runtimes wait for a plugin.
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

class StandardOutput : public Output {
 public:
  absl::Status Print(absl::string_view line) override { return ::vxvde::Print(line); }
  void Log(absl::string_view line) override { ::vxvde::Log(line); }
};

void PrintAbout() {
  (void)Write(STDERR_FILENO, absl::StrCat("vxvde ", kVersion,
                                          ": CNI plugin, attaches containers to vxvde clouds\n"
                                          "CNI protocol versions supported: ",
                                          absl::StrJoin(kSpecVersions, ", "), "\n"));
}

// The command of each type of request.
absl::Status Execute(const AddRequest& request, const Outside& outside) {
  return Add(request, outside);
}
absl::Status Execute(const DelRequest& request, const Outside& outside) {
  return Delete(request, outside);
}
absl::Status Execute(const CheckRequest& request, const Outside& outside) {
  return Check(request, outside);
}
absl::Status Execute(const GcRequest& request, const Outside& outside) {
  return CollectGarbage(request, outside);
}
absl::Status Execute(const StatusRequest& request, const Outside& outside) {
  return CheckStatus(request, outside);
}

template <typename NetworkRequest>
absl::Status Run(const NetworkRequest& request, const Environment& environment) {
  KernelPodLinks links;
  SocketAgentClient agent(request.network.agent, kAgentTimeout);
  ExecIpamPlugin ipam(environment);
  StandardOutput output;
  return Execute(request, {links, agent, ipam, output});
}

absl::Status Run(const VersionRequest& request, const Environment&) {
  return Print(FormatVersions(request.version));
}

absl::Status RunCni(Command command, const Environment& environment, const std::string& config) {
  ASSIGN_OR_RETURN(const Request request, ParseRequest(command, environment, config));
  return std::visit([&](const auto& one) { return Run(one, environment); }, request);
}

// `vxvde VERB [NETNS]`, as podman and netavark call it.
absl::Status RunNetavark(absl::string_view verb, absl::string_view netns) {
  if (verb == "info") return Print(FormatNetavarkInfo());
  ASSIGN_OR_RETURN(const std::string input, ReadConfig());
  if (verb == "create") {
    ASSIGN_OR_RETURN(const CreatedNetwork network, CreateNetwork(input));
    for (const std::string& note : network.notes) Log(note);
    return Print(network.json);
  }
  if (verb == "setup") {
    ASSIGN_OR_RETURN(const AddRequest request, ParseSetup(netns, input));
    return Run(request, {});
  }
  ASSIGN_OR_RETURN(const DelRequest request, ParseTeardown(netns, input));
  return Run(request, {});
}

bool IsNetavarkVerb(absl::string_view word) {
  return word == "create" || word == "setup" || word == "teardown" || word == "info";
}

int Main(int argc, char** argv) {
  // A closed standard output becomes an error of write(), after which ADD is rolled back.
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
                     "; use --version, or the CNI environment without arguments; podman uses "
                     "create, info, setup NETNS and teardown NETNS"));
    return 2;
  }
  const Environment environment = ReadEnvironment();
  const absl::StatusOr<std::optional<Command>> command = ParseCommand(environment);
  if (command.ok() && !command->has_value()) {
    PrintAbout();
    return 0;
  }
  const absl::StatusOr<std::string> config = ReadConfig();
  const absl::Status status = !config.ok()    ? config.status()
                              : !command.ok() ? command.status()
                                              : RunCni(**command, environment, *config);
  if (status.ok()) return 0;
  (void)Print(FormatError(ToCniError(status), AnswerVersion(config.value_or(""))));
  return 1;
}

}  // namespace
}  // namespace vxvde

int main(int argc, char** argv) { return vxvde::Main(argc, argv); }
