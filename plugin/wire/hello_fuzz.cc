// Input: an Ethernet frame. A Hello that can be read is written again with the same fields.

#include <cstdint>
#include <cstdlib>

#include "plugin/wire/hello.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto hello = vxvde::DecodeHello({data, size});
  if (!hello.has_value()) return 0;
  if (!vxvde::IsHello({data, size})) std::abort();
  if (vxvde::DecodeHello(vxvde::EncodeHello(*hello)) != hello) std::abort();
  return 0;
}
