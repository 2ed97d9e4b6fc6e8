#include "agent/node/fast_path.h"

#include <utility>

#include "plugin/base/status.h"

namespace vxvde {

absl::StatusOr<NodeFastPath> OpenFastPath(Datapath wanted, const FastPathKernel& kernel,
                                          const Log& log) {
  std::string why = "the agent was started with `datapath: user`; restart it";
  if (wanted != Datapath::kUser) {
    absl::StatusOr<std::unique_ptr<FastPath>> fast = kernel.open();
    if (fast.ok()) {
      if (const std::string anew = (*fast)->WhyNotInherited(); !anew.empty()) {
        log.Warn("kernel datapath begun anew",
                 {{"reason", anew}, {"effect", "pods' ports are the agent's for a moment"}});
      }
      log.Info("kernel datapath", {{"hooks", (*fast)->Hooks()}});
      return NodeFastPath{*std::move(fast), ""};
    }
    if (wanted == Datapath::kKernel) return Annotate(fast.status(), "`datapath: kernel`");
    why = std::string(fast.status().message());
    log.Info("no kernel datapath", {{"reason", why}, {"fallback", "user"}});
  }
  // An earlier agent may have left a kernel datapath behind.
  if (const absl::Status removed = kernel.remove(); !removed.ok()) {
    log.Warn("fast path not removed", {{"error", std::string(removed.message())}});
  }
  return NodeFastPath{nullptr, why};
}

}  // namespace vxvde
