// Frame: one Ethernet frame (no FCS), or one super-frame that is still to be segmented, with the
// state of its checksum. It is the kernel's struct virtio_net_hdr in strong types; vnet.h converts.

#ifndef VXVDE_PLUGIN_BASE_FRAME_H_
#define VXVDE_PLUGIN_BASE_FRAME_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace vxvde {

inline constexpr size_t kEthernetHeaderSize = 14;
// The largest frame or super-frame that a buffer holds, vnet header excluded.
inline constexpr size_t kMaxFrameSize = 65536 + 256;

enum class Gso : uint8_t {
  kNone = 0,
  kTcp4,
  kTcp6,
  kUdp,  // UDP_SEGMENT of an application in the pod, IPv4 or IPv6 (VIRTIO_NET_HDR_GSO_UDP_L4)
};

// All offsets are in bytes from the first byte of the Ethernet header.
struct Offload {
  Gso gso = Gso::kNone;
  bool needs_checksum = false;  // CHECKSUM_PARTIAL: the field contains the sum of the pseudo-header
  bool ecn = false;             // kTcp*: CWR belongs to the first segment only
  uint16_t gso_size = 0;        // payload bytes of each segment but the last
  uint16_t header_size = 0;     // all headers, including the transport header; 0 = unknown
  uint16_t checksum_start = 0;  // where the transport header starts
  uint16_t checksum_offset = 0;  // from there to the checksum field
};

// A received frame in a buffer that the reader owns until the next read.
struct Frame {
  std::span<uint8_t> bytes;
  Offload offload;
};

// A frame to be written, in parts (at most kMaxParts), none of them empty.
struct OutFrame {
  static constexpr size_t kMaxParts = 128;
  std::span<const iovec> parts;
  size_t size = 0;  // sum of the parts
  Offload offload;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_FRAME_H_
