// The log's line for an event of the switch. Pure. docs/OPERATIONS.md explains the lines.

#ifndef VXVDE_AGENT_STATUS_EVENT_LOG_H_
#define VXVDE_AGENT_STATUS_EVENT_LOG_H_

#include <string>

#include "agent/base/log.h"
#include "plugin/switch.h"

namespace vxvde {

// `cloud` is its name for people. What an operator has to look at is a warning; what happens with
// every pod, peer and station is for debugging.
void LogEvent(const Log& log, const SwitchEvent& event, const std::string& cloud);

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_EVENT_LOG_H_
