// Our programs as tc filters (clsact, ingress), in the calling thread's network namespace. Other
// programs' filters on the same interface stay.

#ifndef VXVDE_PLUGIN_FASTPATH_TC_H_
#define VXVDE_PLUGIN_FASTPATH_TC_H_

#include <cstdint>

#include "absl/status/status.h"
#include "plugin/base/ids.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// Replaces a filter of ours.
absl::Status AttachProgram(IfIndex index, int program);

// True when there was one. The clsact qdisc stays: others may have filters there.
bool DetachProgram(IfIndex index);

// The id of a filter's program of ours; 0: none.
uint32_t AttachedProgram(IfIndex index);

// From all interfaces.
absl::Status RemoveLeftPrograms(Netlink& netlink);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_TC_H_
