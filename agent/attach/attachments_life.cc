// The life of attachments beyond one CNI call: what befalls their ports, what a restarted agent
// takes up again, what a DEL without an agent left to do, and a new configuration.

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "agent/attach/attachments.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr size_t kMaxEnded = 4096;

}  // namespace

void Attachments::OnEvent(const SwitchEvent& event) {
  if (event.kind == SwitchEvent::Kind::kPortFailed) OnPortFailed(event.cloud, event.port);
}

void Attachments::OnPortFailed(const CloudKey& cloud, PortId port) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.state == State::kAttached && entry.second.cloud.key == cloud &&
           entry.second.port == port;
  });
  if (found == entries_.end()) return;  // detached in between
  EndAtOnce(found, "detached", "its interface is gone: the pod ended without DEL");
}

void Attachments::EndAtOnce(Entries::iterator found, absl::string_view event,
                            absl::string_view why) {
  const std::string id = found->first;
  const absl::Status status = End(found, event, why);
  if (!status.ok()) {
    // The next Restore finds the link gone and does it then.
    log_->Warn("record not moved", {{"id", id}, {"error", std::string(status.message())}});
    Drop(found, event, why);
  }
}

absl::Status Attachments::End(Entries::iterator found, absl::string_view event,
                              absl::string_view why) {
  AttachmentRecord record = found->second.record;
  // netavark never asks for garbage collection. A runtime that says neither DEL nor GC must
  // not fill the disk.
  if (record.caller != "cni" || ended_.size() >= kMaxEnded) {
    RETURN_IF_ERROR(store_->Remove(record.id));
  } else {
    RETURN_IF_ERROR(store_->End(record.id));
    const std::string id = record.id;
    ended_.insert_or_assign(id, std::move(record));
  }
  ++reconciled_.attachments;
  Drop(found, event, why);
  return absl::OkStatus();
}

void Attachments::Wait(Entry& entry, absl::string_view problem) {
  if (entry.problem != problem) {
    entry.problem = std::string(problem);
    log_->Warn("attachment waits", {{"id", entry.record.id}, {"problem", entry.problem}});
  }
  if (!retry_.has_value()) retry_ = loop_->After(kRetry, [this] { TakeUpWaiting(); });
}

absl::Status Attachments::Restore() {
  ASSIGN_OR_RETURN(Store::Contents contents, store_->Load());
  for (const std::string& problem : contents.problems) {
    log_->Error("record not understood", {{"problem", problem}});
  }
  for (const std::string& id : contents.rebuilt) {
    log_->Warn("record rebuilt",
               {{"id", id}, {"from", "its copy; the kernel says whether it lives"}});
  }
  reconciled_.unreadable += contents.problems.size();
  reconciled_.records += contents.rebuilt.size();
  for (AttachmentRecord& record : contents.records) {
    Entry entry;
    absl::StatusOr<CloudConfig> cloud = ParseVnl(record.vnl, group_id_);
    if (!cloud.ok()) {
      log_->Error("record dropped",
                  {{"id", record.id}, {"problem", std::string(cloud.status().message())}});
      RETURN_IF_ERROR(store_->Remove(record.id));
      continue;
    }
    entry.state = State::kWaiting;
    entry.cloud = *std::move(cloud);
    entry.record = std::move(record);
    if (entry.record.unicast_port != 0) {
      // Of use when clouds.json was lost.
      contents.ports.emplace(entry.cloud.key, entry.record.unicast_port);
    }
    const std::string id = entry.record.id;
    entries_.emplace(id, std::move(entry));
  }
  for (AttachmentRecord& record : contents.ended) {
    std::string id = record.id;
    ended_.emplace(std::move(id), std::move(record));
  }
  left_.insert(contents.planned.begin(), contents.planned.end());
  EndPlansLeft();
  DetachQueued();
  const auto wanted = [&](const CloudKey& key) {
    const NamedCloud* named = config_.FindByKey(key);
    if (named != nullptr && named->gateway) return true;  // by the node itself
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const auto& entry) { return entry.second.cloud.key == key; });
  };
  for (const auto& [key, port] : contents.ports) {
    if (wanted(key)) clouds_.Restore(key, port);
  }
  TakeUpWaiting();
  // Once more at once what failed for a moment: what an earlier agent has left for it is dropped
  // next.
  if (retry_.has_value()) {
    loop_->Cancel(*retry_);
    TakeUpWaiting();
  }
  return absl::OkStatus();
}

void Attachments::DetachQueued() {
  const absl::StatusOr<DetachQueue::Contents> queued = store_->queue().Load();
  if (!queued.ok()) {
    log_->Error("queued DELs not read", {{"error", std::string(queued.status().message())}});
    return;
  }
  for (const std::string& problem : queued->problems) {
    log_->Error("queued DEL not understood", {{"problem", problem}});
  }
  reconciled_.unreadable += queued->problems.size();
  for (const QueuedDetach& one : queued->detaches) {
    const AttachmentKey key{one.network, one.container_id, one.ifname};
    absl::StatusOr<bool> detached = one.with_others ? DetachAll(key) : Detach(key);
    absl::Status status = detached.status();
    if (status.ok()) status = store_->queue().Remove(one.id());
    if (status.ok()) {
      ++reconciled_.dels;
      log_->Info("queued DEL done", {{"id", one.id()}, {"found", *detached ? "yes" : "no"}});
    } else {
      log_->Error("queued DEL not done",
                  {{"id", one.id()}, {"error", std::string(status.message())}});
    }
  }
}

absl::Status Attachments::TakeUp(Entry& entry) {
  const AttachmentRecord& record = entry.record;
  // The interface first: a cloud is not joined for what is gone.
  UniqueFd tap;
  if (record.tap) {
    ASSIGN_OR_RETURN(
        tap, links_.reopen_tap(record.netns, record.ifname, LinkAlias(record.id, MainId(record)),
                               /*watched=*/!record.netns_id.empty()));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<FrameIo> io, OpenPort(entry, std::move(tap)));
  // From here on NotFound is about the cloud, not about the interface.
  const NamedCloud* named = config_.FindByKey(entry.cloud.key);
  const auto join = [&] {
    return clouds_.Join(kHolder, named != nullptr ? named->config : entry.cloud, config_);
  };
  absl::StatusOr<const CloudOptions*> joined = join();
  // Once more while the port is open: what waits in it goes with it (docs/decisions/0020).
  if (!joined.ok()) joined = join();
  if (!joined.ok()) return absl::UnavailableError(joined.status().message());
  const absl::StatusOr<PortId> port = AddPort(entry, std::move(io));
  if (!port.ok()) return absl::UnavailableError(port.status().message());
  AttachmentRecord now = record;
  now.unicast_port = (*joined)->unicast_port;
  if (now.netns_id.empty()) now.netns_id = entry.netns.id;
  if (!(now == record)) {
    if (const absl::Status saved = store_->Save(now); !saved.ok()) {
      log_->Warn("record not renewed",
                 {{"id", record.id}, {"error", std::string(saved.message())}});
    }
    entry.record = std::move(now);
  }
  claims_->RegisterExternal(record.id, entry.cloud.key, record.mac, record.addresses);
  entry.port = *port;
  entry.state = State::kAttached;
  entry.problem.clear();
  UseNodePort(entry);
  return absl::OkStatus();
}

void Attachments::UseNodePort(const Entry& entry) {
  if (!entry.record.node_port) return;
  // What does not work now is said and tried again there.
  node_ports_->Open(entry.record.id, entry.cloud.key, NodeSubnets(entry),
                    [](const absl::StatusOr<std::vector<IpPrefix>>&) {});
  if (const absl::Status status = Publish(entry); !status.ok()) {
    log_->Error("ports not published",
                {{"id", entry.record.id}, {"error", std::string(status.message())}});
  }
}

void Attachments::TakeUpWaiting() {
  retry_.reset();
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto current = next++;
    Entry& entry = current->second;
    if (entry.state != State::kWaiting) continue;
    absl::Status status = TakeUp(entry);
    if (absl::IsNotFound(status)) {
      status = End(current, "attachment gone", status.message());
      if (status.ok()) continue;
    }
    if (!status.ok()) {
      Wait(entry, status.message());
      continue;
    }
    log_->Info("attached again", {{"id", entry.record.id},
                                  {"cloud", CloudName(entry.cloud.key)},
                                  {"port", absl::StrCat(static_cast<uint32_t>(entry.port))},
                                  {"container", entry.record.container_id},
                                  {"ifname", entry.record.ifname}});
    // A restart is no news, and on a node of many pods, told by each of them, a burden to everyone.
    if (!clouds_.IsAtRecalledPort(entry.cloud.key)) AnnounceNowAndSoon(entry, /*to_ports=*/false);
  }
}

void Attachments::SetConfig(Config config) {
  for (const auto& [key, joined] : clouds_.all()) {
    const NamedCloud* was = config_.FindByKey(key);
    if (was == nullptr) continue;
    const NamedCloud* is = config.FindByName(was->name);
    if (is != nullptr && FormatVnl(is->config) == FormatVnl(joined.config)) continue;
    log_->Warn("cloud kept as joined",
               {{"cloud", was->name},
                {"joined", FormatVnl(joined.config)},
                {"configured", is == nullptr ? "no more" : FormatVnl(is->config)},
                {"reason", "it is in use; the change counts once its last port here is gone"}});
  }
  config_ = std::move(config);
  for (const auto& [id, entry] : entries_) {
    if (entry.state != State::kAttached) continue;
    const absl::StatusOr<CloudHandle*> handle = switch_->Find(entry.cloud.key);
    const absl::Status set =
        handle.ok() ? (*handle)->SetGuard(entry.port, GuardOf(entry)) : handle.status();
    if (!set.ok()) {
      log_->Warn("port security not changed", {{"id", id}, {"error", std::string(set.message())}});
    }
  }
}

}  // namespace vxvde
