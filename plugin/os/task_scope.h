// Timer and TaskScope: a timer and posted tasks of an event loop that end with their owner, which
// keeps them as members. Neither runs after its end, so a task may use its owner.
//
// Both are used and destroyed on the loop's thread, or while the loop does not run.

#ifndef VXVDE_PLUGIN_OS_TASK_SCOPE_H_
#define VXVDE_PLUGIN_OS_TASK_SCOPE_H_

#include <memory>
#include <optional>
#include <utility>

#include "plugin/base/time.h"
#include "plugin/os/event_loop.h"

namespace vxvde {

class Timer {
 public:
  // `loop` outlives it.
  explicit Timer(EventLoop* loop) : loop_(loop) {}
  ~Timer() { Cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Runs `task` once. Replaces a previous task. The task may set or destroy the timer.
  void After(Duration delay, EventLoop::Task task) {
    Cancel();
    id_ = loop_->After(delay, [this, task = std::move(task)] {
      id_.reset();
      task();
    });
  }
  // Runs `task` periodically.
  void Every(Duration period, EventLoop::Task task) {
    Cancel();
    id_ = loop_->Every(period, std::move(task));
  }
  void Cancel() {
    if (const auto id = std::exchange(id_, std::nullopt)) loop_->Cancel(*id);
  }
  bool pending() const { return id_.has_value(); }

 private:
  EventLoop* loop_;
  std::optional<EventLoop::TimerId> id_;
};

class TaskScope {
 public:
  // `loop` outlives it.
  explicit TaskScope(EventLoop* loop) : loop_(loop) {}
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  // Runs `task` on the loop soon, in the order of posting, unless the scope ends before. May also
  // be called by a thread that the owner joins before it destroys the scope.
  void Post(EventLoop::Task task) const {
    loop_->Post([scope = std::weak_ptr<const char>(scope_), task = std::move(task)] {
      if (!scope.expired()) task();
    });
  }

 private:
  EventLoop* loop_;
  std::shared_ptr<const char> scope_ = std::make_shared<const char>();
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_TASK_SCOPE_H_
