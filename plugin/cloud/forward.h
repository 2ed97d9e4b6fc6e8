// forward: where does one frame go? The whole policy of the switch, and no I/O.
// Whatever else forwards frames (a fast path, say) must agree with it or stand back.

#ifndef VXVDE_PLUGIN_CLOUD_FORWARD_H_
#define VXVDE_PLUGIN_CLOUD_FORWARD_H_

#include "plugin/base/drop.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/fdb/fdb.h"

namespace vxvde {

struct Verdict {
  enum class Action {
    kDrop,    // `drop` says why
    kToPort,  // `port`
    kToPeer,  // `peer`, as one datagram
    // From a port: to all other ports, and to the group. From a peer: to all
    // ports and nobody else (every member hears the group by itself).
    kFlood,
  };
  Action action = Action::kDrop;
  Drop drop = Drop::kNone;
  PortId port = PortId::kNone;
  Peer peer = {};

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

// Depends on nothing but its arguments. The caller learns `source` first.
Verdict Forward(const MacAddress& destination, const MacAddress& source, const Location& from,
                const Fdb& fdb, Instant now);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_FORWARD_H_
