// ParseNeighbour on any bytes: an accepted frame can be answered, and the answer parsed.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "plugin/wire/neighbour.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vxvde;
  const MacAddress ours({2, 0, 0x5e, 0x10, 0, 1});
  for (const bool checksum : {false, true}) {
    Neighbour message;
    if (!ParseNeighbour({data, size}, checksum, message)) continue;
    const auto answer =
        BuildAnswer(ours, ours, message, {.kind = AgentMark::Kind::kHold, .beat = 7});
    Neighbour again;
    // No station has 0.0.0.0 or ::, so no message may report their location.
    if (message.address.IsUnspecified()) continue;
    if (!ParseNeighbour(answer, /*checksum=*/true, again)) std::abort();
    if (again.kind != Neighbour::Kind::kHas || again.address != message.address ||
        again.mac != ours || !again.mark.has_value()) {
      std::abort();
    }
  }
  return 0;
}
