// Attaches the programs, as filters of clsact and in tcx chains (Linux 6.6 and later), which run
// before clsact. All in the calling thread's network namespace. Leaves other programs as they are.
//
// Each interface has the program as a clsact filter, by whose priority and handle the next agent
// recognises it. Where another program may end the chain before that filter, the same program also
// stands first in the tcx chain. The filter never sees a packet that the first one takes, and
// passes on each packet that the first one passes on, so the two never act on one packet. Each
// alone suffices, so one can be replaced, moved or put back while the other works
// (docs/decisions/0021).

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

// Replaces the filter of an earlier agent, and its program in the tcx chain if it is there.
absl::Status AttachProgram(IfIndex index, int program);

// Removes the programs of this and of earlier agents. The clsact qdisc stays, because other
// programs may have filters there.
void DetachProgram(IfIndex index);

// Removes the filter alone.
void DetachFilter(IfIndex index);

// The id of the filter's program; 0: there is none.
uint32_t AttachedProgram(IfIndex index);

// DetachProgram() for all interfaces.
absl::Status DetachAllPrograms(Netlink& netlink);

// The kernel has tcx.
bool HasTcx();

// Ids of the programs of a tcx chain in the order in which they run; none where the kernel has no
// tcx.
std::vector<uint32_t> ListTcx(IfIndex index, Direction direction);

// Puts the program first in the ingress chain, or moves it there. May wait some 16 ms for RCU, with
// the kernel's lock on all links held.
absl::Status PutFirst(IfIndex index, int program);
void TakeOutOfTcx(IfIndex index, int program);

uint32_t ProgramId(int program);

// The programs at an interface beside `program`.
struct Chain {
  bool filter = false;          // the program's filter is there
  bool first = false;           // the program is first in the tcx chain
  std::vector<uint32_t> tcx;    // programs that run before it, or before the filter
  std::string filter_before;    // the first filter before its own, named; empty: none
  bool filters_egress = false;  // other programs see the frames that the interface sends
  std::string Before() const;   // names a program that runs before it; empty: none does
};
absl::StatusOr<Chain> LookAtChain(Netlink& netlink, IfIndex index, int program);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_TC_H_
