#include "plugin/os/random.h"

#include <sys/random.h>

namespace vxvde {

// The kernel returns up to 256 bytes completely and without EINTR once its generator is seeded,
// which is long before an agent starts (getrandom(2)).
uint64_t RandomNumber() {
  uint64_t number = 0;
  while (getrandom(&number, sizeof(number), 0) != sizeof(number)) continue;
  return number;
}

}  // namespace vxvde
