#include "agent/attachments.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/api/attachment_id.h"
#include "agent/refusal.h"
#include "agent/uplink.h"
#include "plugin/base/status.h"
#include "plugin/wire/announce.h"

namespace vxvde {
namespace {

// A neighbour may have missed the first announcement: a switch below that had just seen its
// port come up, say (RFC 5227 announces twice as well, section 2.3).
constexpr std::chrono::seconds kSecondAnnouncement{1};
constexpr uint32_t kMaxMacAttempts = 16;

std::string Holder(const AttachmentRecord& record) {
  return absl::StrCat("container ", record.container_id, " interface ", record.ifname,
                      " of network ", record.network,
                      record.pod_name.empty() ? ""
                                              : absl::StrCat(" (pod ", record.pod_namespace, "/",
                                                             record.pod_name, ")"));
}

std::string AddressList(const AttachmentRecord& record) {
  return absl::StrJoin(record.addresses, ",", [](std::string* out, const IpPrefix& address) {
    absl::StrAppend(out, address.ToString());
  });
}

std::string MainId(const AttachmentRecord& record) {
  return AttachmentId(record.network, record.container_id, record.main_ifname);
}

}  // namespace

Attachments::Attachments(EventLoop* loop, Switch* the_switch, Store* store, const Log* log,
                         Links links, GroupLookup group_id, Config config)
    : loop_(loop),
      switch_(the_switch),
      store_(store),
      log_(log),
      links_(std::move(links)),
      group_id_(std::move(group_id)),
      config_(std::move(config)),
      clouds_(the_switch, store, log, &links_) {}

Attachments::~Attachments() {
  *alive_ = false;
  if (retry_.has_value()) loop_->Cancel(*retry_);
  for (auto& [id, entry] : entries_) {
    if (entry.announcement.has_value()) loop_->Cancel(*entry.announcement);
  }
}

// ---- What is asked for ----

absl::StatusOr<CloudConfig> Attachments::ChooseCloud(const PlanRequest& request) const {
  if (!request.cloud.empty()) {
    const NamedCloud* named = config_.FindByName(request.cloud);
    if (named != nullptr) return named->config;
    std::vector<std::string> names;
    for (const NamedCloud& cloud : config_.clouds) names.push_back(cloud.name);
    return Refuse(
        AttachError::kUnknownCloud,
        absl::StrCat("there is no cloud \"", request.cloud, "\" on node ", config_.node),
        names.empty()
            ? "name it under `clouds:` of the agent's configuration"
            : absl::StrCat("known are: ", absl::StrJoin(names, ", "),
                           "; others are named under `clouds:` of the agent's configuration"));
  }
  const absl::StatusOr<CloudConfig> config =
      ParseVnl(request.vnl.empty() ? "vxvde://" : request.vnl, group_id_);
  if (!config.ok()) {
    return Refuse(kCniInvalidConfig, config.status().message(),
                  "correct the locator, for example vxvde://239.1.2.3/vni=42");
  }
  // A locator of a cloud that has a name is that cloud, with its policy and its options.
  const NamedCloud* named = config_.FindByKey(config->key);
  return named != nullptr ? named->config : *config;
}

absl::Status Attachments::CheckPolicy(const PlanRequest& request, const CloudConfig& cloud) const {
  const NamedCloud* named = config_.FindByKey(cloud.key);
  if (request.by_annotation && !request.vnl.empty() && !config_.allow_vnl) {
    return Refuse(AttachError::kForbidden,
                  absl::StrCat("a pod's annotation may not name the locator ", request.vnl,
                               ": the rule is allowVnl: false"),
                  "name a cloud of the agent's configuration, or set allowVnl: true there");
  }
  if (named == nullptr) return absl::OkStatus();
  if (!MayUse(*named, request.pod_namespace)) {
    return Refuse(
        AttachError::kForbidden,
        absl::StrCat("pods of namespace \"", request.pod_namespace, "\" may not use cloud \"",
                     named->name, "\": its rule is namespaces: [",
                     absl::StrJoin(named->namespaces, ", "), "]"),
        "use another cloud, or change the rule in the agent's configuration");
  }
  if (!request.addresses_by_caller && !named->subnets.empty()) {
    return Refuse(
        kCniInvalidConfig,
        absl::StrCat("cloud \"", named->name,
                     "\" has subnets, but this version of the agent allocates no addresses"),
        request.caller == "netavark"
            ? "create the podman network with --subnet, or with --ipam-driver none for layer 2 only"
        : request.by_annotation
            ? "name addresses in the annotation, [{\"name\": ..., \"ips\": [\"10.42.0.7/16\"]}], "
              "or "
              "\"ips\": [] for layer 2 only"
            : "set \"ipam\": {\"type\": \"host-local\", ...} in the network configuration, or "
              "\"ipam\": {} for layer 2 only");
  }
  return absl::OkStatus();
}

bool Attachments::IsStale(const Entry& entry) const {
  if (entry.state == State::kPlanned) return false;
  // A tap that has died is reported by its port, and then there is no entry.
  if (entry.record.tap) return entry.state == State::kWaiting;
  const absl::StatusOr<LinkInfo> link = links_.by_name(entry.record.host_ifname);
  return absl::IsNotFound(link.status()) ||
         (link.ok() && IdOfAlias(link->alias) != entry.record.id);
}

absl::Status Attachments::CheckNotAttached(const PlanRequest& request, const std::string& id) {
  const auto entry = entries_.find(id);
  if (entry == entries_.end()) return absl::OkStatus();
  if (entry->second.state == State::kPlanned) {
    return Refuse(kCniTryAgainLater,
                  absl::StrCat("another ADD of ", Holder(entry->second.record), " is under way"),
                  "wait for it, or end it, then try again");
  }
  if (!IsStale(entry->second)) {
    return Refuse(AttachError::kAlreadyAttached,
                  absl::StrCat(Holder(entry->second.record), " is attached already"),
                  "run DEL for it first");
  }
  RETURN_IF_ERROR(store_->Remove(id));
  LogEnd(entry->second, "attachment replaced",
         absl::StrCat("its link is gone; asked for again in ", request.netns));
  Forget(entry);
  return absl::OkStatus();
}

absl::StatusOr<MacAddress> Attachments::ChooseMac(const PlanRequest& request, const CloudKey& cloud,
                                                  const std::string& id) const {
  const auto holder = [&](const MacAddress& mac) -> const AttachmentRecord* {
    for (const auto& [other_id, other] : entries_) {
      if (other_id != id && other.cloud.key == cloud && other.record.mac == mac) {
        return &other.record;
      }
    }
    return nullptr;
  };
  if (request.mac.has_value()) {
    const AttachmentRecord* other = holder(*request.mac);
    if (other == nullptr) return *request.mac;
    return Refuse(AttachError::kMacInUse,
                  absl::StrCat("MAC ", request.mac->ToString(), " is in use by ", Holder(*other)),
                  "ask for another MAC, or for none to have one derived");
  }
  const std::string& identity =
      request.pod_uid.empty() ? request.key.container_id : request.pod_uid;
  for (uint32_t attempt = 0; attempt < kMaxMacAttempts; ++attempt) {
    const MacAddress mac = DeriveMac(request.key.network, identity, request.key.ifname, attempt);
    if (holder(mac) == nullptr) return mac;
  }
  return Refuse(AttachError::kMacInUse,
                absl::StrCat("all of the first ", kMaxMacAttempts, " MACs derived for container ",
                             request.key.container_id, " are in use"),
                "ask for a MAC in the network configuration");
}

absl::Status Attachments::CheckAddressesFree(const Entry& entry,
                                             const std::vector<IpPrefix>& addresses) const {
  for (const auto& [id, other] : entries_) {
    if (&other == &entry || other.cloud.key != entry.cloud.key) continue;
    for (const IpPrefix& theirs : other.record.addresses) {
      for (const IpPrefix& ours : addresses) {
        if (ours.address != theirs.address) continue;
        return Refuse(AttachError::kAddressInUse,
                      absl::StrCat("address ", ours.address.ToString(), " is in use on cloud ",
                                   CloudName(entry.cloud.key), " by ", Holder(other.record)),
                      "give another address, or check the IPAM plugin's range");
      }
    }
  }
  return absl::OkStatus();
}

void Attachments::LeaveIfUnused(const CloudKey& cloud) {
  const bool used = std::any_of(entries_.begin(), entries_.end(),
                                [&](const auto& entry) { return entry.second.cloud.key == cloud; });
  if (!used) clouds_.Leave(cloud);
}

// ---- Plan, Commit, Rollback, Detach ----

absl::StatusOr<PlannedAttachment> Attachments::Plan(const PlanRequest& request) {
  const AttachmentKey& key = request.key;
  const std::string id = AttachmentId(key.network, key.container_id, key.ifname);
  ASSIGN_OR_RETURN(const CloudConfig cloud, ChooseCloud(request));
  RETURN_IF_ERROR(CheckPolicy(request, cloud));
  // In the end a cloud is left that nobody is on: this one after an error, or that of a stale
  // attachment which this plan replaces.
  const auto before = entries_.find(id);
  const CloudKey cloud_before = before != entries_.end() ? before->second.cloud.key : cloud.key;
  const absl::Cleanup leave = [&] {
    LeaveIfUnused(cloud.key);
    LeaveIfUnused(cloud_before);
  };
  RETURN_IF_ERROR(CheckNotAttached(request, id));
  ASSIGN_OR_RETURN(const CloudOptions* joined, clouds_.Join(cloud, config_));

  Entry entry;
  entry.cloud = joined->config;
  AttachmentRecord& record = entry.record;
  record.id = id;
  record.network = key.network;
  record.container_id = key.container_id;
  record.ifname = key.ifname;
  record.main_ifname = request.main_ifname.empty() ? key.ifname : request.main_ifname;
  record.pod_namespace = request.pod_namespace;
  record.pod_name = request.pod_name;
  record.pod_uid = request.pod_uid;
  record.caller = request.caller;
  record.tap = request.tap;
  record.netns = request.netns;
  record.host_ifname = request.tap ? "" : HostIfName(id);
  record.vnl = FormatVnl(joined->config);
  const NamedCloud* named = config_.FindByKey(cloud.key);
  ASSIGN_OR_RETURN(record.mtu, PodMtu(request.mtu, named != nullptr ? named->mtu : 0,
                                      joined->uplink_mtu, cloud.key.group));
  ASSIGN_OR_RETURN(record.mac, ChooseMac(request, cloud.key, id));
  entry.ticket = static_cast<PlanTicket>(next_ticket_++);

  PlannedAttachment planned{.ticket = entry.ticket,
                            .id = id,
                            .mac = record.mac,
                            .mtu = record.mtu,
                            .host_ifname = record.host_ifname,
                            .alias = LinkAlias(id, MainId(record)),
                            .gso_max_size = GsoMaxSize(record.mtu),
                            .cloud = CloudName(cloud.key),
                            .vnl = record.vnl};
  entries_.emplace(id, std::move(entry));
  return planned;
}

Attachments::Entries::iterator Attachments::FindPlan(PlanTicket ticket) {
  return std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.state == State::kPlanned && entry.second.ticket == ticket;
  });
}

absl::StatusOr<PortId> Attachments::Commit(PlanTicket ticket,
                                           const std::vector<IpPrefix>& addresses, UniqueFd tap) {
  const auto found = FindPlan(ticket);
  if (found == entries_.end()) {
    return Refuse(kCniTryAgainLater, "the plan was ended by a DEL before it was committed",
                  "run ADD again if the container is still wanted");
  }
  Entry& entry = found->second;
  absl::Cleanup forget = [&] {
    const CloudKey cloud = found->second.cloud.key;
    Forget(found);  // removes the port too
    LeaveIfUnused(cloud);
  };

  RETURN_IF_ERROR(CheckAddressesFree(entry, addresses));
  entry.record.addresses = addresses;
  ASSIGN_OR_RETURN(std::unique_ptr<FrameIo> io, OpenPort(entry, std::move(tap)));
  ASSIGN_OR_RETURN(entry.port, AddPort(entry, std::move(io)));
  // Last, so that a record never stands for less than a whole attachment.
  RETURN_IF_ERROR(store_->Save(entry.record));

  std::move(forget).Cancel();
  entry.state = State::kAttached;
  log_->Info("attached", {{"id", entry.record.id},
                          {"cloud", CloudName(entry.cloud.key)},
                          {"port", absl::StrCat(static_cast<uint32_t>(entry.port))},
                          {"container", entry.record.container_id},
                          {"ifname", entry.record.ifname},
                          {"mode", entry.record.tap ? "tap" : "veth"},
                          {"mac", entry.record.mac.ToString()},
                          {"mtu", absl::StrCat(entry.record.mtu)},
                          {"addresses", AddressList(entry.record)}});
  AnnounceNowAndSoon(entry);
  return entry.port;
}

void Attachments::Rollback(PlanTicket ticket) {
  const auto found = FindPlan(ticket);
  if (found == entries_.end()) return;
  Drop(found, "plan rolled back", "its connection ended before the commit");
}

absl::StatusOr<bool> Attachments::Detach(const AttachmentKey& key) {
  const auto found = entries_.find(AttachmentId(key.network, key.container_id, key.ifname));
  if (found == entries_.end()) return false;
  // First: if it cannot be removed, the port stays and DEL is tried again.
  RETURN_IF_ERROR(store_->Remove(found->first));
  Drop(found, "detached", "DEL");
  return true;
}

absl::StatusOr<bool> Attachments::DetachAll(const AttachmentKey& key) {
  std::vector<AttachmentKey> keys = {key};
  for (const auto& [id, entry] : entries_) {
    const AttachmentRecord& record = entry.record;
    if (record.network == key.network && record.container_id == key.container_id &&
        record.main_ifname == key.ifname && record.ifname != key.ifname) {
      keys.push_back({record.network, record.container_id, record.ifname});
    }
  }
  bool found = false;
  absl::Status first = absl::OkStatus();
  for (const AttachmentKey& one : keys) {
    const absl::StatusOr<bool> detached = Detach(one);
    first.Update(detached.status());
    found = found || detached.value_or(false);
  }
  if (!first.ok()) return first;
  return found;
}

absl::StatusOr<std::unique_ptr<FrameIo>> Attachments::OpenPort(const Entry& entry, UniqueFd tap) {
  const AttachmentRecord& record = entry.record;
  if (record.tap) return links_.tap_port(std::move(tap));
  ASSIGN_OR_RETURN(const LinkInfo link, links_.by_name(record.host_ifname));
  if (IdOfAlias(link.alias) != record.id) {
    return absl::NotFoundError(
        absl::StrCat("interface ", record.host_ifname, " has alias \"", link.alias,
                     "\" instead of ", LinkAlias(record.id, MainId(record)), ": it is not ours"));
  }
  return links_.packet_port(link.index);
}

absl::StatusOr<PortId> Attachments::AddPort(const Entry& entry, std::unique_ptr<FrameIo> io) {
  const AttachmentRecord& record = entry.record;
  const std::string name =
      record.tap ? absl::StrCat(record.container_id, "/", record.ifname) : record.host_ifname;
  absl::StatusOr<PortId> port = switch_->AddPort(
      entry.cloud.key, {.name = name, .mac = record.mac, .mtu = record.mtu}, std::move(io));
  if (absl::IsAlreadyExists(port.status())) {
    return Refuse(AttachError::kMacInUse, port.status().message(), "ask for another MAC");
  }
  return port;
}

void Attachments::Announce(const Entry& entry) {
  for (const IpPrefix& address : entry.record.addresses) {
    const absl::Status status = switch_->Inject(
        entry.cloud.key, entry.port, BuildAnnouncement(entry.record.mac, address.address));
    if (!status.ok()) {
      log_->Warn("not announced", {{"id", entry.record.id},
                                   {"address", address.address.ToString()},
                                   {"error", std::string(status.message())}});
    }
  }
}

void Attachments::AnnounceNowAndSoon(Entry& entry) {
  if (entry.record.addresses.empty()) return;
  Announce(entry);
  entry.announcement = loop_->After(kSecondAnnouncement, [this, id = entry.record.id] {
    Entry& later = entries_.at(id);  // RemovePort() cancels the timer.
    later.announcement.reset();
    Announce(later);
  });
}

void Attachments::RemovePort(Entry& entry) {
  if (entry.announcement.has_value()) loop_->Cancel(*entry.announcement);
  entry.announcement.reset();
  const PortId port = std::exchange(entry.port, PortId::kNone);
  if (port == PortId::kNone) return;
  if (const absl::Status status = switch_->RemovePort(entry.cloud.key, port); !status.ok()) {
    log_->Warn("port not removed",
               {{"id", entry.record.id}, {"error", std::string(status.message())}});
  }
}

void Attachments::Forget(Entries::iterator found) {
  RemovePort(found->second);
  entries_.erase(found);
}

void Attachments::LogEnd(const Entry& entry, absl::string_view event, absl::string_view why) const {
  log_->Info(event, {{"id", entry.record.id},
                     {"cloud", CloudName(entry.cloud.key)},
                     {"container", entry.record.container_id},
                     {"ifname", entry.record.ifname},
                     {"why", std::string(why)}});
}

void Attachments::Drop(Entries::iterator found, absl::string_view event, absl::string_view why) {
  LogEnd(found->second, event, why);
  const CloudKey cloud = found->second.cloud.key;
  Forget(found);
  LeaveIfUnused(cloud);
}

// ---- A life beyond one CNI call ----

void Attachments::OnEvent(const SwitchEvent& event) {
  if (event.kind != SwitchEvent::Kind::kPortFailed) return;
  // Not now: the switch is in the middle of that port.
  loop_->Post([this, alive = alive_, cloud = event.cloud, port = event.port] {
    if (*alive) OnPortFailed(cloud, port);
  });
}

void Attachments::OnPortFailed(const CloudKey& cloud, PortId port) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.state == State::kAttached && entry.second.cloud.key == cloud &&
           entry.second.port == port;
  });
  if (found == entries_.end()) return;  // detached in between
  if (const absl::Status status = store_->Remove(found->first); !status.ok()) {
    // The next Restore finds the link gone and removes it then.
    log_->Warn("record not removed",
               {{"id", found->first}, {"error", std::string(status.message())}});
  }
  Drop(found, "detached", "its interface is gone: the pod ended without DEL");
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
    const std::string id = entry.record.id;
    entries_.emplace(id, std::move(entry));
  }
  const auto wanted = [&](const CloudKey& key) {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const auto& entry) { return entry.second.cloud.key == key; });
  };
  for (const auto& [key, port] : contents.ports) {
    if (wanted(key)) clouds_.Recall(key, port);
  }
  TakeUpWaiting();
  return absl::OkStatus();
}

absl::Status Attachments::TakeUp(Entry& entry) {
  const AttachmentRecord& record = entry.record;
  // The interface first: a cloud is not joined for what is gone.
  UniqueFd tap;
  if (record.tap) {
    ASSIGN_OR_RETURN(
        tap, links_.reopen_tap(record.netns, record.ifname, LinkAlias(record.id, MainId(record))));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<FrameIo> io, OpenPort(entry, std::move(tap)));
  // From here on NotFound is about the cloud, not about the interface.
  const NamedCloud* named = config_.FindByKey(entry.cloud.key);
  const absl::StatusOr<const CloudOptions*> joined =
      clouds_.Join(named != nullptr ? named->config : entry.cloud, config_);
  if (!joined.ok()) return absl::UnavailableError(joined.status().message());
  const absl::StatusOr<PortId> port = AddPort(entry, std::move(io));
  if (!port.ok()) return absl::UnavailableError(port.status().message());
  entry.port = *port;
  entry.state = State::kAttached;
  entry.problem.clear();
  return absl::OkStatus();
}

void Attachments::TakeUpWaiting() {
  retry_.reset();
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto current = next++;
    Entry& entry = current->second;
    if (entry.state != State::kWaiting) continue;
    absl::Status status = TakeUp(entry);
    if (absl::IsNotFound(status)) {
      const absl::Status removed = store_->Remove(current->first);
      if (removed.ok()) {
        Drop(current, "attachment gone", status.message());
        continue;
      }
      status = removed;
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
    AnnounceNowAndSoon(entry);
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
                {"why", "it is in use; the change counts once its last port here is gone"}});
  }
  config_ = std::move(config);
}

// ---- What is there ----

std::vector<AttachmentInfo> Attachments::List() const {
  std::vector<AttachmentInfo> list;
  for (const auto& [id, entry] : entries_) {
    if (entry.state == State::kPlanned) continue;
    const AttachmentRecord& record = entry.record;
    list.push_back({.id = id,
                    .network = record.network,
                    .container_id = record.container_id,
                    .ifname = record.ifname,
                    .main_ifname = record.main_ifname,
                    .pod_namespace = record.pod_namespace,
                    .pod_name = record.pod_name,
                    .caller = record.caller,
                    .mode = record.tap ? "tap" : "veth",
                    .host_ifname = record.host_ifname,
                    .netns = record.netns,
                    .addresses = record.addresses,
                    .cloud = entry.cloud.key,
                    .port = entry.port,
                    .problem = entry.problem});
  }
  return list;
}

std::string Attachments::CloudName(const CloudKey& key) const {
  const NamedCloud* named = config_.FindByKey(key);
  return named != nullptr ? named->name : CloudVnl(key);
}

std::string Attachments::CloudVnl(const CloudKey& key) const {
  if (const CloudOptions* joined = clouds_.Find(key)) return FormatVnl(joined->config);
  if (const NamedCloud* named = config_.FindByKey(key)) return FormatVnl(named->config);
  CloudConfig config;
  config.key = key;
  return FormatVnl(config);
}

}  // namespace vxvde
