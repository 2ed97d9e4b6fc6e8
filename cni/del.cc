// DEL, and netavark's teardown: the steps of ADD backwards. Each tolerates that it has nothing to
// do.

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cni/attachment_name.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// Longer than a busy agent takes to answer, and short enough for a node whose agent hangs: a
// runtime ends many pods one after the other.
constexpr std::chrono::seconds kDetachTimeout(4);
constexpr std::chrono::seconds kSecondTimeout(1);

// D1: an agent that is down, or hangs, carries the DEL out when it starts.
absl::Status DetachOrQueue(const attach::v1::AttachmentKey& key, const Outside& outside) {
  absl::Status status = outside.agent.DetachAll(key, kDetachTimeout);
  if (status.ok() || ToCniError(status).code != kCniTryAgainLater) return status;
  outside.output.Log(
      absl::StrCat(status.message(), "; the agent carries the DEL out at its next start"));
  const absl::Status queued = outside.agent.QueueDetachAll(key);
  // An agent that started between the two calls has read its queue already, so it is asked again.
  status = outside.agent.DetachAll(key, kSecondTimeout);
  if (!status.ok() && ToCniError(status).code == kCniTryAgainLater) return queued;
  if (const absl::Status unqueued = outside.agent.UnqueueDetachAll(key); !unqueued.ok()) {
    outside.output.Log(unqueued.message());
  }
  return status;
}

}  // namespace

absl::Status Delete(const DelRequest& request, const Outside& outside) {
  const Container& container = request.container;
  const AttachmentName main = NameOf(request.network, container);
  std::vector<absl::Status> errors;
  const auto release = [&] {
    absl::Status status = outside.ipam.Delete(*request.network.ipam, container);
    if (!status.ok()) errors.push_back(std::move(status));
  };
  // A plugin that asks on the link (dhcp) returns the lease there, while it can.
  const bool first = request.network.ipam && AsksOnLink(*request.network.ipam);
  if (first) release();
  if (absl::Status status = DetachOrQueue(KeyOf(main), outside); !status.ok()) {
    errors.push_back(std::move(status));
  }
  const auto links_of = [&](const std::string& ifname) {
    return LinksOf(NameOf(request.network, container, ifname), container.netns);
  };
  if (absl::Status status = outside.links.DeleteAll(LinksOf(main, container.netns), links_of);
      !status.ok()) {
    errors.push_back(std::move(status));
  }
  if (request.network.ipam && !first) release();
  return JoinErrors(errors);
}

}  // namespace vxvde
