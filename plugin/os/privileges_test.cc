#include "plugin/os/privileges.h"

#include <sched.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "plugin/os/fd.h"

namespace vxvde {
namespace {

bool Has(int capability) {
  cap_flag_value_t value = CAP_CLEAR;
  const cap_t caps = cap_get_proc();
  EXPECT_EQ(cap_get_flag(caps, capability, CAP_EFFECTIVE, &value), 0);
  cap_free(caps);
  return value == CAP_SET;
}

bool CanOpenPacketSocket() {
  return static_cast<bool>(UniqueFd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)));
}

TEST(Privileges, AThreadAndThoseThatItStartsHaveNoMoreThanIsKept) {
  ASSERT_TRUE(Has(CAP_NET_RAW) && Has(CAP_SYS_ADMIN)) << "run this as root";
  const absl::Status status = RunWithCapabilities({CAP_NET_ADMIN, CAP_NET_RAW}, [] {
    EXPECT_TRUE(Has(CAP_NET_RAW));
    EXPECT_FALSE(Has(CAP_SYS_ADMIN));
    EXPECT_FALSE(Has(CAP_DAC_OVERRIDE));
    EXPECT_EQ(unshare(CLONE_NEWUTS), -1);
    EXPECT_EQ(errno, EPERM);
    std::thread([] {
      EXPECT_FALSE(Has(CAP_SYS_ADMIN));
      EXPECT_TRUE(CanOpenPacketSocket());
      EXPECT_TRUE(KeepCapabilities({CAP_NET_ADMIN, CAP_SYS_ADMIN}).ok());
      EXPECT_FALSE(Has(CAP_SYS_ADMIN)) << "what is gone does not come back";
      EXPECT_FALSE(CanOpenPacketSocket());
    }).join();
    EXPECT_TRUE(CanOpenPacketSocket());
    return absl::CancelledError("said by the function");
  });
  EXPECT_EQ(status, absl::CancelledError("said by the function"));
  EXPECT_TRUE(Has(CAP_SYS_ADMIN)) << "other threads are as they were";
}

// In a child, because privileges cannot be regained.
template <typename Function>
int InChild(Function function) {
  const pid_t child = fork();
  if (child == 0) _exit(function());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool IsRefused(long result) { return result == -1 && errno == EPERM; }

TEST(Privileges, SystemCallsAreRefusedInAllThreads) {
  EXPECT_EQ(InChild([] {
              if (!KeepCapabilities({CAP_SYS_ADMIN}).ok()) return 1;
              bool there = false;
              bool loaded = false;
              int result = 0;
              // Started before, as threads of a library are.
              std::thread thread([&] {
                while (!__atomic_load_n(&loaded, __ATOMIC_ACQUIRE)) {
                  __atomic_store_n(&there, true, __ATOMIC_RELEASE);
                  std::this_thread::yield();
                }
                if (!IsRefused(unshare(CLONE_NEWUTS))) result = 2;
                if (!IsRefused(execl("/bin/true", "true", nullptr))) result = 3;
                if (!IsRefused(syscall(SYS_bpf, 0, nullptr, 0))) result = 4;
              });
              while (!__atomic_load_n(&there, __ATOMIC_ACQUIRE)) std::this_thread::yield();
              if (!RefuseSystemCalls(/*with_bpf=*/false).ok()) result = 5;
              __atomic_store_n(&loaded, true, __ATOMIC_RELEASE);
              thread.join();
              if (result == 0 && !IsRefused(syscall(SYS_setns, -1, 0))) result = 6;
              if (result == 0 && getppid() <= 0) result = 7;
              return result;
            }),
            0);
  EXPECT_EQ(InChild([] {
              if (!KeepCapabilities({CAP_BPF}).ok()) return 1;
              if (!RefuseSystemCalls(/*with_bpf=*/true).ok()) return 2;
              return syscall(SYS_bpf, 0, nullptr, 0) == -1 && errno != EPERM ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace vxvde
