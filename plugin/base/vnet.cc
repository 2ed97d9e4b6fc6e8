// The kernel's offload metadata, trusted no further than the frame that they describe.

#include "plugin/base/vnet.h"

namespace vxvde {

Drop FromVnet(const VnetHeader& header, std::span<const uint8_t> frame, Offload& out) {
  Offload offload;

  offload.needs_checksum = (header.flags & VnetHeader::kNeedsChecksum) != 0;
  if (offload.needs_checksum) {
    // In size_t: the sum of two 16-bit fields does not wrap.
    const size_t field = size_t{header.csum_start} + header.csum_offset;
    if (header.csum_start < kEthernetHeaderSize || field + sizeof(uint16_t) > frame.size()) {
      return Drop::kBadOffload;
    }
    offload.checksum_start = header.csum_start;
    offload.checksum_offset = header.csum_offset;
  }

  switch (header.gso_type & ~VnetHeader::kGsoEcn) {
    case VnetHeader::kGsoNone:
      break;
    case VnetHeader::kGsoTcp4:
      offload.gso = Gso::kTcp4;
      break;
    case VnetHeader::kGsoTcp6:
      offload.gso = Gso::kTcp6;
      break;
    case VnetHeader::kGsoUdpL4:
      offload.gso = Gso::kUdp;
      break;
    default:  // IP fragments of one UDP datagram (UFO, 3), and future kinds
      return Drop::kUnsupportedOffload;
  }

  if (offload.gso != Gso::kNone) {
    // A segment's checksum can only be made from the super-frame's partial sum.
    if (!offload.needs_checksum || header.gso_size == 0) return Drop::kBadOffload;
    offload.gso_size = header.gso_size;
    offload.ecn = offload.gso != Gso::kUdp && (header.gso_type & VnetHeader::kGsoEcn) != 0;
    // A hint, which is known to be wrong: Linux passes the linear part, which may be more than the
    // headers. A value that cannot be the size of headers is treated as absent; the segmenter
    // parses the frame anyway.
    if (header.hdr_len > offload.checksum_start && header.hdr_len <= frame.size()) {
      offload.header_size = header.hdr_len;
    }
  }

  out = offload;
  return Drop::kNone;
}

VnetHeader ToVnet(const Offload& offload) {
  VnetHeader header;
  if (offload.needs_checksum) {
    header.flags = VnetHeader::kNeedsChecksum;
    header.csum_start = offload.checksum_start;
    header.csum_offset = offload.checksum_offset;
  }
  switch (offload.gso) {
    case Gso::kNone:
      return header;
    case Gso::kTcp4:
      header.gso_type = VnetHeader::kGsoTcp4;
      break;
    case Gso::kTcp6:
      header.gso_type = VnetHeader::kGsoTcp6;
      break;
    case Gso::kUdp:
      header.gso_type = VnetHeader::kGsoUdpL4;
      break;
  }
  if (offload.ecn) header.gso_type |= VnetHeader::kGsoEcn;
  header.gso_size = offload.gso_size;
  header.hdr_len = offload.header_size;
  return header;
}

}  // namespace vxvde
