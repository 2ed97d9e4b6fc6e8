// struct virtio_net_hdr <-> Offload, with every field checked against the frame. Pure.
// Source: Virtual I/O Device (VIRTIO) 1.2, 5.1.6; linux/virtio_net.h.

#ifndef VXVDE_PLUGIN_BASE_VNET_H_
#define VXVDE_PLUGIN_BASE_VNET_H_

#include <linux/virtio_net.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "plugin/base/drop.h"
#include "plugin/base/frame.h"

namespace vxvde {

// The header without num_buffers: what taps and packet sockets use by default.
using VnetHeader = virtio_net_hdr;
inline constexpr size_t kVnetHeaderSize = 10;
static_assert(sizeof(VnetHeader) == kVnetHeaderSize);

// `frame` is what followed the header. kBadOffload when offsets point outside
// it, kUnsupportedOffload for a GSO kind that Gso cannot say; `out` is then untouched.
Drop FromVnet(const VnetHeader& header, std::span<const uint8_t> frame, Offload& out);

VnetHeader ToVnet(const Offload& offload);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_VNET_H_
