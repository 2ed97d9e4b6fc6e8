#include "plugin/os/task_scope.h"

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::std::chrono::milliseconds;
using ::testing::ElementsAre;

class TaskScopeTest : public ::testing::Test {
 protected:
  // Runs the tasks that are due or posted now, and the timers of the next milliseconds.
  void Run() {
    loop->After(milliseconds(20), [&] { loop->Stop(); });
    loop->Run();
  }

  std::unique_ptr<EventLoop> loop = *EventLoop::Create();
  std::vector<int> ran;
};

TEST_F(TaskScopeTest, ATimerRunsOnceAndIsNoLongerPending) {
  Timer timer(loop.get());
  EXPECT_FALSE(timer.pending());
  timer.After(milliseconds(1), [&] { ran.push_back(timer.pending() ? 1 : 0); });
  EXPECT_TRUE(timer.pending());
  Run();
  EXPECT_THAT(ran, ElementsAre(0));
}

TEST_F(TaskScopeTest, ATimerThatIsSetAgainReplacesTheFirstTask) {
  Timer timer(loop.get());
  timer.After(milliseconds(1), [&] { ran.push_back(1); });
  timer.After(milliseconds(1), [&] {
    ran.push_back(2);
    timer.After(milliseconds(1), [&] { ran.push_back(3); });
  });
  Run();
  EXPECT_THAT(ran, ElementsAre(2, 3));
  EXPECT_FALSE(timer.pending());
}

TEST_F(TaskScopeTest, ACancelledTimerDoesNotRun) {
  Timer timer(loop.get());
  timer.After(milliseconds(1), [&] { ran.push_back(1); });
  timer.Cancel();
  timer.Cancel();
  EXPECT_FALSE(timer.pending());
  Run();
  EXPECT_THAT(ran, ElementsAre());
}

TEST_F(TaskScopeTest, ATimerEndsWithItsOwner) {
  {
    Timer once(loop.get());
    Timer always(loop.get());
    once.After(milliseconds(1), [&] { ran.push_back(1); });
    always.Every(milliseconds(1), [&] { ran.push_back(2); });
  }
  Run();
  EXPECT_THAT(ran, ElementsAre());
}

TEST_F(TaskScopeTest, ATaskMayDestroyItsTimer) {
  auto timer = std::make_unique<Timer>(loop.get());
  const auto life = std::make_shared<int>(1);
  timer->After(milliseconds(1), [&, life] {
    timer.reset();
    ran.push_back(*life);
  });
  Run();
  EXPECT_THAT(ran, ElementsAre(1));
  EXPECT_EQ(life.use_count(), 1);
}

TEST_F(TaskScopeTest, APeriodicTaskRunsUntilItIsCancelled) {
  Timer timer(loop.get());
  timer.Every(milliseconds(1), [&] {
    ran.push_back(1);
    if (ran.size() == 3) {
      timer.Cancel();
      loop->Stop();
    }
  });
  loop->Run();
  EXPECT_THAT(ran, ElementsAre(1, 1, 1));
}

TEST_F(TaskScopeTest, TasksRunInTheOrderOfPosting) {
  TaskScope scope(loop.get());
  scope.Post([&] { ran.push_back(1); });
  std::thread([&] { scope.Post([&] { ran.push_back(2); }); }).join();
  EXPECT_THAT(ran, ElementsAre()) << "not in the call";
  loop->Stop();
  loop->Run();
  EXPECT_THAT(ran, ElementsAre(1, 2));
}

TEST_F(TaskScopeTest, NoTaskRunsAfterTheEndOfItsScope) {
  std::optional<TaskScope> scope(loop.get());
  scope->Post([&] {
    ran.push_back(1);
    scope.reset();
  });
  scope->Post([&] { ran.push_back(2); });
  loop->Stop();
  loop->Run();
  EXPECT_THAT(ran, ElementsAre(1));
}

}  // namespace
}  // namespace vxvde
