// Verdict: what happens to one frame.

#ifndef VXVDE_PLUGIN_CLOUD_VERDICT_H_
#define VXVDE_PLUGIN_CLOUD_VERDICT_H_

#include "plugin/base/drop.h"
#include "plugin/base/ids.h"

namespace vxvde {

struct Verdict {
  enum class Action {
    kDrop,    // for the reason `drop`
    kToPort,  // `port`
    kToPeer,  // `peer`, as one datagram
    // From a port: to all other ports, and to the group. From a peer: to all ports, and to no
    // member, because each receives the group itself.
    kFlood,
  };
  Action action = Action::kDrop;
  Drop drop = Drop::kNone;
  PortId port = PortId::kNone;
  Peer peer = {};

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_VERDICT_H_
