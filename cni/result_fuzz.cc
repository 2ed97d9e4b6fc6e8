// Input: the output of an IPAM plugin, a result or an error. Every result that can be read can be
// written in every version.

#include <cstdint>

#include "cni/result.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  if (const auto result = vxvde::ParseIpamResult(input); result.ok()) {
    for (const absl::string_view version : vxvde::kSpecVersions) {
      (void)vxvde::FormatResult(*result, *vxvde::ParseSpecVersion(version));
    }
    // Version 1.1.0 keeps every field.
    const auto again =
        vxvde::ParseIpamResult(vxvde::FormatResult(*result, vxvde::SpecVersion::k110));
    if (!again.ok() || !(*again == *result)) __builtin_trap();
  }
  if (const auto error = vxvde::ParseError(input)) {
    (void)vxvde::FormatError(*error, vxvde::SpecVersion::k110);
  }
  return 0;
}
