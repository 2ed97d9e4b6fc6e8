// Forward: the whole policy of the switch for one frame. Pure. The kernel datapath must agree with
// it, or punt.

#ifndef VXVDE_PLUGIN_CLOUD_FORWARD_H_
#define VXVDE_PLUGIN_CLOUD_FORWARD_H_

#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/verdict.h"
#include "plugin/fdb/fdb.h"

namespace vxvde {

// Depends on nothing but its arguments. The caller learns `source` first.
Verdict Forward(const MacAddress& destination, const MacAddress& source, const Location& from,
                const Fdb& fdb, Instant now);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_FORWARD_H_
