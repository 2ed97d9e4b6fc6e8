// GC: returns what the runtime no longer knows.

#include <algorithm>
#include <map>
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

using Listed = attach::v1::Listed::Attachment;

// `attachments` are those of one ADD.
absl::StatusOr<bool> IsAlive(const std::vector<Listed>& attachments, PodLinks& links) {
  for (const Listed& one : attachments) {
    if (one.planned()) return true;
    ASSIGN_OR_RETURN(const bool there, links.IsInPod(LinksOf(NameOf(one), one.netns())));
    if (there) return true;
  }
  return false;
}

absl::Status About(const absl::Status& status, const std::string& what) {
  if (status.ok()) return status;
  const CniError error = ToCniError(status);
  return CniStatus(error.code, absl::StrCat("GC of ", what, ": ", error.msg), error.details);
}

}  // namespace

absl::Status CollectGarbage(const GcRequest& request, const Outside& outside) {
  ASSIGN_OR_RETURN(const std::vector<Listed> listed, outside.agent.List(request.network.name, ""));
  std::map<ValidAttachment, std::vector<Listed>> adds;
  for (const Listed& one : listed) {
    if (one.caller() != "cni") continue;
    adds[{one.key().container_id(), one.main_ifname()}].push_back(one);
  }

  std::vector<ValidAttachment> remaining = request.valid;
  std::vector<absl::Status> errors;
  for (const auto& [add, attachments] : adds) {
    if (std::find(request.valid.begin(), request.valid.end(), add) != request.valid.end()) continue;
    const std::string what =
        absl::StrCat("container ", add.container_id, " interface ", add.ifname);
    const absl::StatusOr<bool> alive = IsAlive(attachments, outside.links);
    if (!alive.ok() || *alive) {
      remaining.push_back(add);
      if (!alive.ok()) {
        errors.push_back(About(alive.status(), what));
      } else {
        outside.output.Log(absl::StrCat("GC: ", what,
                                        " is not listed, but its interface exists in ",
                                        attachments[0].netns(), ": left alone"));
      }
      continue;
    }
    absl::Status status = Delete({.network = request.network,
                                  .container = {.id = add.container_id,
                                                .netns = attachments[0].netns(),
                                                .ifname = add.ifname}},
                                 outside);
    outside.output.Log(absl::StrCat("GC: ", what, status.ok() ? " removed" : " not removed"));
    if (!status.ok()) errors.push_back(About(status, what));
  }

  if (request.network.ipam) {
    IpamDelegate delegate = *request.network.ipam;
    absl::StatusOr<std::string> config = ConfigWithValid(delegate.config, remaining);
    absl::Status status = config.status();
    if (status.ok()) {
      delegate.config = *std::move(config);
      status = outside.ipam.CollectGarbage(delegate);
    }
    if (!status.ok()) errors.push_back(std::move(status));
  }
  return JoinErrors(errors);
}

}  // namespace vxvde
