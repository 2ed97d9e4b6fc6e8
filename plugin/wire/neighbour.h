// ARP and neighbour discovery, as far as they tell which station has an address. Pure. Source: RFC
// 826, RFC 5227 (IPv4 address conflict detection), RFC 4861 and RFC 4862, section 5.4 (duplicate
// address detection); docs/PROTOCOL.md, "Claims", for the mark.

#ifndef VXVDE_PLUGIN_WIRE_NEIGHBOUR_H_
#define VXVDE_PLUGIN_WIRE_NEIGHBOUR_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

// The mark by which agents recognize each other's frames: in the padding of an ARP frame, and in an
// option of ND that hosts skip (type 253, RFC 4727). `beat` counts the sender's heartbeats.
struct AgentMark {
  enum class Kind : uint8_t {
    kClaim = 1,  // with a probe: an agent wants the address
    kNeed = 2,   // the same, but no address is free: an unassigned one is enough
    kHold = 3,   // an agent answers for the address
    kBeat = 4,   // the same, once a heartbeat
    kFree = 5,   // answers a claim: the sender's agent does not hold the address
  };
  Kind kind = Kind::kClaim;
  uint32_t beat = 0;
  uint16_t agents = 0;  // number of agents that the sender has heard recently, including itself

  friend bool operator==(const AgentMark&, const AgentMark&) = default;
};

struct Neighbour {
  enum class Kind {
    kProbe,  // asks whether `address` is free (ARP request from 0.0.0.0, solicitation from ::)
    kAsk,    // asks for the MAC of `address`; `asker` is therefore at `mac`
    kHas,    // `address` is at `mac`: an announcement or an answer
  };
  Kind kind = Kind::kProbe;
  IpAddress address;
  MacAddress mac;     // as the message says; if it does not, the frame's source
  MacAddress source;  // of the frame
  std::optional<IpAddress> asker;
  std::optional<AgentMark> mark;
};

// False, with `out` unchanged: a frame of another kind, or a malformed one. `checksum`: the ICMPv6
// checksum is complete and must be correct (a pod's kernel may have left it to the device). Safe on
// any input. Frames with VLAN tags are frames of another kind.
bool ParseNeighbour(std::span<const uint8_t> frame, bool checksum, Neighbour& out);

// A probe for `address` from `mac`, by broadcast or multicast, or to `to` alone.
std::vector<uint8_t> BuildProbe(const MacAddress& mac, const IpAddress& address,
                                const AgentMark& mark,
                                const MacAddress& to = MacAddress::Broadcast());

// An announcement by the station `source` that `address` is at `holder`, by broadcast or multicast.
std::vector<uint8_t> BuildHolds(const MacAddress& source, const MacAddress& holder,
                                const IpAddress& address, const AgentMark& mark);

// The same, as an answer to the sender of `question`.
std::vector<uint8_t> BuildAnswer(const MacAddress& source, const MacAddress& holder,
                                 const Neighbour& question, const AgentMark& mark);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_NEIGHBOUR_H_
