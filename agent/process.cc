#include "agent/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

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
        ") has ", run_dir, "; stop it, or use another --run-dir"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(lock.get(), 0) != 0 ||
      pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return ErrnoStatus(errno, absl::StrCat("write ", path));
  }
  return lock;
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

absl::Status NotifyServiceManager(const std::string& notify_socket, absl::string_view state) {
  if (notify_socket.empty()) return absl::OkStatus();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (notify_socket.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(
        absl::StrCat("$NOTIFY_SOCKET ", notify_socket, " is too long"));
  }
  std::memcpy(address.sun_path, notify_socket.data(), notify_socket.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // abstract, unix(7)
  const socklen_t size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + notify_socket.size());
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return ErrnoStatus(errno, "open a socket to the service manager");
  if (sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&address), size) < 0) {
    return ErrnoStatus(errno, absl::StrCat("notify the service manager at ", notify_socket));
  }
  return absl::OkStatus();
}

absl::Status WriteReady(UniqueFd fd) {
  if (write(fd.get(), "\n", 1) != 1) {
    return ErrnoStatus(errno, absl::StrCat("write to --ready-fd ", fd.get()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<UniqueFd>> InheritedSocket(const std::string& listen_pid,
                                                        const std::string& listen_fds,
                                                        const std::string& path) {
  constexpr int kFirst = 3;  // SD_LISTEN_FDS_START
  int64_t pid = 0;
  int count = 0;
  if (!absl::SimpleAtoi(listen_pid, &pid) || pid != getpid() ||
      !absl::SimpleAtoi(listen_fds, &count) || count < 1) {
    return std::nullopt;
  }
  const auto wrong = [&](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("the service manager passed ", what, "; ListenSequentialPacket=", path,
                     " and nothing else is expected in vxvde-agent.socket"));
  };
  if (count > 1) return wrong(absl::StrCat(count, " sockets"));
  UniqueFd socket(kFirst);
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
  if (fcntl(socket.get(), F_SETFD, FD_CLOEXEC) != 0 ||
      fcntl(socket.get(), F_SETFL, O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "set up the service manager's socket");
  }
  return std::optional<UniqueFd>(std::move(socket));
}

}  // namespace vxvde
