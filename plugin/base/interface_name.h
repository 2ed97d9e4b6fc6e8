// IsInterfaceName: the one rule for names of network interfaces, in CNI requests, locators,
// annotations, the handoff and the agent's configuration. Pure.
//
// Specification: dev_valid_name() in Linux net/core/dev.c. Control characters are refused in
// addition, because names reach terminals, logs and file paths. Bytes above 0x7f are accepted, as
// in the kernel.

#ifndef VXVDE_PLUGIN_BASE_INTERFACE_NAME_H_
#define VXVDE_PLUGIN_BASE_INTERFACE_NAME_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace vxvde {

inline constexpr size_t kMaxInterfaceName = 15;  // IFNAMSIZ - 1

bool IsInterfaceName(absl::string_view text);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_INTERFACE_NAME_H_
