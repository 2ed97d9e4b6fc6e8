#include "agent/sight.h"

namespace vxvde {

Sight LookAround() {
  absl::StatusOr<Netlink> netlink = Netlink::Open();
  if (!netlink.ok()) return {.links = netlink.status()};
  return {.links = netlink->ListLinks()};
}

}  // namespace vxvde
