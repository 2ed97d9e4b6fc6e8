// Values that the agent derives from names instead of choosing and storing them. Pure.

#ifndef VXVDE_AGENT_BASE_DERIVE_H_
#define VXVDE_AGENT_BASE_DERIVE_H_

#include <cstdint>
#include <initializer_list>

#include "absl/strings/string_view.h"
#include "plugin/base/cloud_key.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

// 64 bits that depend on each text and on where it ends. The same on every machine and in every
// release.
uint64_t DeriveHash(std::initializer_list<absl::string_view> texts);

// First and last number of a range of UDP ports, both included; 1 <= first <= last.
struct PortRange {
  uint16_t first = 14790;
  uint16_t last = 15813;

  int size() const { return last - first + 1; }
  friend bool operator==(const PortRange&, const PortRange&) = default;
};

// The MAC of a pod's interface. It is the same for the same three names on every node and after
// every restart. `identity` is the pod's UID, or the container id if there is none. `attempt` 0, 1
// ... selects the next candidate after a collision. Locally administered and unicast (IEEE
// 802-2014, 8.4).
MacAddress DeriveMac(absl::string_view network, absl::string_view identity,
                     absl::string_view ifname, uint32_t attempt);

// The unicast port at which a node starts its search for a free one. Cloud and node spread it, so
// that members behind one address seldom want the same port.
uint16_t FirstUnicastPort(const CloudKey& cloud, absl::string_view node, PortRange range);

}  // namespace vxvde

#endif  // VXVDE_AGENT_BASE_DERIVE_H_
