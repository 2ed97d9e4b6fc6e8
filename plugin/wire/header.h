// The 8 bytes in front of every inner frame, as real vxvde members speak them.
// Layout: docs/PROTOCOL.md; the same bits as RFC 7348, section 5. Pure.

#ifndef VXVDE_PLUGIN_WIRE_HEADER_H_
#define VXVDE_PLUGIN_WIRE_HEADER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "plugin/base/drop.h"
#include "plugin/base/ids.h"

namespace vxvde {

inline constexpr size_t kVxvdeHeaderSize = 8;
using VxvdeHeader = std::array<uint8_t, kVxvdeHeaderSize>;

VxvdeHeader EncodeHeader(Vni vni);

struct Datagram {
  Vni vni;
  bool leave = false;              // the header alone: forget what was learned from the sender
  std::span<const uint8_t> frame;  // empty when leave
};

// Splits `payload` (a whole UDP payload) into `out`, which is left alone unless
// kNone is returned. Reads nothing outside `payload`, allocates nothing.
// kShortDatagram, kBadHeader or kShortFrame (1 to 14 bytes after the header).
// Says nothing about whether the VNI is ours; that is the caller's question.
Drop Decode(std::span<const uint8_t> payload, Datagram& out);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_HEADER_H_
