// Input: records of one byte that selects the source and the time that passes, one byte of length,
// and a frame. For any input the tables stay bounded, and a frame is withheld only if it is for a
// group.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "plugin/snoop/snooper.h"

namespace vxvde {
namespace {

void Check(bool so) {
  if (!so) std::abort();
}

void Run(std::span<const uint8_t> input) {
  Instant now = Instant() + std::chrono::hours(1);
  Snooper snooper(MacAddress({2, 0, 0, 0, 0, 1}), now);
  for (uint32_t port = 1; port <= 4; ++port) snooper.AddPort(PortId{port});
  while (input.size() >= 2) {
    const uint8_t what = input[0];
    const std::span<const uint8_t> frame =
        input.subspan(2, std::min<size_t>(input[1], input.size() - 2));
    input = input.subspan(2 + frame.size());
    const PortId port{what % 4u + 1};
    const Location from = (what & 4) != 0 ? Location(port) : Location(Peer{});
    if ((what & 8) != 0) now += std::chrono::seconds(1 << (what >> 5));
    snooper.Tick(now);
    const Snooper::Recipients recipients = snooper.Hear(frame, false, from);
    const bool wanted = snooper.IsFor(recipients, port);
    const auto group = GroupOf(frame);
    Check(wanted || group.has_value());
    Check(snooper.IsFor(recipients, PortId{99}));
  }
  const SnoopState state = snooper.Snapshot();
  Check(state.groups.size() <= Snooper::kMaxGroups);
  for (uint32_t port = 1; port <= 4; ++port) snooper.RemovePort(PortId{port});
  for (const auto& row : snooper.Snapshot().groups) Check(row.ports.empty());
}

}  // namespace
}  // namespace vxvde

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vxvde::Run({data, size});
  return 0;
}
