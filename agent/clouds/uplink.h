// The interface that a cloud uses. Not here: joining the group (plugin/os/udp.h). Pure, except for
// its calls of Links.

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

// `if=` of the locator takes precedence, then `configured` unless it is empty, then the route to
// the group. Refused (kCannotJoin) with the remedy if none of them leads to an interface.
absl::StatusOr<Uplink> ChooseUplink(const CloudConfig& cloud, const std::string& configured,
                                    const Links& links);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CLOUDS_UPLINK_H_
