#include "agent/node/fast_path.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/cloud/testing/fake_fastpath.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FastPathTest : public testing::Test {
 protected:
  struct BegunAnew : FakeFastPath {
    std::string WhyNotInherited() const override { return "another layout of maps"; }
  };

  absl::StatusOr<NodeFastPath> Open(Datapath wanted) {
    return OpenFastPath(wanted,
                        {.open = [this]() -> absl::StatusOr<std::unique_ptr<FastPath>> {
                           calls_.push_back("open");
                           if (!refuse_.ok()) return refuse_;
                           if (begun_anew_) return std::make_unique<BegunAnew>();
                           return std::make_unique<FakeFastPath>();
                         },
                         .remove =
                             [this] {
                               calls_.push_back("remove");
                               return refuse_removal_;
                             }},
                        log_);
  }

  absl::Status refuse_;
  absl::Status refuse_removal_;
  bool begun_anew_ = false;
  std::vector<std::string> calls_;
  std::vector<std::string> lines_;
  const Log log_ = Log([this](LogLevel, const std::string& line) { lines_.push_back(line); });
};

TEST_F(FastPathTest, ItIsUsedWhereTheKernelPermitsIt) {
  for (const Datapath wanted : {Datapath::kAuto, Datapath::kKernel}) {
    calls_.clear();
    lines_.clear();
    const absl::StatusOr<NodeFastPath> opened = Open(wanted);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_NE(opened->fast, nullptr);
    EXPECT_EQ(opened->why_not, "");
    EXPECT_THAT(calls_, ElementsAre("open"));
    EXPECT_THAT(lines_, ElementsAre(HasSubstr("hooks=tcx")));
  }
}

TEST_F(FastPathTest, TheLogSaysThatNothingWasInherited) {
  begun_anew_ = true;
  ASSERT_TRUE(Open(Datapath::kAuto).ok());
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("another layout of maps"), HasSubstr("hooks=tcx")));
}

TEST_F(FastPathTest, AutoFallsBackAndRemovesAnEarlierAgentsPrograms) {
  refuse_ = absl::FailedPreconditionError("the kernel is older than 5.15");
  const absl::StatusOr<NodeFastPath> opened = Open(Datapath::kAuto);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->fast, nullptr);
  EXPECT_EQ(opened->why_not, "the kernel is older than 5.15");
  EXPECT_THAT(calls_, ElementsAre("open", "remove"));
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("fallback=user")));
}

TEST_F(FastPathTest, KernelIsRefusedWithoutIt) {
  refuse_ = absl::FailedPreconditionError("the kernel is older than 5.15");
  const absl::Status status = Open(Datapath::kKernel).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("`datapath: kernel`"), HasSubstr("older than 5.15")));
  EXPECT_THAT(calls_, ElementsAre("open")) << "the programs that forward now may stay";
}

TEST_F(FastPathTest, UserNeverOpensIt) {
  refuse_removal_ = absl::PermissionDeniedError("bpf");
  const absl::StatusOr<NodeFastPath> opened = Open(Datapath::kUser);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->fast, nullptr);
  EXPECT_THAT(opened->why_not, HasSubstr("`datapath: user`"));
  EXPECT_THAT(calls_, ElementsAre("remove"));
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("fast path not removed")));
}

}  // namespace
}  // namespace vxvde
