// A log whose lines go to standard error, each with time and level. spdlog stays in stderr_log.cc.

#ifndef VXVDE_AGENT_BASE_STDERR_LOG_H_
#define VXVDE_AGENT_BASE_STDERR_LOG_H_

#include <string>

#include "agent/base/log.h"

namespace vxvde {

// `level`: "debug", "info", "warn" or "error"; lines below it are left out. Any thread may write.
Log StderrLog(const std::string& level);

}  // namespace vxvde

#endif  // VXVDE_AGENT_BASE_STDERR_LOG_H_
