// STATUS: could an ADD be served now?

#include "plugin/base/status.h"

#include <chrono>

#include "cni/commands.h"
#include "cni/error.h"

namespace vxvde {
namespace {

// Longer than a restart of the agent takes.
constexpr std::chrono::seconds kStatusGrace(5);

}  // namespace

absl::Status CheckStatus(const StatusRequest& request, const Outside& outside) {
  if (!request.cloud) return absl::OkStatus();
  attach::v1::Ping ping;
  ping.set_cloud(request.cloud->name);
  ping.set_vnl(request.cloud->vnl);
  absl::Status status = outside.agent.Ping(ping, kStatusGrace);
  if (status.ok() && request.network.ipam) {
    status = outside.ipam.CheckStatus(*request.network.ipam);
  }
  if (status.ok()) return status;
  // Every other error is reported as "ADD could not be served" (S1).
  const CniError error = ToCniError(status);
  if (error.code == kCniTryAgainLater && outside.agent.HasAttachments()) {
    return CniStatus(kCniLimitedConnectivity, error.msg, error.details);
  }
  const bool specific = error.code == kCniNotAvailable || error.code == kCniLimitedConnectivity;
  return specific ? status : CniStatus(kCniNotAvailable, error.msg, error.details);
}

}  // namespace vxvde
