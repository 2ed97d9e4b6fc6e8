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

absl::Status PlanEnded() {
  return Refuse(kCniTryAgainLater, "the plan was ended by a DEL before it was committed",
                "run ADD again if the container is still wanted");
}

std::string Holder(const AttachmentRecord& record) {
  return absl::StrCat("container ", record.container_id, " interface ", record.ifname,
                      " of network ", record.network,
                      record.pod_name.empty() ? ""
                                              : absl::StrCat(" (pod ", record.pod_namespace, "/",
                                                             record.pod_name, ")"));
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
  for (auto& [id, entry] : entries_) {
    if (entry.announcement.has_value()) loop_->Cancel(*entry.announcement);
  }
}

std::string Attachments::MainId(const AttachmentRecord& record) {
  return AttachmentId(record.network, record.container_id, record.main_ifname);
}

// ---- What is asked for ----

absl::StatusOr<CloudConfig> Attachments::ChooseCloud(const std::string& name,
                                                     const std::string& vnl) const {
  if (!name.empty()) {
    const NamedCloud* named = config_.FindByName(name);
    if (named != nullptr) return named->config;
    std::vector<std::string> names;
    for (const NamedCloud& cloud : config_.clouds) names.push_back(cloud.name);
    return Refuse(
        AttachError::kUnknownCloud,
        absl::StrCat("there is no cloud \"", name, "\" on node ", config_.node),
        names.empty()
            ? "name it under `clouds:` of the agent's configuration"
            : absl::StrCat("known are: ", absl::StrJoin(names, ", "),
                           "; others are named under `clouds:` of the agent's configuration"));
  }
  const absl::StatusOr<CloudConfig> config = ParseVnl(vnl.empty() ? "vxvde://" : vnl, group_id_);
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
  for (const AttachmentInfo& node : node_ports_->List()) {
    if (node.cloud != entry.cloud.key) continue;
    for (const IpPrefix& theirs : node.addresses) {
      for (const IpPrefix& ours : addresses) {
        if (ours.address != theirs.address) continue;
        return Refuse(
            AttachError::kAddressInUse,
            absl::StrCat("address ", ours.address.ToString(), " is in use on cloud ",
                         CloudName(entry.cloud.key), " by this node's own port ", node.ifname),
            "give another address, or check the IPAM plugin's range");
      }
    }
  }
  return absl::OkStatus();
}

void Attachments::LeaveIfUnused(const CloudKey& cloud) {
  const bool used = std::any_of(entries_.begin(), entries_.end(),
                                [&](const auto& entry) { return entry.second.cloud.key == cloud; });
  if (!used) clouds_.Leave(kHolder, cloud);
}

// ---- Plan, Commit, Rollback, Detach ----

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
  const NamedCloud* named = config_.FindByKey(cloud.key);
  ASSIGN_OR_RETURN(record.mtu, PodMtu(request.mtu, named != nullptr ? named->mtu : 0,
                                      joined->uplink_mtu, cloud.key.group));
  ASSIGN_OR_RETURN(record.mac, ChooseMac(request, cloud.key, id));
  RETURN_IF_ERROR(node_ports_->CheckFree(id, request.port_mappings));
  if (!request.addresses.empty() && (named == nullptr || named->subnets.empty())) {
    return Refuse(
        kCniInvalidConfig,
        absl::StrCat("address ", request.addresses[0].ToString(), " is requested, but cloud ",
                     CloudName(cloud.key), " has no subnets"),
        "name them under `subnets:` in the agent's configuration, or set \"ipam\": {} in "
        "the network configuration for addresses that the caller chooses");
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
  entry.brought = request.brought;
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
  subnets.insert(subnets.end(), entry.brought.begin(), entry.brought.end());
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
    Forget(found);  // removes the port too
    LeaveIfUnused(cloud);
  };

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
    claims_->Occupy(entry.record.id, entry.cloud.key, entry.record.mac, addresses);
  }
  RETURN_IF_ERROR(Publish(entry));
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
  AnnounceNowAndSoon(entry);
  return entry.port;
}

void Attachments::Rollback(PlanTicket ticket) {
  const auto found = FindPlan(ticket);
  if (found == entries_.end()) return;
  found->second.done = nullptr;
  Drop(found, "plan rolled back", "its connection ended before the commit");
}

absl::StatusOr<bool> Attachments::Detach(const AttachmentKey& key) {
  const std::string id = AttachmentId(key.network, key.container_id, key.ifname);
  const auto found = entries_.find(id);
  if (found == entries_.end() && !ended_.contains(id)) return false;
  // First: if it cannot be removed, the port stays and DEL is tried again.
  RETURN_IF_ERROR(store_->Remove(id));
  ended_.erase(id);
  if (found == entries_.end()) return true;
  RemovePort(found->second, /*with_link=*/true);
  Drop(found, "detached", "DEL");
  return true;
}

absl::StatusOr<CheckedAttachment> Attachments::Check(const AttachmentKey& key) {
  const std::string id = AttachmentId(key.network, key.container_id, key.ifname);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.state == State::kPlanned) {
    return Refuse(
        AttachError::kNotAttached,
        absl::StrCat("container ", key.container_id, " interface ", key.ifname, " of network ",
                     key.network, " is not attached on node ", config_.node),
        "run DEL and ADD for it; the agent's log says when it ended");
  }
  const Entry& entry = found->second;
  const auto not_forwarding = [&](absl::string_view why, absl::string_view remedy) {
    return Refuse(AttachError::kNotForwarding,
                  absl::StrCat(Holder(entry.record), " does not forward: ", why), remedy);
  };
  if (entry.state == State::kWaiting) {
    return not_forwarding(entry.problem, absl::StrCat("the agent tries again every ",
                                                      kRetry.count(), " s; vxvdectl ports"));
  }
  if (IsStale(entry)) {
    return not_forwarding(absl::StrCat("its interface ", entry.record.host_ifname, " is gone"),
                          "run DEL and ADD for it");
  }
  if (const absl::Status uplink = CheckUplink(entry.cloud); !uplink.ok()) {
    return not_forwarding(uplink.message(), RefusalOf(uplink).remedy);
  }
  return CheckedAttachment{
      .mac = entry.record.mac, .mtu = entry.record.mtu, .tap = entry.record.tap};
}

absl::Status Attachments::CheckUplink(const CloudConfig& cloud) const {
  const CloudOptions* joined = clouds_.Find(cloud.key);
  Uplink uplink;
  if (joined != nullptr) {
    uplink = {.index = joined->uplink, .name = joined->uplink_name};
  } else {
    ASSIGN_OR_RETURN(uplink, ChooseUplink(cloud, config_.uplink, links_));
  }
  const absl::StatusOr<LinkInfo> link = links_.by_index(uplink.index);
  if (link.ok() && link->up) return absl::OkStatus();
  if (!link.ok() && !absl::IsNotFound(link.status())) return link.status();
  return Refuse(AttachError::kCannotJoin,
                absl::StrCat("the uplink ", uplink.name, " of cloud ", CloudName(cloud.key),
                             link.ok() ? " is down" : " is gone"),
                absl::StrCat("ip link set ", uplink.name,
                             " up, or choose another (`uplink:` of the agent's configuration, "
                             "/if= of the locator)"));
}

absl::Status Attachments::Ready(const std::string& name, const std::string& vnl) {
  const auto not_ready = [](uint32_t code, const absl::Status& why) {
    const Refusal refusal = RefusalOf(why);
    return Refuse(code, refusal.message, refusal.remedy);
  };
  const absl::StatusOr<CloudConfig> cloud = ChooseCloud(name, vnl);
  if (!cloud.ok()) return not_ready(kCniNotAvailable, cloud.status());
  const absl::Status uplink = CheckUplink(*cloud);
  if (uplink.ok()) {
    const NamedCloud* named = config_.FindByKey(cloud->key);
    if (named == nullptr) return uplink;
    const absl::Status claims = claims_->Ready(cloud->key, named->subnets);
    return claims.ok() ? claims : not_ready(kCniNotAvailable, claims);
  }
  // A waiting one is cut off already, whatever the uplink does.
  const bool hurts = std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.cloud.key == cloud->key && entry.second.state != State::kPlanned;
  });
  return not_ready(hurts ? kCniLimitedConnectivity : kCniNotAvailable, uplink);
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

absl::StatusOr<std::unique_ptr<FrameIo>> Attachments::OpenPort(Entry& entry, UniqueFd tap) {
  const AttachmentRecord& record = entry.record;
  if (record.tap) return links_.tap_port(std::move(tap));
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

void Attachments::RemovePort(Entry& entry, bool with_link) {
  if (entry.announcement.has_value()) loop_->Cancel(*entry.announcement);
  entry.announcement.reset();
  const PortId port = std::exchange(entry.port, PortId::kNone);
  if (port == PortId::kNone) return;
  absl::StatusOr<std::unique_ptr<FrameIo>> io = switch_->TakePort(entry.cloud.key, port);
  if (io.ok()) {
    links_.bury({.io = *std::move(io), .with_link = with_link, .host_end = entry.host_end});
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
                     {"why", std::string(why)}});
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
                    .cloud = entry.cloud.key,
                    .port = entry.port,
                    .problem = entry.problem});
  }
  return list;
}

std::vector<ListedAttachment> Attachments::ListNetwork(const std::string& network) const {
  std::vector<ListedAttachment> list;
  const auto add = [&](const AttachmentRecord& record, bool planned, bool ended) {
    if (record.network != network) return;
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
