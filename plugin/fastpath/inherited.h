// What an agent before this one has left in the kernel: its programs, their maps, and what was in
// them. kernel_inherited.cc says how this one goes on with it.

#ifndef VXVDE_PLUGIN_FASTPATH_INHERITED_H_
#define VXVDE_PLUGIN_FASTPATH_INHERITED_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/fastpath/abi.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/os/fd.h"
#include "plugin/os/netlink.h"

struct bpf_object;

namespace vxvde {

// Programs of ours that are attached in this network namespace.
struct InheritedPrograms {
  std::vector<IfIndex> interfaces = {};
  std::map<std::string, UniqueFd> maps = {};  // by name; none: we may not have them (CAP_SYS_ADMIN)
};
absl::StatusOr<InheritedPrograms> FindInheritedPrograms(Netlink& netlink);

// Before `programs` are loaded: lets them have the maps that were left. FailedPrecondition: those
// are none that this version can use, or cannot be had.
absl::Status ReuseMaps(const InheritedPrograms& inherited, bpf_object* programs);
// After that: marks the maps as this version's, and ties them all to each program.
absl::Status LeaveMapsTo(bpf_object* programs);

// What was in the maps of one cloud.
struct InheritedCloud {
  fp_cloud value = {};                     // zero: there is no cloud
  std::map<IfIndex, uint32_t> ports = {};  // slot, by host end
  std::map<uint32_t, fp_peer> peers = {};  // by slot
  std::map<std::pair<bool, uint32_t>, std::vector<InheritedStation>> at = {};  // a peer?, its slot
  absl::flat_hash_set<MacAddress> stations = {};
  std::map<MacAddress, uint32_t> relayed = {};  // slot of its port, by station
};

// Devices of clouds (kernel.h) other than `ours`.
absl::Status RemoveLeftDevices(Netlink& netlink, const std::set<IfIndex>& ours);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_INHERITED_H_
