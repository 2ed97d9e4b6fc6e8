#include "agent/lifecycle/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// Prefix of stored descriptors' names. Sockets that the service manager opened have other names.
constexpr char kKeptPrefix[] = "kept-";

absl::Status MakeFolders(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string folder = path.substr(0, slash);
    if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, absl::StrCat("make folder ", folder));
    }
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

}  // namespace

absl::StatusOr<UniqueFd> LockRunDir(const std::string& run_dir) {
  RETURN_IF_ERROR(MakeFolders(run_dir));
  const std::string path = absl::StrCat(run_dir, "/lock");
  UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!lock) return ErrnoStatus(errno, absl::StrCat("open ", path));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, absl::StrCat("lock ", path));
    char text[32] = {};
    const ssize_t n = pread(lock.get(), text, sizeof text - 1, 0);
    return absl::AlreadyExistsError(absl::StrCat(
        "another agent (process ",
        n > 0 ? absl::StripSuffix(absl::string_view(text, static_cast<size_t>(n)), "\n") : "?",
        ") uses ", run_dir, "; stop it, or give another --run-dir"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(lock.get(), 0) != 0 ||
      pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return ErrnoStatus(errno, absl::StrCat("write ", path));
  }
  return lock;
}

void RaiseFileLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

absl::StatusOr<UniqueFd> SignalFd() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    return ErrnoStatus(error, "block signals");
  }
  signal(SIGPIPE, SIG_IGN);
  UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return ErrnoStatus(errno, "open a signalfd");
  return fd;
}

std::optional<int> NextSignal(const UniqueFd& signals) {
  signalfd_siginfo info{};
  if (read(signals.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

absl::Status NotifyServiceManager(const std::string& state, int fd) {
  const bool has_fd = fd >= 0;
  const int result = sd_pid_notify_with_fds(/*pid=*/0, /*unset_environment=*/0, state.c_str(),
                                            has_fd ? &fd : nullptr, has_fd ? 1 : 0);
  if (result < 0) return ErrnoStatus(-result, absl::StrCat("notify the service manager: ", state));
  return absl::OkStatus();
}

// systemd keeps several descriptors under one name, so the old one is removed first. Without
// FDPOLL=0 it closes descriptors with a pending error, such as a packet socket whose interface goes
// down.
absl::Status StoreFd(const std::string& name, int fd) {
  RETURN_IF_ERROR(UnstoreFd(name));
  return NotifyServiceManager(absl::StrCat("FDSTORE=1\nFDPOLL=0\nFDNAME=", kKeptPrefix, name), fd);
}

absl::Status UnstoreFd(const std::string& name) {
  return NotifyServiceManager(absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", kKeptPrefix, name));
}

absl::Status WriteReady(UniqueFd fd) {
  if (write(fd.get(), "\n", 1) != 1) {
    return ErrnoStatus(errno, absl::StrCat("write to --ready-fd ", fd.get()));
  }
  return absl::OkStatus();
}

absl::StatusOr<InheritedFds> TakeInherited() {
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(/*unset_environment=*/0, &names);
  if (count < 0) return ErrnoStatus(-count, "take the service manager's descriptors");
  InheritedFds inherited;
  for (int i = 0; i < count; ++i) {
    inherited.emplace(names[i], UniqueFd(SD_LISTEN_FDS_START + i));
    free(names[i]);
  }
  free(names);
  return inherited;
}

std::map<std::string, UniqueFd> TakeKept(InheritedFds& inherited) {
  std::map<std::string, UniqueFd> kept;
  for (auto next = inherited.begin(); next != inherited.end();) {
    const auto current = next++;
    absl::string_view name = current->first;
    if (!absl::ConsumePrefix(&name, kKeptPrefix)) continue;
    kept[std::string(name)] = std::move(current->second);
    inherited.erase(current);
  }
  return kept;
}

absl::StatusOr<std::optional<UniqueFd>> InheritedSocket(InheritedFds inherited,
                                                        const std::string& path) {
  if (inherited.empty()) return std::nullopt;
  const auto wrong = [&](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("the service manager passed ", what, "; ListenSequentialPacket=", path,
                     " and nothing else is expected in vxvde-agent.socket"));
  };
  if (inherited.size() > 1) return wrong(absl::StrCat(inherited.size(), " sockets"));
  UniqueFd socket = std::move(inherited.begin()->second);
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
    return wrong("no SOCK_SEQPACKET socket");
  }
  sockaddr_un address{};
  size = sizeof address;
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      address.sun_family != AF_UNIX) {
    return wrong("no unix socket");
  }
  const std::string bound(address.sun_path, strnlen(address.sun_path, sizeof address.sun_path));
  if (bound != path) return wrong(absl::StrCat("a socket at ", bound));
  if (fcntl(socket.get(), F_SETFL, O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "set up the service manager's socket");
  }
  return std::optional<UniqueFd>(std::move(socket));
}

}  // namespace vxvde
