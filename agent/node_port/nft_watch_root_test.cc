#include <string>
#include <vector>

#include "agent/node_port/nft_watch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class NftWatchTest : public testing::Test {
 protected:
  // Called once for each loop, because a stopped loop cannot run again.
  void RunUntil(const std::function<bool()>& done) {
    const EventLoop::TimerId poll = loop_->Every(std::chrono::milliseconds(5), [&] {
      if (done()) loop_->Stop();
    });
    loop_->Run();
    loop_->Cancel(poll);
  }

  const TestNetNs netns_;
  const std::unique_ptr<EventLoop> loop_ = ValueOrDie(EventLoop::Create());
  std::vector<std::string> lines_;
  const Log log_{[this](LogLevel, const std::string& line) { lines_.push_back(line); }};
  absl::Status refuses_;
  int opened_ = 0;
  int changes_ = 0;
  NftWatch watch_{loop_.get(), &log_,
                  [this]() -> absl::StatusOr<NftMonitor> {
                    ++opened_;
                    if (!refuses_.ok()) return refuses_;
                    absl::StatusOr<NftMonitor> monitor = absl::UnknownError("no thread");
                    netns_.Run([&] { monitor = NftMonitor::Open(); });
                    return monitor;
                  },
                  [this] { ++changes_; }};
};

TEST_F(NftWatchTest, AChangeIsTold) {
  watch_.Start();
  EXPECT_EQ(watch_.problem(), absl::OkStatus());
  EXPECT_EQ(changes_, 0);
  netns_.Shell("nft add table ip theirs");
  RunUntil([&] { return changes_ != 0; });
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(NftWatchTest, AKernelThatRefusesIsAskedAgain) {
  refuses_ = absl::InternalError("Too many open files");
  watch_.Start();
  EXPECT_THAT(std::string(watch_.problem().message()), HasSubstr("Too many open files"));
  bool accepted = false, changed = false;
  RunUntil([&] {
    if (!accepted && opened_ == 2) {
      refuses_ = absl::OkStatus();
      accepted = true;
    }
    if (!changed && changes_ == 1) {  // something may have changed meanwhile
      EXPECT_EQ(watch_.problem(), absl::OkStatus());
      EXPECT_THAT(lines_, ElementsAre(HasSubstr("Too many open files")));
      netns_.Shell("nft add table ip theirs");
      changed = true;
    }
    return changes_ > 1;
  });
}

TEST_F(NftWatchTest, WithoutPermissionThereIsNothingToWatch) {
  refuses_ = absl::PermissionDeniedError("not permitted");
  watch_.Start();
  EXPECT_EQ(watch_.problem(), absl::OkStatus());
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("no nftables")));
}

}  // namespace
}  // namespace vxvde
