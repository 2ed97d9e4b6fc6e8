#include "agent/model/mtu.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "agent/base/refusal.h"

namespace vxvde {
namespace {

constexpr int kVxvdeHeader = 8;
constexpr int kEthernetHeader = 14;
constexpr int kMaxDatagram = 65507;
constexpr int kMaxSegments = 64;

}  // namespace

int Encapsulation(const IpAddress& group) { return group.is_v4() ? 50 : 70; }

absl::StatusOr<int> PodMtu(uint32_t requested, int of_cloud, int uplink_mtu,
                           const IpAddress& group) {
  if (requested == 0 && of_cloud == 0) {
    const int fits = std::min(uplink_mtu - Encapsulation(group), kMaxPodMtu);
    if (fits < kMinPodMtu) {
      return Refuse(AttachError::kMtuImpossible,
                    absl::StrCat("the uplink's MTU of ", uplink_mtu, " leaves ", fits,
                                 " for pods, fewer than ", kMinPodMtu),
                    "raise the uplink's MTU, or set `mtu:` of the cloud");
    }
    return fits;
  }
  const int64_t mtu = requested != 0 ? int64_t{requested} : of_cloud;
  if (mtu < kMinPodMtu || mtu > kMaxPodMtu) {
    return Refuse(
        AttachError::kMtuImpossible, absl::StrCat("MTU ", mtu, " is impossible"),
        absl::StrCat("use ", kMinPodMtu, " to ", kMaxPodMtu,
                     ", or 0 for what the uplink carries: ", uplink_mtu - Encapsulation(group)));
  }
  return static_cast<int>(mtu);
}

uint32_t GsoMaxSize(int pod_mtu, bool fast) {
  if (fast) return 0;
  const int datagram = kVxvdeHeader + kEthernetHeader + pod_mtu;
  const int segments = std::clamp(kMaxDatagram / datagram, 1, kMaxSegments);
  // The smallest payload of a full TCP segment: IPv6 (40 bytes of header) and TCP with timestamps
  // (32). Larger payloads make fewer segments. The kernel subtracts its own MAX_TCP_HEADER as well.
  const int payload = std::max(pod_mtu - 72, 8);
  return static_cast<uint32_t>(segments * payload);
}

}  // namespace vxvde
