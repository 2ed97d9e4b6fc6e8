// The 8 bytes in front of every inner frame, as real vxvde members send them. Layout:
// docs/PROTOCOL.md; the same bits as RFC 7348, section 5. Pure.

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
  bool leave = false;              // the header alone: forget the stations learned from the sender
  std::span<const uint8_t> frame;  // empty if `leave`
};

// Splits `payload` (a whole UDP payload) into `out`, which stays unchanged unless the result is
// kNone. Reads nothing outside `payload` and allocates nothing. Errors: kShortDatagram, kBadHeader
// or kShortFrame (1 to 14 bytes after the header). The caller compares the VNI with its own.
Drop Decode(std::span<const uint8_t> payload, Datagram& out);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_HEADER_H_
