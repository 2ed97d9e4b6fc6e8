// fault_at HOW N [--from PATH] PROGRAM [ARG...]   runs PROGRAM and makes its N-th step fail
// fault_at HOW N --pid PID                        the same for a running program; prints "ready"
//
// HOW is one of
//   kill   The program is killed (SIGKILL) as it enters step N. A step is a system call with an
//          effect that others can see; dying at another call is the same as dying at the next step.
//   error  Step N is not executed, and fails with an errno that is plausible for it. A step is a
//          system call that can fail; the table below lists the exceptions, with reasons.
//   frame  The same as "error" for the calls that read and write frames, which "error" leaves out:
//          a fault there is a lost frame, which no program sends again.
//
// Steps are counted in all threads of the program, but not in programs that it executes, from the
// start of main's own work: after execve(), or after the first open of PATH. N = 0 counts only.
//
// The program keeps its process id and its exit status: a child that it does not know traces it. At
// the end one line on standard error reports the call and its fault, or the number of steps. With
// --pid the end is the end of the program, the fault, or SIGTERM.

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace {

// Calls that never fail here: `kNever`. Each group has one reason:
constexpr int kNever = 0;

struct Call {
  const char* name;
  int error;        // kNever, or the errno with which it fails
  bool seen;        // others can see its effect: a step at which the program can be killed
  int paths = 0;    // bit i: argument i is a path
  bool fd = false;  // argument 0 is a descriptor
};

const std::map<uint64_t, Call> kCalls = {
    // Does not return, or returns elsewhere.
    {SYS_exit, {"exit", kNever, true}},
    {SYS_exit_group, {"exit_group", kNever, true}},
    {SYS_rt_sigreturn, {"rt_sigreturn", kNever, false}},
    {SYS_restart_syscall, {"restart_syscall", kNever, false}},
    // Cannot fail as libc calls them; libc aborts or ignores the failure.
    {SYS_futex, {"futex", kNever, false}},
    {SYS_sched_yield, {"sched_yield", kNever, false}},
    {SYS_set_robust_list, {"set_robust_list", kNever, false}},
    {SYS_set_tid_address, {"set_tid_address", kNever, false}},
    {SYS_rseq, {"rseq", kNever, false}},
    {SYS_arch_prctl, {"arch_prctl", kNever, false}},
    {SYS_sigaltstack, {"sigaltstack", kNever, false}},
    {SYS_rt_sigaction, {"rt_sigaction", kNever, false}},
    {SYS_rt_sigprocmask, {"rt_sigprocmask", kNever, false}},
    {SYS_getpid, {"getpid", kNever, false}},
    {SYS_gettid, {"gettid", kNever, false}},
    {SYS_getuid, {"getuid", kNever, false}},
    {SYS_geteuid, {"geteuid", kNever, false}},
    {SYS_getgid, {"getgid", kNever, false}},
    {SYS_getegid, {"getegid", kNever, false}},
    {SYS_clock_gettime, {"clock_gettime", kNever, false}},
    {SYS_clock_nanosleep, {"clock_nanosleep", kNever, false}},
    {SYS_uname, {"uname", kNever, false}},
    {SYS_umask, {"umask", kNever, true}},
    {SYS_tgkill, {"tgkill", kNever, true}},
    {SYS_sched_getaffinity, {"sched_getaffinity", kNever, false}},
    // Skipping the call would leak: the kernel always closes (close(2)) and unmaps.
    {SYS_close, {"close", kNever, true, 0, true}},
    {SYS_close_range, {"close_range", kNever, true}},
    {SYS_munmap, {"munmap", kNever, false}},
    {SYS_madvise, {"madvise", kNever, false}},
    // The heap. Lack of memory is an exception and the end of the program, which "kill" tests. An
    // mmap of a descriptor is a step.
    {SYS_brk, {"brk", kNever, false}},
    {SYS_mprotect, {"mprotect", kNever, false}},
    {SYS_mremap, {"mremap", kNever, false}},
    // Waiting: only a signal ends it early, after which the program checks and waits again.
    {SYS_epoll_wait, {"epoll_wait", kNever, true}},
    {SYS_epoll_pwait, {"epoll_pwait", kNever, true}},
    {SYS_poll, {"poll", EINTR, true}},
    {SYS_ppoll, {"ppoll", EINTR, true}},
    {SYS_wait4, {"wait4", EINTR, true}},

    {SYS_mmap, {"mmap", ENOMEM, false}},
    {SYS_clone, {"clone", EAGAIN, true}},
    {SYS_clone3, {"clone3", EAGAIN, true}},
    {SYS_fork, {"fork", EAGAIN, true}},
    {SYS_vfork, {"vfork", EAGAIN, true}},
    {SYS_execve, {"execve", ENOMEM, true, 1}},
    {SYS_kill, {"kill", EPERM, true}},
    {SYS_setns, {"setns", EPERM, true, 0, true}},
    {SYS_unshare, {"unshare", EPERM, true}},
    {SYS_prctl, {"prctl", EPERM, true}},
    {SYS_capset, {"capset", EPERM, true}},
    {SYS_capget, {"capget", EPERM, false}},
    {SYS_seccomp, {"seccomp", EPERM, true}},
    {SYS_prlimit64, {"prlimit64", EPERM, false}},
    {SYS_getrandom, {"getrandom", ENOSYS, false}},
    {SYS_sysinfo, {"sysinfo", ENOSYS, false}},

    {SYS_open, {"open", EMFILE, true, 1}},
    {SYS_openat, {"openat", EMFILE, true, 2}},
    {SYS_pipe, {"pipe", EMFILE, true}},
    {SYS_pipe2, {"pipe2", EMFILE, true}},
    {SYS_dup, {"dup", EMFILE, true, 0, true}},
    {SYS_dup2, {"dup2", EBUSY, true, 0, true}},
    {SYS_dup3, {"dup3", EBUSY, true, 0, true}},
    {SYS_eventfd2, {"eventfd2", EMFILE, true}},
    {SYS_signalfd4, {"signalfd4", EMFILE, true}},
    {SYS_timerfd_create, {"timerfd_create", EMFILE, true}},
    {SYS_timerfd_settime, {"timerfd_settime", ENOMEM, true, 0, true}},
    {SYS_epoll_create1, {"epoll_create1", EMFILE, true}},
    {SYS_epoll_ctl, {"epoll_ctl", ENOMEM, true, 0, true}},
    {SYS_pidfd_open, {"pidfd_open", EMFILE, true}},
    {SYS_socket, {"socket", EMFILE, true}},
    {SYS_socketpair, {"socketpair", EMFILE, true}},
    {SYS_accept, {"accept", EMFILE, true, 0, true}},
    {SYS_accept4, {"accept4", EMFILE, true, 0, true}},
    {SYS_bpf, {"bpf", ENOMEM, true}},
    {SYS_fcntl, {"fcntl", EMFILE, false, 0, true}},
    {SYS_ioctl, {"ioctl", ENOBUFS, true, 0, true}},

    {SYS_read, {"read", EIO, false, 0, true}},
    {SYS_pread64, {"pread64", EIO, false, 0, true}},
    {SYS_readv, {"readv", EIO, false, 0, true}},
    {SYS_write, {"write", ENOSPC, true, 0, true}},
    {SYS_pwrite64, {"pwrite64", ENOSPC, true, 0, true}},
    {SYS_writev, {"writev", ENOSPC, true, 0, true}},
    {SYS_ftruncate, {"ftruncate", EIO, true, 0, true}},
    {SYS_fsync, {"fsync", EIO, true, 0, true}},
    {SYS_fdatasync, {"fdatasync", EIO, true, 0, true}},
    {SYS_flock, {"flock", ENOLCK, true, 0, true}},
    {SYS_lseek, {"lseek", EIO, false, 0, true}},
    {SYS_fstat, {"fstat", EIO, false, 0, true}},
    {SYS_stat, {"stat", EIO, false, 1}},
    {SYS_lstat, {"lstat", EIO, false, 1}},
    {SYS_newfstatat, {"newfstatat", EIO, false, 2}},
    {SYS_statx, {"statx", EIO, false, 2}},
    {SYS_access, {"access", EIO, false, 1}},
    {SYS_faccessat2, {"faccessat2", EIO, false, 2}},
    {SYS_readlink, {"readlink", EIO, false, 1}},
    {SYS_readlinkat, {"readlinkat", EIO, false, 2}},
    {SYS_getdents64, {"getdents64", EIO, false, 0, true}},
    {SYS_getcwd, {"getcwd", ENOENT, false}},
    {SYS_rename, {"rename", EIO, true, 3}},
    {SYS_renameat, {"renameat", EIO, true, 10}},
    {SYS_renameat2, {"renameat2", EIO, true, 10}},
    {SYS_link, {"link", EIO, true, 3}},
    {SYS_linkat, {"linkat", EIO, true, 10}},
    {SYS_unlink, {"unlink", EIO, true, 1}},
    {SYS_unlinkat, {"unlinkat", EIO, true, 2}},
    {SYS_mkdir, {"mkdir", ENOSPC, true, 1}},
    {SYS_mkdirat, {"mkdirat", ENOSPC, true, 2}},
    {SYS_rmdir, {"rmdir", EIO, true, 1}},
    {SYS_chmod, {"chmod", EPERM, true, 1}},
    {SYS_fchmod, {"fchmod", EPERM, true, 0, true}},
    {SYS_fchmodat, {"fchmodat", EPERM, true, 2}},
    {SYS_chown, {"chown", EPERM, true, 1}},
    {SYS_fchown, {"fchown", EPERM, true, 0, true}},
    {SYS_fchownat, {"fchownat", EPERM, true, 2}},
    {SYS_utimensat, {"utimensat", EIO, true, 2}},
    {SYS_chdir, {"chdir", EIO, true, 1}},
    {SYS_mount, {"mount", EPERM, true, 3}},
    {SYS_umount2, {"umount2", EPERM, true, 1}},

    {SYS_bind, {"bind", ENOMEM, true, 0, true}},
    {SYS_listen, {"listen", ENOBUFS, true, 0, true}},
    {SYS_connect, {"connect", ENOBUFS, true, 0, true}},
    {SYS_shutdown, {"shutdown", ENOBUFS, true, 0, true}},
    {SYS_setsockopt, {"setsockopt", ENOMEM, true, 0, true}},
    {SYS_getsockopt, {"getsockopt", ENOMEM, false, 0, true}},
    {SYS_getsockname, {"getsockname", ENOBUFS, false, 0, true}},
    {SYS_getpeername, {"getpeername", ENOBUFS, false, 0, true}},
    {SYS_sendto, {"sendto", ENOBUFS, true, 0, true}},
    {SYS_sendmsg, {"sendmsg", ENOBUFS, true, 0, true}},
    {SYS_sendmmsg, {"sendmmsg", ENOBUFS, true, 0, true}},
    {SYS_recvfrom, {"recvfrom", ENOBUFS, false, 0, true}},
    {SYS_recvmsg, {"recvmsg", ENOBUFS, false, 0, true}},
    {SYS_recvmmsg, {"recvmmsg", ENOBUFS, false, 0, true}},
};

const Call& CallOf(uint64_t number) {
  static const Call unknown = {"an unlisted call", ENOSYS, true};
  const auto found = kCalls.find(number);
  return found == kCalls.end() ? unknown : found->second;
}

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "fault_at: %s: %s\n", what, std::strerror(errno));
  std::_Exit(125);
}

enum class How { kKill, kError, kFrame };

class Tracer {
 public:
  Tracer(How how, long wanted, std::string from, pid_t program)
      : how_(how), wanted_(wanted), from_(std::move(from)), program_(program) {}

  // Stops every thread once, before anything is counted.
  void Seize() {
    std::set<pid_t> threads;
    // New threads of seized threads are seized automatically; the next iteration finds the others.
    for (bool more = true; more;) {
      more = false;
      for (const auto& entry :
           std::filesystem::directory_iterator("/proc/" + std::to_string(program_) + "/task")) {
        const pid_t thread = std::atoi(entry.path().filename().c_str());
        if (threads.contains(thread)) continue;
        if (ptrace(PTRACE_SEIZE, thread, nullptr,
                   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC) < 0) {
          if (errno == ESRCH || errno == EPERM) {  // it has ended, or is seized already
            threads.insert(thread);
            continue;
          }
          Fail("PTRACE_SEIZE");
        }
        threads.insert(thread);
        unstopped_.insert(thread);
        ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
        more = true;
      }
    }
  }

  bool seized() const { return unstopped_.empty(); }
  void StartCounting() { counting_ = true; }

  // Handles one event of `thread`. True: the thread, or the purpose of this process, has ended.
  bool Handle(pid_t thread, int status) {
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      unstopped_.erase(thread);
      if (thread != program_) return false;
      Say("survived, " + std::to_string(steps_) + " steps");
      return true;
    }
    unstopped_.erase(thread);
    const int stop = WSTOPSIG(status);
    int signal_to_pass = 0;
    if (stop == (SIGTRAP | 0x80)) {
      if (OnCall(thread)) return true;
    } else if (status >> 16 == PTRACE_EVENT_EXEC) {
      counting_ = from_.empty();
    } else if (status >> 16 == 0) {
      signal_to_pass = stop;
    }
    ptrace(PTRACE_SYSCALL, thread, nullptr, signal_to_pass);
    return false;
  }

  void Enough() { Say("survived, " + std::to_string(steps_) + " steps"); }

 private:
  static void Say(const std::string& text) { std::fprintf(stderr, "fault_at: %s\n", text.c_str()); }

  bool OnCall(pid_t thread) {
    __ptrace_syscall_info info = {};
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(info), &info) < 0) return false;
    if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
      if (thread != failing_) return false;
      SetResult(thread);
      Say(said_);
      // The others are released when this process ends.
      ptrace(PTRACE_DETACH, thread, nullptr, 0);
      return true;
    }
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY || failing_ != 0) return false;
    if (!counting_) {
      counting_ =
          !from_.empty() && info.entry.nr == SYS_openat && Text(info.entry.args[1]) == from_;
      return false;
    }
    if (!IsStep(info) || ++steps_ != wanted_) return false;
    const Call& call = CallOf(info.entry.nr);
    const std::string what = "step " + std::to_string(steps_) + " " + Describe(call, info) + " -> ";
    if (how_ == How::kKill) {
      kill(program_, SIGKILL);
      Say(what + "killed");
      return true;
    }
    user_regs_struct regs = {};
    if (ptrace(PTRACE_GETREGS, thread, nullptr, &regs) < 0) return false;
    regs.orig_rax = ~0ULL;  // no call: the kernel executes none
    if (ptrace(PTRACE_SETREGS, thread, nullptr, &regs) < 0) Fail("PTRACE_SETREGS");
    failing_ = thread;
    error_ = call.error;
    said_ = what + strerrorname_np(call.error);
    return false;
  }

  void SetResult(pid_t thread) const {
    user_regs_struct regs = {};
    ptrace(PTRACE_GETREGS, thread, nullptr, &regs);
    regs.rax = static_cast<uint64_t>(-error_);
    ptrace(PTRACE_SETREGS, thread, nullptr, &regs);
  }

  bool IsStep(const __ptrace_syscall_info& info) {
    const Call& call = CallOf(info.entry.nr);
    if (info.entry.nr == SYS_bpf && !IsNewQuestion(info)) return false;
    if (how_ == How::kKill) return call.seen;
    if (call.error == kNever) return false;
    // Memory for the heap or a stack, as above.
    if (info.entry.nr == SYS_mmap)
      return how_ == How::kError && static_cast<int>(info.entry.args[4]) >= 0;
    if (!call.fd || !IsTransfer(info.entry.nr)) return how_ == How::kError;
    const int fd = static_cast<int>(info.entry.args[0]);
    const std::string file = FileOf(fd);
    // Their only error is that there is nothing to do.
    if (file == "anon_inode:[eventfd]" || file == "anon_inode:[signalfd]" ||
        file == "anon_inode:[timerfd]")
      return false;
    return CarriesFrames(fd, file) == (how_ == How::kFrame);
  }

  // A BPF map is read entry by entry, in thousands of calls: the first two of each command and map
  // count.
  bool IsNewQuestion(const __ptrace_syscall_info& info) {
    const uint64_t command = info.entry.args[0];
    uint32_t map = 0;  // the first field of each of these commands
    if (command != BPF_MAP_LOOKUP_ELEM && command != BPF_MAP_GET_NEXT_KEY) return true;
    return !Read(info.entry.args[1], &map, sizeof(map)) || ++asked_[{command, map}] <= 2;
  }

  static bool IsTransfer(uint64_t number) {
    switch (number) {
      case SYS_read:
      case SYS_readv:
      case SYS_write:
      case SYS_writev:
      case SYS_sendto:
      case SYS_sendmsg:
      case SYS_sendmmsg:
      case SYS_recvfrom:
      case SYS_recvmsg:
      case SYS_recvmmsg:
        return true;
      default:
        return false;
    }
  }

  // A tap, a port's packet socket, or a cloud's UDP socket.
  bool CarriesFrames(int fd, const std::string& file) const {
    if (file == "/dev/net/tun") return true;
    if (!file.starts_with("socket:")) return false;
    const int process = static_cast<int>(syscall(SYS_pidfd_open, program_, 0));
    const int copy = static_cast<int>(syscall(SYS_pidfd_getfd, process, fd, 0));
    int domain = 0;
    int type = 0;
    socklen_t size = sizeof(int);
    getsockopt(copy, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    getsockopt(copy, SOL_SOCKET, SO_TYPE, &type, &size);
    close(copy);
    close(process);
    return domain == AF_PACKET || ((domain == AF_INET || domain == AF_INET6) && type == SOCK_DGRAM);
  }

  std::string FileOf(int fd) const {
    std::error_code error;
    return std::filesystem::read_symlink(
        "/proc/" + std::to_string(program_) + "/fd/" + std::to_string(fd), error);
  }

  bool Read(uint64_t address, void* to, size_t size) const {
    const iovec here = {to, size};
    const iovec there = {reinterpret_cast<void*>(address), size};
    return process_vm_readv(program_, &here, 1, &there, 1, 0) == static_cast<ssize_t>(size);
  }

  std::string Text(uint64_t address) const {
    std::string text;
    char c = 0;
    while (text.size() < 200 && Read(address++, &c, 1) && c != '\0') text += c;
    return text;
  }

  // A request by netlink: the type of its message (linux/rtnetlink.h).
  std::string Message(const __ptrace_syscall_info& info) const {
    if (info.entry.nr != SYS_sendmsg && info.entry.nr != SYS_sendto) return "";
    uint64_t data = info.entry.args[1];
    if (info.entry.nr == SYS_sendmsg) {
      msghdr header = {};
      iovec part = {};
      if (!Read(info.entry.args[1], &header, sizeof(header))) return "";
      if (!Read(reinterpret_cast<uint64_t>(header.msg_iov), &part, sizeof(part))) return "";
      data = reinterpret_cast<uint64_t>(part.iov_base);
    }
    nlmsghdr message = {};
    if (!Read(data, &message, sizeof(message)) || message.nlmsg_type > 4096 ||
        (message.nlmsg_flags & NLM_F_REQUEST) == 0) {
      return "";
    }
    return ", message of type " + std::to_string(message.nlmsg_type);
  }

  std::string Describe(const Call& call, const __ptrace_syscall_info& info) const {
    std::string text = call.name;
    text += "(";
    for (int i = 0; i < 3; ++i) {
      if (i > 0) text += ", ";
      const uint64_t value = info.entry.args[i];
      char hex[24];
      std::snprintf(hex, sizeof(hex), "%#llx", static_cast<unsigned long long>(value));
      if ((call.paths >> i & 1) != 0) {
        text += "\"" + Text(value) + "\"";
      } else if (i == 0 && call.fd) {
        text +=
            std::to_string(static_cast<int>(value)) + "<" + FileOf(static_cast<int>(value)) + ">";
      } else {
        text += hex;
      }
    }
    return text + Message(info) + ")";
  }

  How how_;
  long wanted_;
  std::string from_;
  pid_t program_;
  std::set<pid_t> unstopped_;
  bool counting_ = false;
  long steps_ = 0;
  std::map<std::pair<uint64_t, uint32_t>, int> asked_;
  pid_t failing_ = 0;  // the thread whose call fails
  int error_ = 0;
  std::string said_;
};

// Runs until the end; calls `ready` once every thread is traced.
template <typename Ready>
void Trace(Tracer& tracer, const Ready& ready) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  tracer.Seize();
  bool said = false;
  while (true) {
    int status = 0;
    pid_t thread = 0;
    while ((thread = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
      if (tracer.Handle(thread, status)) return;
    }
    if (thread < 0 && errno == ECHILD) return tracer.Enough();
    if (!said && tracer.seized()) {
      said = true;
      ready();
    }
    siginfo_t info = {};
    if (sigwaitinfo(&set, &info) == SIGTERM) return tracer.Enough();
  }
}

int Usage() {
  std::fprintf(stderr,
               "usage: fault_at kill|error|frame N [--from PATH] PROGRAM [ARG...]\n"
               "       fault_at kill|error|frame N --pid PID\n");
  return 125;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return Usage();
  const std::string word = argv[1];
  if (word != "kill" && word != "error" && word != "frame") return Usage();
  const How how = word == "kill" ? How::kKill : word == "error" ? How::kError : How::kFrame;
  const long wanted = std::atol(argv[2]);
  if (std::string(argv[3]) == "--pid" && argc == 5) {
    Tracer tracer(how, wanted, "", std::atoi(argv[4]));
    Trace(tracer, [&] {
      tracer.StartCounting();
      (void)!write(STDOUT_FILENO, "ready\n", 6);
    });
    return 0;
  }
  int first = 3;
  std::string from;
  if (std::string(argv[3]) == "--from") {
    if (argc < 6) return Usage();
    from = argv[4];
    first = 5;
  }

  const pid_t program = getpid();
  int go[2];
  if (pipe2(go, O_CLOEXEC) != 0) Fail("pipe2");
  const pid_t between = fork();
  if (between < 0) Fail("fork");
  if (between == 0) {
    // Its parent exits, so that the program does not have an unknown child.
    if (fork() != 0) std::_Exit(0);
    close(go[0]);
    Tracer tracer(how, wanted, from, program);
    Trace(tracer, [&] { (void)!write(go[1], "", 1); });
    std::_Exit(0);
  }
  waitpid(between, nullptr, 0);
  close(go[1]);
  char byte;
  ssize_t n;
  do {
    n = read(go[0], &byte, 1);
  } while (n < 0 && errno == EINTR);
  if (n != 1) Fail("no tracer");
  execv(argv[first], argv + first);
  Fail(argv[first]);
}
