// Reaper: ends dead ports on threads of its own, because the kernel lets the caller wait for a
// grace period of RCU, some 10 ms each: packet_release() (net/packet/af_packet.c) when a packet
// socket is closed, netdev_run_todo() (net/core/dev.c) when an interface is deleted. The loop moves
// frames and cannot wait; and a DEL finds the interface gone while the kernel still tidies up.

#ifndef VXVDE_AGENT_KERNEL_REAPER_H_
#define VXVDE_AGENT_KERNEL_REAPER_H_

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/kernel/links.h"

namespace vxvde {

class Reaper {
 public:
  // Works in the network namespace of the calling thread.
  static absl::StatusOr<std::unique_ptr<Reaper>> Start();
  // Ends what was buried before.
  ~Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  void Bury(DeadPort port);

 private:
  Reaper() = default;
  void Work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<DeadPort> dead_;  // guarded by mutex_
  bool ending_ = false;        // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_KERNEL_REAPER_H_
