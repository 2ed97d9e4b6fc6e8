#include "agent/attach/attachments.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/api/attachment_id.h"
#include "agent/attach/confinement.h"
#include "agent/base/refusal.h"
#include "agent/model/mtu.h"
#include "plugin/base/status.h"
#include "plugin/wire/announce.h"

namespace vxvde {
namespace {

// A neighbour may have missed the first announcement: a switch below that had just seen its
// port come up, say (RFC 5227 announces twice as well, section 2.3).
constexpr std::chrono::seconds kSecondAnnouncement{1};

absl::Status PlanEnded() {
  return Refuse(kCniTryAgainLater, "the plan was ended by a DEL before it was committed",
                "run ADD again if the container is still wanted");
}

bool InOneOf(const std::vector<IpPrefix>& subnets, const IpAddress& address) {
  return std::any_of(subnets.begin(), subnets.end(),
                     [&](const IpPrefix& subnet) { return subnet.Contains(address); });
}

std::string AddressList(const AttachmentRecord& record) {
  return absl::StrJoin(record.addresses, ",", [](std::string* out, const IpPrefix& address) {
    absl::StrAppend(out, address.ToString());
  });
}

}  // namespace

Attachments::Attachments(const Parts& parts, GroupLookup group_id, Config config)
    : loop_(parts.loop),
      switch_(parts.the_switch),
      store_(parts.store),
      log_(parts.log),
      links_(*parts.links),
      clouds_(*parts.clouds),
      claims_(parts.claims),
      node_ports_(parts.node_ports),
      group_id_(std::move(group_id)),
      config_(std::move(config)) {}

Attachments::~Attachments() {
  if (retry_.has_value()) loop_->Cancel(*retry_);
  if (left_timer_.has_value()) loop_->Cancel(*left_timer_);
  for (auto& [id, entry] : entries_) {
    if (entry.announcement.has_value()) loop_->Cancel(*entry.announcement);
  }
}

std::string Attachments::MainId(const AttachmentRecord& record) {
  return AttachmentId(record.network, record.container_id, record.main_ifname);
}

void Attachments::LeaveIfUnused(const CloudKey& cloud) {
  const bool used = std::any_of(entries_.begin(), entries_.end(),
                                [&](const auto& entry) { return entry.second.cloud.key == cloud; });
  if (!used) clouds_.Leave(kHolder, cloud);
}

absl::StatusOr<PlannedAttachment> Attachments::Plan(const PlanRequest& request) {
  const AttachmentKey& key = request.key;
  const std::string id = AttachmentId(key.network, key.container_id, key.ifname);
  ASSIGN_OR_RETURN(const CloudConfig cloud, ChooseCloud(request.cloud, request.vnl));
  RETURN_IF_ERROR(CheckPolicy(request, cloud));
  // A DEL of an earlier life must not end this one.
  RETURN_IF_ERROR(store_->queue().Remove(id));
  // In the end a cloud is left that nobody is on: this one after an error, or that of a stale
  // attachment which this plan replaces.
  const auto before = entries_.find(id);
  const CloudKey cloud_before = before != entries_.end() ? before->second.cloud.key : cloud.key;
  const absl::Cleanup leave = [&] {
    LeaveIfUnused(cloud.key);
    LeaveIfUnused(cloud_before);
  };
  RETURN_IF_ERROR(CheckNotAttached(request, id));
  ASSIGN_OR_RETURN(const CloudOptions* joined, clouds_.Join(kHolder, cloud, config_));

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
  record.unicast_port = joined->unicast_port;
  const NamedCloud* named = config_.FindByKey(cloud.key);
  ASSIGN_OR_RETURN(record.mtu, PodMtu(request.mtu, named != nullptr ? named->mtu : 0,
                                      joined->uplink_mtu, cloud.key.group));
  if (IsConfined(config_, request.pod_namespace)) {
    ASSIGN_OR_RETURN(const int most, PodMtu(0, named != nullptr ? named->mtu : 0,
                                            joined->uplink_mtu, cloud.key.group));
    RETURN_IF_ERROR(
        CheckConfinedMtu(request.pod_namespace, CloudName(cloud.key), record.mtu, most));
  }
  ASSIGN_OR_RETURN(record.mac, ChooseMac(request, cloud.key, id));
  RETURN_IF_ERROR(node_ports_->CheckFree(id, request.port_mappings));
  if (!request.addresses.empty() && (named == nullptr || named->subnets.empty())) {
    return Refuse(
        kCniInvalidConfig,
        absl::StrCat("address ", request.addresses[0].ToString(), " is requested, but cloud ",
                     CloudName(cloud.key), " has no subnets"),
        "name them under `subnets:` in the agent's configuration, or set \"ipam\": {} in "
        "the network configuration for addresses that the caller chooses; in an annotation, write "
        "the prefix length");
  }
  // What the caller brings is claimed like what the agent chooses, where it is the agent that keeps
  // order: another may have it.
  std::vector<IpAddress> wanted = request.addresses;
  for (const IpPrefix& brought : request.brought) {
    if (named != nullptr && InOneOf(named->subnets, brought.address)) {
      wanted.push_back(brought.address);
    }
  }
  if (named != nullptr && (!request.addresses_by_caller || !wanted.empty())) {
    entry.wish = {.lease = id,
                  .cloud = cloud.key,
                  .subnets = named->subnets,
                  // podman starts a container again under its id.
                  .owner = request.pod_name.empty()
                               ? absl::StrCat("container/", request.key.container_id)
                               : absl::StrCat(request.pod_namespace, "/", request.pod_name),
                  .mac = record.mac,
                  .wanted = std::move(wanted)};
  }
  record.port_mappings = request.port_mappings;
  record.allow = request.allow;
  record.allow.insert(record.allow.end(), request.allow_by_annotation.begin(),
                      request.allow_by_annotation.end());
  entry.brought = request.brought;
  entry.ticket = static_cast<PlanTicket>(next_ticket_++);

  const absl::StatusOr<CloudHandle*> handle = switch_->Find(cloud.key);
  const bool offloaded = handle.ok() && (*handle)->IsOffloaded();
  PlannedAttachment planned{.ticket = entry.ticket,
                            .id = id,
                            .mac = record.mac,
                            .mtu = record.mtu,
                            .host_ifname = record.host_ifname,
                            .alias = LinkAlias(id, MainId(record)),
                            .gso_max_size = GsoMaxSize(record.mtu, offloaded),
                            .cloud = CloudName(cloud.key),
                            .vnl = record.vnl};
  RETURN_IF_ERROR(store_->Plan(id));
  left_.erase(id);
  entries_.emplace(id, std::move(entry));
  return planned;
}

void Attachments::Settle(PlanTicket ticket, Settled done) {
  const auto found = FindPlan(ticket);
  if (found == entries_.end()) return done(PlanEnded());
  found->second.done = std::move(done);
  SettleAddresses(found->second);
}

// No callback outlives its entry: Forget ends the claim and the use of the node's port.

void Attachments::SettleAddresses(Entry& entry) {
  if (entry.wish.subnets.empty()) return SettleNodePort(entry);
  claims_->Claim(entry.wish, [this, &entry](absl::StatusOr<std::vector<IpPrefix>> addresses) {
    if (!addresses.ok()) return EndSettling(entry, addresses.status());
    if (entry.brought.empty()) entry.settled.addresses = *std::move(addresses);
    SettleNodePort(entry);
  });
}

void Attachments::SettleNodePort(Entry& entry) {
  const NamedCloud* named = config_.FindByKey(entry.cloud.key);
  const bool gateway = named != nullptr && named->gateway;
  if (!gateway && entry.record.port_mappings.empty()) return EndSettling(entry, entry.settled);
  entry.record.node_port = true;
  node_ports_->Open(entry.record.id, entry.cloud.key, NodeSubnets(entry),
                    [this, &entry, gateway](const absl::StatusOr<std::vector<IpPrefix>>& ours) {
                      if (!ours.ok()) return EndSettling(entry, ours.status());
                      std::vector<IpAddress>& gateways = entry.settled.gateways;
                      for (const IpPrefix& one : *ours) {
                        const auto same = [&](const IpAddress& other) {
                          return other.family() == one.address.family();
                        };
                        if (!gateway || std::any_of(gateways.begin(), gateways.end(), same)) {
                          continue;
                        }
                        gateways.push_back(one.address);
                      }
                      EndSettling(entry, entry.settled);
                    });
}

// Where the node needs an address to be on the attachment's link. The addresses of an IPAM plugin
// are not known before the commit: Publish tells of them.
std::vector<IpPrefix> Attachments::NodeSubnets(const Entry& entry) const {
  const NamedCloud* named = config_.FindByKey(entry.cloud.key);
  std::vector<IpPrefix> subnets = named != nullptr ? named->subnets : std::vector<IpPrefix>();
  // Whoever wants a port published must be reached there by the node.
  if (!entry.record.port_mappings.empty()) {
    subnets.insert(subnets.end(), entry.brought.begin(), entry.brought.end());
  }
  return subnets;
}

absl::Status Attachments::Publish(const Entry& entry) {
  const AttachmentRecord& record = entry.record;
  if (record.port_mappings.empty()) return absl::OkStatus();
  return node_ports_->Publish({.id = record.id,
                               .holder = Holder(record),
                               .cloud = entry.cloud.key,
                               .addresses = record.addresses,
                               .mappings = record.port_mappings});
}

void Attachments::EndSettling(Entry& entry, absl::StatusOr<SettledPlan> settled) {
  const Settled done = std::exchange(entry.done, nullptr);
  done(std::move(settled));  // which may end the plan
}

Attachments::Entries::iterator Attachments::FindPlan(PlanTicket ticket) {
  return std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.state == State::kPlanned && entry.second.ticket == ticket;
  });
}

absl::StatusOr<PortId> Attachments::Commit(PlanTicket ticket,
                                           const std::vector<IpPrefix>& addresses, UniqueFd tap) {
  const auto found = FindPlan(ticket);
  if (found == entries_.end()) return PlanEnded();
  Entry& entry = found->second;
  absl::Cleanup forget = [&] {
    const CloudKey cloud = found->second.cloud.key;
    const std::string id = found->first;
    Forget(found);  // removes the port too
    LeaveIfUnused(cloud);
    EndPlanLater(id);  // the plugin gets the error, and deletes its link
  };

  const NamedCloud* named = config_.FindByKey(entry.cloud.key);
  if (named != nullptr && IsConfined(config_, entry.record.pod_namespace)) {
    std::vector<IpAddress> claimed = entry.wish.wanted;
    for (const IpPrefix& given : entry.settled.addresses) claimed.push_back(given.address);
    RETURN_IF_ERROR(CheckConfinedAddresses(entry.record.pod_namespace, *named, addresses, claimed));
  }
  RETURN_IF_ERROR(CheckAddressesFree(entry, addresses));
  entry.record.addresses = addresses;
  absl::StatusOr<std::unique_ptr<FrameIo>> io = OpenPort(entry, std::move(tap));
  if (absl::IsNotFound(io.status())) {
    return Refuse(
        kCniInvalidConfig,
        absl::StrCat("the agent does not find what the plugin made: ", io.status().message()),
        "agent and runtime must be in one network namespace; where they cannot be, as with "
        "rootless containers, set \"mode\": \"tap\"");
  }
  RETURN_IF_ERROR(io.status());
  ASSIGN_OR_RETURN(entry.port, AddPort(entry, *std::move(io)));
  if (entry.wish.subnets.empty() && !addresses.empty()) {
    claims_->RegisterExternal(entry.record.id, entry.cloud.key, entry.record.mac, addresses);
  }
  RETURN_IF_ERROR(Publish(entry));
  entry.record.netns_id = entry.netns.id;
  // Last, so that a record never stands for less than a whole attachment.
  RETURN_IF_ERROR(store_->Save(entry.record));

  std::move(forget).Cancel();
  entry.state = State::kAttached;
  if (ended_.erase(entry.record.id) != 0) {
    if (const absl::Status status = store_->RemoveEnded(entry.record.id); !status.ok()) {
      log_->Warn("ended record not removed",
                 {{"id", entry.record.id}, {"error", std::string(status.message())}});
    }
  }
  log_->Info("attached", {{"id", entry.record.id},
                          {"cloud", CloudName(entry.cloud.key)},
                          {"port", absl::StrCat(static_cast<uint32_t>(entry.port))},
                          {"container", entry.record.container_id},
                          {"ifname", entry.record.ifname},
                          {"mode", entry.record.tap ? "tap" : "veth"},
                          {"mac", entry.record.mac.ToString()},
                          {"mtu", absl::StrCat(entry.record.mtu)},
                          {"addresses", AddressList(entry.record)}});
  AnnounceNowAndSoon(entry, /*to_ports=*/true);
  return entry.port;
}

void Attachments::Rollback(PlanTicket ticket) {
  const auto found = FindPlan(ticket);
  if (found == entries_.end()) return;
  found->second.done = nullptr;
  const std::string id = found->first;
  Drop(found, "plan rolled back", "its connection ended before the commit");
  EndPlan(id);
}

absl::StatusOr<bool> Attachments::Detach(const AttachmentKey& key) {
  const std::string id = AttachmentId(key.network, key.container_id, key.ifname);
  const auto found = entries_.find(id);
  const bool ended = ended_.contains(id);
  if (found == entries_.end() && !ended && !left_.contains(id)) return false;
  // First: if it cannot be removed, the port stays and DEL is tried again.
  RETURN_IF_ERROR(store_->Remove(id));
  ended_.erase(id);
  left_.erase(id);  // a DEL deletes the link itself
  if (found == entries_.end()) return ended;
  RemovePort(found->second, /*with_link=*/true);
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
  for (const auto& [id, record] : ended_) {
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

absl::StatusOr<bool> Attachments::ForgetEnded(const AttachmentKey& key) {
  const std::string id = AttachmentId(key.network, key.container_id, key.ifname);
  const auto found = ended_.find(id);
  if (found == ended_.end()) return false;
  RETURN_IF_ERROR(store_->RemoveEnded(id));
  log_->Info("ended attachment forgotten",
             {{"id", id}, {"container", key.container_id}, {"ifname", key.ifname}});
  ended_.erase(found);
  return true;
}

absl::StatusOr<std::unique_ptr<FrameIo>> Attachments::OpenPort(Entry& entry, UniqueFd tap) {
  const AttachmentRecord& record = entry.record;
  if (record.tap) {
    entry.netns = links_.netns_of_tap(tap, record.netns);
    return links_.tap_port(record.id, std::move(tap));
  }
  ASSIGN_OR_RETURN(const LinkInfo link, links_.by_name(record.host_ifname));
  if (IdOfAlias(link.alias) != record.id) {
    return absl::NotFoundError(
        absl::StrCat("interface ", record.host_ifname, " has alias \"", link.alias,
                     "\" instead of ", LinkAlias(record.id, MainId(record)), ": it is not ours"));
  }
  entry.host_end = link.index;
  return links_.packet_port(link.index);
}

absl::StatusOr<PortId> Attachments::AddPort(const Entry& entry, std::unique_ptr<FrameIo> io) {
  const AttachmentRecord& record = entry.record;
  const std::string name =
      record.tap ? absl::StrCat(record.container_id, "/", record.ifname) : record.host_ifname;
  ASSIGN_OR_RETURN(CloudHandle * handle, switch_->Find(entry.cloud.key));
  absl::StatusOr<PortId> port = handle->AddPort({.name = name,
                                                 .mac = record.mac,
                                                 .mtu = record.mtu,
                                                 .host_end = entry.host_end,
                                                 .guard = GuardOf(entry)},
                                                std::move(io));
  if (absl::IsAlreadyExists(port.status())) {
    return Refuse(AttachError::kMacInUse, port.status().message(), "ask for another MAC");
  }
  return port;
}

void Attachments::Announce(const Entry& entry, bool to_ports) {
  const absl::StatusOr<CloudHandle*> handle = switch_->Find(entry.cloud.key);
  if (!handle.ok()) return;  // its ports are gone
  for (const IpPrefix& address : entry.record.addresses) {
    const auto frame = BuildAnnouncement(entry.record.mac, address.address);
    const absl::Status status = to_ports ? (*handle)->Inject(entry.port, frame)
                                         : (*handle)->InjectToGroup(entry.port, frame);
    if (!status.ok()) {
      log_->Warn("not announced", {{"id", entry.record.id},
                                   {"address", address.address.ToString()},
                                   {"error", std::string(status.message())}});
    }
  }
}

void Attachments::AnnounceNowAndSoon(Entry& entry, bool to_ports) {
  if (entry.record.addresses.empty()) return;
  Announce(entry, to_ports);
  entry.announcement = loop_->After(kSecondAnnouncement, [this, to_ports, id = entry.record.id] {
    Entry& later = entries_.at(id);  // RemovePort() cancels the timer.
    later.announcement.reset();
    Announce(later, to_ports);
  });
}

void Attachments::RemovePort(Entry& entry, bool with_link) {
  if (entry.announcement.has_value()) loop_->Cancel(*entry.announcement);
  entry.announcement.reset();
  const PortId port = std::exchange(entry.port, PortId::kNone);
  if (port == PortId::kNone) return;
  const absl::StatusOr<CloudHandle*> handle = switch_->Find(entry.cloud.key);
  absl::StatusOr<std::unique_ptr<FrameIo>> io =
      handle.ok() ? (*handle)->TakePort(port) : handle.status();
  if (io.ok()) {
    links_.close_later({.io = *std::move(io), .with_link = with_link, .host_end = entry.host_end});
  } else {
    log_->Warn("port not removed",
               {{"id", entry.record.id}, {"error", std::string(io.status().message())}});
  }
}

void Attachments::Forget(Entries::iterator found) {
  RemovePort(found->second);
  claims_->Release(found->first);
  node_ports_->Unpublish(found->first);
  node_ports_->Close(found->first);
  const Settled done = std::move(found->second.done);
  entries_.erase(found);
  if (done) done(PlanEnded());
}

void Attachments::LogEnd(const Entry& entry, absl::string_view event, absl::string_view why) const {
  log_->Info(event, {{"id", entry.record.id},
                     {"cloud", CloudName(entry.cloud.key)},
                     {"container", entry.record.container_id},
                     {"ifname", entry.record.ifname},
                     {"reason", std::string(why)}});
}

void Attachments::Drop(Entries::iterator found, absl::string_view event, absl::string_view why) {
  LogEnd(found->second, event, why);
  const CloudKey cloud = found->second.cloud.key;
  Forget(found);
  LeaveIfUnused(cloud);
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
                    .allow = FormatAllowed(record.allow),
                    .cloud = entry.cloud.key,
                    .port = entry.port,
                    .problem = entry.problem});
  }
  return list;
}

std::vector<ListedAttachment> Attachments::ListNetwork(const std::string& network) const {
  std::vector<ListedAttachment> list;
  const auto add = [&](const AttachmentRecord& record, bool planned, bool ended) {
    if (!network.empty() && record.network != network) return;
    list.push_back({.key = {record.network, record.container_id, record.ifname},
                    .id = record.id,
                    .main_ifname = record.main_ifname,
                    .caller = record.caller,
                    .netns = record.netns,
                    .tap = record.tap,
                    .planned = planned,
                    .ended = ended});
  };
  for (const auto& [id, entry] : entries_) {
    add(entry.record, entry.state == State::kPlanned, /*ended=*/false);
  }
  for (const auto& [id, record] : ended_) {
    if (!entries_.contains(id)) add(record, /*planned=*/false, /*ended=*/true);
  }
  std::sort(list.begin(), list.end(),
            [](const ListedAttachment& a, const ListedAttachment& b) { return a.id < b.id; });
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
