// Why forward() decides as it does, in sentences. Pure.

#ifndef VXVDE_PLUGIN_CLOUD_EXPLAIN_H_
#define VXVDE_PLUGIN_CLOUD_EXPLAIN_H_

#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/types.h"
#include "plugin/fdb/fdb.h"

namespace vxvde {

// Runs Forward() for a frame from `source` to `destination` at the place where `source`
// is known to be; an unknown one is taken for a station behind a port of its own.
Explanation ExplainForward(const MacAddress& source, const MacAddress& destination, const Fdb& fdb,
                           Instant now, const Peer& group);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_EXPLAIN_H_
