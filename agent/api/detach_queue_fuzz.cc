// Any file in the queue folder is read or refused, and a file that was read is written back
// unchanged.

#include <cstdint>
#include <cstdlib>

#include "agent/api/detach_queue.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto detach = vxvde::ParseQueuedDetach({reinterpret_cast<const char*>(data), size});
  if (!detach.ok()) return 0;
  const auto again = vxvde::ParseQueuedDetach(vxvde::FormatQueuedDetach(*detach));
  if (!again.ok() || *again != *detach) abort();
  return 0;
}
