// Any bytes as a record or as the file of unicast ports: refused, or read and written back the
// same.

#include <cstdlib>

#include "agent/store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto record = vxvde::ParseRecord(text); record.ok()) {
    const auto again = vxvde::ParseRecord(vxvde::FormatRecord(*record));
    if (!again.ok() || !(*again == *record)) std::abort();
  }
  if (const auto ports = vxvde::ParseUnicastPorts(text); ports.ok()) {
    const auto again = vxvde::ParseUnicastPorts(vxvde::FormatUnicastPorts(*ports));
    if (!again.ok() || *again != *ports) std::abort();
  }
  return 0;
}
