// The names and texts of Drop, in one table.

#include "plugin/base/drop.h"

namespace vxvde {
namespace {

struct Reason {
  const char* name;
  const char* text;
};

constexpr std::array<Reason, kDropReasons> kReasons = {{
    {"none", "The frame was not dropped."},
    {"short-datagram", "A datagram was shorter than the 8-byte vxvde header."},
    {"bad-header", "The flags or reserved bytes of a datagram differ from those of vxvde."},
    {"wrong-vni", "A datagram of another VNI arrived at the cloud's UDP port."},
    {"short-frame", "An Ethernet frame had no payload."},
    {"own-echo", "A group datagram that this node sent was looped back to it."},
    {"hairpin", "A peer sent a frame for a station behind another peer."},
    {"same-port", "A frame was addressed to a station behind the port that it came from."},
    {"bad-source", "The source MAC address of a frame is a group address."},
    {"bad-offload", "The checksum or segmentation metadata do not fit the frame."},
    {"unsupported-offload", "A super-frame is of a kind that the agent cannot segment."},
    {"too-big", "A frame was larger than one UDP datagram can carry."},
    {"socket-full", "The send queue of the UDP socket was full."},
    {"send-failed", "The kernel refused to send a datagram: no route, link down or similar."},
    {"port-full", "The queue of the destination port was full."},
    {"port-down", "The interface of the destination port was down or gone."},
    {"too-big-for-port", "A frame was larger than the MTU of the destination port."},
    {"truncated", "A datagram or frame was larger than any receive buffer."},
    {"socket-overrun",
     "The kernel lost datagrams because the UDP socket's receive queue was full."},
    {"port-overrun", "The kernel lost frames because the port's receive queue was full."},
    {"reserved", "A pod sent a Hello, a frame that only agents may send."},
    {"spoofed-mac",
     "A pod sent from a MAC address that is not its own, or named one in ARP or ND."},
    {"spoofed-address", "A pod claimed, by ARP or ND, an address that is not its own."},
    {"rogue-server", "A pod sent as a DHCP server or a router without permission."},
    {"unreadable", "A pod's frame has headers that port security cannot inspect far enough."},
    {"storm", "A port, a peer or all peers of the cloud flooded more frames than the limit."},
    {"loop", "A frame returned in a loop, or was flooded from or to a port that is in a loop."},
    {"not-from-here", "A datagram arrived by an interface that the cloud is not on."},
}};

// Adding a reason without its row would leave an empty one at the end.
static_assert(kReasons.back().name != nullptr && kReasons.back().text != nullptr);

}  // namespace

absl::string_view DropName(Drop drop) {
  const size_t i = static_cast<size_t>(drop);
  return i < kReasons.size() ? absl::string_view(kReasons[i].name) : absl::string_view();
}

absl::string_view DropText(Drop drop) {
  const size_t i = static_cast<size_t>(drop);
  return i < kReasons.size() ? absl::string_view(kReasons[i].text) : absl::string_view();
}

}  // namespace vxvde
