#include "agent/lifecycle/privileges.h"

#include <string>

#include "plugin/base/status.h"

namespace vxvde {

absl::Status DropPrivileges(bool taps_wait, bool with_bpf, const Log& log) {
  if (taps_wait) {
    log.Warn("privileges kept", {{"reason", "taps of pods could not be opened yet"}});
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(KeepCapabilities(kCapabilitiesToRun));
  // A kernel or container without seccomp is no reason to leave pods without network.
  if (const absl::Status status = RefuseSystemCalls(with_bpf); !status.ok()) {
    log.Warn("system calls not limited", {{"error", std::string(status.message())}});
  }
  return absl::OkStatus();
}

}  // namespace vxvde
