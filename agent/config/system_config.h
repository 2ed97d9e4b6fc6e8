// The configuration of this machine: the file, with names that the system resolves. Not here: the
// grammar of the file (config.h).

#ifndef VXVDE_AGENT_CONFIG_SYSTEM_CONFIG_H_
#define VXVDE_AGENT_CONFIG_SYSTEM_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/config/config.h"

namespace vxvde {

// The number of the group `name` (group(5)), for grp= and vni= of a locator.
std::optional<uint32_t> UnixGroupId(absl::string_view name);

// The same as LoadConfig, with the host's name for a node without a configured one.
absl::StatusOr<Config> LoadSystemConfig(const std::string& path);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CONFIG_SYSTEM_CONFIG_H_
