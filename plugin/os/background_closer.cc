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
    const MutexLock lock(&mutex_);
    ending_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void BackgroundCloser::CloseLater(Task close) {
  {
    const MutexLock lock(&mutex_);
    tasks_.push_back(std::move(close));
  }
  changed_.NotifyAll();
}

void BackgroundCloser::Wait() {
  const MutexLock lock(&mutex_);
  while (!tasks_.empty() || running_ != 0) changed_.Wait(&mutex_);
}

BackgroundCloser::Task BackgroundCloser::Next() {
  const MutexLock lock(&mutex_);
  while (!ending_ && tasks_.empty()) changed_.Wait(&mutex_);
  if (tasks_.empty()) return nullptr;
  Task task = std::move(tasks_.front());
  tasks_.pop_front();
  ++running_;
  return task;
}

void BackgroundCloser::Work() {
  while (Task task = Next()) {
    task();
    task = nullptr;
    const MutexLock lock(&mutex_);
    if (--running_ == 0 && tasks_.empty()) changed_.NotifyAll();
  }
}

}  // namespace vxvde
