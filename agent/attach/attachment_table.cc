#include "agent/attach/attachment_table.h"

#include <algorithm>
#include <utility>

#include "plugin/base/status.h"

namespace vxvde {

Attachment* AttachmentTable::Find(const std::string& id) {
  const auto found = attachments_.find(id);
  return found == attachments_.end() ? nullptr : &found->second;
}

const Attachment* AttachmentTable::Find(const std::string& id) const {
  const auto found = attachments_.find(id);
  return found == attachments_.end() ? nullptr : &found->second;
}

Attachment* AttachmentTable::FindPlan(PlanTicket ticket) {
  for (auto& [id, attachment] : attachments_) {
    if (attachment.plan.has_value() && attachment.plan->ticket == ticket) return &attachment;
  }
  return nullptr;
}

Attachment* AttachmentTable::FindPort(const CloudKey& cloud, PortId port) {
  for (auto& [id, attachment] : attachments_) {
    if (attachment.state == Attachment::State::kAttached && attachment.cloud.key == cloud &&
        attachment.port == port) {
      return &attachment;
    }
  }
  return nullptr;
}

bool AttachmentTable::HasOn(const CloudKey& cloud) const {
  return std::any_of(attachments_.begin(), attachments_.end(),
                     [&](const auto& entry) { return entry.second.cloud.key == cloud; });
}

std::vector<const AttachmentRecord*> AttachmentTable::OthersOn(const CloudKey& cloud,
                                                               const std::string& id) const {
  std::vector<const AttachmentRecord*> others;
  for (const auto& [other_id, other] : attachments_) {
    if (other_id != id && other.cloud.key == cloud) others.push_back(&other.record);
  }
  return others;
}

std::vector<AttachmentKey> AttachmentTable::KeysOfAdd(const AttachmentKey& key) const {
  std::vector<AttachmentKey> keys = {key};
  const auto add = [&](const AttachmentRecord& record) {
    if (record.network == key.network && record.container_id == key.container_id &&
        record.main_ifname == key.ifname && record.ifname != key.ifname) {
      keys.push_back({record.network, record.container_id, record.ifname});
    }
  };
  for (const auto& [id, attachment] : attachments_) add(attachment.record);
  for (const auto& [id, record] : ended_) add(record);
  return keys;
}

absl::StatusOr<AttachmentTable::Loaded> AttachmentTable::Load(const GroupLookup& group_id) {
  ASSIGN_OR_RETURN(Store::Contents contents, store_->Load());
  for (const std::string& problem : contents.problems) {
    log_->Error("record not understood", {{"problem", problem}});
  }
  for (const std::string& id : contents.rebuilt) {
    log_->Warn("record rebuilt",
               {{"id", id}, {"from", "its copy; the kernel decides whether it is attached"}});
  }
  Loaded loaded{.ports = std::move(contents.ports),
                .unreadable = contents.problems.size(),
                .rebuilt = contents.rebuilt.size()};
  for (AttachmentRecord& record : contents.records) {
    absl::StatusOr<CloudConfig> cloud = ParseVnl(record.vnl, group_id);
    if (!cloud.ok()) {
      log_->Error("record dropped",
                  {{"id", record.id}, {"problem", std::string(cloud.status().message())}});
      RETURN_IF_ERROR(store_->Remove(record.id));
      continue;
    }
    // Needed if clouds.json was lost.
    if (record.unicast_port != 0) loaded.ports.emplace(cloud->key, record.unicast_port);
    Attachment attachment;
    attachment.state = Attachment::State::kWaiting;
    attachment.cloud = *std::move(cloud);
    attachment.record = std::move(record);
    std::string id = attachment.record.id;
    attachments_.emplace(std::move(id), std::move(attachment));
  }
  for (AttachmentRecord& record : contents.ended) {
    std::string id = record.id;
    ended_.emplace(std::move(id), std::move(record));
  }
  abandoned_plans_.insert(contents.planned.begin(), contents.planned.end());
  return loaded;
}

absl::StatusOr<Attachment*> AttachmentTable::AddPlan(Attachment planned) {
  std::string id = planned.record.id;
  RETURN_IF_ERROR(store_->Plan(id));
  abandoned_plans_.erase(id);  // the note belongs to this plan now
  return &attachments_.emplace(std::move(id), std::move(planned)).first->second;
}

absl::Status AttachmentTable::Commit(Attachment& planned) {
  const std::string& id = planned.record.id;
  RETURN_IF_ERROR(store_->Save(planned.record));
  planned.state = Attachment::State::kAttached;
  planned.plan.reset();
  if (ended_.erase(id) != 0) {
    if (const absl::Status status = store_->RemoveEnded(id); !status.ok()) {
      log_->Warn("ended record not removed",
                 {{"id", id}, {"error", std::string(status.message())}});
    }
  }
  return absl::OkStatus();
}

absl::Status AttachmentTable::Renew(Attachment& attachment, AttachmentRecord record) {
  RETURN_IF_ERROR(store_->Save(record));
  attachment.record = std::move(record);
  return absl::OkStatus();
}

absl::Status AttachmentTable::RemoveRecord(const std::string& id) {
  RETURN_IF_ERROR(store_->Remove(id));
  ended_.erase(id);
  abandoned_plans_.erase(id);
  return absl::OkStatus();
}

absl::Status AttachmentTable::End(const Attachment& attachment) {
  const AttachmentRecord& record = attachment.record;
  // netavark never asks for garbage collection.
  if (record.caller != "cni" || ended_.size() >= kMaxEnded) return store_->Remove(record.id);
  RETURN_IF_ERROR(store_->End(record.id));
  ended_.insert_or_assign(record.id, record);
  return absl::OkStatus();
}

absl::StatusOr<bool> AttachmentTable::ForgetEnded(const std::string& id) {
  const auto found = ended_.find(id);
  if (found == ended_.end()) return false;
  RETURN_IF_ERROR(store_->RemoveEnded(id));
  ended_.erase(found);
  return true;
}

void AttachmentTable::Erase(const Attachment& attachment) {
  const std::string id = attachment.record.id;
  attachments_.erase(id);
}

absl::Status AttachmentTable::ForgetPlan(const std::string& id) {
  RETURN_IF_ERROR(store_->Unplan(id));
  abandoned_plans_.erase(id);
  return absl::OkStatus();
}

}  // namespace vxvde
