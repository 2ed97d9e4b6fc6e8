// KeptFds: the agent's FdStore. It knows what the agent before this one had kept and what is in use
// now; where descriptors are while there is no agent is a FdKeeper's business: the service manager
// (systemd's FileDescriptorStoreMax=) or a process of our own (holder.h).

#ifndef VXVDE_AGENT_LIFECYCLE_KEPT_FDS_H_
#define VXVDE_AGENT_LIFECYCLE_KEPT_FDS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "agent/base/log.h"
#include "plugin/os/fd.h"
#include "plugin/os/fd_store.h"
#include "plugin/os/mutex.h"

namespace vxvde {

// An error ends its use: what it has by then may or may not come back.
struct FdKeeper {
  std::string what;                            // for people
  std::map<std::string, UniqueFd> found = {};  // kept by the agent before
  // Replaces what it has under that name.
  std::function<absl::Status(const std::string& name, int fd)> keep = {};
  std::function<absl::Status(const std::string& name)> drop = {};
};

// Called from any thread: a BackgroundCloser closes ports.
class KeptFds final : public FdStore {
 public:
  // Without `keep` and `drop` nothing is kept. `log` outlives it.
  KeptFds(FdKeeper keeper, const Log* log);

  UniqueFd Take(const std::string& name) override;
  Ticket Keep(const std::string& name, int fd) override;
  void Drop(Ticket ticket) override;
  void Forget(const std::string& name) override;

  // What is not in use by now never will be. Returns how many were dropped.
  size_t DropUnused();
  // This process ends: all stays kept as it is, whatever is closed from now on.
  void Seal();

 private:
  struct Entry {
    UniqueFd found;                 // not taken yet
    int taken = -1;                 // the number of what was taken
    Ticket ticket = Ticket::kNone;  // in use
  };
  void Ask(const std::function<absl::Status()>& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Log* log_;
  FdKeeper keeper_;  // never changes
  Mutex mutex_;
  bool works_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::map<Ticket, std::string> names_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_LIFECYCLE_KEPT_FDS_H_
