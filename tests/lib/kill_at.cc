// kill_at N PROGRAM [ARG...]: runs PROGRAM and kills it (SIGKILL) as it enters its N-th step, in
// whatever thread that is. A step is a system call that others can see the effect of; calls that
// only read, wait for time or manage memory are left out, as dying at them is the same as dying at
// the next step. Programs that it executes are left alone, as when an administrator kills by pid.
//
// Exit: 137 killed at step N (its name is on stderr); else what PROGRAM exited with, N being past
// its last step; 125 when tracing itself failed.

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// Not steps. What is missing here costs time only.
constexpr std::array<uint64_t, 40> kQuiet = {
    SYS_brk,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_madvise,
    SYS_mremap,
    SYS_futex,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_sigaltstack,
    SYS_set_robust_list,
    SYS_set_tid_address,
    SYS_rseq,
    SYS_prlimit64,
    SYS_arch_prctl,
    SYS_getpid,
    SYS_gettid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_fstat,
    SYS_newfstatat,
    SYS_stat,
    SYS_lstat,
    SYS_lseek,
    SYS_readlink,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_access,
    SYS_fcntl,
    SYS_getsockname,
    SYS_getcwd,
    SYS_uname,
    SYS_sched_yield,
    SYS_statx,
    SYS_read,
    SYS_rt_sigreturn,
};

bool IsStep(uint64_t call) { return std::find(kQuiet.begin(), kQuiet.end(), call) == kQuiet.end(); }

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "kill_at: %s: %s\n", what, std::strerror(errno));
  std::exit(125);
}

// The call that the stopped thread enters; false when it leaves one.
bool Entering(pid_t thread, uint64_t* call) {
  __ptrace_syscall_info info = {};
  if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(info), &info) < 0) return false;
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return false;
  *call = info.entry.nr;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: kill_at N PROGRAM [ARG...]\n");
    return 125;
  }
  const long wanted = std::atol(argv[1]);
  const pid_t child = fork();
  if (child < 0) Fail("fork");
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) < 0) Fail("PTRACE_TRACEME");
    execv(argv[2], argv + 2);
    Fail(argv[2]);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) Fail("no stop after execv");
  // Threads are followed, forked programs are not.
  if (ptrace(PTRACE_SETOPTIONS, child, nullptr,
             PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL) < 0) {
    Fail("PTRACE_SETOPTIONS");
  }
  if (ptrace(PTRACE_SYSCALL, child, nullptr, nullptr) < 0) Fail("PTRACE_SYSCALL");
  long steps = 0;
  while (true) {
    const pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0) {
      if (errno == EINTR) continue;
      Fail("waitpid");
    }
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (thread != child) continue;
      if (WIFEXITED(status)) {
        std::fprintf(stderr, "kill_at: survived, %ld steps\n", steps);
        return WEXITSTATUS(status);
      }
      return 128 + WTERMSIG(status);
    }
    int signal_to_pass = 0;
    const int stop = WSTOPSIG(status);
    if (stop == (SIGTRAP | 0x80)) {
      uint64_t call = 0;
      if (Entering(thread, &call) && IsStep(call) && ++steps == wanted) {
        kill(child, SIGKILL);
        // Its threads must be reaped too, or it never ends.
        pid_t ended = 0;
        do {
          ended = waitpid(-1, &status, __WALL);
        } while (ended >= 0 && !(ended == child && (WIFSIGNALED(status) || WIFEXITED(status))));
        std::fprintf(stderr, "kill_at: killed at step %ld, system call %llu\n", steps,
                     static_cast<unsigned long long>(call));
        return 137;
      }
    } else if ((status >> 16) == 0 &&
               stop != SIGSTOP) {  // a real signal; new threads start with SIGSTOP
      signal_to_pass = stop;
    }
    ptrace(PTRACE_SYSCALL, thread, nullptr, signal_to_pass);
  }
}
