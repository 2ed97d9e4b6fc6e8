// Watchers: the callers of Watch, each with a bounded queue of unread responses.
//
// Invariants:
//   I1  A watcher gets the node first, then every event published after that node was read.
//   I2  At most kQueue responses wait for a watcher. Further ones are counted, and the count is
//       sent in their place as soon as the queue is empty.
//   I3  One write a watcher at a time; Finish once, and not during a write.
//
// Thread-safe; no call blocks on a watcher. For server.cc alone.

#ifndef VXVDE_AGENT_STATUS_WATCHERS_H_
#define VXVDE_AGENT_STATUS_WATCHERS_H_

#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "agent/api/status.pb.h"
#include "plugin/os/mutex.h"

namespace vxvde {

class Watchers : public std::enable_shared_from_this<Watchers> {
 public:
  static constexpr size_t kMaxWatchers = 64;
  static constexpr size_t kQueue = 1024;

  using Reactor = grpc::ServerWriteReactor<v1::WatchResponse>;

  // gRPC owns the reactor. `id` is the argument of Begin(); it is 0 if the call was refused.
  Reactor* Add(const std::string& cloud, uint64_t* id);
  static Reactor* Refuse(const grpc::Status& status);

  // Sends events to watcher `id` from now on. Does nothing if it is gone.
  void Begin(uint64_t id, const v1::Node& node);

  bool empty() const;
  void Publish(const v1::Event& event);

  // Ends all watchers, and every later one, with `status`.
  void Close(const grpc::Status& status);

 private:
  class Watcher;

  mutable Mutex mutex_;
  std::map<uint64_t, Watcher*> watchers_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  grpc::Status closed_ ABSL_GUARDED_BY(mutex_);  // not OK: Close was called
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_WATCHERS_H_
