// Input: a packet as it comes from the tap. Checks that a recognised datagram lies inside the
// packet.

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "plugin/fastpath/punt.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> packet(data, data + size);
  vxvde::InDatagram datagram;
  if (vxvde::ParseDatagram(packet, 15814, datagram) != vxvde::Drop::kNone) return 0;
  const uint8_t* first = packet.data();
  if (datagram.bytes.data() < first || datagram.bytes.data() > first + size ||
      datagram.bytes.size() > size - static_cast<size_t>(datagram.bytes.data() - first)) {
    std::abort();
  }
  return 0;
}
