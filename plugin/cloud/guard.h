// guard: decides whether a port may send a frame (port security). It does not check frames from
// peers, because this node cannot know which addresses are theirs. Pure.
//
// It checks the source MAC, claims of addresses by ARP (RFC 826, RFC 5227) and neighbour discovery
// (RFC 4861), DHCP servers (RFC 2131, RFC 8415), and routers (RFC 6105, RFC 7113). It does not
// check the source address of other packets (a pod may route), nor frames in a VLAN with a number,
// which is another network than the cloud's.
//
// The kernel datapath must punt every frame that this may refuse.

#ifndef VXVDE_PLUGIN_CLOUD_GUARD_H_
#define VXVDE_PLUGIN_CLOUD_GUARD_H_

#include <cstdint>
#include <span>
#include <vector>

#include "plugin/base/drop.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

// The frames that a port may send, in a form for quick checks; agent/model/allowed.h has the text
// form.
struct PortGuard {
  bool on = false;                   // false: everything
  std::vector<MacPrefix> macs = {};  // allowed sources, beside its own MAC
  // Addresses that it may claim and request: these; fe80::/10, which hosts choose themselves; and
  // all others that are not in `reserved`.
  std::vector<IpPrefix> addresses = {};
  std::vector<IpPrefix> reserved = {};
  bool dhcp_server = false;
  bool router = false;

  friend bool operator==(const PortGuard&, const PortGuard&) = default;
};

// `frame` is plain or a super-frame; `own` is the port's MAC. kNone: it may. Safe on any input.
Drop CheckFromPort(std::span<const uint8_t> frame, const MacAddress& own, const PortGuard& guard);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_GUARD_H_
