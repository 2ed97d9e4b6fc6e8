// Encodes and decodes the vxvde header. A real member compares all eight bytes with its own; this
// decoder does the same, except for the VNI, which it returns to the caller.

#include "plugin/wire/header.h"

#include "plugin/base/frame.h"

namespace vxvde {
namespace {

constexpr uint8_t kFlags = 0x08;  // "the VNI is valid", RFC 7348

}  // namespace

VxvdeHeader EncodeHeader(Vni vni) {
  const uint32_t v = vni.value();
  return {kFlags,
          0,
          0,
          0,
          static_cast<uint8_t>(v >> 16),
          static_cast<uint8_t>(v >> 8),
          static_cast<uint8_t>(v),
          0};
}

Drop Decode(std::span<const uint8_t> payload, Datagram& out) {
  if (payload.size() < kVxvdeHeaderSize) return Drop::kShortDatagram;
  const std::span<const uint8_t> h = payload.first(kVxvdeHeaderSize);
  if (h[0] != kFlags || h[1] != 0 || h[2] != 0 || h[3] != 0 || h[7] != 0) return Drop::kBadHeader;

  const std::span<const uint8_t> frame = payload.subspan(kVxvdeHeaderSize);
  if (!frame.empty() && frame.size() <= kEthernetHeaderSize) return Drop::kShortFrame;

  // Three bytes always fit 24 bits.
  out.vni = *Vni::Make(static_cast<uint32_t>(h[4]) << 16 | static_cast<uint32_t>(h[5]) << 8 | h[6]);
  out.leave = frame.empty();
  out.frame = frame;
  return Drop::kNone;
}

}  // namespace vxvde
