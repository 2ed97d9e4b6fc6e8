// Drop: every reason for which a frame dies, and the counters of them.
//
// Numbers are for ever: they are in people's dashboards. New reasons go to the
// end. docs/OPERATIONS.md explains each; a test reads it.

#ifndef VXVDE_PLUGIN_BASE_DROP_H_
#define VXVDE_PLUGIN_BASE_DROP_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace vxvde {

enum class Drop : uint8_t {
  kNone = 0,                 // not dropped
  kShortDatagram = 1,        // a datagram shorter than the 8-byte header
  kBadHeader = 2,            // flags or reserved bytes are not vxvde's
  kWrongVni = 3,             // another cloud's VNI on our port
  kShortFrame = 4,           // an Ethernet frame of 14 bytes or less
  kOwnEcho = 5,              // our own group datagram came back
  kHairpin = 6,              // to a station that is reached through another peer: not ours to relay
  kSamePort = 7,             // to a station behind the port that it came from
  kBadSource = 8,            // the source MAC is a group address
  kBadOffload = 9,           // checksum or GSO marks that do not fit the frame
  kUnsupportedOffload = 10,  // a super-frame of a kind that cannot be segmented here
  kTooBig = 11,              // larger than one UDP datagram can carry
  kSocketFull = 12,          // the UDP socket's send queue is full
  kSendFailed = 13,          // the kernel refused to send the datagram (no route, link down ...)
  kPortFull = 14,            // the port's queue is full
  kPortDown = 15,            // the port's interface is down or gone
  kTooBigForPort = 16,       // larger than the port's MTU
  kTruncated = 17,           // a datagram or frame larger than any buffer
  kSocketOverrun = 18,       // lost by the kernel: the UDP socket's receive queue was full
  kPortOverrun = 19,         // lost by the kernel: the port's receive queue was full
  kReserved = 20,            // a pod sent a frame that only agents may send (plugin/wire/hello.h)
  // What a port may not send (plugin/cloud/guard.h):
  kSpoofedMac = 21,      // from another MAC than its own, or with one in ARP or ND
  kSpoofedAddress = 22,  // ARP or ND for an address that is not its own
  kRogueServer = 23,     // a DHCP server's message, a router's advertisement or redirect
  kUnreadable = 24,      // headers behind which any of these could hide
  kStorm = 25,           // more frames to all, or Hellos, than one port, peer or cloud may cause
  kLoop = 26,            // it came in a circle, or from or for a port that is in a loop
  kNotFromHere = 27,     // a datagram by an interface that the cloud is not on
};

inline constexpr size_t kDropReasons = 28;

// "short-datagram", ...; the name in tables, JSON and metrics. "" when out of range.
absl::string_view DropName(Drop drop);
// One sentence for people: what happened. "" when out of range.
absl::string_view DropText(Drop drop);

// How often each reason was met. Plain numbers: one thread owns a switch.
struct DropCounters {
  std::array<uint64_t, kDropReasons> count = {};

  void Add(Drop drop, uint64_t n = 1) { count[static_cast<size_t>(drop)] += n; }
  uint64_t operator[](Drop drop) const { return count[static_cast<size_t>(drop)]; }
  // What was lost. An own echo is not: its frame had gone where it should before it came back.
  uint64_t Total() const {
    uint64_t sum = 0;
    for (size_t i = 1; i < kDropReasons; ++i) sum += count[i];
    return sum - (*this)[Drop::kOwnEcho];
  }
};

// Frames and bytes (Ethernet header to payload, no FCS) that passed one way.
// A super-frame counts as the frames that it stands for.
struct FlowCounters {
  uint64_t frames = 0;
  uint64_t bytes = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_DROP_H_
