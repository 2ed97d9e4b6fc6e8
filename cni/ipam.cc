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
// ETXTBSY: a plugin cannot be run while its file is being written (P1).
constexpr int kBusyAttempts = 50;
constexpr useconds_t kBusyPause = 100 * 1000;
constexpr uint32_t kUnknownContainer = 3;  // CNI SPEC 1.1.0, "Error"

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

absl::StatusOr<std::string> FindProgram(const IpamDelegate& delegate) {
  for (const std::string& folder : delegate.path) {
    std::string file = absl::StrCat(folder, "/", delegate.type);
    struct stat info = {};
    if (stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
        access(file.c_str(), X_OK) == 0) {
      return file;
    }
  }
  return CniStatus(kCniInvalidConfig,
                   absl::StrCat("the IPAM plugin ", delegate.type, " is not in CNI_PATH (",
                                absl::StrJoin(delegate.path, ":"), ")"),
                   absl::StrCat("install ", delegate.type, " there, or change \"ipam\".\"type\""));
}

// Runs in the child after fork: async-signal-safe calls only. Writes the errno of execve to
// `failed`.
[[noreturn]] void Become(const char* file, char* const* argv, char* const* envp, int in, int out,
                         int failed, pid_t parent) {
  // The plugin dies with this process: it must not complete an allocation after the runtime's DEL.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  signal(SIGPIPE, SIG_DFL);
  // dup2 clears CLOEXEC unless both descriptors are the same.
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

// One attempt. `exec_error` is the errno of execve, or 0.
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

// Writes `input` and reads the output concurrently, because either pipe may fill up.
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
      // EPIPE: the plugin does not read the rest, which is allowed.
      if (input.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) child.in.Reset();
    }
    if (fds[0].revents != 0) {
      const ssize_t n = read(child.out.get(), buffer, sizeof(buffer));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, "read the output of the IPAM plugin");
      if (n == 0) child.out.Reset();
      output.append(buffer, static_cast<size_t>(n));
      if (output.size() > kMaxOutput) {
        return absl::InternalError("the output of the IPAM plugin is longer than 1 MiB");
      }
    }
  }
  return output;
}

absl::Status PluginFailure(const IpamDelegate& delegate, absl::string_view command, int status,
                           const std::string& output) {
  const std::string call = absl::StrCat("IPAM plugin ", delegate.type, ", ", command);
  if (const std::optional<CniError> error = ParseError(output)) {
    return CniStatus(error->code, absl::StrCat(call, ": ", error->msg), error->details);
  }
  const std::string end = WIFSIGNALED(status) ? absl::StrCat("signal ", WTERMSIG(status))
                                              : absl::StrCat("exit status ", WEXITSTATUS(status));
  constexpr size_t kEnough = 200;
  return CniStatus(kCniInternal,
                   absl::StrCat(call, ": it ended with ", end, " and without an error object"),
                   output.substr(0, kEnough));
}

}  // namespace

absl::StatusOr<std::string> ExecIpamPlugin::Run(absl::string_view command,
                                                const IpamDelegate& delegate,
                                                const Container* container) const {
  absl::StatusOr<std::string> output = RunOnce(command, delegate, container);
  if (output.ok() || delegate.version != SpecVersion::k110 ||
      ToCniError(output.status()).code != kCniIncompatibleVersion) {
    return output;
  }
  IpamDelegate older = delegate;
  ASSIGN_OR_RETURN(older.config, ConfigInVersion(delegate.config, SpecVersion::k100));
  return RunOnce(command, older, container);
}

absl::StatusOr<std::string> ExecIpamPlugin::RunOnce(absl::string_view command,
                                                    const IpamDelegate& delegate,
                                                    const Container* container) const {
  ASSIGN_OR_RETURN(const std::string file, FindProgram(delegate));
  Environment variables = environment_;
  variables["CNI_COMMAND"] = std::string(command);
  if (container != nullptr) {
    variables["CNI_CONTAINERID"] = container->id;
    variables["CNI_IFNAME"] = container->ifname;
    if (!container->netns.empty()) variables["CNI_NETNS"] = container->netns;
  }
  std::vector<std::string> environment;
  for (const auto& [key, value] : variables) {
    environment.push_back(absl::StrCat(key, "=", value));
  }
  ASSIGN_OR_RETURN(Child child, Start(file, environment));
  absl::Cleanup kill_it = [&] {
    int status = 0;
    kill(child.pid, SIGKILL);
    (void)Wait(child.pid, status);
  };
  ASSIGN_OR_RETURN(std::string output, Talk(child, delegate.config));
  std::move(kill_it).Cancel();
  int status = 0;
  RETURN_IF_ERROR(Wait(child.pid, status));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return PluginFailure(delegate, command, status, output);
  }
  return output;
}

absl::Status ExecIpamPlugin::RunIfKnown(absl::string_view command, const IpamDelegate& delegate,
                                        const Container* container) const {
  // The error for a missing plugin has a code of its own, which must not be taken for the plugin's.
  RETURN_IF_ERROR(FindProgram(delegate).status());
  const absl::Status status = Run(command, delegate, container).status();
  if (status.ok()) return status;
  const uint32_t code = ToCniError(status).code;
  // libcni's skel before 1.2 checks the container before it checks the command.
  const bool has_none = code == kCniIncompatibleVersion || code == kCniInvalidEnvironment ||
                        (code == kUnknownContainer && container == nullptr);
  return has_none ? absl::OkStatus() : status;
}

absl::StatusOr<CniResult> ExecIpamPlugin::Add(const IpamDelegate& delegate,
                                              const Container& container) {
  ASSIGN_OR_RETURN(const std::string output, Run("ADD", delegate, &container));
  return ParseIpamResult(output);
}

absl::Status ExecIpamPlugin::Delete(const IpamDelegate& delegate, const Container& container) {
  return Run("DEL", delegate, &container).status();
}

absl::Status ExecIpamPlugin::Check(const IpamDelegate& delegate, const Container& container) {
  return RunIfKnown("CHECK", delegate, &container);
}

absl::Status ExecIpamPlugin::CheckStatus(const IpamDelegate& delegate) {
  return RunIfKnown("STATUS", delegate, nullptr);
}

absl::Status ExecIpamPlugin::CollectGarbage(const IpamDelegate& delegate) {
  return RunIfKnown("GC", delegate, nullptr);
}

}  // namespace vxvde
