// Logs events of the switch. Pure. docs/OPERATIONS.md explains the lines.

#ifndef VXVDE_AGENT_STATUS_EVENT_LOG_H_
#define VXVDE_AGENT_STATUS_EVENT_LOG_H_

#include <string>

#include "agent/base/log.h"
#include "plugin/switch.h"

namespace vxvde {

// `cloud` is the name of the cloud. Events that an operator should examine are warnings; those of
// every pod, peer and station are for debugging.
void LogEvent(const Log& log, const SwitchEvent& event, const std::string& cloud);

}  // namespace vxvde

#endif  // VXVDE_AGENT_STATUS_EVENT_LOG_H_
