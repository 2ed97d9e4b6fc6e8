// Reconciler: triggers the comparison of the attachments with the kernel, at start and each minute,
// because runtimes die without a DEL, and some never request garbage collection. A separate thread
// takes the snapshot of the kernel: it may wait for the kernel's locks, and frames must not. Not
// here: the snapshot (kernel_snapshot.h), and the repairs (orphan_collector.h).

#ifndef VXVDE_AGENT_ATTACH_RECONCILER_H_
#define VXVDE_AGENT_ATTACH_RECONCILER_H_

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "agent/attach/orphan_collector.h"
#include "agent/kernel/kernel_snapshot.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/task_scope.h"

namespace vxvde {

class Reconciler {
 public:
  static constexpr std::chrono::minutes kPeriod{1};
  // A second snapshot confirms what the first one suspects.
  static constexpr std::chrono::seconds kAgain{2};

  using Look = std::function<KernelSnapshot(const std::vector<WatchedNetNs>&)>;
  // `look` is called on a thread other than the loop's, one call at a time. `loop` and `orphans`
  // outlive it.
  Reconciler(EventLoop* loop, OrphanCollector* orphans, Look look);
  ~Reconciler();  // waits for a snapshot in progress
  Reconciler(const Reconciler&) = delete;
  Reconciler& operator=(const Reconciler&) = delete;

  // Compares now, and periodically from now on.
  void Start();
  // Compares now. For a reload.
  void LookNow();

 private:
  void LookIn(Duration delay);
  void OnSnapshot(const KernelSnapshot& snapshot);

  OrphanCollector* orphans_;
  Look look_;
  std::thread thread_;  // takes the current snapshot, or took the last one
  bool looking_ = false;
  bool once_more_ = false;  // requested during a snapshot
  Timer timer_;
  TaskScope tasks_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_RECONCILER_H_
