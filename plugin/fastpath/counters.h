// Counters of the programs, as plain values for the cloud and for people.

#ifndef VXVDE_PLUGIN_FASTPATH_COUNTERS_H_
#define VXVDE_PLUGIN_FASTPATH_COUNTERS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "plugin/base/drop.h"

namespace vxvde {

// The reason for which the programs punted a frame. The numbers are those of abi.h
// (kernel_cloud.cc).
enum class Slow : uint8_t {
  kGroup = 0,     // broadcast or multicast
  kUnknown = 1,   // the destination is unknown, or at a peer without a fast path
  kMoved = 2,     // the source is unknown or at another place: to be learned
  kKind = 3,      // not IP; or to or from a peer with a VLAN tag, or a super-frame that is not TCP
  kTooBig = 4,    // does not fit one datagram to the peer
  kSlowPort = 5,  // the destination's port is not a fast one (a tap)
  kSamePort = 6,  // the destination is behind the port that it came from
  kOdd = 7,       // headers that the programs do not understand
  kGuarded = 8,   // from a pod: a PortGuard (plugin/cloud/guard.h) may refuse it
};
inline constexpr size_t kSlowReasons = 9;
// "group", "unknown", ...; "" when out of range.
absl::string_view SlowName(Slow reason);

// Counted since the port or peer was added.
struct FastCounters {
  FlowCounters from;  // from the pod, or from the peer
  FlowCounters to;
  // Of a port: frames that the programs dropped above the flood limit, or while too many frames of
  // the port waited to be read.
  uint64_t refused = 0;
};
struct FastLost {
  // Punted, and lost because the cloud did not read them in time.
  uint64_t frames = 0;
  uint64_t datagrams = 0;
  // Datagrams to the fast port by an interface that the cloud is not on.
  uint64_t not_from_here = 0;
};
using SlowCounters = std::array<uint64_t, kSlowReasons>;

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_COUNTERS_H_
