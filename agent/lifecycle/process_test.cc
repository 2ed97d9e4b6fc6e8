#include "agent/lifecycle/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/unix_socket.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;

class ProcessTest : public testing::Test {
 protected:
  ProcessTest() {
    std::string pattern = "/tmp/process.XXXXXX";  // short enough for a socket
    folder_ = mkdtemp(pattern.data());
  }
  ~ProcessTest() override { std::filesystem::remove_all(folder_); }

  static UniqueFd Bound(int type, const std::string& path) {
    UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  std::string folder_;
};

TEST_F(ProcessTest, TwoAgentsOnOneRunDirAreRefused) {
  const std::string run_dir = folder_ + "/a/b";
  absl::StatusOr<UniqueFd> first = LockRunDir(run_dir);
  ASSERT_TRUE(first.ok()) << first.status();
  struct stat made {};
  ASSERT_EQ(stat(run_dir.c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777, 0755u);

  const absl::StatusOr<UniqueFd> second = LockRunDir(run_dir);
  ASSERT_TRUE(absl::IsAlreadyExists(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(absl::StrCat("process ", getpid())));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(run_dir));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--run-dir"));

  first->Reset();
  EXPECT_TRUE(LockRunDir(run_dir).ok()) << "free once the first is gone";
}

TEST_F(ProcessTest, TheServiceManagerIsNotified) {
  const std::string path = folder_ + "/notify";
  const UniqueFd manager = Bound(SOCK_DGRAM, path);
  setenv("NOTIFY_SOCKET", path.c_str(), /*overwrite=*/1);
  ASSERT_TRUE(NotifyServiceManager("READY=1").ok());
  char text[32] = {};
  ASSERT_EQ(recv(manager.get(), text, sizeof text, 0), 7);
  EXPECT_STREQ(text, "READY=1");
  setenv("NOTIFY_SOCKET", (folder_ + "/none").c_str(), /*overwrite=*/1);
  EXPECT_FALSE(NotifyServiceManager("READY=1").ok());
  unsetenv("NOTIFY_SOCKET");
  EXPECT_TRUE(NotifyServiceManager("READY=1").ok()) << "there is no service manager";
}

TEST_F(ProcessTest, ReadyIsOneNewline) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  ASSERT_TRUE(WriteReady(UniqueFd(ends[1])).ok());
  char text[4];
  EXPECT_EQ(read(reader.get(), text, sizeof text), 1);
  EXPECT_EQ(text[0], '\n');
  EXPECT_EQ(read(reader.get(), text, sizeof text), 0) << "and then the end";
}

TEST_F(ProcessTest, AsManyDescriptorsAsItMayHave) {
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t most = limit.rlim_max;
  limit.rlim_cur = 128;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  RaiseFileLimit();
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, most);
}

TEST_F(ProcessTest, SignalsComeThroughTheDescriptor) {
  const absl::StatusOr<UniqueFd> signals = SignalFd();
  ASSERT_TRUE(signals.ok());
  EXPECT_EQ(NextSignal(*signals), std::nullopt);
  ASSERT_EQ(kill(getpid(), SIGHUP), 0);
  EXPECT_EQ(NextSignal(*signals), SIGHUP);
  EXPECT_EQ(NextSignal(*signals), std::nullopt);
}

void SetListenEnvironment(bool our_pid, const std::string& fds, const std::string& names) {
  setenv("LISTEN_PID", our_pid ? absl::StrCat(getpid()).c_str() : "1", /*overwrite=*/1);
  if (!fds.empty()) setenv("LISTEN_FDS", fds.c_str(), /*overwrite=*/1);
  setenv("LISTEN_FDNAMES", names.c_str(), /*overwrite=*/1);
}

// The descriptor must be number 3, and LISTEN_PID must be that of the process, so each case runs in
// a child of its own. Exit code: 0 none, 1 inherited, 2 refused.
int InheritIn(int type, const std::string& bound_to, const std::string& fds, bool our_pid,
              const std::string& path) {
  const pid_t child = fork();
  if (child == 0) {
    UniqueFd fd(socket(AF_UNIX, type, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, bound_to.data(), bound_to.size());
    if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) _exit(9);
    if (fd.get() != 3) dup2(fd.get(), 3);
    SetListenEnvironment(our_pid, fds, "vxvde-agent.socket");
    absl::StatusOr<InheritedFds> taken = TakeInherited();
    if (!taken.ok()) _exit(2);
    absl::StatusOr<std::optional<UniqueFd>> inherited = InheritedSocket(*std::move(taken), path);
    if (!inherited.ok()) _exit(2);
    if (!inherited->has_value()) _exit(0);
    _exit((*inherited)->get() == 3 && fcntl(3, F_GETFD) == FD_CLOEXEC ? 1 : 9);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  unlink(bound_to.c_str());
  return WEXITSTATUS(status);
}

TEST_F(ProcessTest, TheServiceManagersSocketIsTakenIfItFits) {
  const std::string path = folder_ + "/handoff.sock";
  EXPECT_EQ(InheritIn(SOCK_SEQPACKET, path, "1", true, path), 1);
  EXPECT_EQ(InheritIn(SOCK_SEQPACKET, path, "1", false, path), 0) << "for another process";
  EXPECT_EQ(InheritIn(SOCK_SEQPACKET, path, "", true, path), 0);
  EXPECT_EQ(InheritIn(SOCK_SEQPACKET, path, "2", true, path), 2);
  EXPECT_EQ(InheritIn(SOCK_STREAM, path, "1", true, path), 2);
  EXPECT_EQ(InheritIn(SOCK_SEQPACKET, folder_ + "/other", "1", true, path), 2);
}

// The names and states are those of sd_notify(3) and sd_listen_fds(3), section FDSTORE.
TEST_F(ProcessTest, TheServiceManagerKeepsDescriptorsByName) {
  const std::string path = folder_ + "/notify";
  const UniqueFd manager = Bound(SOCK_DGRAM, path);
  setenv("NOTIFY_SOCKET", path.c_str(), /*overwrite=*/1);
  ASSERT_TRUE(StoreFd("unicast-14790", manager.get()).ok());
  unsetenv("NOTIFY_SOCKET");
  char text[128] = {};
  ASSERT_GT(recv(manager.get(), text, sizeof text, 0), 0);
  EXPECT_STREQ(text, "FDSTOREREMOVE=1\nFDNAME=kept-unicast-14790");
  std::array<uint8_t, 128> buffer = {};
  const absl::StatusOr<UnixMessage> stored = ReceiveUnix(manager, buffer);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(std::string(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(stored->size)),
            "FDSTORE=1\nFDPOLL=0\nFDNAME=kept-unicast-14790");
  ASSERT_EQ(stored->fds.size(), 1u);
  const UniqueFd& passed = stored->fds[0];
  struct stat ours = {};
  struct stat theirs = {};
  ASSERT_EQ(fstat(manager.get(), &ours), 0);
  ASSERT_EQ(fstat(passed.get(), &theirs), 0);
  EXPECT_EQ(ours.st_ino, theirs.st_ino);
}

TEST_F(ProcessTest, WhatWasKeptComesBackBesideTheListener) {
  const std::string path = folder_ + "/handoff.sock";
  const pid_t child = fork();
  if (child == 0) {
    const UniqueFd listener = Bound(SOCK_SEQPACKET, path);
    const UniqueFd kept(open("/dev/null", O_RDONLY));
    if (dup2(listener.get(), 10) != 10 || dup2(kept.get(), 11) != 11) _exit(8);
    if (dup2(10, 3) != 3 || dup2(11, 4) != 4) _exit(8);
    SetListenEnvironment(/*our_pid=*/true, "2", "vxvde-agent.socket:kept-tap-1");
    absl::StatusOr<InheritedFds> taken = TakeInherited();
    if (!taken.ok()) _exit(4);
    InheritedFds inherited = *std::move(taken);
    const std::map<std::string, UniqueFd> found = TakeKept(inherited);
    if (found.size() != 1 || found.begin()->first != "tap-1") _exit(7);
    if (found.begin()->second.get() != 4 || fcntl(4, F_GETFD) != FD_CLOEXEC) _exit(6);
    const absl::StatusOr<std::optional<UniqueFd>> socket =
        InheritedSocket(std::move(inherited), path);
    _exit(socket.ok() && socket->has_value() ? 1 : 5);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

}  // namespace
}  // namespace vxvde
