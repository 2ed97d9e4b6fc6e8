#include "agent/lifecycle/fd_keeper.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "agent/lifecycle/holder.h"
#include "agent/lifecycle/process.h"

namespace vxvde {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

bool ServiceManagerKeepsFds() {
  int places = 0;
  return !Environment("NOTIFY_SOCKET").empty() &&
         absl::SimpleAtoi(Environment("FDSTORE"), &places) && places > 0;
}

FdKeeper OpenFdKeeper(const std::string& run_dir, std::map<std::string, UniqueFd> passed,
                      const Log& log) {
  if (ServiceManagerKeepsFds()) {
    return {
        .what = "service manager", .found = std::move(passed), .keep = StoreFd, .drop = UnstoreFd};
  }
  absl::StatusOr<FdKeeper> holder = OpenHolder(run_dir);
  if (holder.ok()) return *std::move(holder);
  log.Warn("no holder", {{"error", std::string(holder.status().message())},
                         {"effect", "frames that arrive during a restart of the agent are lost"}});
  return {.what = "nobody"};
}

}  // namespace vxvde
