// Input: an Ethernet frame. All offsets that ParsePacket() returns lie inside it, in the order of
// the headers.

#include <cstdint>
#include <cstdlib>

#include "plugin/wire/packet.h"

namespace {

void Check(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using L3 = vxvde::PacketView::L3;
  using L4 = vxvde::PacketView::L4;
  vxvde::PacketView view;
  if (!vxvde::ParsePacket({data, size}, view)) return 0;

  Check(size >= 14 && view.l3_offset >= 14 && view.l3_offset <= 22 && view.l3_offset <= size);
  if (view.l3 == L3::kOther) {
    Check(view.l4 == L4::kOther);
    return 0;
  }
  Check(view.l4_offset >= view.l3_offset + (view.l3 == L3::kIpv4 ? 20 : 40));
  Check(view.l4_offset <= size);
  if (view.l4 == L4::kOther) return 0;
  Check(view.payload >= view.l4_offset + (view.l4 == L4::kTcp ? 20 : 8));
  Check(view.payload <= size);
  return 0;
}
