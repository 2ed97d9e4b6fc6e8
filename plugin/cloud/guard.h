// guard: may this port send that frame? Port security, for the frames that come from ports; what
// peers send is not looked at, since nobody here can know what is theirs. Pure.
//
// Looked at: the source MAC; who ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861) say
// has an address; DHCP servers (RFC 2131, RFC 8415); routers (RFC 6105, RFC 7113). Not looked at:
// the source address of other packets (a pod may route), and what is in a VLAN with a number,
// which is another network than the cloud's.
//
// Whoever forwards without asking (the fast path) must hand over all that this may refuse.

#ifndef VXVDE_PLUGIN_CLOUD_GUARD_H_
#define VXVDE_PLUGIN_CLOUD_GUARD_H_

#include <cstdint>
#include <span>
#include <vector>

#include "plugin/base/drop.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

// What a port may send. Made to be checked quickly; agent/model/allowed.h has what people write.
struct PortGuard {
  bool on = false;                   // false: everything
  std::vector<MacPrefix> macs = {};  // that it may send from, beside its own
  // Which addresses it may say it has, and ask for: these; fe80::/10, which hosts make by
  // themselves; and all others that are not in `reserved`.
  std::vector<IpPrefix> addresses = {};
  std::vector<IpPrefix> reserved = {};
  bool dhcp_server = false;
  bool router = false;

  friend bool operator==(const PortGuard&, const PortGuard&) = default;
};

// `frame`: whole, or a super-frame; `own`: the port's MAC. kNone: it may. Safe on any input.
Drop CheckFromPort(std::span<const uint8_t> frame, const MacAddress& own, const PortGuard& guard);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_GUARD_H_
