// Location: the port of this node or the peer behind which a station is.

#ifndef VXVDE_PLUGIN_BASE_LOCATION_H_
#define VXVDE_PLUGIN_BASE_LOCATION_H_

#include <variant>

#include "plugin/base/ids.h"

namespace vxvde {

using Location = std::variant<PortId, Peer>;

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_LOCATION_H_
