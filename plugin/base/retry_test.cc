#include "plugin/base/retry.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

TEST(RetryOnce, ASuccessIsNotRepeated) {
  int calls = 0;
  const absl::StatusOr<int> result = RetryOnce([&] { return absl::StatusOr<int>(++calls); });
  EXPECT_EQ(*result, 1);
}

TEST(RetryOnce, AFailureIsRetriedOnce) {
  int calls = 0;
  EXPECT_TRUE(RetryOnce([&] {
                return ++calls == 1 ? absl::InternalError("first") : absl::OkStatus();
              }).ok());
  EXPECT_EQ(calls, 2);
}

TEST(RetryOnce, TheSecondFailureIsTheResult) {
  int calls = 0;
  const absl::Status status = RetryOnce(
      [&] { return ++calls == 1 ? absl::InternalError("first") : absl::NotFoundError("second"); });
  EXPECT_EQ(status, absl::NotFoundError("second"));
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace vxvde
