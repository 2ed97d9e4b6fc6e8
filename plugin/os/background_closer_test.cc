#include "plugin/os/background_closer.h"

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "gtest/gtest.h"

namespace vxvde {
namespace {

TEST(BackgroundCloser, ATaskRunsAndEndsOnAnotherThread) {
  const std::unique_ptr<BackgroundCloser> closer = *BackgroundCloser::Start();
  struct Port {
    ~Port() { closed.set_value(std::this_thread::get_id()); }
    std::promise<std::thread::id> closed;
  };
  auto port = std::make_unique<Port>();
  std::future<std::thread::id> closed = port->closed.get_future();
  std::promise<std::thread::id> ran;
  closer->CloseLater([&ran, port = std::move(port)] { ran.set_value(std::this_thread::get_id()); });
  const std::thread::id thread = ran.get_future().get();
  EXPECT_EQ(closed.get(), thread);
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(BackgroundCloser, ATaskThatWaitsDoesNotHoldOthersUp) {
  const std::unique_ptr<BackgroundCloser> closer = *BackgroundCloser::Start();
  std::promise<void> go;
  std::promise<void> second;
  closer->CloseLater([&] { go.get_future().wait(); });
  closer->CloseLater([&] { second.set_value(); });
  second.get_future().wait();
  go.set_value();
}

TEST(BackgroundCloser, WaitCompletesAllTasks) {
  const std::unique_ptr<BackgroundCloser> closer = *BackgroundCloser::Start();
  std::atomic<int> count = 0;
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < 100; ++i) closer->CloseLater([&] { ++count; });
    closer->Wait();
    EXPECT_EQ(count, 100 * round);
  }
}

TEST(BackgroundCloser, ItsEndCompletesAllTasks) {
  std::atomic<int> count = 0;
  {
    const std::unique_ptr<BackgroundCloser> closer = *BackgroundCloser::Start();
    for (int i = 0; i < 100; ++i) closer->CloseLater([&] { ++count; });
  }
  EXPECT_EQ(count, 100);
}

}  // namespace
}  // namespace vxvde
