// Any text as a configuration is refused or accepted without any other effect, and an accepted one
// has the properties that the rest of the agent relies on.

#include <cstdlib>
#include <string>

#include "agent/config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = vxvde::ParseConfig(
      text, [](absl::string_view name) { return std::optional<uint32_t>(name.size()); });
  if (!config.ok()) {
    if (config.status().message().empty()) std::abort();
    return 0;
  }
  if (config->unicast_ports.first == 0 || config->unicast_ports.size() < 1) std::abort();
  for (const vxvde::NamedCloud& cloud : config->clouds) {
    if (config->FindByName(cloud.name) != &cloud) std::abort();
    if (config->FindByKey(cloud.config.key) != &cloud) std::abort();
    vxvde::MayUse(cloud, "shop");
  }
  return 0;
}
