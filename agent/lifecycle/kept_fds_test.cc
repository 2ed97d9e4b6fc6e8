#include "agent/lifecycle/kept_fds.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/kernel/kept_io.h"
#include "agent/lifecycle/holder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// A pipe with both ends: a message written to one is readable wherever the other one is.
struct Pipe {
  Pipe() {
    std::array<int, 2> ends;
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    reader = UniqueFd(ends[0]);
    writer = UniqueFd(ends[1]);
  }
  UniqueFd reader;
  UniqueFd writer;
};

std::string Read(const UniqueFd& fd) {
  std::array<char, 64> text;
  const ssize_t size = read(fd.get(), text.data(), text.size());
  return size < 0 ? "" : std::string(text.data(), static_cast<size_t>(size));
}

// ---------------------------------------------------------------- KeptFds

class KeptFdsTest : public testing::Test {
 protected:
  FdKeeper Keeper(std::map<std::string, UniqueFd> found = {}) {
    return {.what = "test",
            .found = std::move(found),
            .keep =
                [this](const std::string& name, int fd) {
                  asked_.push_back(absl::StrCat("keep ", name, " ", fd >= 0 ? "fd" : "none"));
                  return Answer();
                },
            .drop =
                [this](const std::string& name) {
                  asked_.push_back(absl::StrCat("drop ", name));
                  return Answer();
                }};
  }

  absl::Status Answer() {
    if (answers_.empty()) return answer_;
    const absl::Status first = answers_.front();
    answers_.erase(answers_.begin());
    return first;
  }

  std::vector<std::string> asked_;
  std::vector<std::string> lines_;
  std::vector<absl::Status> answers_;  // the first answers
  absl::Status answer_ = absl::OkStatus();
  Log log_{[this](LogLevel, const std::string& line) { lines_.push_back(line); }};
  Pipe pipe_;
};

TEST_F(KeptFdsTest, IsToldOfWhatIsNewAndOfWhatEnds) {
  KeptFds kept(Keeper(), &log_);
  { const KeptFd one(&kept, "tap-1", pipe_.reader.get()); }
  EXPECT_THAT(asked_, ElementsAre("keep tap-1 fd", "drop tap-1"));
}

TEST_F(KeptFdsTest, WhatWasTakenAndIsUsedStaysWhereItIs) {
  std::map<std::string, UniqueFd> found;
  found["unicast-1"] = UniqueFd(dup(pipe_.reader.get()));
  found["port-7"] = UniqueFd(dup(pipe_.reader.get()));
  KeptFds kept(Keeper(std::move(found)), &log_);
  const UniqueFd taken = kept.Take("unicast-1");
  ASSERT_TRUE(taken);
  EXPECT_FALSE(kept.Take("unicast-1")) << "once";
  EXPECT_FALSE(kept.Take("other"));
  {
    const KeptFd one(&kept, "unicast-1", taken.get());
    EXPECT_THAT(asked_, IsEmpty());
    EXPECT_EQ(kept.DropUnused(), 1u);
    EXPECT_THAT(asked_, ElementsAre("drop port-7"));
  }
  EXPECT_THAT(asked_, ElementsAre("drop port-7", "drop unicast-1"));
}

TEST_F(KeptFdsTest, WhatWasTakenForNothingIsDropped) {
  std::map<std::string, UniqueFd> found;
  found["tap-1"] = UniqueFd(dup(pipe_.reader.get()));
  found["tap-2"] = UniqueFd(dup(pipe_.reader.get()));
  KeptFds kept(Keeper(std::move(found)), &log_);
  { const UniqueFd taken = kept.Take("tap-1"); }
  kept.Forget("tap-2");
  EXPECT_THAT(asked_, ElementsAre("drop tap-2"));
  EXPECT_EQ(kept.DropUnused(), 1u);
  EXPECT_THAT(asked_, ElementsAre("drop tap-2", "drop tap-1"));
}

TEST_F(KeptFdsTest, WhatWasTakenIsTriedTwice) {
  int tries = 0;
  const auto adopt = [&](UniqueFd fd) -> absl::StatusOr<UniqueFd> {
    ++tries;
    if (const absl::Status status = Answer(); !status.ok()) return status;
    return fd;
  };
  ASSERT_EQ(write(pipe_.writer.get(), "waits", 5), 5);
  answers_ = {absl::InternalError("for a moment")};
  const absl::StatusOr<UniqueFd> adopted = AdoptKept(UniqueFd(dup(pipe_.reader.get())), adopt);
  ASSERT_TRUE(adopted.ok()) << adopted.status();
  EXPECT_EQ(Read(*adopted), "waits");
  EXPECT_EQ(tries, 2);

  answer_ = absl::InternalError("for good");
  EXPECT_FALSE(AdoptKept(UniqueFd(dup(pipe_.reader.get())), adopt).ok());
  EXPECT_EQ(tries, 4);
}

// A background thread may close a port after the next one of that name was opened.
TEST_F(KeptFdsTest, AnEarlierOnesEndLeavesTheLaterOneAlone) {
  KeptFds kept(Keeper(), &log_);
  std::optional<KeptFd> first;
  first.emplace(&kept, "tap-1", pipe_.reader.get());
  const KeptFd second(&kept, "tap-1", pipe_.writer.get());
  first.reset();
  EXPECT_THAT(asked_, ElementsAre("keep tap-1 fd", "keep tap-1 fd"));
}

TEST_F(KeptFdsTest, OnceSealedNothingIsDropped) {
  KeptFds kept(Keeper(), &log_);
  {
    const KeptFd one(&kept, "tap-1", pipe_.reader.get());
    kept.Seal();
  }
  EXPECT_THAT(asked_, ElementsAre("keep tap-1 fd"));
}

TEST_F(KeptFdsTest, AKeeperThatFailsIsReportedOnceAndLeftAlone) {
  KeptFds kept(Keeper(), &log_);
  answer_ = absl::UnavailableError("gone");
  const KeptFd one(&kept, "tap-1", pipe_.reader.get());
  const KeptFd two(&kept, "tap-2", pipe_.reader.get());
  EXPECT_EQ(asked_.size(), 2u) << "twice, and no more";
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0], testing::HasSubstr("descriptors not kept"));
}

// Otherwise it would hold the port of a cloud that was left.
TEST_F(KeptFdsTest, AKeeperThatFailsOnceIsAskedAgain) {
  KeptFds kept(Keeper(), &log_);
  answers_ = {absl::ResourceExhaustedError("no buffer")};
  { const KeptFd one(&kept, "tap-1", pipe_.reader.get()); }
  EXPECT_THAT(asked_, ElementsAre("keep tap-1 fd", "keep tap-1 fd", "drop tap-1"));
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(KeptFdsTest, WithoutAKeeperNothingHappens) {
  KeptFds kept({.what = "nobody"}, &log_);
  const KeptFd one(&kept, "tap-1", pipe_.reader.get());
  EXPECT_EQ(kept.DropUnused(), 0u);
  EXPECT_THAT(lines_, IsEmpty());
}

// ---------------------------------------------------------------- the holder

class HolderTest : public testing::Test {
 protected:
  HolderTest() {
    std::string pattern = "/tmp/holder.XXXXXX";  // the path of a socket must be short
    folder_ = mkdtemp(pattern.data());
  }
  ~HolderTest() override { RemoveFolder(); }

  // An ending holder removes its socket meanwhile.
  void RemoveFolder() {
    std::error_code error;
    do {
      std::filesystem::remove_all(folder_, error);
    } while (error == std::errc::no_such_file_or_directory && std::filesystem::exists(folder_));
  }

  FdKeeper Open(seconds patience = kHolderPatience) {
    absl::StatusOr<FdKeeper> keeper = OpenHolder(folder_, patience);
    EXPECT_TRUE(keeper.ok()) << keeper.status();
    return keeper.ok() ? *std::move(keeper) : FdKeeper{};
  }
  static std::set<std::string> Names(const FdKeeper& keeper) {
    std::set<std::string> names;
    for (const auto& [name, fd] : keeper.found) names.insert(name);
    return names;
  }
  pid_t Holder() const {
    const UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = folder_ + "/hold.sock";
    std::memcpy(address.sun_path, path.data(), path.size());
    ucred peer{};
    socklen_t size = sizeof peer;
    if (connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
      return 0;
    }
    return peer.pid;
  }
  static bool Lives(pid_t process) { return kill(process, 0) == 0; }

  std::string folder_;
};

TEST_F(HolderTest, WhatAnAgentHadTheNextOneGets) {
  Pipe pipe;
  {
    const FdKeeper agent = Open();
    EXPECT_THAT(Names(agent), IsEmpty());
    ASSERT_TRUE(agent.keep("unicast-14790", pipe.reader.get()).ok());
    ASSERT_TRUE(agent.keep("tap-1", pipe.reader.get()).ok());
    ASSERT_TRUE(agent.drop("tap-1").ok());
    pipe.reader.Reset();
  }
  // Without an agent it can be written to, and its content waits.
  ASSERT_EQ(write(pipe.writer.get(), "frame", 5), 5);
  const FdKeeper agent = Open();
  ASSERT_THAT(Names(agent), UnorderedElementsAre("unicast-14790"));
  EXPECT_EQ(Read(agent.found.at("unicast-14790")), "frame");
  EXPECT_EQ(fcntl(agent.found.at("unicast-14790").get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(HolderTest, ANameHasOneDescriptor) {
  Pipe first;
  Pipe second;
  {
    const FdKeeper agent = Open();
    ASSERT_TRUE(agent.keep("port-7", first.reader.get()).ok());
    ASSERT_TRUE(agent.keep("port-7", second.reader.get()).ok());
  }
  ASSERT_EQ(write(second.writer.get(), "b", 1), 1);
  const FdKeeper agent = Open();
  ASSERT_EQ(agent.found.size(), 1u);
  EXPECT_EQ(Read(agent.found.at("port-7")), "b");
}

TEST_F(HolderTest, HoldsNothingElseOfItsAgent) {
  Pipe pipe;
  const FdKeeper agent = Open();
  pipe.writer.Reset();
  std::array<char, 1> byte;
  EXPECT_EQ(read(pipe.reader.get(), byte.data(), 1), 0) << "the end: it has no copy of the other";
}

TEST_F(HolderTest, IsInASessionOfItsOwn) {
  const FdKeeper agent = Open();
  const pid_t holder = Holder();
  ASSERT_GT(holder, 0);
  EXPECT_NE(getsid(holder), getsid(0));
  EXPECT_NE(getpgid(holder), getpgid(0));
}

TEST_F(HolderTest, EndsWithNothingToHold) {
  pid_t holder;
  {
    const FdKeeper agent = Open();
    holder = Holder();
    ASSERT_TRUE(Lives(holder));
  }
  EXPECT_TRUE(WaitFor([&] { return !Lives(holder); }));
  EXPECT_TRUE(WaitFor([&] { return !std::filesystem::exists(folder_ + "/hold.sock"); }));
}

TEST_F(HolderTest, EndsWhenItsRunDirIsGone) {
  Pipe pipe;
  const FdKeeper agent = Open();
  ASSERT_TRUE(agent.keep("tap-1", pipe.reader.get()).ok());
  const pid_t holder = Holder();
  RemoveFolder();
  EXPECT_TRUE(WaitFor([&] { return !Lives(holder); }));
}

TEST_F(HolderTest, EndsWhenNobodyComesBack) {
  Pipe pipe;
  pid_t holder;
  {
    const FdKeeper agent = Open(seconds(1));
    ASSERT_TRUE(agent.keep("tap-1", pipe.reader.get()).ok());
    holder = Holder();
  }
  EXPECT_TRUE(WaitFor([&] { return !Lives(holder); }));
  EXPECT_THAT(Names(Open()), IsEmpty());
}

TEST_F(HolderTest, OneThatWasKilledIsReplaced) {
  Pipe pipe;
  const FdKeeper before = Open();
  ASSERT_TRUE(before.keep("tap-1", pipe.reader.get()).ok());
  ASSERT_EQ(kill(Holder(), SIGKILL), 0);
  EXPECT_TRUE(WaitFor([&] { return !before.keep("tap-2", pipe.reader.get()).ok(); }));
  EXPECT_THAT(Names(Open()), IsEmpty());
}

// Another program that listens there may hold ports and taps until it ends.
TEST_F(HolderTest, OneThatDoesNotAnswerAsItShouldIsKilled) {
  std::array<int, 2> ends;
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd ready(ends[0]);
  const pid_t stranger = fork();
  if (stranger == 0) {
    const int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = folder_ + "/hold.sock";
    std::memcpy(address.sun_path, path.data(), path.size());
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) _exit(1);
    listen(listener, 1);
    (void)!write(ends[1], "\n", 1);
    const int agent = accept(listener, nullptr, nullptr);
    (void)!write(agent, "E99", 3);
    pause();
    _exit(0);
  }
  close(ends[1]);
  char word;
  ASSERT_EQ(read(ready.get(), &word, 1), 1);
  const FdKeeper agent = Open();
  EXPECT_THAT(Names(agent), IsEmpty());
  int status = 0;
  EXPECT_EQ(waitpid(stranger, &status, 0), stranger);
  EXPECT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_NE(Holder(), 0);
}

}  // namespace
}  // namespace vxvde
