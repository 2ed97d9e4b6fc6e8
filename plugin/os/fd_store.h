// FdStore: descriptors that outlive this process, so that what waits in the kernel's queues is
// there for the next one. Who holds them meanwhile is the implementation's business.

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

  // What the process before this one kept under `name`; not open when there is nothing (any more).
  // Who uses it says Keep() of it; what nobody does that of is dropped.
  virtual UniqueFd Take(const std::string& name) = 0;
  // Keeps `fd` under `name`, instead of what was. Never fails: what cannot be kept is opened anew
  // after a restart, and what waited in it is lost.
  virtual Ticket Keep(const std::string& name, int fd) = 0;
  // Does nothing when something else has been kept under that name since.
  virtual void Drop(Ticket ticket) = 0;
  // What Take() gave, or would give, is of no use. It may be open a moment longer.
  virtual void Forget(const std::string& name) = 0;
};

// Keeps a descriptor for as long as it lives itself.
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
