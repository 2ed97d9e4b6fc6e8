// State that an earlier agent left in the kernel: its programs, their maps, and the entries of the
// maps.
//
// Its programs are attached, and each of them holds all maps (bpf_prog_bind_map). So nothing is
// pinned, and the kernel frees the maps with the programs.

#ifndef VXVDE_PLUGIN_FASTPATH_INHERITED_H_
#define VXVDE_PLUGIN_FASTPATH_INHERITED_H_

#include <cstdint>
#include <map>
#include <optional>
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
struct fastpath_programs;  // the skeleton

namespace vxvde {

// The agents' programs that are attached in this network namespace.
struct InheritedPrograms {
  std::vector<IfIndex> interfaces = {};
  std::map<std::string, UniqueFd> maps = {};  // by name; none without CAP_SYS_ADMIN
};
absl::StatusOr<InheritedPrograms> FindInheritedPrograms(Netlink& netlink);

// Called before `programs` are loaded: gives them the inherited maps. FailedPrecondition: the maps
// cannot be read, or are those of a version with another FP_ABI.
absl::Status ReuseMaps(const InheritedPrograms& inherited, bpf_object* programs);
// Called after that: marks the maps as this version's, and binds all of them to each program.
absl::Status LeaveMapsTo(bpf_object* programs);

// The entries of one cloud that have not been taken over yet.
struct InheritedCloud {
  fp_cloud value = {};                     // zero: there is no cloud
  std::vector<IfIndex> devices = {};       // that fp_ports names
  std::map<IfIndex, uint32_t> ports = {};  // slot, by host end
  std::map<uint32_t, fp_peer> peers = {};  // by slot
  std::map<std::pair<bool, uint32_t>, std::vector<InheritedStation>> at = {};  // is peer, its slot
  absl::flat_hash_set<MacAddress> stations = {};
  std::map<MacAddress, uint32_t> relayed = {};  // slot of its port, by station

  bool Matches(const FastCloudOptions& options) const;
  // Take the slot of a port, or of a relayed port, out of the entries.
  std::optional<uint32_t> TakePort(IfIndex host_end);
  std::optional<uint32_t> TakeRelayed(const MacAddress& mac);
  std::vector<InheritedPeer> Peers() const;
  std::vector<InheritedStation> StationsAt(bool is_peer, uint32_t slot) const;
};

struct InheritedEntries {
  std::map<uint32_t, InheritedCloud> clouds = {};  // by slot
  // Slots in use.
  std::vector<uint32_t> cloud_slots = {};
  std::vector<uint32_t> port_slots = {};
  std::vector<uint32_t> peer_slots = {};
};
absl::StatusOr<InheritedEntries> ReadInheritedEntries(const fastpath_programs& programs);

// The peer of the entry.
Peer PeerOf(const fp_peer& value);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_INHERITED_H_
