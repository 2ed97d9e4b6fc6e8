// Implemented with libcap and libseccomp; the contract is in privileges.h.

#include "plugin/os/privileges.h"

#include <seccomp.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plugin/os/fd.h"

namespace vxvde {
namespace {

struct FreeCaps {
  void operator()(cap_t caps) const { (void)cap_free(caps); }
};
using Caps = std::unique_ptr<std::remove_pointer_t<cap_t>, FreeCaps>;

struct FreeFilter {
  void operator()(scmp_filter_ctx filter) const { seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, FreeFilter>;

// By name: a system call that this machine's libseccomp does not know cannot be refused. There is
// no list of allowed calls: libraries may use any call, and one that is missing from such a list
// would stop all pods of the node.
constexpr const char* kRefused[] = {
    // programs, and other processes
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "personality",
    // namespaces and mounts
    "setns",
    "unshare",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_by_handle_at",
    "quotactl",
    "quotactl_fd",
    "swapon",
    "swapoff",
    // the machine and its kernel
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "acct",
    "syslog",
    "ioperm",
    "iopl",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "add_key",
    "request_key",
    "keyctl",
    // the identity of the process
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "setgroups",
};

}  // namespace

absl::Status KeepCapabilities(Capabilities capabilities) {
  const auto is_kept = [&](int number) {
    return std::find(capabilities.begin(), capabilities.end(), number) != capabilities.end();
  };
  Caps caps(cap_get_proc());
  if (!caps) return ErrnoStatus(errno, "read the capabilities");
  for (int number = 0; number < cap_max_bits(); ++number) {
    if (is_kept(number)) continue;
    const cap_value_t value = number;
    for (const cap_flag_t set : {CAP_EFFECTIVE, CAP_PERMITTED, CAP_INHERITABLE}) {
      if (cap_set_flag(caps.get(), set, 1, &value, CAP_CLEAR) != 0) {
        return ErrnoStatus(errno, absl::StrCat("name capability ", number));
      }
    }
  }
  // no_new_privs leaves one way: regaining capabilities of the bounding set by executing a program.
  // Executing one is refused, and limiting the bounding set requires a capability (SETPCAP) that
  // containers do not have.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ErrnoStatus(errno, "set no_new_privs");
  if (cap_reset_ambient() != 0) return ErrnoStatus(errno, "clear the ambient capabilities");
  if (cap_set_proc(caps.get()) != 0) return ErrnoStatus(errno, "drop capabilities");
  return absl::OkStatus();
}

absl::Status RunWithCapabilities(Capabilities capabilities,
                                 absl::FunctionRef<absl::Status()> function) {
  absl::Status status;
  try {
    std::thread thread([&] {
      status = KeepCapabilities(capabilities);
      if (status.ok()) status = function();
    });
    thread.join();
  } catch (const std::system_error& error) {
    return ErrnoStatus(error.code().value(), "start a thread with fewer capabilities");
  }
  return status;
}

absl::Status RefuseSystemCalls(bool with_bpf) {
  const Filter filter(seccomp_init(SCMP_ACT_ALLOW));
  if (!filter) return absl::UnavailableError("seccomp: no filter can be made");
  std::vector<const char*> refused(std::begin(kRefused), std::end(kRefused));
  if (!with_bpf) refused.push_back("bpf");
  for (const char* name : refused) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) continue;
    if (const int error = seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), number, 0);
        error != 0) {
      return ErrnoStatus(-error, absl::StrCat("seccomp: refuse ", name));
    }
  }
  if (const int error = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1); error != 0) {
    return ErrnoStatus(-error, "seccomp: filter all threads");
  }
  if (const int error = seccomp_load(filter.get()); error != 0) {
    return ErrnoStatus(-error, "seccomp: load the filter");
  }
  return absl::OkStatus();
}

}  // namespace vxvde
