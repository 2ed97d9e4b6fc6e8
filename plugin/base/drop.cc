// The one table of names and texts of Drop.

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
    {"bad-header", "The flags or reserved bytes of a datagram are not those of vxvde."},
    {"wrong-vni", "A datagram of another cloud (another VNI) came to our UDP port."},
    {"short-frame", "An Ethernet frame had no byte of payload."},
    {"own-echo", "A group datagram that this node sent came back to it."},
    {"hairpin", "A peer's frame was for a station that is reached through another peer."},
    {"same-port", "A frame was for a station behind the port that it came from."},
    {"bad-source", "The source MAC address of a frame is a group address."},
    {"bad-offload", "The checksum or segmentation marks of a frame do not fit the frame."},
    {"unsupported-offload", "A super-frame is of a kind that cannot be segmented here."},
    {"too-big", "A frame was larger than one UDP datagram can carry."},
    {"socket-full", "The send queue of the UDP socket was full."},
    {"send-failed", "The kernel refused to send a datagram: no route, link down or the like."},
    {"port-full", "The queue of the port that a frame was for was full."},
    {"port-down", "The interface of the port that a frame was for was down or gone."},
    {"too-big-for-port", "A frame was larger than the MTU of the port that it was for."},
    {"truncated", "A datagram or frame was larger than any receive buffer."},
    {"socket-overrun",
     "The kernel lost datagrams because the UDP socket's receive queue was full."},
    {"port-overrun", "The kernel lost frames because the port's receive queue was full."},
    {"reserved", "A pod sent a frame of a kind that only agents may send to each other."},
    {"spoofed-mac", "A pod sent from a MAC address that is not its own, or named it in ARP or ND."},
    {"spoofed-address", "A pod said by ARP or ND that it has an address that is not its own."},
    {"rogue-server", "A pod that may not sent as a DHCP server or a router."},
    {"unreadable", "A pod's frame has headers that cannot be followed as far as must be looked."},
    {"storm", "More frames to all were sent than one port, one peer or a cloud's peers may send."},
    {"loop", "A frame came in a circle, or it was flooded from or to a port that is in a loop."},
    {"not-from-here", "A datagram came by an interface that the cloud is not on."},
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
