#include "agent/ipam/ipam.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "agent/base/derive.h"
#include "plugin/base/retry.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

// The MTU of the agent's own port, whose frames have at most 110 bytes.
constexpr int kPortMtu = 1500;

}  // namespace

Ipam::Ipam(const Parts& parts, std::function<uint64_t()> random)
    : parts_(parts),
      config_(parts.config->Get()),
      random_(std::move(random)),
      tasks_(parts.loop),
      subscription_(parts.config->Subscribe([this](const Config&) { OnConfig(); })) {}

Ipam::~Ipam() {
  for (auto& [cloud, live] : live_) live->listener->on_message = nullptr;
}

absl::Status Ipam::Restore() {
  ASSIGN_OR_RETURN(Store::Leases leases, parts_.store->LoadLeases());
  for (const std::string& problem : leases.problems) {
    parts_.log->Error("invalid lease file", {{"problem", problem}});
  }
  for (LeaseRecord& record : leases.records) {
    std::string lease = record.lease;
    saved_.emplace(std::move(lease), std::move(record));
  }
  return absl::OkStatus();
}

// ---- Clouds ----

std::string Ipam::WhereIs(const CloudKey& cloud, const MacAddress& mac) const {
  const auto live = live_.find(cloud);
  if (live == live_.end()) return "";
  // The place that a frame from the agent to `mac` would go to.
  const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(cloud);
  if (!handle.ok()) return "";
  const Verdict verdict = (*handle)->Explain(live->second->mac, mac).verdict;
  if (verdict.action == Verdict::Action::kToPeer) {
    return absl::StrCat("peer ", verdict.peer.ToString());
  }
  if (verdict.action == Verdict::Action::kToPort) {
    return absl::StrCat("port ", static_cast<uint32_t>(verdict.port), " of this node");
  }
  return "";
}

absl::StatusOr<std::unique_ptr<Ipam::Live>> Ipam::Open(const CloudKey& cloud) {
  auto live = std::make_unique<Live>(parts_.loop);
  live->listener = std::make_shared<AgentPort::Listener>();
  ASSIGN_OR_RETURN(std::unique_ptr<AgentPort> port, AgentPort::Open(live->listener));
  live->mac = DeriveMac("agent", absl::StrCat(random_()), cloud.ToString(), /*attempt=*/0);
  ASSIGN_OR_RETURN(CloudHandle * handle, parts_.the_switch->Find(cloud));
  ASSIGN_OR_RETURN(live->port,
                   handle->AddPort({.name = kAgentPortName, .mac = live->mac, .mtu = kPortMtu},
                                   std::move(port)));
  live->listener->on_message = [this, cloud](const Neighbour& message) {
    OnMessage(cloud, message);
  };
  live->allocator = std::make_unique<Allocator>(Allocator::Options{
      .cloud = cloud,
      .name = NameOfCloud(config_, cloud),
      .mac = live->mac,
      .seed = static_cast<uint32_t>(random_()),
      .where = [this, cloud](const MacAddress& station) { return WhereIs(cloud, station); }});
  for (const auto& [lease, record] : saved_) {
    if (record.cloud == cloud) live->allocator->Restore(parts_.loop->now(), record);
  }
  ApplyConfig(cloud, *live);
  return live;
}

void Ipam::ApplyConfig(const CloudKey& cloud, Live& live) {
  const NamedCloud* named = config_.FindByKey(cloud);
  live.allocator->SetPools(parts_.loop->now(),
                           named != nullptr ? named->subnets : std::vector<IpPrefix>(),
                           named != nullptr && named->defend);
}

absl::StatusOr<Ipam::Live*> Ipam::Find(const CloudKey& cloud) {
  const auto found = live_.find(cloud);
  if (found != live_.end()) return found->second.get();
  ASSIGN_OR_RETURN(std::unique_ptr<Live> live, Open(cloud));
  return live_.emplace(cloud, std::move(live)).first->second.get();
}

void Ipam::OnJoined(const CloudKey& cloud) {
  const NamedCloud* named = config_.FindByKey(cloud);
  if (named == nullptr || named->subnets.empty()) return;
  const absl::StatusOr<Live*> live = Find(cloud);
  if (!live.ok()) {
    parts_.log->Warn("agent port not opened", {{"cloud", NameOfCloud(config_, cloud)},
                                               {"error", std::string(live.status().message())}});
    return;
  }
  Drain(cloud);
}

void Ipam::OnLeaving(const CloudKey& cloud) {
  const auto found = live_.find(cloud);
  if (found == live_.end()) return;
  const std::unique_ptr<Live> live = std::move(found->second);
  live_.erase(found);
  live->listener->on_message = nullptr;
  const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(cloud);
  const absl::Status removed =
      handle.ok() ? (*handle)->TakePort(live->port).status() : handle.status();
  if (!removed.ok()) {
    parts_.log->Warn("agent port not removed", {{"cloud", NameOfCloud(config_, cloud)},
                                                {"error", std::string(removed.message())}});
  }
}

void Ipam::OnEvent(const SwitchEvent& event) {
  if (event.kind != SwitchEvent::Kind::kStationGone || !event.mac) return;
  const auto live = live_.find(event.cloud);
  if (live != live_.end()) live->second->allocator->OnStationGone(*event.mac);
}

void Ipam::OnConfig() {
  for (const NamedCloud& named : config_.clouds) {
    if (parts_.the_switch->IsJoined(named.config.key)) OnJoined(named.config.key);
  }
  std::vector<CloudKey> clouds;
  for (const auto& [cloud, live] : live_) {
    ApplyConfig(cloud, *live);
    clouds.push_back(cloud);
  }
  for (const CloudKey& cloud : clouds) Drain(cloud);
}

// ---- Claims ----

void Ipam::Claim(AddressWish wish, Claimed done) {
  const CloudKey cloud = wish.cloud;
  const absl::StatusOr<Live*> live = Find(cloud);
  if (!live.ok()) return done(live.status());
  const std::string lease = wish.lease;
  pending_[lease] = {wish, std::move(done)};
  (*live)->allocator->Claim(parts_.loop->now(), wish);
  Drain(cloud);
}

void Ipam::Release(const std::string& lease) {
  pending_.erase(lease);
  if (saved_.contains(lease)) {
    const absl::Status removed = RetryOnce([&] { return parts_.store->RemoveLease(lease); });
    if (removed.ok()) {
      saved_.erase(lease);
    } else {
      // Collect removes it, unless its attachment returns before.
      parts_.log->Warn("lease not removed",
                       {{"lease", lease}, {"error", std::string(removed.message())}});
    }
  }
  std::vector<CloudKey> clouds;
  for (auto& [cloud, live] : live_) {
    live->allocator->Release(parts_.loop->now(), lease);
    clouds.push_back(cloud);
  }
  for (const CloudKey& cloud : clouds) Drain(cloud);
}

std::map<std::string, CloudKey> Ipam::Leases() const {
  std::map<std::string, CloudKey> leases;
  for (const auto& [lease, record] : saved_) leases.emplace(lease, record.cloud);
  return leases;
}

size_t Ipam::Collect(const std::set<std::string>& attachments) {
  std::vector<std::string> orphans;
  for (const auto& [lease, record] : saved_) {
    if (IsAttachmentId(lease) && !attachments.contains(lease)) orphans.push_back(lease);
  }
  for (const std::string& lease : orphans) {
    parts_.log->Info("lease collected", {{"lease", lease}, {"reason", "no attachment uses it"}});
    Release(lease);
  }
  return orphans.size();
}

void Ipam::RegisterExternal(const std::string& lease, const CloudKey& cloud, const MacAddress& mac,
                            const std::vector<IpPrefix>& addresses) {
  const auto live = live_.find(cloud);
  if (live == live_.end()) return;  // a cloud without subnets: none is allocated there
  live->second->allocator->RegisterExternal(parts_.loop->now(), lease, mac, addresses);
  Drain(cloud);
}

absl::Status Ipam::Ready(const CloudKey& cloud, const std::vector<IpPrefix>& subnets) const {
  const auto live = live_.find(cloud);
  if (live == live_.end()) return absl::OkStatus();
  return live->second->allocator->Ready(parts_.loop->now(), subnets);
}

std::vector<AllocatorSnapshot> Ipam::Snapshot() const {
  std::vector<AllocatorSnapshot> all;
  for (const auto& [cloud, live] : live_) {
    all.push_back(live->allocator->Snapshot(parts_.loop->now()));
  }
  return all;
}

absl::Status Ipam::Save(const CloudKey& cloud, const Allocator::Outcome& outcome) {
  RETURN_IF_ERROR(outcome.addresses.status());
  const AddressWish& wish = pending_.at(outcome.lease).wish;
  const LeaseRecord record{.lease = outcome.lease,
                           .cloud = cloud,
                           .owner = wish.owner,
                           .mac = wish.mac,
                           .addresses = *outcome.addresses};
  RETURN_IF_ERROR(parts_.store->SaveLease(record));
  saved_[outcome.lease] = record;
  return absl::OkStatus();
}

// ---- Frames and time ----

void Ipam::OnMessage(const CloudKey& cloud, const Neighbour& message) {
  Live& live = *live_.at(cloud);
  live.inbox.push_back(message);
  if (std::exchange(live.reading, true)) return;
  // Not now: the switch is iterating over its ports, and the outcome of a claim may change them.
  tasks_.Post([this, cloud] {
    const auto found = live_.find(cloud);
    if (found == live_.end()) return;
    found->second->reading = false;
    ReadInbox(*found->second);
    Drain(cloud);
  });
}

void Ipam::ReadInbox(Live& live) {
  for (const Neighbour& message : std::exchange(live.inbox, {})) {
    live.allocator->OnFrame(parts_.loop->now(), message);
  }
}

void Ipam::OnTimer(const CloudKey& cloud) {
  Live& live = *live_.at(cloud);
  // An answer may have arrived and not have been read, if the agent is busy (I2 of allocator.h).
  if (live.allocator->WouldDecide(parts_.loop->now())) {
    const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(cloud);
    if (handle.ok()) (*handle)->ReadNow();
  }
  ReadInbox(live);
  live.allocator->OnTime(parts_.loop->now());
  Drain(cloud);
}

void Ipam::Drain(const CloudKey& cloud) {
  const auto found = live_.find(cloud);
  if (found == live_.end()) return;
  Live& live = *found->second;
  // At once and not in the port's turn, since the time for an answer runs from now on.
  for (const std::vector<uint8_t>& frame : live.allocator->TakeFrames()) {
    const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(cloud);
    const absl::Status sent = handle.ok() ? (*handle)->Inject(live.port, frame) : handle.status();
    if (!sent.ok()) {
      parts_.log->Warn("claim frame not sent", {{"cloud", NameOfCloud(config_, cloud)},
                                                {"error", std::string(sent.message())}});
    }
  }
  for (const AddressConflict& conflict : live.allocator->TakeNewConflicts()) {
    parts_.log->Warn("address conflict", {{"cloud", NameOfCloud(config_, cloud)},
                                          {"address", conflict.address.ToString()},
                                          {"lease", conflict.lease},
                                          {"mac", conflict.mac.ToString()},
                                          {"other", conflict.other.ToString()},
                                          {"where", conflict.where}});
  }
  std::vector<Allocator::Outcome> outcomes = live.allocator->TakeOutcomes();
  live.timer.After(std::max(live.allocator->NextTime() - parts_.loop->now(), Duration::zero()),
                   [this, cloud] { OnTimer(cloud); });

  // Last: a callback may release claims, leave the cloud, or claim more.
  for (Allocator::Outcome& outcome : outcomes) {
    if (!pending_.contains(outcome.lease)) continue;
    if (const absl::Status saved = Save(cloud, outcome); !saved.ok()) outcome.addresses = saved;
    const Claimed done = std::move(pending_.at(outcome.lease).done);
    pending_.erase(outcome.lease);
    done(std::move(outcome.addresses));
  }
}

}  // namespace vxvde
