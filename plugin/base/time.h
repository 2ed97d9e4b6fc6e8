// Time as an argument: code below agent/ never reads a clock.

#ifndef VXVDE_PLUGIN_BASE_TIME_H_
#define VXVDE_PLUGIN_BASE_TIME_H_

#include <chrono>

namespace vxvde {

// CLOCK_MONOTONIC; the event loop reads it once a turn.
using Clock = std::chrono::steady_clock;
using Instant = Clock::time_point;
using Duration = Clock::duration;

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_TIME_H_
