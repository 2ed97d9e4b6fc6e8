// Input: the ten bytes of the header, then the frame. An accepted offload lies inside the frame and
// survives the round trip.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "plugin/base/vnet.h"

namespace {

void Check(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < vxvde::kVnetHeaderSize) return 0;
  vxvde::VnetHeader header;
  std::memcpy(&header, data, sizeof(header));
  const std::span<const uint8_t> frame(data + sizeof(header), size - sizeof(header));

  vxvde::Offload offload;
  if (vxvde::FromVnet(header, frame, offload) != vxvde::Drop::kNone) return 0;
  if (offload.needs_checksum) {
    Check(size_t{offload.checksum_start} + offload.checksum_offset + 2 <= frame.size());
  }
  if (offload.gso != vxvde::Gso::kNone) Check(offload.needs_checksum && offload.gso_size != 0);
  Check(offload.header_size <= frame.size());

  vxvde::Offload again;
  Check(vxvde::FromVnet(vxvde::ToVnet(offload), frame, again) == vxvde::Drop::kNone);
  Check(again.gso == offload.gso && again.ecn == offload.ecn &&
        again.gso_size == offload.gso_size && again.header_size == offload.header_size &&
        again.checksum_start == offload.checksum_start &&
        again.checksum_offset == offload.checksum_offset);
  return 0;
}
