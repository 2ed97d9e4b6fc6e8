#include "agent/attach/restorer.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"

namespace vxvde {

void Restorer::Start(const UnicastPorts& ports) {
  for (const auto& [cloud, port] : ports) {
    const NamedCloud* named = parts_.config->FindByKey(cloud);
    // The node's own port joins a cloud with a gateway.
    const bool gateway = named != nullptr && named->gateway;
    if (gateway || parts_.table->HasOn(cloud)) parts_.clouds->Restore(cloud, port);
  }
  RestoreWaiting();
  // Tries a second time before the agent drops the inherited descriptors that nothing uses
  // (docs/decisions/0020).
  if (retry_.pending()) {
    retry_.Cancel();
    RestoreWaiting();
  }
}

void Restorer::RestoreWaiting() {
  auto& all = parts_.table->all();
  for (auto next = all.begin(); next != all.end();) {
    Attachment& attachment = (next++)->second;  // End erases it
    if (attachment.state != Attachment::State::kWaiting) continue;
    absl::Status status = RestoreOne(attachment);
    if (absl::IsNotFound(status)) {
      status = parts_.resources->End(attachment, "attachment gone", status.message());
      if (status.ok()) continue;
    }
    if (!status.ok()) {
      Wait(attachment, status.message());
      continue;
    }
    parts_.log->Info("attached again",
                     {{"id", attachment.record.id},
                      {"cloud", NameOfCloud(*parts_.config, attachment.cloud)},
                      {"port", absl::StrCat(static_cast<uint32_t>(attachment.port))},
                      {"container", attachment.record.container_id},
                      {"ifname", attachment.record.ifname}});
    // Other nodes still know an attachment whose unicast port is unchanged, and announcing all pods
    // of a large node would load each of them.
    if (!parts_.clouds->IsAtRecalledPort(attachment.cloud.key)) {
      parts_.resources->Announce(attachment, /*to_ports=*/false);
    }
  }
}

absl::Status Restorer::RestoreOne(Attachment& attachment) {
  const AttachmentRecord& record = attachment.record;
  // The interface comes first: no cloud is joined for an attachment that is gone.
  UniqueFd tap;
  if (record.tap) {
    ASSIGN_OR_RETURN(tap, parts_.links->reopen_tap(record.netns, record.ifname,
                                                   LinkAlias(record.id, MainIdOf(record)),
                                                   /*watched=*/!record.netns_id.empty()));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<FrameIo> io,
                   parts_.resources->OpenInterface(attachment, std::move(tap)));
  // An error from here on is not about the interface, and must not be NotFound.
  const NamedCloud* named = parts_.config->FindByKey(attachment.cloud.key);
  const CloudConfig& cloud = named != nullptr ? named->config : attachment.cloud;
  absl::StatusOr<const CloudOptions*> joined = parts_.resources->Join(cloud);
  // Tries a second time while the interface is open, because closing it would drop the frames in
  // its queue (docs/decisions/0020).
  if (!joined.ok()) joined = parts_.resources->Join(cloud);
  if (!joined.ok()) return absl::UnavailableError(joined.status().message());
  if (const absl::Status status = parts_.resources->AddPort(attachment, std::move(io));
      !status.ok()) {
    return absl::UnavailableError(status.message());
  }
  AttachmentRecord renewed = record;
  renewed.unicast_port = (*joined)->unicast_port;
  if (renewed.netns_id.empty()) renewed.netns_id = attachment.netns.id;
  if (!(renewed == record)) {
    const absl::Status status = parts_.table->Renew(attachment, std::move(renewed));
    if (!status.ok()) {
      parts_.log->Warn("record not renewed",
                       {{"id", record.id}, {"error", std::string(status.message())}});
    }
  }
  attachment.state = Attachment::State::kAttached;
  attachment.problem.clear();
  parts_.resources->Restore(attachment);
  return absl::OkStatus();
}

void Restorer::Wait(Attachment& attachment, absl::string_view problem) {
  if (attachment.problem != problem) {
    attachment.problem = std::string(problem);
    parts_.log->Warn("attachment waits",
                     {{"id", attachment.record.id}, {"problem", attachment.problem}});
  }
  if (!retry_.pending()) retry_.After(kRetry, [this] { RestoreWaiting(); });
}

}  // namespace vxvde
