// Drop: the reasons for which frames are discarded, and a counter for each.
//
// Numbers never change, because dashboards use them. New reasons are appended. docs/OPERATIONS.md
// explains each; a test reads it.

#ifndef VXVDE_PLUGIN_BASE_DROP_H_
#define VXVDE_PLUGIN_BASE_DROP_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace vxvde {

enum class Drop : uint8_t {
  kNone = 0,           // not dropped
  kShortDatagram = 1,  // a datagram shorter than the 8-byte header
  kBadHeader = 2,      // the flags or reserved bytes differ from those of vxvde
  kWrongVni = 3,       // another cloud's VNI at the port of this cloud
  kShortFrame = 4,     // an Ethernet frame of 14 bytes or less
  kOwnEcho = 5,        // a group datagram of this node was looped back
  kHairpin = 6,        // to a station behind another peer, to which only the sender itself may send
  kSamePort = 7,       // to a station behind the port that the frame came from
  kBadSource = 8,      // the source MAC is a group address
  kBadOffload = 9,     // checksum or GSO metadata that do not fit the frame
  kUnsupportedOffload = 10,  // a super-frame of a kind that the agent cannot segment
  kTooBig = 11,              // larger than one UDP datagram can carry
  kSocketFull = 12,          // the UDP socket's send queue is full
  kSendFailed = 13,          // the kernel refused to send the datagram (no route, link down ...)
  kPortFull = 14,            // the port's queue is full
  kPortDown = 15,            // the port's interface is down or gone
  kTooBigForPort = 16,       // larger than the port's MTU
  kTruncated = 17,           // a datagram or frame larger than any buffer
  kSocketOverrun = 18,       // lost by the kernel: the receive queue of the UDP socket was full
  kPortOverrun = 19,         // lost by the kernel: the receive queue of the port was full
  kReserved = 20,            // a pod sent a frame that only agents may send (plugin/wire/hello.h)
  // Frames that a port may not send (plugin/cloud/guard.h):
  kSpoofedMac = 21,      // from a MAC that is not its own, or with one in ARP or ND
  kSpoofedAddress = 22,  // ARP or ND for an address that is not its own
  kRogueServer = 23,     // a message of a DHCP server, a router advertisement or redirect
  kUnreadable = 24,      // headers that may hide one of the three above
  kStorm = 25,           // floods or Hellos beyond the limit of a port, a peer or a cloud
  kLoop = 26,            // it returned in a loop, or is flooded from or to a port that is in a loop
  kNotFromHere = 27,     // a datagram that arrived by an interface that the cloud is not on
};

inline constexpr size_t kDropReasons = 28;

// The name in tables, JSON and metrics, such as "short-datagram". "" if out of range.
absl::string_view DropName(Drop drop);
// One sentence for operators that describes the cause. "" if out of range.
absl::string_view DropText(Drop drop);

// The number of drops by reason. Plain numbers: one thread owns a switch.
struct DropCounters {
  std::array<uint64_t, kDropReasons> count = {};

  void Add(Drop drop, uint64_t n = 1) { count[static_cast<size_t>(drop)] += n; }
  uint64_t operator[](Drop drop) const { return count[static_cast<size_t>(drop)]; }
  // The number of lost frames. An own echo is none: its frame had been delivered before it came
  // back.
  uint64_t Total() const {
    uint64_t sum = 0;
    for (size_t i = 1; i < kDropReasons; ++i) sum += count[i];
    return sum - (*this)[Drop::kOwnEcho];
  }
};

// Frames and bytes (Ethernet header to payload, no FCS) in one direction. A super-frame counts as
// the frames that it contains.
struct FlowCounters {
  uint64_t frames = 0;
  uint64_t bytes = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_DROP_H_
