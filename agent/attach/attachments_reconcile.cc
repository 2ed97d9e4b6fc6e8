// What is attached against what is there: links whose ADD has died, attachments whose interface has
// gone unnoticed, leases of nobody.
//
// What is ours: a link by its name, which is a hash of the attachment's key, and by its alias, when
// its id is that of a record, or of a plan that this run-dir has noted. The alias alone proves
// nothing: an agent with another run-dir writes the same ones.

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "agent/attach/attachments.h"

namespace vxvde {
namespace {

// A link that is on its way out when it is looked for.
constexpr std::chrono::seconds kLookAgain{1};

}  // namespace

void Attachments::EndPlan(const std::string& id) {
  const absl::StatusOr<LinkInfo> link = links_.by_name(HostIfName(id));
  // A pair gets its alias a moment after its name.
  const bool ours =
      link.ok() && (IdOfAlias(link->alias) == id || (link->alias.empty() && link->kind == "veth"));
  if (absl::IsNotFound(link.status()) || (link.ok() && !ours)) {
    if (const absl::Status status = store_->Unplan(id); status.ok()) {
      left_.erase(id);
      return;
    }
  }
  EndPlanLater(id);  // until it has gone
  if (ours) {
    // If the plugin lives it does the same, and each lets the other.
    ++reconciled_.links;
    log_->Info("link deleted", {{"id", id},
                                {"interface", link->name},
                                {"reason", "its ADD ended before it was committed"}});
    links_.close_later({.io = nullptr, .with_link = true, .host_end = link->index});
  }
}

void Attachments::EndPlanLater(const std::string& id) {
  left_.insert(id);
  if (left_timer_.has_value()) return;
  left_timer_ = loop_->After(kLookAgain, [this] {
    left_timer_.reset();
    EndPlansLeft();
  });
}

void Attachments::EndPlansLeft() {
  for (const std::string& id : std::set<std::string>(left_)) EndPlan(id);
}

void Attachments::EndGone(const KernelSnapshot& sight) {
  if (!sight.links.ok()) {
    log_->Warn("links not listed", {{"error", std::string(sight.links.status().message())}});
    return;
  }
  std::set<absl::string_view> there;
  for (const LinkInfo& link : *sight.links) there.insert(IdOfAlias(link.alias));
  std::vector<std::string> gone;
  for (const auto& [id, entry] : entries_) {
    if (entry.state != State::kAttached || entry.record.tap || there.contains(id)) continue;
    // It may have come since, or have another alias by now. The host's end of a pair goes with the
    // pod's, and that with its namespace; an index is not used twice.
    if (absl::IsNotFound(links_.by_index(entry.host_end).status())) gone.push_back(id);
  }
  for (const std::string& id : gone) {
    EndAtOnce(entries_.find(id), "attachment gone",
              "its interface is gone: the pod ended without DEL");
  }
}

std::vector<WatchedNetNs> Attachments::Watched() const {
  std::vector<WatchedNetNs> watched;
  for (const auto& [id, entry] : entries_) {
    if (entry.state != State::kAttached || entry.netns.number < 0) continue;
    if (entry.record.netns_id.empty()) continue;
    watched.push_back({.attachment = id,
                       .path = entry.record.netns,
                       .id = entry.record.netns_id,
                       .number = entry.netns.number});
  }
  return watched;
}

// The queue of a tap keeps its namespace alive, so the kernel says nothing. Twice the same: a
// process that is being started may be missed once.
bool Attachments::EndDead(const KernelSnapshot& sight) {
  std::set<std::string> suspects;
  for (const std::string& id : sight.dead) {
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second.state != State::kAttached) continue;
    if (!suspects_.contains(id)) {
      suspects.insert(id);
      continue;
    }
    EndAtOnce(
        found, "attachment gone",
        "its network namespace has no name and no process any more: the pod ended without DEL");
  }
  suspects_ = std::move(suspects);
  return !suspects_.empty();
}

void Attachments::NoteUnknownLinks(const KernelSnapshot& sight) {
  if (!sight.links.ok()) return;
  std::set<std::string> unknown;
  for (const LinkInfo& link : *sight.links) {
    const std::string id(IdOfAlias(link.alias));
    if (id.empty() || entries_.contains(id) || left_.contains(id)) continue;
    if (!unknown_links_.contains(link.alias)) {
      log_->Warn("unknown link",
                 {{"interface", link.name},
                  {"alias", link.alias},
                  {"reason", "it has our mark, but nothing in the run-dir knows of it"},
                  {"effect", "it is left alone: it may be an agent's with another run-dir"}});
    }
    unknown.insert(link.alias);
  }
  unknown_links_ = std::move(unknown);
  reconciled_.unknown_links = unknown_links_.size();
}

bool Attachments::Reconcile(const KernelSnapshot& sight) {
  ++reconciled_.looks;
  DetachQueued();
  EndGone(sight);
  const bool suspects = EndDead(sight);
  NoteUnknownLinks(sight);
  std::set<std::string> ids;
  for (const auto& [id, entry] : entries_) ids.insert(id);
  reconciled_.leases += claims_->Collect(ids);
  return suspects;
}

}  // namespace vxvde
