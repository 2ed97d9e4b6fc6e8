#include "plugin/os/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "plugin/base/retry.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// The data of the eventfd in epoll. Generations count from 1.
constexpr uint64_t kWakeup = 0;

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  std::unique_ptr<EventLoop> loop(new EventLoop);
  loop->epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_) return ErrnoStatus(errno, "make an epoll descriptor");
  loop->wakeup_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!loop->wakeup_) return ErrnoStatus(errno, "make an eventfd");
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = kWakeup;
  if (epoll_ctl(loop->epoll_.get(), EPOLL_CTL_ADD, loop->wakeup_.get(), &event) != 0) {
    return ErrnoStatus(errno, "watch the event loop's eventfd");
  }
  return loop;
}

EventLoop::~EventLoop() = default;

absl::Status EventLoop::Watch(int fd, uint32_t events, Handler handler) {
  CheckOnLoop();
  if (generation_of_.contains(fd)) {
    return absl::AlreadyExistsError(absl::StrCat("descriptor ", fd, " is watched already"));
  }
  const uint64_t generation = ++generation_;
  epoll_event event = {};
  event.events = events;
  event.data.u64 = generation;
  // A cloud whose descriptor cannot be watched is closed, and stops forwarding.
  RETURN_IF_ERROR(RetryOnce([&] {
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("watch descriptor ", fd));
  }));
  generation_of_[fd] = generation;
  handlers_[generation] = std::make_shared<Handler>(std::move(handler));
  return absl::OkStatus();
}

void EventLoop::Unwatch(int fd) {
  CheckOnLoop();
  const auto found = generation_of_.find(fd);
  if (found == generation_of_.end()) return;
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  handlers_.erase(found->second);
  generation_of_.erase(found);
}

EventLoop::TimerId EventLoop::AddTimer(Duration delay, Duration period, Task task) {
  CheckOnLoop();
  const TimerId id{next_timer_++};
  // From the clock: now_ is outdated before Run and late in a long turn.
  const Instant due = Clock::now() + std::max(delay, Duration::zero());
  timers_.emplace(due, Timer{id, period, std::make_shared<Task>(std::move(task))});
  return id;
}

EventLoop::TimerId EventLoop::After(Duration delay, Task task) {
  return AddTimer(delay, Duration::zero(), std::move(task));
}

EventLoop::TimerId EventLoop::Every(Duration period, Task task) {
  // A period of zero means "once".
  period = std::max(period, Duration(1));
  return AddTimer(period, period, std::move(task));
}

void EventLoop::Cancel(TimerId timer) {
  CheckOnLoop();
  const auto is_it = [timer](const auto& entry) { return entry.second.id == timer; };
  const auto found = std::find_if(timers_.begin(), timers_.end(), is_it);
  if (found != timers_.end()) timers_.erase(found);
}

bool EventLoop::Enqueue(Task task) {
  {
    const MutexLock lock(&mutex_);
    if (ended_) return false;
    posted_.push_back(std::move(task));
  }
  Wake();
  return true;
}

void EventLoop::Post(Task task) { (void)Enqueue(std::move(task)); }

void EventLoop::Stop() {
  {
    const MutexLock lock(&mutex_);
    stopping_ = true;
  }
  Wake();
}

void EventLoop::Wake() {
  const uint64_t one = 1;
  // EAGAIN: the counter is full, so the loop wakes anyway.
  (void)!write(wakeup_.get(), &one, sizeof(one));
}

bool EventLoop::IsCurrent() const {
  const std::thread::id runner = runner_;
  return runner == std::thread::id() || runner == std::this_thread::get_id();
}

void EventLoop::Run() {
  runner_ = std::this_thread::get_id();
  std::array<epoll_event, 64> events;
  while (true) {
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), EpollTimeoutMs());
    now_ = Clock::now();
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == kWakeup) {
        uint64_t ignored = 0;
        (void)!read(wakeup_.get(), &ignored, sizeof(ignored));
        continue;
      }
      // I2. Found by generation, because the descriptor's number may belong to another file by now.
      const auto found = handlers_.find(events[i].data.u64);
      if (found == handlers_.end()) continue;
      const std::shared_ptr<Handler> handler = found->second;  // it may unwatch itself
      (*handler)(events[i].events);
    }
    RunTimers();
    if (RunPosted()) break;
  }
  runner_ = std::thread::id();
}

bool EventLoop::RunPosted() {
  std::deque<Task> tasks;
  {
    const MutexLock lock(&mutex_);
    if (stopping_ && posted_.empty()) {
      ended_ = true;
      return true;
    }
    tasks.swap(posted_);
  }
  // Tasks that these tasks post run in the next turn, so that descriptors are not starved.
  for (Task& task : tasks) {
    task();
    task = nullptr;  // destroys its captures now rather than with the batch
  }
  const MutexLock lock(&mutex_);
  if (!stopping_ || !posted_.empty()) return false;  // I3
  ended_ = true;
  return true;
}

void EventLoop::RunTimers() {
  // Timers added meanwhile are due after now_, and run in the next turn at the earliest.
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    const auto due = timers_.begin();
    const std::shared_ptr<Task> task = due->second.task;  // it may cancel itself
    if (due->second.period == Duration::zero()) {
      timers_.erase(due);
    } else {
      auto node = timers_.extract(due);
      node.key() += node.mapped().period;
      // A late loop skips the periods that it has missed.
      if (node.key() <= now_) node.key() = now_ + node.mapped().period;
      timers_.insert(std::move(node));
    }
    (*task)();
  }
}

int EventLoop::EpollTimeoutMs() {
  {
    const MutexLock lock(&mutex_);
    if (stopping_ || !posted_.empty()) return 0;
  }
  if (timers_.empty()) return -1;
  const Duration left = timers_.begin()->first - Clock::now();
  if (left <= Duration::zero()) return 0;
  // Rounded up, because the loop would otherwise spin through the last millisecond.
  const int64_t ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<int64_t>(ms, std::numeric_limits<int>::max()));
}

}  // namespace vxvde
