#include "agent/kernel/close_port.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include "plugin/os/netlink.h"

namespace vxvde {
namespace {

void DeleteLink(const ClosingPort& port) {
  if (port.host_end == IfIndex::kNone) {
    // Closing its last descriptor deletes the tap (tun_detach in drivers/net/tun.c).
    (void)ioctl(port.io->fd(), TUNSETPERSIST, 0);
    return;
  }
  // By index, which the kernel does not reuse soon. The name may already be that of the next ADD.
  absl::StatusOr<Netlink> netlink = Netlink::Open();
  if (netlink.ok()) netlink->DeleteLink(port.host_end).IgnoreError();
}

}  // namespace

void ClosePort(ClosingPort port) {
  if (port.with_link) DeleteLink(port);
  port.io.reset();
}

}  // namespace vxvde
