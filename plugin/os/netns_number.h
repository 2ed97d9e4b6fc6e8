// Numbers of network namespaces, and which namespaces are in use. rtnetlink needs no right to look
// into a process for that, as /proc/PID/ns/net does (ptrace(2)).

#ifndef VXVDE_PLUGIN_OS_NETNS_NUMBER_H_
#define VXVDE_PLUGIN_OS_NETNS_NUMBER_H_

#include <set>

#include "absl/status/statusor.h"
#include "plugin/os/fd.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// The number by which the socket's namespace knows another one as long as that lives. Assigns one
// if there is none (CAP_NET_ADMIN).
absl::StatusOr<int> NumberNetNs(Netlink& netlink, const UniqueFd& netns);

// The numbers of those numbered namespaces that a thread of the machine is in. Takes a microsecond
// or two for each thread. FailedPrecondition: /proc does not show all threads.
absl::StatusOr<std::set<int>> NetNsInUse(Netlink& netlink);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_NETNS_NUMBER_H_
