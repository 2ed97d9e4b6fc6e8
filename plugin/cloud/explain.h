// Explains a verdict of Forward() in sentences. Pure.

#ifndef VXVDE_PLUGIN_CLOUD_EXPLAIN_H_
#define VXVDE_PLUGIN_CLOUD_EXPLAIN_H_

#include <vector>

#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/snapshot.h"
#include "plugin/fdb/fdb.h"

namespace vxvde {

// State beside the FDB that decides about a frame.
struct Obstacles {
  std::vector<PortId> in_loop;
  bool guarded = false;   // a port's guard is on
  bool snooping = false;  // ports get the IP groups that they want
};

// Runs Forward() for a frame from `source` to `destination`, from the place where the FDB has
// `source`; an unknown one is assumed behind a port of its own.
Explanation ExplainForward(const MacAddress& source, const MacAddress& destination, const Fdb& fdb,
                           Instant now, const Peer& group, const Obstacles& obstacles);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_EXPLAIN_H_
