// What an IPAM plugin prints: a result or an error. What was read can be said, in every version.

#include <cstdint>

#include "cni/result.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  if (const auto result = vxvde::ParseIpamResult(input); result.ok()) {
    for (const absl::string_view version : vxvde::kSpecVersions) {
      (void)vxvde::FormatResult(*result, *vxvde::ParseSpecVersion(version));
    }
    // From 1.1.0 on nothing is lost.
    const auto again =
        vxvde::ParseIpamResult(vxvde::FormatResult(*result, vxvde::SpecVersion::k110));
    if (!again.ok() || !(*again == *result)) __builtin_trap();
  }
  if (const auto error = vxvde::ParseError(input)) {
    (void)vxvde::FormatError(*error, vxvde::SpecVersion::k110);
  }
  return 0;
}
