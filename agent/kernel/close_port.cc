#include "agent/kernel/close_port.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include "plugin/os/netlink.h"

namespace vxvde {
namespace {

void DeleteLink(const ClosingPort& port) {
  if (port.host_end == IfIndex::kNone) {
    // The tap ends with its last descriptor (tun_detach in drivers/net/tun.c).
    (void)ioctl(port.io->fd(), TUNSETPERSIST, 0);
    return;
  }
  // By index, which the kernel does not reuse soon. The name may be that of the next ADD by now.
  absl::StatusOr<Netlink> netlink = Netlink::Open();
  if (netlink.ok()) netlink->DeleteLink(port.host_end).IgnoreError();
}

}  // namespace

void ClosePort(ClosingPort port) {
  if (port.with_link) DeleteLink(port);
  port.io.reset();
}

}  // namespace vxvde
