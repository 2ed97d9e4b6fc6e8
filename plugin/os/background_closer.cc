#include "plugin/os/background_closer.h"

#include <system_error>
#include <utility>

#include "plugin/os/fd.h"

namespace vxvde {
namespace {

// Several threads, because tasks wait rather than compute.
constexpr int kThreads = 4;

}  // namespace

absl::StatusOr<std::unique_ptr<BackgroundCloser>> BackgroundCloser::Start() {
  std::unique_ptr<BackgroundCloser> closer(new BackgroundCloser());
  try {
    for (int i = 0; i < kThreads; ++i) {
      closer->threads_.emplace_back([self = closer.get()] { self->Work(); });
    }
  } catch (const std::system_error& error) {
    return ErrnoStatus(error.code().value(), "start the threads that close ports");
  }
  return closer;
}

BackgroundCloser::~BackgroundCloser() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void BackgroundCloser::CloseLater(Task close) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(close));
  }
  changed_.notify_all();
}

void BackgroundCloser::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return tasks_.empty() && running_ == 0; });
}

void BackgroundCloser::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    ++running_;
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
    if (--running_ == 0 && tasks_.empty()) changed_.notify_all();
  }
}

}  // namespace vxvde
