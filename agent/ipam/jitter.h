// Jitter: randomizes an interval, so that agents which start together do not transmit together.
// Pure.

#ifndef VXVDE_AGENT_IPAM_JITTER_H_
#define VXVDE_AGENT_IPAM_JITTER_H_

#include <cstdint>
#include <random>

#include "plugin/base/time.h"

namespace vxvde {

class Jitter {
 public:
  explicit Jitter(uint32_t seed) : random_(seed) {}

  // Between three and five quarters of `interval`.
  Duration operator()(Duration interval) {
    return interval * 3 / 4 + interval * (random_() % 512) / 1024;
  }

 private:
  std::minstd_rand random_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_JITTER_H_
