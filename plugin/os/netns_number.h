// Numbers of network namespaces, and which namespaces are in use. Unlike /proc/PID/ns/net
// (ptrace(2)), rtnetlink requires no right to inspect a process.

#ifndef VXVDE_PLUGIN_OS_NETNS_NUMBER_H_
#define VXVDE_PLUGIN_OS_NETNS_NUMBER_H_

#include <set>

#include "absl/status/statusor.h"
#include "plugin/os/fd.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// The number that another namespace has in the socket's namespace for its lifetime. Assigns one if
// there is none (CAP_NET_ADMIN).
absl::StatusOr<int> NumberNetNs(Netlink& netlink, const UniqueFd& netns);

// The numbers of the numbered namespaces in which a thread of the machine runs. Takes a microsecond
// or two for each thread. FailedPrecondition: /proc does not show all threads.
absl::StatusOr<std::set<int>> NetNsInUse(Netlink& netlink);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NETNS_NUMBER_H_
