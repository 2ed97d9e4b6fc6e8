// Input: a UDP payload. An accepted payload is split in two, and its header is the one that
// EncodeHeader() writes for that VNI.

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "plugin/wire/header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vxvde::Datagram datagram;
  if (vxvde::Decode({data, size}, datagram) != vxvde::Drop::kNone) return 0;

  const vxvde::VxvdeHeader header = vxvde::EncodeHeader(datagram.vni);
  if (!std::equal(header.begin(), header.end(), data)) std::abort();
  if (datagram.frame.size() != size - header.size()) std::abort();
  if (datagram.leave != datagram.frame.empty()) std::abort();
  if (!datagram.leave && datagram.frame.size() < 15) std::abort();
  return 0;
}
