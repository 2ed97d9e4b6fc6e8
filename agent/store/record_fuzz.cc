// Any bytes as a record, a lease or the file of unicast ports are refused, or read and written back
// unchanged.

#include <cstdlib>

#include "agent/store/store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto record = vxvde::ParseRecord(text); record.ok()) {
    const auto again = vxvde::ParseRecord(vxvde::FormatRecord(*record));
    if (!again.ok() || !(*again == *record)) std::abort();
  }
  if (const auto lease = vxvde::ParseLease(text); lease.ok()) {
    const auto again = vxvde::ParseLease(vxvde::FormatLease(*lease));
    if (!again.ok() || !(*again == *lease)) std::abort();
  }
  if (const auto ports = vxvde::ParseUnicastPorts(text); ports.ok()) {
    const auto again = vxvde::ParseUnicastPorts(vxvde::FormatUnicastPorts(*ports));
    if (!again.ok() || *again != *ports) std::abort();
  }
  return 0;
}
