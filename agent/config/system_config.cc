#include "agent/config/system_config.h"

#include <grp.h>
#include <unistd.h>

#include <vector>

#include "plugin/base/status.h"

namespace vxvde {
namespace {

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "node";
  return name;
}

}  // namespace

std::optional<uint32_t> UnixGroupId(absl::string_view name) {
  std::vector<char> buffer(65536);
  group entry{};
  group* found = nullptr;
  if (getgrnam_r(std::string(name).c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return std::nullopt;
  }
  return found->gr_gid;
}

absl::StatusOr<Config> LoadSystemConfig(const std::string& path) {
  ASSIGN_OR_RETURN(Config config, LoadConfig(path, UnixGroupId));
  if (config.node.empty()) config.node = HostName();
  return config;
}

}  // namespace vxvde
