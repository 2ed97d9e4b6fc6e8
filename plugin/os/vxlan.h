// VXLAN devices, by rtnetlink.

#ifndef VXVDE_PLUGIN_OS_VXLAN_H_
#define VXVDE_PLUGIN_OS_VXLAN_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// Creates a VXLAN device that decapsulates the datagrams of all VNIs and senders (collect metadata)
// at UDP `port`, IPv4 and IPv6, including checksums of 0. It binds the port when it is brought up.
// AlreadyExists: the name is taken, or another VXLAN device has the port. Unimplemented: this
// kernel has no VXLAN.
absl::Status CreateVxlan(Netlink& netlink, const std::string& name, uint16_t port);

// InvalidArgument: the link is not a VXLAN device.
absl::StatusOr<uint16_t> GetVxlanPort(Netlink& netlink, IfIndex index);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_VXLAN_H_
