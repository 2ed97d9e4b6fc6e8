#include "agent/attach/reconciler.h"

#include <atomic>
#include <string>
#include <thread>

#include "agent/attach/testing/attachments_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

class ReconcilerTest : public AttachmentsTest {
 protected:
  uint64_t looks() { return agent_->attachments.reconciled().looks; }
};

TEST_F(ReconcilerTest, TakesASnapshotAtStartOnAnotherThread) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const auto here = std::this_thread::get_id();
  std::atomic<bool> elsewhere = false;
  Reconciler reconciler(agent_->loop.get(), &agent_->attachments.orphans(), [&](const auto&) {
    elsewhere = std::this_thread::get_id() != here;
    return KernelSnapshot{.links = std::vector<LinkInfo>()};
  });
  kernel_.links.clear();
  reconciler.Start();
  agent_->RunUntil([&] { return agent_->attachments.List().empty(); });
  EXPECT_TRUE(elsewhere);
  EXPECT_EQ(looks(), 1u);
}

TEST_F(ReconcilerTest, RequestsDuringASnapshotGetOneMore) {
  std::atomic<int> calls = 0;
  std::atomic<bool> go = false;
  Reconciler reconciler(agent_->loop.get(), &agent_->attachments.orphans(), [&](const auto&) {
    ++calls;
    go.wait(false);
    return KernelSnapshot{.links = std::vector<LinkInfo>()};
  });
  reconciler.Start();
  for (int i = 0; i < 3; ++i) reconciler.LookNow();
  go = true;
  go.notify_all();
  agent_->RunUntil([&] { return looks() == 2; });
  EXPECT_EQ(calls, 2) << "one for all three requests";
}

TEST_F(ReconcilerTest, ASnapshotAfterTheEndIsDiscarded) {
  std::atomic<bool> go = false;
  {
    Reconciler reconciler(agent_->loop.get(), &agent_->attachments.orphans(), [&](const auto&) {
      go.wait(false);
      return KernelSnapshot{.links = std::vector<LinkInfo>()};
    });
    reconciler.Start();
    go = true;
    go.notify_all();
  }
  bool turned = false;
  agent_->loop->Post([&] { turned = true; });
  agent_->RunUntil([&] { return turned; });
  EXPECT_EQ(looks(), 0u);
}

}  // namespace
}  // namespace vxvde
