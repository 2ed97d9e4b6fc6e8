// ARP and neighbour discovery, as far as they say who has an address. Pure.
// Source: RFC 826, RFC 5227 (IPv4 address conflict detection), RFC 4861 and RFC 4862, section 5.4
// (duplicate address detection); docs/PROTOCOL.md, "Claims", for the mark.

#ifndef VXVDE_PLUGIN_WIRE_NEIGHBOUR_H_
#define VXVDE_PLUGIN_WIRE_NEIGHBOUR_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

// By what agents know each other's frames: in what pads an ARP frame, and in an option of ND that
// hosts skip (type 253, RFC 4727). `beat` counts the sender's heartbeats.
struct AgentMark {
  enum class Kind : uint8_t {
    kClaim = 1,  // with a probe: an agent wants the address
    kNeed =
        2,  // the same, and it found none that is free: one that is only kept in store is enough
    kHold = 3,  // an agent answers for the address
    kBeat = 4,  // the same, once a heartbeat
    kFree = 5,  // to one who claims: the sender\'s agent does not have the address
  };
  Kind kind = Kind::kClaim;
  uint32_t beat = 0;
  uint16_t agents = 0;  // that the sender has heard lately, itself included

  friend bool operator==(const AgentMark&, const AgentMark&) = default;
};

struct Neighbour {
  enum class Kind {
    kProbe,  // may I have `address`? (ARP request from 0.0.0.0, solicitation from ::)
    kAsk,    // who has `address`? asked from `asker`, which is thus at `mac`
    kHas,    // `address` is at `mac`: an announcement or an answer
  };
  Kind kind = Kind::kProbe;
  IpAddress address;
  MacAddress mac;     // what the message says; where it does not, the frame's source
  MacAddress source;  // of the frame
  std::optional<IpAddress> asker;
  std::optional<AgentMark> mark;
};

// False, with `out` untouched: a frame of another kind, or one that is malformed. `checksum`:
// the ICMPv6 checksum is complete and must be right (it is not yet in a frame that a pod's kernel
// left to the device). Safe on any input; frames with VLAN tags are of another kind.
bool ParseNeighbour(std::span<const uint8_t> frame, bool checksum, Neighbour& out);

// "May I have `address`?" from `mac`; to all, or to `to` alone.
std::vector<uint8_t> BuildProbe(const MacAddress& mac, const IpAddress& address,
                                const AgentMark& mark,
                                const MacAddress& to = MacAddress::Broadcast());

// "`address` is at `holder`", said by the station `source`, to all.
std::vector<uint8_t> BuildHolds(const MacAddress& source, const MacAddress& holder,
                                const IpAddress& address, const AgentMark& mark);

// The same, as the answer to whom `question` came from.
std::vector<uint8_t> BuildAnswer(const MacAddress& source, const MacAddress& holder,
                                 const Neighbour& question, const AgentMark& mark);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_NEIGHBOUR_H_
