// Group memberships as hosts and routers announce them: IGMP in IPv4, MLD in IPv6, and the PIM
// Hello by which routers reveal themselves. Pure. Sources: RFC 1112 (IGMPv1), RFC 2236 (IGMPv2),
// RFC 3376 (IGMPv3), RFC 2710 (MLDv1), RFC 3810 (MLDv2), RFC 7761, section 4.9 (PIM);
// docs/PROTOCOL.md, "Queries", for the agents' mark.

#ifndef VXVDE_PLUGIN_WIRE_MEMBERSHIP_H_
#define VXVDE_PLUGIN_WIRE_MEMBERSHIP_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

// One message of any version, reduced to the properties that matter to a switch.
struct Membership {
  enum class Kind {
    kQuery,   // asks for the members of `group`, or of any group
    kReport,  // `records`
    kRouter,  // the sender routes multicast
  };
  struct Record {
    IpAddress group;
    bool joined = false;  // a member, perhaps for some sources only; else it may have left
  };

  Kind kind = Kind::kQuery;
  IpAddress source;  // of the IP packet
  // kQuery
  std::optional<IpAddress> group;  // nullopt: the general query
  Duration response{};             // time within which answers come
  bool of_agent = false;           // carries the agents' mark
  // kReport
  std::vector<Record> records;
};

// The group of a frame: IPv4 or IPv6 multicast, sent to the MAC address that belongs to the group
// (RFC 1112, section 6.4; RFC 2464, section 7). nullopt for any other frame, including one with a
// VLAN tag.
std::optional<IpAddress> GroupOf(std::span<const uint8_t> frame);

// False, with `out` unspecified: a frame of another kind, or one that hosts and routers would
// reject because of a length or checksum, or in MLD because of the hop limit or a missing router
// alert of a query. `checksum`: checksums are complete and must be correct. Safe on any input.
// Groups in records may be any address.
bool ParseMembership(std::span<const uint8_t> frame, bool checksum, Membership& out);

// The general query of IGMPv3 or MLDv2 as an agent sends it: the source is 0.0.0.0, or `self`'s
// link-local address. `response` and `interval` are whole seconds, at most 12 and 127.
std::vector<uint8_t> BuildQuery(bool v6, const MacAddress& self, Duration response,
                                Duration interval);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_MEMBERSHIP_H_
