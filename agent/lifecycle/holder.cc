#include "agent/lifecycle/holder.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "plugin/base/status.h"
#include "plugin/os/privileges.h"
#include "plugin/os/unix_socket.h"

namespace vxvde {
namespace {

using std::chrono::steady_clock;

constexpr char kAnswerEnd[] = "E1";
constexpr size_t kMaxMessage = 256;
constexpr int kBeatMs = 500;  // how often it checks whether it is still needed
constexpr std::chrono::seconds kPatienceOfAgent{5};  // waits for a holder that does not answer
constexpr int kBacklog = 8;
// Attempts to reach a holder. A second holder would get nothing from the first, not even its ports.
constexpr int kAttempts = 2;

// ---------------------------------------------------------------- messages

struct Message {
  char kind = 0;  // 0: the peer has closed the connection
  std::string name;
  UniqueFd fd;
};

absl::Status SendMessage(const UniqueFd& socket, char kind, absl::string_view name, int fd = -1) {
  return SendUnix(socket, absl::StrCat(absl::string_view(&kind, 1), name),
                  fd >= 0 ? std::span<const int>(&fd, 1) : std::span<const int>());
}

absl::StatusOr<Message> ReceiveMessage(const UniqueFd& socket) {
  std::array<uint8_t, kMaxMessage> text;
  ASSIGN_OR_RETURN(UnixMessage message, ReceiveUnix(socket, text));
  Message out;
  if (!message.fds.empty()) out.fd = std::move(message.fds.front());
  if (message.size > 0) {
    out.kind = static_cast<char>(text[0]);
    out.name.assign(text.begin() + 1, text.begin() + static_cast<ptrdiff_t>(message.size));
  }
  return out;
}

// PermissionDenied: another user runs it, so this agent must not use it.
absl::StatusOr<ucred> PeerOf(const UniqueFd& socket) {
  ASSIGN_OR_RETURN(const ucred peer, UnixPeer(socket));
  if (peer.uid == geteuid()) return peer;
  return absl::PermissionDeniedError(
      absl::StrCat("the holder's socket belongs to user ", peer.uid, ", not to ", geteuid()));
}

// ---------------------------------------------------------------- the holder

class Holder {
 public:
  Holder(UniqueFd listener, std::string path, std::chrono::seconds patience)
      : listener_(std::move(listener)), path_(std::move(path)), patience_(patience) {
    struct stat there = {};
    if (stat(path_.c_str(), &there) == 0) inode_ = there.st_ino;
    alone_since_ = steady_clock::now();
  }

  void Run() {
    while (IsWanted()) {
      // The next agent waits until the preceding one is gone.
      pollfd wait = {agent_ ? agent_.get() : listener_.get(), POLLIN, 0};
      if (poll(&wait, 1, kBeatMs) <= 0) continue;
      if (agent_) {
        Hear();
      } else {
        Accept();
      }
    }
    if (IsOurs()) unlink(path_.c_str());
  }

 private:
  bool IsOurs() const {
    struct stat there = {};
    return stat(path_.c_str(), &there) == 0 && there.st_ino == inode_;
  }
  bool IsWanted() const {
    if (!IsOurs()) return false;
    if (agent_) return true;
    const auto alone = steady_clock::now() - alone_since_;
    return met_ ? !kept_.empty() && alone < patience_ : alone < patience_;
  }

  void Accept() {
    UniqueFd agent(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!agent || !PeerOf(agent).ok()) return;
    agent_ = std::move(agent);
    met_ = true;
  }

  void Hear() {
    absl::StatusOr<Message> message = ReceiveMessage(agent_);
    if (!message.ok() || !Obey(*message)) {
      agent_.Reset();
      alone_since_ = steady_clock::now();
    }
  }

  bool Obey(Message& message) {
    switch (message.kind) {
      case 'K':
        // Without a descriptor: this process had no room for it.
        kept_.erase(message.name);
        if (message.fd) kept_[message.name] = std::move(message.fd);
        return true;
      case 'D':
        kept_.erase(message.name);
        return true;
      case 'L':
        for (const auto& [name, fd] : kept_) {
          if (!SendMessage(agent_, 'F', name, fd.get()).ok()) return false;
        }
        return SendMessage(agent_, kAnswerEnd[0], kAnswerEnd + 1).ok();
      default:
        return false;
    }
  }

  UniqueFd listener_;
  UniqueFd agent_;  // one at a time
  std::string path_;
  std::chrono::seconds patience_;
  ino_t inode_ = 0;
  bool met_ = false;  // whether an agent has ever connected
  steady_clock::time_point alone_since_;
  std::map<std::string, UniqueFd> kept_;
};

void CloseAllBut(int kept) {
  if (close_range(3, static_cast<unsigned>(kept) - 1, 0) == 0 || kept == 3) {
    if (close_range(static_cast<unsigned>(kept) + 1, ~0U, 0) == 0) return;
  }
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (int fd = 3; fd < static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 65536)); ++fd) {
    if (fd != kept) close(fd);
  }
}

// Runs in the grandchild of the agent. Writes a byte to `ready` once it listens.
[[noreturn]] void BeHolder(const std::string& path, UniqueFd ready, std::chrono::seconds patience) {
  (void)prctl(PR_SET_NAME, "vxvde-holder");
  // The holder must not keep the run-dir's lock, or a log whose end another process waits for.
  CloseAllBut(ready.get());
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {0, 1, 2}) (void)dup2(null.get(), fd);
  // Nor must it keep the folder in which it was started busy.
  if (path.front() == '/' && chdir("/") != 0) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, nullptr);
  absl::StatusOr<UniqueFd> listener = ListenUnix(path, kBacklog);
  if (!listener.ok()) _exit(1);
  // Keeping a descriptor needs no privilege. Without seccomp the holder works just as well.
  if (!KeepCapabilities({}).ok()) _exit(1);
  RefuseSystemCalls(/*with_bpf=*/false).IgnoreError();
  Holder holder(*std::move(listener), path, patience);
  if (write(ready.get(), "\n", 1) != 1) _exit(1);
  ready.Reset();
  holder.Run();
  _exit(0);
}

absl::Status StartHolder(const std::string& path, std::chrono::seconds patience) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe to the holder");
  UniqueFd here(ends[0]);
  UniqueFd there(ends[1]);
  const pid_t child = fork();
  if (child < 0) return ErrnoStatus(errno, "start a holder");
  if (child == 0) {
    here.Reset();
    // setsid() and the second fork keep signals to the agent's process group away from it, and make
    // init its parent.
    setsid();
    if (fork() == 0) BeHolder(path, std::move(there), patience);
    _exit(0);
  }
  there.Reset();
  int status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  char word;
  if (read(here.get(), &word, 1) != 1) {
    return absl::UnavailableError(absl::StrCat("the holder could not listen at ", path));
  }
  return absl::OkStatus();
}

// Kills it and waits for its end, when all its descriptors are closed.
void Kill(pid_t holder) {
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, holder, 0)));
  (void)kill(holder, SIGKILL);
  pollfd wait = {process.get(), POLLIN, 0};
  if (process) (void)poll(&wait, 1, 1000);
}

// ---------------------------------------------------------------- the agent's side

absl::StatusOr<std::map<std::string, UniqueFd>> List(const UniqueFd& socket) {
  RETURN_IF_ERROR(SendMessage(socket, 'L', ""));
  std::map<std::string, UniqueFd> found;
  while (true) {
    ASSIGN_OR_RETURN(Message message, ReceiveMessage(socket));
    if (message.kind == 'F') {
      // Without a descriptor: this process had no room for it.
      if (message.fd) found[message.name] = std::move(message.fd);
    } else if (absl::StrCat(absl::string_view(&message.kind, 1), message.name) == kAnswerEnd) {
      return found;
    } else {
      return absl::DataLossError("the holder sent a message of an unknown kind");
    }
  }
}

FdKeeper KeeperAt(UniqueFd connected, std::map<std::string, UniqueFd> found) {
  const auto socket = std::make_shared<UniqueFd>(std::move(connected));
  return {.what = "holder",
          .found = std::move(found),
          .keep = [socket](const std::string& name,
                           int fd) { return SendMessage(*socket, 'K', name, fd); },
          .drop = [socket](const std::string& name) { return SendMessage(*socket, 'D', name); }};
}

}  // namespace

absl::StatusOr<FdKeeper> OpenHolder(const std::string& run_dir, std::chrono::seconds patience) {
  const std::string path = absl::StrCat(run_dir, "/hold.sock");
  pid_t deaf = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    absl::StatusOr<UniqueFd> socket = ConnectUnix(path, kPatienceOfAgent);
    if (!socket.ok()) continue;
    const absl::StatusOr<ucred> peer = PeerOf(*socket);
    if (absl::IsPermissionDenied(peer.status())) return Annotate(peer.status(), path);
    if (!peer.ok()) continue;
    absl::StatusOr<std::map<std::string, UniqueFd>> found = List(*socket);
    if (found.ok()) return KeeperAt(*std::move(socket), *std::move(found));
    deaf = peer->pid;
    if (absl::IsDataLoss(found.status()) || absl::IsDeadlineExceeded(found.status())) break;
  }
  // Its descriptors must be closed: their ports and taps cannot be opened elsewhere meanwhile.
  if (deaf > 0) Kill(deaf);
  RETURN_IF_ERROR(StartHolder(path, patience));
  ASSIGN_OR_RETURN(UniqueFd socket, ConnectUnix(path, kPatienceOfAgent));
  RETURN_IF_ERROR(List(socket).status());
  return KeeperAt(std::move(socket), {});
}

}  // namespace vxvde
