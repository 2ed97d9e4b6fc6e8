// Reconciler: has the attachments compared with the kernel, at start and each minute: runtimes die
// without DEL, and some never ask for garbage collection. The look at the kernel, which may have to
// wait for its locks, is taken on a thread of its own; frames do not wait for it. Not here: what is
// seen (sight.h), what follows from it (attachments_reconcile.cc).

#ifndef VXVDE_AGENT_ATTACH_RECONCILER_H_
#define VXVDE_AGENT_ATTACH_RECONCILER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "agent/attach/attachments.h"
#include "agent/kernel/kernel_snapshot.h"
#include "plugin/os/event_loop.h"

namespace vxvde {

class Reconciler {
 public:
  static constexpr std::chrono::minutes kPeriod{1};
  // What one look only suspects, a second one makes sure of.
  static constexpr std::chrono::seconds kAgain{2};

  using Look = std::function<KernelSnapshot(const std::vector<WatchedNetNs>&)>;
  // `look` is called on another thread than the loop's, one call at a time. Loop and attachments
  // outlive this.
  Reconciler(EventLoop* loop, Attachments* attachments, Look look);
  ~Reconciler();  // waits for a look that is under way
  Reconciler(const Reconciler&) = delete;
  Reconciler& operator=(const Reconciler&) = delete;

  // Looks now, and from now on.
  void Start();
  // A reload asks for it, too.
  void LookNow();

 private:
  void LookIn(Duration delay);
  void OnSight(const KernelSnapshot& sight);

  EventLoop* loop_;
  Attachments* attachments_;
  Look look_;
  std::thread thread_;  // the look that is under way, or the last one
  bool looking_ = false;
  bool once_more_ = false;  // asked for in the middle of one
  std::optional<EventLoop::TimerId> timer_;
  // Posted tasks look at it: they may outlive us in the loop's queue.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_RECONCILER_H_
