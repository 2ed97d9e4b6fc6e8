#include "agent/kernel/reaper.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <system_error>
#include <utility>

#include "plugin/base/status.h"
#include "plugin/os/netlink.h"

namespace vxvde {
namespace {

// More than one, because they wait and do not work.
constexpr int kThreads = 4;

// What fails here is the plugin's to do and to tell: an agent without CAP_NET_ADMIN, say.
void DeleteLink(const DeadPort& port) {
  if (port.host_end == IfIndex::kNone) {
    // The tap goes with its last descriptor (tun_detach in drivers/net/tun.c).
    (void)ioctl(port.io->fd(), TUNSETPERSIST, 0);
    return;
  }
  // By index, which is never another interface's soon: a name may be that of the next ADD.
  absl::StatusOr<Netlink> netlink = Netlink::Open();
  if (netlink.ok()) netlink->DeleteLink(port.host_end).IgnoreError();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Reaper>> Reaper::Start() {
  std::unique_ptr<Reaper> reaper(new Reaper());
  try {
    for (int i = 0; i < kThreads; ++i) {
      reaper->threads_.emplace_back([self = reaper.get()] { self->Work(); });
    }
  } catch (const std::system_error& error) {
    return ErrnoStatus(error.code().value(), "start the threads that end ports");
  }
  return reaper;
}

Reaper::~Reaper() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Reaper::Bury(DeadPort port) {
  {
    const std::lock_guard lock(mutex_);
    dead_.push_back(std::move(port));
  }
  changed_.notify_one();
}

void Reaper::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !dead_.empty(); });
    if (dead_.empty()) return;
    DeadPort port = std::move(dead_.front());
    dead_.pop_front();
    lock.unlock();
    if (port.with_link) DeleteLink(port);
    port.io.reset();
    lock.lock();
  }
}

}  // namespace vxvde
