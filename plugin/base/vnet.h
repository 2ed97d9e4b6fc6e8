// struct virtio_net_hdr <-> Offload, with every field checked against the frame. Pure.
// Source: Virtual I/O Device (VIRTIO) 1.2, 5.1.6; linux/virtio_net.h.

#ifndef VXVDE_PLUGIN_BASE_VNET_H_
#define VXVDE_PLUGIN_BASE_VNET_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "plugin/base/drop.h"
#include "plugin/base/frame.h"

namespace vxvde {

// The header without num_buffers, which taps and packet sockets use by default, in host byte order.
// (linux/virtio_net.h itself is not valid C++: it has a member named `class`.)
struct VnetHeader {
  static constexpr uint8_t kNeedsChecksum = 1;  // flags: VIRTIO_NET_HDR_F_NEEDS_CSUM
  static constexpr uint8_t kGsoNone = 0;        // gso_type: VIRTIO_NET_HDR_GSO_*
  static constexpr uint8_t kGsoTcp4 = 1;
  static constexpr uint8_t kGsoTcp6 = 4;
  static constexpr uint8_t kGsoUdpL4 = 5;
  static constexpr uint8_t kGsoEcn = 0x80;  // a flag in addition to the type

  uint8_t flags = 0;
  uint8_t gso_type = kGsoNone;
  uint16_t hdr_len = 0;
  uint16_t gso_size = 0;
  uint16_t csum_start = 0;
  uint16_t csum_offset = 0;
};
inline constexpr size_t kVnetHeaderSize = 10;
static_assert(sizeof(VnetHeader) == kVnetHeaderSize);

// `frame` is the data after the header. kBadOffload if offsets point outside of it, or if a
// super-frame has no partial checksum or no segment size; kUnsupportedOffload for a GSO kind that
// Gso does not have. `out` is unchanged then. hdr_len is a hint that may exceed the headers:
// header_size is 0 (unknown) if hdr_len ends before the transport header starts or after the frame.
Drop FromVnet(const VnetHeader& header, std::span<const uint8_t> frame, Offload& out);

VnetHeader ToVnet(const Offload& offload);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_VNET_H_
