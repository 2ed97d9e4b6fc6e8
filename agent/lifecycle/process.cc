#include "agent/lifecycle/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// Of the names under which the service manager keeps descriptors: those of sockets that it made
// itself have another.
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
        ") has ", run_dir, "; stop it, or use another --run-dir"));
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

absl::Status NotifyServiceManager(const std::string& notify_socket, absl::string_view state,
                                  int fd) {
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
  std::string text(state);
  iovec part = {text.data(), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_name = &address;
  message.msg_namelen = size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  if (sendmsg(socket.get(), &message, MSG_NOSIGNAL) < 0) {
    return ErrnoStatus(errno, absl::StrCat("notify the service manager at ", notify_socket));
  }
  return absl::OkStatus();
}

// It takes more than one descriptor under one name. Without FDPOLL=0 it closes what has an error to
// tell, as a packet socket has whose interface goes down.
absl::Status StoreFd(const std::string& notify_socket, const std::string& name, int fd) {
  RETURN_IF_ERROR(UnstoreFd(notify_socket, name));
  return NotifyServiceManager(notify_socket,
                              absl::StrCat("FDSTORE=1\nFDPOLL=0\nFDNAME=", kKeptPrefix, name), fd);
}

absl::Status UnstoreFd(const std::string& notify_socket, const std::string& name) {
  return NotifyServiceManager(notify_socket,
                              absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", kKeptPrefix, name));
}

absl::Status WriteReady(UniqueFd fd) {
  if (write(fd.get(), "\n", 1) != 1) {
    return ErrnoStatus(errno, absl::StrCat("write to --ready-fd ", fd.get()));
  }
  return absl::OkStatus();
}

InheritedFds TakeInherited(const std::string& listen_pid, const std::string& listen_fds,
                           const std::string& listen_fdnames) {
  constexpr int kFirst = 3;  // SD_LISTEN_FDS_START
  InheritedFds inherited;
  int64_t pid = 0;
  int count = 0;
  if (!absl::SimpleAtoi(listen_pid, &pid) || pid != getpid() ||
      !absl::SimpleAtoi(listen_fds, &count)) {
    return inherited;
  }
  const std::vector<std::string> names = absl::StrSplit(listen_fdnames, ':');
  for (int i = 0; i < count; ++i) {
    const bool is_open = fcntl(kFirst + i, F_SETFD, FD_CLOEXEC) == 0;
    UniqueFd fd(is_open ? kFirst + i : -1);
    const size_t at = static_cast<size_t>(i);
    inherited.emplace(at < names.size() ? names[at] : "", std::move(fd));
  }
  return inherited;
}

std::map<std::string, UniqueFd> TakeKept(InheritedFds& inherited) {
  std::map<std::string, UniqueFd> kept;
  for (auto next = inherited.begin(); next != inherited.end();) {
    const auto current = next++;
    absl::string_view name = current->first;
    if (!absl::ConsumePrefix(&name, kKeptPrefix)) continue;
    if (current->second) kept[std::string(name)] = std::move(current->second);
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
