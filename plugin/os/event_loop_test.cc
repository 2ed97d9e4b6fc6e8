#include "plugin/os/event_loop.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::std::chrono::milliseconds;
using ::std::chrono::seconds;
using ::testing::ElementsAre;

struct Pipe {
  Pipe() {
    std::array<int, 2> fds;
    EXPECT_EQ(pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK), 0);
    read_end.Reset(fds[0]);
    write_end.Reset(fds[1]);
  }
  void Fill() const { EXPECT_EQ(write(write_end.get(), "x", 1), 1); }
  void Empty() const {
    char byte;
    EXPECT_EQ(read(read_end.get(), &byte, 1), 1);
  }
  UniqueFd read_end;
  UniqueFd write_end;
};

class EventLoopTest : public ::testing::Test {
 protected:
  EventLoopTest() : loop(*EventLoop::Create()) {}
  std::unique_ptr<EventLoop> loop;
};

TEST_F(EventLoopTest, CallsTheHandlerForAsLongAsThereIsSomethingToRead) {
  const Pipe pipe;
  pipe.Fill();
  pipe.Fill();
  int calls = 0;
  ASSERT_TRUE(loop->Watch(pipe.read_end.get(), EPOLLIN,
                          [&](uint32_t events) {
                            EXPECT_EQ(events, uint32_t{EPOLLIN});
                            pipe.Empty();
                            if (++calls == 2) loop->Stop();
                          })
                  .ok());
  loop->Run();
  EXPECT_EQ(calls, 2);
}

TEST_F(EventLoopTest, ASecondHandlerForOneDescriptorIsRefused) {
  const Pipe pipe;
  ASSERT_TRUE(loop->Watch(pipe.read_end.get(), EPOLLIN, [](uint32_t) {}).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(loop->Watch(pipe.read_end.get(), EPOLLIN, [](uint32_t) {})));
  loop->Unwatch(pipe.read_end.get());
  EXPECT_TRUE(loop->Watch(pipe.read_end.get(), EPOLLIN, [](uint32_t) {}).ok());
}

TEST_F(EventLoopTest, ADescriptorThatCannotBeWatchedIsAnError) {
  EXPECT_FALSE(loop->Watch(-1, EPOLLIN, [](uint32_t) {}).ok());
  loop->Unwatch(-1);  // and this descriptor is not
}

// I2: both are ready in one turn; the first one unwatches the other.
TEST_F(EventLoopTest, NoHandlerOfAnUnwatchedDescriptorRunsNotEvenInTheSameTurn) {
  const Pipe a;
  const Pipe b;
  a.Fill();
  b.Fill();
  int calls = 0;
  for (const Pipe* pipe : {&a, &b}) {
    ASSERT_TRUE(loop->Watch(pipe->read_end.get(), EPOLLIN,
                            [&](uint32_t) {
                              ++calls;
                              loop->Unwatch(a.read_end.get());
                              loop->Unwatch(b.read_end.get());
                              loop->After(Duration::zero(), [&] { loop->Stop(); });
                            })
                    .ok());
  }
  loop->Run();
  EXPECT_EQ(calls, 1);
}

// The number of a descriptor that was closed in this turn is reused in this turn.
TEST_F(EventLoopTest, AnEventOfAnOldDescriptorIsNotTheNewOnes) {
  Pipe a;
  Pipe b;
  a.Fill();
  b.Fill();
  std::vector<std::string> calls;
  Pipe fresh;  // never readable
  const auto replace = [&](Pipe& other) {
    return [&](uint32_t) {
      calls.push_back("first");
      const int number = other.read_end.get();
      loop->Unwatch(number);
      ASSERT_EQ(dup3(fresh.read_end.get(), number, O_CLOEXEC), number);
      ASSERT_TRUE(loop->Watch(number, EPOLLIN, [&](uint32_t) { calls.push_back("stale"); }).ok());
      for (const Pipe* pipe : {&a, &b}) {
        if (pipe != &other) loop->Unwatch(pipe->read_end.get());
      }
      loop->After(Duration::zero(), [&] { loop->Stop(); });
    };
  };
  ASSERT_TRUE(loop->Watch(a.read_end.get(), EPOLLIN, replace(b)).ok());
  ASSERT_TRUE(loop->Watch(b.read_end.get(), EPOLLIN, replace(a)).ok());
  loop->Run();
  EXPECT_THAT(calls, ElementsAre("first"));
}

TEST_F(EventLoopTest, AHandlerMayWatchItsOwnDescriptorAnew) {
  const Pipe pipe;
  pipe.Fill();
  std::vector<int> calls;
  // Its captures must outlive the Unwatch: asan checks accesses to the vector.
  ASSERT_TRUE(loop->Watch(pipe.read_end.get(), EPOLLIN,
                          [&, big = std::string(100, 'x')](uint32_t) {
                            loop->Unwatch(pipe.read_end.get());
                            ASSERT_TRUE(loop->Watch(pipe.read_end.get(), EPOLLIN,
                                                    [&](uint32_t) {
                                                      calls.push_back(2);
                                                      loop->Stop();
                                                    })
                                            .ok());
                            calls.push_back(big.size() == 100 ? 1 : 0);
                          })
                  .ok());
  loop->Run();
  EXPECT_THAT(calls, ElementsAre(1, 2));
}

TEST_F(EventLoopTest, TimersRunInTheOrderOfTheirTimes) {
  std::vector<int> order;
  loop->After(milliseconds(20), [&] {
    order.push_back(3);
    loop->Stop();
  });
  loop->After(milliseconds(10), [&] { order.push_back(2); });
  loop->After(milliseconds(0), [&] { order.push_back(1); });
  const Instant start = Clock::now();
  loop->Run();
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
  EXPECT_GE(Clock::now() - start, milliseconds(20));
}

TEST_F(EventLoopTest, APeriodicTimerBeatsUntilItCancelsItself) {
  int beats = 0;
  EventLoop::TimerId timer{};
  timer = loop->Every(milliseconds(1), [&] {
    if (++beats < 3) return;
    loop->Cancel(timer);
    loop->After(milliseconds(5), [&] { loop->Stop(); });
  });
  loop->Run();
  EXPECT_EQ(beats, 3);
}

TEST_F(EventLoopTest, MissedBeatsAreNotMadeUpFor) {
  std::vector<Instant> beats;
  loop->Every(milliseconds(50), [&] {
    beats.push_back(Clock::now());
    if (beats.size() == 1) {
      while (Clock::now() < beats[0] + milliseconds(170)) std::this_thread::yield();
    }
    if (beats.size() == 3) loop->Stop();
  });
  loop->Run();
  // If the three missed periods were made up for, the third beat would follow the second at once.
  EXPECT_GE(beats[2] - beats[1], milliseconds(40));
}

TEST_F(EventLoopTest, ACancelledTimerOfTheSameTurnDoesNotRun) {
  EventLoop::TimerId second{};
  bool ran = false;
  loop->After(Duration::zero(), [&] {
    loop->Cancel(second);
    loop->After(milliseconds(2), [&] { loop->Stop(); });
  });
  second = loop->After(Duration::zero(), [&] { ran = true; });
  loop->Run();
  EXPECT_FALSE(ran);
}

TEST_F(EventLoopTest, ATimerThatArmsItselfLetsDescriptorsHaveTheirTurn) {
  const Pipe pipe;
  bool stopped = false;
  std::function<void()> again = [&] {
    if (!stopped) loop->After(Duration::zero(), again);
  };
  again();
  pipe.Fill();
  ASSERT_TRUE(loop->Watch(pipe.read_end.get(), EPOLLIN,
                          [&](uint32_t) {
                            stopped = true;
                            loop->Stop();
                          })
                  .ok());
  loop->Run();
  EXPECT_TRUE(stopped);
}

// I3, and posting order.
TEST_F(EventLoopTest, WhatWasPostedBeforeStopRunsBeforeRunReturns) {
  std::vector<int> order;
  loop->Post([&] {
    order.push_back(1);
    loop->Post([&] { order.push_back(3); });
  });
  loop->Post([&] { order.push_back(2); });
  loop->Stop();
  loop->Run();
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
  loop->Post([&] { order.push_back(4); });
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

class EventLoopThreadTest : public EventLoopTest {
 protected:
  EventLoopThreadTest() : thread([this] { loop->Run(); }) {}
  ~EventLoopThreadTest() override { End(); }
  void End() {
    loop->Stop();
    if (thread.joinable()) thread.join();
  }
  std::thread thread;
};

TEST_F(EventLoopThreadTest, CallReturnsWhatTheLoopComputed) {
  const auto answer = loop->Call([] { return std::this_thread::get_id(); }, seconds(10));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer, thread.get_id());
}

TEST_F(EventLoopThreadTest, CallOfALateLoopIsDeadlineExceededAndStillHappens) {
  std::promise<void> release;
  std::promise<void> happened;
  loop->Post([&] { release.get_future().wait(); });
  const auto answer = loop->Call(
      [&] {
        happened.set_value();
        return 1;
      },
      milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(answer.status())) << answer.status();
  release.set_value();
  EXPECT_EQ(happened.get_future().wait_for(seconds(10)), std::future_status::ready);
}

TEST_F(EventLoopThreadTest, CallAfterTheEndIsUnavailableAtOnce) {
  End();
  EXPECT_TRUE(absl::IsUnavailable(loop->Call([] { return 1; }, seconds(3600)).status()));
}

TEST_F(EventLoopThreadTest, CallsThatRaceWithStopAreAnsweredOrRefused) {
  std::atomic<int> answered = 0;
  std::atomic<int> other = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      while (true) {
        const auto answer = loop->Call([] { return 7; }, seconds(3600));
        if (absl::IsUnavailable(answer.status())) return;
        ++(answer.ok() && *answer == 7 ? answered : other);
      }
    });
  }
  while (answered < 100) std::this_thread::yield();
  End();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(other, 0);
}

}  // namespace
}  // namespace vxvde
