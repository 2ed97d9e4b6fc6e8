// KeptFds: the agent's FdStore. It knows which descriptors the preceding agent kept and which are
// in use now. A FdKeeper holds them while no agent runs: the service manager (systemd's
// FileDescriptorStoreMax=) or a process of the agent's own (holder.h).

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

// After an error it is not used any more; the descriptors stored so far may or may not come back.
struct FdKeeper {
  std::string what;                            // its name in messages
  std::map<std::string, UniqueFd> found = {};  // kept by the preceding agent
  // Replaces a descriptor of that name.
  std::function<absl::Status(const std::string& name, int fd)> keep = {};
  std::function<absl::Status(const std::string& name)> drop = {};
};

// Any thread may call it: a BackgroundCloser closes ports.
class KeptFds final : public FdStore {
 public:
  // Without `keep` and `drop` nothing is kept. `log` outlives it.
  KeptFds(FdKeeper keeper, const Log* log);

  UniqueFd Take(const std::string& name) override;
  Ticket Keep(const std::string& name, int fd) override;
  void Drop(Ticket ticket) override;
  void Forget(const std::string& name) override;

  // Drops the descriptors that are not in use by now. Returns their number.
  size_t DropUnused();
  // This process ends: all descriptors stay kept, even if they are closed from now on.
  void Seal();

 private:
  struct Entry {
    UniqueFd found;                 // not taken yet
    int taken = -1;                 // the number of the taken descriptor
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
