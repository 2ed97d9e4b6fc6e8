// A log that writes to standard error, each line with time and level. spdlog is visible in
// stderr_log.cc only.

#ifndef VXVDE_AGENT_BASE_STDERR_LOG_H_
#define VXVDE_AGENT_BASE_STDERR_LOG_H_

#include <string>

#include "agent/base/log.h"

namespace vxvde {

// `level`: "debug", "info", "warn" or "error"; lines below it are omitted. Any thread may write.
Log StderrLog(const std::string& level);

}  // namespace vxvde

#endif  // VXVDE_AGENT_BASE_STDERR_LOG_H_
