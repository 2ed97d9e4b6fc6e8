// Which interface a cloud uses, and what follows from its MTU. Not here: joining the group
// (plugin/os/udp.h). Pure but for the questions it asks of Links.

#ifndef VXVDE_AGENT_CLOUDS_UPLINK_H_
#define VXVDE_AGENT_CLOUDS_UPLINK_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "agent/kernel/links.h"
#include "plugin/base/ids.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

struct Uplink {
  IfIndex index = IfIndex::kNone;
  std::string name;
  int mtu = 0;
};

// `if=` of the locator wins, then `configured` (empty: nothing is), then the route to the
// group. Refused (kCannotJoin) with the remedy when none of them leads to an interface.
absl::StatusOr<Uplink> ChooseUplink(const CloudConfig& cloud, const std::string& configured,
                                    const Links& links);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CLOUDS_UPLINK_H_
