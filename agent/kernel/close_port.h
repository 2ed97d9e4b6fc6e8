// ClosePort: closes a port that the switch has released, and deletes its interface. It waits for
// the kernel, so the loop leaves it to a BackgroundCloser.

#ifndef VXVDE_AGENT_KERNEL_CLOSE_PORT_H_
#define VXVDE_AGENT_KERNEL_CLOSE_PORT_H_

#include "agent/kernel/links.h"

namespace vxvde {

// Works in the network namespace of the calling thread. Failing to delete the interface is not an
// error: the plugin deletes the rest and reports errors.
void ClosePort(ClosingPort port);

}  // namespace vxvde

#endif  // VXVDE_AGENT_KERNEL_CLOSE_PORT_H_
