#include "cni/ipam.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cni/error.h"
#include "plugin/base/status.h"
#include "plugin/os/fd.h"

namespace vxvde {
namespace {

constexpr size_t kMaxOutput = 1 << 20;
// A plugin that is being copied to its place cannot be run for a moment.
constexpr int kBusyAttempts = 50;
constexpr useconds_t kBusyPause = 100 * 1000;

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

absl::StatusOr<std::string> FindProgram(const Ipam& ipam) {
  for (const std::string& folder : ipam.path) {
    std::string file = absl::StrCat(folder, "/", ipam.type);
    struct stat info = {};
    if (stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
        access(file.c_str(), X_OK) == 0) {
      return file;
    }
  }
  return CniStatus(kCniInvalidConfig,
                   absl::StrCat("the IPAM plugin ", ipam.type, " is not in CNI_PATH (",
                                absl::StrJoin(ipam.path, ":"), ")"),
                   absl::StrCat("install ", ipam.type, " there, or change \"ipam\".\"type\""));
}

// What the child does after fork: async-signal-safe calls only. `failed` gets the errno.
[[noreturn]] void Become(const char* file, char* const* argv, char* const* envp, int in, int out,
                         int failed, pid_t parent) {
  // The plugin dies with us: what it had begun must not end after the runtime's DEL.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  signal(SIGPIPE, SIG_DFL);
  // dup2 clears CLOEXEC, but not when both are the same descriptor.
  if (in == STDIN_FILENO) fcntl(in, F_SETFD, 0);
  if (in != STDIN_FILENO) dup2(in, STDIN_FILENO);
  if (out == STDOUT_FILENO) fcntl(out, F_SETFD, 0);
  if (out != STDOUT_FILENO) dup2(out, STDOUT_FILENO);
  execve(file, argv, envp);
  const int error = errno;
  (void)!write(failed, &error, sizeof(error));
  _exit(1);
}

struct Child {
  pid_t pid = -1;
  UniqueFd in;   // its standard input, non-blocking
  UniqueFd out;  // its standard output
};

// One attempt. `exec_error` gets the errno when the program could not be run.
absl::StatusOr<Child> Spawn(const std::string& file, const std::vector<std::string>& environment,
                            int& exec_error) {
  ASSIGN_OR_RETURN(Pipe in, MakePipe());
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(Pipe failed, MakePipe());
  if (fcntl(in.write.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoStatus(errno, "set O_NONBLOCK");
  std::string name = file;
  char* const argv[] = {name.data(), nullptr};
  std::vector<char*> envp;
  for (const std::string& pair : environment) envp.push_back(const_cast<char*>(pair.c_str()));
  envp.push_back(nullptr);

  const pid_t self = getpid();
  Child child;
  child.pid = fork();
  if (child.pid < 0) return ErrnoStatus(errno, absl::StrCat("fork for ", file));
  if (child.pid == 0) {
    Become(file.c_str(), argv, envp.data(), in.read.get(), out.write.get(), failed.write.get(),
           self);
  }
  failed.write.Reset();
  ssize_t n;
  do {
    n = read(failed.read.get(), &exec_error, sizeof(exec_error));
  } while (n < 0 && errno == EINTR);
  if (n != sizeof(exec_error)) exec_error = 0;
  child.in = std::move(in.write);
  child.out = std::move(out.read);
  return child;
}

absl::Status Wait(pid_t pid, int& status) {
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return ErrnoStatus(errno, "wait for the IPAM plugin");
  }
  return absl::OkStatus();
}

absl::StatusOr<Child> Start(const std::string& file, const std::vector<std::string>& environment) {
  for (int attempt = 1;; ++attempt) {
    int error = 0;
    ASSIGN_OR_RETURN(Child child, Spawn(file, environment, error));
    if (error == 0) return child;
    int status = 0;
    RETURN_IF_ERROR(Wait(child.pid, status));
    if (error != ETXTBSY || attempt == kBusyAttempts) {
      return ErrnoStatus(error, absl::StrCat("run the IPAM plugin ", file));
    }
    usleep(kBusyPause);
  }
}

// Writes `input` and reads everything, at the same time: either pipe may fill up.
absl::StatusOr<std::string> Talk(Child& child, absl::string_view input) {
  std::string output;
  char buffer[4096];
  while (child.out) {
    pollfd fds[2] = {{child.out.get(), POLLIN, 0}, {child.in.get(), POLLOUT, 0}};
    if (poll(fds, child.in ? 2 : 1, -1) < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "poll the IPAM plugin");
    }
    if (child.in && fds[1].revents != 0) {
      const ssize_t n = write(child.in.get(), input.data(), input.size());
      if (n > 0) input.remove_prefix(static_cast<size_t>(n));
      // EPIPE: it does not want to read more, which is its right.
      if (input.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) child.in.Reset();
    }
    if (fds[0].revents != 0) {
      const ssize_t n = read(child.out.get(), buffer, sizeof(buffer));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, "read the IPAM plugin's answer");
      if (n == 0) child.out.Reset();
      output.append(buffer, static_cast<size_t>(n));
      if (output.size() > kMaxOutput) {
        return absl::InternalError("the IPAM plugin's answer is longer than 1 MiB");
      }
    }
  }
  return output;
}

absl::Status PluginFailure(const Request& request, absl::string_view command, int status,
                           const std::string& output) {
  const std::string who = absl::StrCat("IPAM plugin ", request.ipam.type, ", ", command);
  if (const std::optional<CniError> error = ParseError(output)) {
    return CniStatus(error->code, absl::StrCat(who, ": ", error->msg), error->details);
  }
  const std::string end = WIFSIGNALED(status) ? absl::StrCat("signal ", WTERMSIG(status))
                                              : absl::StrCat("exit status ", WEXITSTATUS(status));
  constexpr size_t kEnough = 200;
  return CniStatus(kCniInternal, absl::StrCat(who, ": ended with ", end, " and no error object"),
                   output.substr(0, kEnough));
}

}  // namespace

absl::StatusOr<std::string> ExecIpamPlugin::Run(absl::string_view command,
                                                const Request& request) const {
  absl::StatusOr<std::string> output = RunWith(command, request, request.config);
  if (output.ok() || request.version != SpecVersion::k110 ||
      ToCniError(output.status()).code != kCniIncompatibleVersion) {
    return output;
  }
  ASSIGN_OR_RETURN(const std::string older, ConfigInVersion(request.config, SpecVersion::k100));
  return RunWith(command, request, older);
}

absl::StatusOr<std::string> ExecIpamPlugin::RunWith(absl::string_view command,
                                                    const Request& request,
                                                    absl::string_view config) const {
  ASSIGN_OR_RETURN(const std::string file, FindProgram(request.ipam));
  std::vector<std::string> environment = {absl::StrCat("CNI_COMMAND=", command)};
  for (const auto& [key, value] : environment_) {
    if (key != "CNI_COMMAND") environment.push_back(absl::StrCat(key, "=", value));
  }
  ASSIGN_OR_RETURN(Child child, Start(file, environment));
  absl::Cleanup kill_it = [&] {
    int status = 0;
    kill(child.pid, SIGKILL);
    (void)Wait(child.pid, status);
  };
  ASSIGN_OR_RETURN(std::string output, Talk(child, config));
  std::move(kill_it).Cancel();
  int status = 0;
  RETURN_IF_ERROR(Wait(child.pid, status));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return PluginFailure(request, command, status, output);
  }
  return output;
}

absl::StatusOr<CniResult> ExecIpamPlugin::Add(const Request& request) {
  ASSIGN_OR_RETURN(const std::string output, Run("ADD", request));
  return ParseIpamResult(output);
}

absl::Status ExecIpamPlugin::Delete(const Request& request) { return Run("DEL", request).status(); }

absl::Status ExecIpamPlugin::CheckStatus(const Request& request) {
  const absl::Status status = Run("STATUS", request).status();
  if (status.ok()) return status;
  const uint32_t code = ToCniError(status).code;
  const bool has_none = code == kCniIncompatibleVersion || code == kCniInvalidEnvironment;
  return has_none ? absl::OkStatus() : status;
}

}  // namespace vxvde
