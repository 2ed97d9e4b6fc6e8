#include "agent/attach/orphan_collector.h"

#include <utility>

#include "agent/api/attachment_id.h"

namespace vxvde {
namespace {

// A link that is being deleted is looked up again after this time.
constexpr std::chrono::seconds kAbandonedRetry{1};

}  // namespace

void OrphanCollector::AbandonPlan(const std::string& id) {
  const absl::StatusOr<LinkInfo> link = parts_.links->by_name(HostIfName(id));
  // A veth pair gets its alias a moment after its name.
  const bool is_of_plan =
      link.ok() && (IdOfAlias(link->alias) == id || (link->alias.empty() && link->kind == "veth"));
  if (absl::IsNotFound(link.status()) || (link.ok() && !is_of_plan)) {
    if (parts_.table->ForgetPlan(id).ok()) return;
  }
  AbandonPlanLater(id);
  if (!is_of_plan) return;
  // A live plugin deletes the link as well; both tolerate that it is gone.
  ++parts_.reconciled->links;
  parts_.log->Info(
      "link deleted",
      {{"id", id}, {"interface", link->name}, {"reason", "its ADD ended before it was committed"}});
  parts_.links->close_later({.io = nullptr, .with_link = true, .host_end = link->index});
}

void OrphanCollector::AbandonPlanLater(const std::string& id) {
  parts_.table->AbandonPlan(id);
  if (abandoned_timer_.pending()) return;
  abandoned_timer_.After(kAbandonedRetry, [this] { CollectAbandonedPlans(); });
}

void OrphanCollector::CollectAbandonedPlans() {
  const std::set<std::string> ids = parts_.table->abandoned_plans();  // AbandonPlan changes it
  for (const std::string& id : ids) AbandonPlan(id);
}

void OrphanCollector::DetachQueued() {
  const absl::StatusOr<DetachQueue::Contents> queued = parts_.queue->Load();
  if (!queued.ok()) {
    parts_.log->Error("queued DELs not read", {{"error", std::string(queued.status().message())}});
    return;
  }
  for (const std::string& problem : queued->problems) {
    parts_.log->Error("queued DEL not understood", {{"problem", problem}});
  }
  parts_.reconciled->unreadable += queued->problems.size();
  for (const QueuedDetach& detach : queued->detaches) {
    const AttachmentKey key{detach.network, detach.container_id, detach.ifname};
    const absl::StatusOr<bool> detached =
        detach.with_others ? parts_.service->DetachAll(key) : parts_.service->Detach(key);
    absl::Status status = detached.status();
    if (status.ok()) status = parts_.queue->Remove(detach.id());
    if (status.ok()) {
      ++parts_.reconciled->dels;
      parts_.log->Info("queued DEL done",
                       {{"id", detach.id()}, {"found", *detached ? "yes" : "no"}});
    } else {
      parts_.log->Error("queued DEL not done",
                        {{"id", detach.id()}, {"error", std::string(status.message())}});
    }
  }
}

bool OrphanCollector::Reconcile(const KernelSnapshot& snapshot) {
  ++parts_.reconciled->looks;
  DetachQueued();
  CollectGone(snapshot);
  const bool suspects = CollectDead(snapshot);
  ReportUnknownLinks(snapshot);
  std::set<std::string> ids;
  for (const auto& [id, attachment] : parts_.table->all()) ids.insert(id);
  parts_.reconciled->leases += parts_.claims->Collect(ids);
  return suspects;
}

void OrphanCollector::CollectGone(const KernelSnapshot& snapshot) {
  if (!snapshot.links.ok()) {
    parts_.log->Warn("links not listed",
                     {{"error", std::string(snapshot.links.status().message())}});
    return;
  }
  std::set<absl::string_view> present;
  for (const LinkInfo& link : *snapshot.links) present.insert(IdOfAlias(link.alias));
  std::vector<Attachment*> gone;
  for (auto& [id, attachment] : parts_.table->all()) {
    if (attachment.state != Attachment::State::kAttached || attachment.record.tap) continue;
    if (present.contains(id)) continue;
    // The attachment may be newer than the snapshot, or its link may have another alias now. The
    // kernel deletes the host end together with the pod's end and its namespace, and never reuses
    // an index.
    if (absl::IsNotFound(parts_.links->by_index(attachment.host_end).status())) {
      gone.push_back(&attachment);
    }
  }
  for (Attachment* attachment : gone) {
    parts_.resources->EndAnyway(*attachment, "attachment gone",
                                "its interface is gone: the pod ended without DEL");
  }
}

std::vector<WatchedNetNs> OrphanCollector::Watched() const {
  std::vector<WatchedNetNs> watched;
  for (const auto& [id, attachment] : parts_.table->all()) {
    if (attachment.state != Attachment::State::kAttached || attachment.netns.number < 0) continue;
    if (attachment.record.netns_id.empty()) continue;
    watched.push_back({.attachment = id,
                       .path = attachment.record.netns,
                       .id = attachment.record.netns_id,
                       .number = attachment.netns.number});
  }
  return watched;
}

// The agent's descriptor of a tap keeps the namespace alive, so the kernel does not report its end.
// A snapshot may miss a process that is being started; two in a row do not.
bool OrphanCollector::CollectDead(const KernelSnapshot& snapshot) {
  std::set<std::string> suspects;
  for (const std::string& id : snapshot.dead) {
    Attachment* attachment = parts_.table->Find(id);
    if (attachment == nullptr || attachment->state != Attachment::State::kAttached) continue;
    if (!suspects_.contains(id)) {
      suspects.insert(id);
      continue;
    }
    parts_.resources->EndAnyway(
        *attachment, "attachment gone",
        "no path and no process refers to its network namespace: the pod ended without DEL");
  }
  suspects_ = std::move(suspects);
  return !suspects_.empty();
}

void OrphanCollector::ReportUnknownLinks(const KernelSnapshot& snapshot) {
  if (!snapshot.links.ok()) return;
  std::set<std::string> unknown;
  for (const LinkInfo& link : *snapshot.links) {
    const std::string id(IdOfAlias(link.alias));
    if (id.empty() || parts_.table->Find(id) != nullptr ||
        parts_.table->abandoned_plans().contains(id)) {
      continue;
    }
    if (!unknown_links_.contains(link.alias)) {
      parts_.log->Warn("unknown link",
                       {{"interface", link.name},
                        {"alias", link.alias},
                        {"reason", "it has the agent's mark, but the run-dir has no record of it"},
                        {"effect", "left alone: an agent with another run-dir may own it"}});
    }
    unknown.insert(link.alias);
  }
  unknown_links_ = std::move(unknown);
  parts_.reconciled->unknown_links = unknown_links_.size();
}

}  // namespace vxvde
