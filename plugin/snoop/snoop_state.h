// SnoopState: the state of a Snooper, for people. Plain values.

#ifndef VXVDE_PLUGIN_SNOOP_SNOOP_STATE_H_
#define VXVDE_PLUGIN_SNOOP_SNOOP_STATE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/location.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

struct SnoopState {
  // The querier of one family. Without `ours` and `source`: not heard yet.
  struct Querier {
    bool ours = false;
    IpAddress source;  // of its IP packets; 0.0.0.0 of agents in IPv4
    std::optional<MacAddress> mac;
    std::optional<Location> where;
    bool is_agent = false;
    Duration idle{};  // since its last query
  };
  struct GroupRow {
    IpAddress group;
    std::vector<PortId> ports;  // that want it, by number
    bool elsewhere = false;     // another member's station wants it
  };

  std::array<Querier, 2> querier;  // of IGMP, of MLD
  std::vector<GroupRow> groups;    // by address
  std::vector<PortId> routers;     // ports with a router behind them: they receive every group
  std::vector<PortId> unsure;      // ports with unknown memberships: they receive every group
  uint64_t withheld = 0;           // copies of frames that a port did not receive
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_SNOOP_SNOOP_STATE_H_
