// EventLoop: epoll, timers, and tasks posted by other threads.
//
// Invariants:
//   I1  All but Post, Call and Stop are called on the loop's thread, or before Run.
//   I2  A handler may Unwatch any descriptor, including its own: the handler of an unwatched
//       descriptor does not run any more, not even in the same turn.
//   I3  Tasks posted before Stop() run before Run() returns.
//
// A timer or posted task that uses an object with a shorter life belongs to a Timer or TaskScope
// (task_scope.h).

#ifndef VXVDE_PLUGIN_OS_EVENT_LOOP_H_
#define VXVDE_PLUGIN_OS_EVENT_LOOP_H_

#include <atomic>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/time.h"
#include "plugin/os/fd.h"
#include "plugin/os/mutex.h"

namespace vxvde {

class EventLoop {
 public:
  using Handler = std::function<void(uint32_t events)>;  // EPOLLIN ...
  using Task = std::function<void()>;
  enum class TimerId : uint64_t {};

  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // The time at which this turn began.
  Instant now() const { return now_; }

  // I1: the calling thread runs the loop, or no thread does. CheckOnLoop aborts a debug build
  // otherwise.
  bool IsCurrent() const;
  void CheckOnLoop() const { assert(IsCurrent()); }

  // Level-triggered. AlreadyExists: the descriptor has a handler already. The caller keeps `fd`,
  // and unwatches it before it closes it.
  absl::Status Watch(int fd, uint32_t events, Handler handler);
  void Unwatch(int fd);

  TimerId After(Duration delay, Task task);
  TimerId Every(Duration period, Task task);
  void Cancel(TimerId timer);

  // From any thread: `task` runs on the loop soon, in the order of posting. A loop that has ended
  // discards it.
  void Post(Task task);

  // From any other thread: runs `function` on the loop and returns its result, which is not void.
  // DeadlineExceeded: the loop is late; the function still runs, and its result is discarded.
  // Unavailable: the loop has ended.
  template <typename Function, typename Result = std::invoke_result_t<Function>>
  absl::StatusOr<Result> Call(Function function, std::chrono::nanoseconds timeout);

  void Run();
  // From any thread, and before Run as well.
  void Stop();

 private:
  struct Timer {
    TimerId id;
    Duration period;  // zero: once
    std::shared_ptr<Task> task;
  };

  EventLoop() = default;
  TimerId AddTimer(Duration delay, Duration period, Task task);
  bool Enqueue(Task task);  // false: the loop has ended
  void Wake();
  bool RunPosted();  // true: the loop has ended
  void RunTimers();
  int EpollTimeoutMs();

  UniqueFd epoll_;
  UniqueFd wakeup_;  // an eventfd
  Instant now_ = Clock::now();
  std::atomic<std::thread::id> runner_{};  // unset while Run() does not run
  // epoll reports the generation of a Watch() instead of a descriptor, whose number may have been
  // closed and reused since.
  uint64_t generation_ = 0;
  std::unordered_map<int, uint64_t> generation_of_;
  std::unordered_map<uint64_t, std::shared_ptr<Handler>> handlers_;
  std::multimap<Instant, Timer> timers_;
  uint64_t next_timer_ = 1;

  Mutex mutex_;
  std::deque<Task> posted_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Run has returned, and no task runs any more.
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

template <typename Function, typename Result>
absl::StatusOr<Result> EventLoop::Call(Function function, std::chrono::nanoseconds timeout) {
  auto promise = std::make_shared<std::promise<Result>>();
  std::future<Result> future = promise->get_future();
  if (!Enqueue([promise, function = std::move(function)]() mutable {
        promise->set_value(function());
      })) {
    return absl::UnavailableError("the event loop has ended");
  }
  if (future.wait_for(timeout) != std::future_status::ready) {
    return absl::DeadlineExceededError("the event loop did not answer in time");
  }
  return future.get();
}

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_EVENT_LOOP_H_
