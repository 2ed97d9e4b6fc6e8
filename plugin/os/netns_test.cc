#include "plugin/os/netns.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

TEST(OpenNetNs, AMissingPathIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(OpenNetNs("/nonexistent/netns").status()));
  EXPECT_TRUE(absl::IsNotFound(OpenNetNs("/dev/null/netns").status()));
}

TEST(OpenNetNs, AnotherFileIsAnInvalidArgument) {
  EXPECT_TRUE(absl::IsInvalidArgument(OpenNetNs("/dev/null").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenNetNs("/proc/self/ns/mnt").status()));
}

TEST(OpenNetNs, AFifoDoesNotHoldUs) {
  const std::string path = absl::StrCat(::testing::TempDir(), "netns_test_fifo_", getpid());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(OpenNetNs(path).status()));
  unlink(path.c_str());
}

TEST(SameNetNs, ComparesNamespacesAndNotDescriptors) {
  const TestNetNs other;
  const UniqueFd mine = ValueOrDie(CurrentNetNs());
  const UniqueFd again = ValueOrDie(OpenNetNs("/proc/self/ns/net"));
  const UniqueFd by_path = ValueOrDie(OpenNetNs(other.path()));
  EXPECT_TRUE(*SameNetNs(mine, again));
  EXPECT_FALSE(*SameNetNs(mine, other.fd()));
  EXPECT_TRUE(*SameNetNs(by_path, other.fd()));
}

TEST(RunInNetNs, RunsInsideAndLeavesTheCallerWhereItIs) {
  const TestNetNs other;
  const UniqueFd before = ValueOrDie(CurrentNetNs());
  UniqueFd inside;
  std::thread::id thread;
  EXPECT_TRUE(RunInNetNs(other.fd(), [&] {
                inside = ValueOrDie(CurrentNetNs());
                thread = std::this_thread::get_id();
                return absl::OkStatus();
              }).ok());
  EXPECT_TRUE(*SameNetNs(inside, other.fd()));
  EXPECT_NE(thread, std::this_thread::get_id());
  EXPECT_TRUE(*SameNetNs(before, ValueOrDie(CurrentNetNs())));
}

TEST(RunInNetNs, HandsOnTheStatus) {
  const TestNetNs other;
  EXPECT_EQ(RunInNetNs(other.fd(), [] { return absl::DataLossError("that"); }),
            absl::DataLossError("that"));
  const UniqueFd no_namespace(open("/dev/null", O_RDONLY | O_CLOEXEC));
  bool ran = false;
  EXPECT_FALSE(RunInNetNs(no_namespace, [&] {
                 ran = true;
                 return absl::OkStatus();
               }).ok());
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace vxvde
