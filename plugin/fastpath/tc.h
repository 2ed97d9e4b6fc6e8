// Where the programs stand: as filters of clsact, and in tcx chains (Linux 6.6 and later), which
// run before clsact. All in the calling thread's network namespace. Other programs stay as they
// are.
//
// Each interface has the program as a clsact filter, by whose priority and handle the next agent
// knows it. Where another program may end the chain before that filter is reached, the same program
// stands in front of the tcx chain as well. What it takes is never seen by the filter, and what it
// leaves the filter leaves too, so the two never act on one packet. Each alone is enough, so that
// one can be replaced, moved or put back while the other works (docs/decisions/0021).

#ifndef VXVDE_PLUGIN_FASTPATH_TC_H_
#define VXVDE_PLUGIN_FASTPATH_TC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/os/netlink.h"
#include "plugin/os/traffic_control.h"

namespace vxvde {

// Replaces the filter of an agent before this one, and its program in the tcx chain if it is there.
absl::Status AttachProgram(IfIndex index, int program);

// Takes the programs of this and of earlier agents away from there. The clsact qdisc stays: others
// may have filters there.
void DetachProgram(IfIndex index);

// The filter alone.
void DetachFilter(IfIndex index);

// The id of the program of the filter; 0: there is none.
uint32_t AttachedProgram(IfIndex index);

// From all interfaces.
absl::Status DetachAllPrograms(Netlink& netlink);

// Whether the kernel has tcx.
bool HasTcx();

// Ids of the programs of a tcx chain in the order in which they run; none where the kernel has no
// tcx.
std::vector<uint32_t> ListTcx(IfIndex index, Direction direction);

// Puts the program in front of the ingress chain, and takes it away from where it stood in it. It
// may wait some 16 ms for RCU, with the kernel's lock on all links held.
absl::Status PutFirst(IfIndex index, int program);
void TakeOutOfTcx(IfIndex index, int program);

uint32_t ProgramId(int program);

// What stands at an interface beside `program`.
struct Chain {
  bool filter = false;          // the program's filter is there
  bool first = false;           // the program is the first of the tcx chain
  std::vector<uint32_t> tcx;    // programs that run before it, or before the filter
  std::string filter_before;    // the first filter before its own, named; empty: none
  bool filters_egress = false;  // others look at what the interface sends
  std::string Before() const;   // names what stands before it; empty: nothing
};
absl::StatusOr<Chain> LookAtChain(Netlink& netlink, IfIndex index, int program);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_TC_H_
