// BackgroundCloser: closes descriptors and deletes interfaces on threads of its own. The kernel
// makes the caller wait for an RCU grace period, some 10 ms each: packet_release()
// (net/packet/af_packet.c) when a packet socket is closed, netdev_run_todo() (net/core/dev.c) when
// an interface is deleted. A thread that moves frames cannot wait.

#ifndef VXVDE_PLUGIN_OS_BACKGROUND_CLOSER_H_
#define VXVDE_PLUGIN_OS_BACKGROUND_CLOSER_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "plugin/os/mutex.h"

namespace vxvde {

class BackgroundCloser {
 public:
  using Task = absl::AnyInvocable<void()>;

  // The threads work in the network namespace of the calling thread.
  static absl::StatusOr<std::unique_ptr<BackgroundCloser>> Start();
  // Completes all tasks.
  ~BackgroundCloser();
  BackgroundCloser(const BackgroundCloser&) = delete;
  BackgroundCloser& operator=(const BackgroundCloser&) = delete;

  // Runs `close` soon and destroys it, with all that it owns, on another thread. Tasks run side by
  // side and complete in any order. From any thread.
  void CloseLater(Task close);
  // Waits until the tasks so far are complete. Not to be called by a task.
  void Wait();

 private:
  BackgroundCloser() = default;
  void Work();
  // Waits for a task. None: the threads end.
  Task Next();

  Mutex mutex_;
  CondVar changed_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_BACKGROUND_CLOSER_H_
