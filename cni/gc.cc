#include "cni/gc.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "cni/error.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

using Attachment = attach::v1::Listed::Attachment;

LinkNames NamesOf(const Attachment& one) {
  const attach::v1::AttachmentKey& key = one.key();
  const std::string id = AttachmentId(key.network(), key.container_id(), key.ifname());
  const std::string main_id = AttachmentId(key.network(), key.container_id(), one.main_ifname());
  return {.netns = one.netns(),
          .ifname = key.ifname(),
          .host_ifname = HostIfName(id),
          .alias = LinkAlias(id, main_id)};
}

// Of what one ADD made.
absl::StatusOr<bool> IsAlive(const std::vector<Attachment>& attachments, PodLinks& links) {
  for (const Attachment& one : attachments) {
    if (one.planned()) return true;
    ASSIGN_OR_RETURN(const bool there, links.IsInPod(NamesOf(one)));
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

absl::Status CollectGarbage(const Request& request, const Outside& outside) {
  ASSIGN_OR_RETURN(const std::vector<Attachment> listed, outside.agent.List(request.network, ""));
  std::map<ValidAttachment, std::vector<Attachment>> adds;
  for (const Attachment& one : listed) {
    if (one.caller() != "cni") continue;
    adds[{one.key().container_id(), one.main_ifname()}].push_back(one);
  }

  std::vector<ValidAttachment> staying = request.valid;
  std::vector<absl::Status> errors;
  for (const auto& [add, attachments] : adds) {
    if (std::find(request.valid.begin(), request.valid.end(), add) != request.valid.end()) continue;
    const std::string what =
        absl::StrCat("container ", add.container_id, " interface ", add.ifname);
    const absl::StatusOr<bool> alive = IsAlive(attachments, outside.links);
    if (!alive.ok() || *alive) {
      staying.push_back(add);
      if (!alive.ok()) {
        errors.push_back(About(alive.status(), what));
      } else {
        outside.log(absl::StrCat("GC: ", what, " is not listed, but it lives in ",
                                 attachments[0].netns(), ": left alone"));
      }
      continue;
    }
    Request one = request;
    one.container_id = add.container_id;
    one.ifname = add.ifname;
    one.netns = attachments[0].netns();
    absl::Status status = Delete(one, outside);
    outside.log(absl::StrCat("GC: ", what, status.ok() ? " removed" : " not removed"));
    if (!status.ok()) errors.push_back(About(status, what));
  }

  if (request.ipam.kind == Ipam::Kind::kDelegate) {
    Request ipam = request;
    absl::StatusOr<std::string> config = ConfigWithValid(request.config, staying);
    absl::Status status = config.status();
    if (status.ok()) {
      ipam.config = *std::move(config);
      status = outside.ipam.CollectGarbage(ipam);
    }
    if (!status.ok()) errors.push_back(std::move(status));
  }
  return JoinErrors(errors);
}

}  // namespace vxvde
