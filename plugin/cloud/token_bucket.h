// TokenBucket: limits events to a rate, with some room for bursts. Pure: time is passed in.

#ifndef VXVDE_PLUGIN_CLOUD_TOKEN_BUCKET_H_
#define VXVDE_PLUGIN_CLOUD_TOKEN_BUCKET_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "plugin/base/time.h"

namespace vxvde {

// Holds the tokens of kDepth, but at least kMinDepth. Full at first.
class TokenBucket {
 public:
  static constexpr Duration kDepth = std::chrono::milliseconds(500);
  static constexpr uint32_t kMinDepth = 64;  // more Ethernet frames than one super-frame holds

  // Takes `count` tokens, or none and returns false. `rate`: tokens a second, 0: no limit.
  // `leave_half`: the lower half of the bucket is out of reach.
  bool Take(uint32_t count, uint32_t rate, Instant now, bool leave_half = false) {
    if (rate == 0) return true;
    const Duration one = Duration(std::chrono::seconds(1)) / rate;
    const Duration depth = std::max(kDepth, one * kMinDepth) / (leave_half ? 2 : 1);
    const Instant full_at = std::max(full_at_, now) + one * count;
    if (full_at - now > depth) return false;
    full_at_ = full_at;
    return true;
  }

 private:
  Instant full_at_{};
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_TOKEN_BUCKET_H_
