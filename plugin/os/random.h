// Unpredictable random numbers.

#ifndef VXVDE_PLUGIN_OS_RANDOM_H_
#define VXVDE_PLUGIN_OS_RANDOM_H_

#include <cstdint>

namespace vxvde {

// Reads getrandom(2).
uint64_t RandomNumber();

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_RANDOM_H_
