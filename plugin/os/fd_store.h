// FdStore: descriptors that outlive this process, so that the next process finds the data that
// waits in the kernel's queues. The implementation decides where they are kept meanwhile.

#ifndef VXVDE_PLUGIN_OS_FD_STORE_H_
#define VXVDE_PLUGIN_OS_FD_STORE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "plugin/os/fd.h"

namespace vxvde {

class FdStore {
 public:
  enum class Ticket : uint64_t { kNone = 0 };
  virtual ~FdStore() = default;

  // The descriptor that the preceding process kept under `name`; not open if there is none (any
  // more). A caller that uses it calls Keep() for it; the others are dropped.
  virtual UniqueFd Take(const std::string& name) = 0;
  // Keeps `fd` under `name`, replacing a previous one. Never fails: a descriptor that cannot be
  // kept is opened anew after a restart, and the data that waited in it is lost.
  virtual Ticket Keep(const std::string& name, int fd) = 0;
  // Does nothing if another descriptor has been kept under that name since.
  virtual void Drop(Ticket ticket) = 0;
  // The result of Take() is unusable. It may stay open for a moment.
  virtual void Forget(const std::string& name) = 0;
};

// Keeps a descriptor for its own lifetime.
class KeptFd {
 public:
  KeptFd() = default;
  KeptFd(FdStore* store, const std::string& name, int fd)
      : store_(store), ticket_(store->Keep(name, fd)) {}
  KeptFd(KeptFd&& other) noexcept { *this = std::move(other); }
  KeptFd& operator=(KeptFd&& other) noexcept {
    if (this == &other) return *this;
    Drop();
    store_ = other.store_;
    ticket_ = std::exchange(other.ticket_, FdStore::Ticket::kNone);
    return *this;
  }
  ~KeptFd() { Drop(); }

 private:
  void Drop() {
    if (ticket_ != FdStore::Ticket::kNone) store_->Drop(ticket_);
  }

  FdStore* store_ = nullptr;
  FdStore::Ticket ticket_ = FdStore::Ticket::kNone;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_FD_STORE_H_
