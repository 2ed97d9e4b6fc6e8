// The reasons of Forward() for a verdict, in sentences. Pure.

#ifndef VXVDE_PLUGIN_CLOUD_EXPLAIN_H_
#define VXVDE_PLUGIN_CLOUD_EXPLAIN_H_

#include <vector>

#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/snapshot.h"
#include "plugin/fdb/fdb.h"

namespace vxvde {

// Beside the FDB, these decide about a frame.
struct Obstacles {
  std::vector<PortId> in_loop;
  bool guarded = false;   // a port's guard is on
  bool snooping = false;  // ports get the IP groups that they want
};

// Runs Forward() for a frame from `source` to `destination` at the place where `source`
// is known to be; an unknown one is taken for a station behind a port of its own.
Explanation ExplainForward(const MacAddress& source, const MacAddress& destination, const Fdb& fdb,
                           Instant now, const Peer& group, const Obstacles& obstacles);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_EXPLAIN_H_
