#include "plugin/os/fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesWhatItOwnsAndNothingElse) {
  int raw = -1;
  {
    UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(fd);
    raw = fd.get();
    UniqueFd moved = std::move(fd);
    EXPECT_FALSE(fd);
    EXPECT_EQ(moved.get(), raw);
    EXPECT_TRUE(IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(UniqueFd, AssignmentClosesTheOldOneAndReleaseNone) {
  UniqueFd a(open("/dev/null", O_RDONLY | O_CLOEXEC));
  UniqueFd b(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int old = a.get();
  const int kept = b.get();
  a = std::move(b);
  EXPECT_FALSE(IsOpen(old));
  EXPECT_EQ(a.Release(), kept);
  EXPECT_FALSE(a);
  EXPECT_TRUE(IsOpen(kept));
  UniqueFd closer(kept);
}

TEST(ErrnoStatus, SaysWhatWasTriedAndTheKernelsReason) {
  EXPECT_EQ(ErrnoStatus(ENODEV, "get link vx0").message(), "get link vx0: No such device (ENODEV)");
  EXPECT_THAT(ErrnoStatus(99999, "x").ToString(), HasSubstr("99999"));
}

TEST(ErrnoStatus, CodeSaysWhatTheCallerShouldDo) {
  const std::pair<absl::StatusCode, std::vector<int>> table[] = {
      {absl::StatusCode::kResourceExhausted, {EAGAIN, ENOBUFS, ENOMEM}},
      {absl::StatusCode::kNotFound, {ENOENT, ENODEV, ENXIO, ESRCH}},
      {absl::StatusCode::kAlreadyExists, {EEXIST, EADDRINUSE}},
      {absl::StatusCode::kPermissionDenied, {EPERM, EACCES}},
      {absl::StatusCode::kInvalidArgument, {EINVAL}},
      {absl::StatusCode::kUnimplemented, {EOPNOTSUPP, ENOSYS, EPROTONOSUPPORT}},
      {absl::StatusCode::kUnavailable, {ECONNREFUSED, ENETDOWN, ENETUNREACH, EHOSTUNREACH}},
      {absl::StatusCode::kInternal, {EIO, EBADF, 99999}},
  };
  for (const auto& [code, errors] : table) {
    for (const int error : errors) EXPECT_EQ(ErrnoStatus(error, "x").code(), code) << error;
  }
}

}  // namespace
}  // namespace vxvde
