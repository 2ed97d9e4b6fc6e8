#include "agent/node_port/host_ports.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/base/derive.h"
#include "agent/model/mtu.h"
#include "plugin/base/status.h"
#include "plugin/wire/announce.h"

namespace vxvde {
namespace {

constexpr std::chrono::seconds kSecondAnnouncement{1};
constexpr char kLeaseBegin[] = "node ";

void AddSubnet(const IpPrefix& subnet, std::vector<IpPrefix>& subnets) {
  const bool known = std::any_of(subnets.begin(), subnets.end(),
                                 [&](const IpPrefix& one) { return one.Contains(subnet.address); });
  if (!known) subnets.push_back(subnet.Network());
}

std::string LeaseOf(const CloudKey& cloud, const IpPrefix& subnet) {
  return absl::StrCat(kLeaseBegin, cloud.ToString(), " ", subnet.Network().ToString());
}

}  // namespace

HostPorts::HostPorts(const Parts& parts)
    : parts_(parts),
      config_(parts.config->Get()),
      retry_(parts.loop),
      tasks_(parts.loop),
      subscription_(parts.config->Subscribe([this](const Config&) {
        if (started_) OnConfig();
      })) {}

// ---- Users of ports ----

void HostPorts::Start() {
  started_ = true;
  OnConfig();
  // The leases tell which links belong to this agent: another agent of this namespace uses the same
  // aliases. There is no link without a lease, because addresses are claimed first.
  for (const auto& [lease, cloud] : parts_.claims->Leases()) {
    if (!absl::StartsWith(lease, kLeaseBegin) || entries_.contains(cloud)) continue;
    const absl::Status status = parts_.kernel->remove(NodeAlias(cloud));
    parts_.log->Info(
        "node port removed",
        {{"cloud", cloud.ToString()},
         {"reason", status.ok() ? "neither the configuration nor an attachment needs it"
                                : std::string(status.message())}});
    if (status.ok()) parts_.claims->Release(lease);
  }
}

HostPorts::Entry& HostPorts::EntryOf(const CloudKey& cloud) {
  return entries_.try_emplace(cloud, parts_.loop).first->second;
}

void HostPorts::OnConfig() {
  std::set<CloudKey> changed;
  for (auto& [cloud, entry] : entries_) {
    const NamedCloud* named = config_.FindByKey(cloud);
    entry.configured = named != nullptr && named->gateway;
    changed.insert(cloud);
  }
  for (const NamedCloud& named : config_.clouds) {
    if (!named.gateway) continue;
    EntryOf(named.config.key).configured = true;
    changed.insert(named.config.key);
  }
  for (const CloudKey& cloud : changed) Advance(cloud);
  // A port that is not open yet writes the rules when it opens. Until then, the rules of the
  // agent's previous run are better than none.
  const bool all_open = std::all_of(entries_.begin(), entries_.end(), [](const auto& entry) {
    return entry.second.port != PortId::kNone;
  });
  if (all_open) KeepFirewall();
}

void HostPorts::Open(const std::string& user, const CloudKey& cloud,
                     const std::vector<IpPrefix>& subnets, Opened done) {
  EntryOf(cloud).users[user] = {.subnets = subnets, .done = std::move(done)};
  Advance(cloud);
}

void HostPorts::Close(const std::string& user) {
  for (auto next = entries_.begin(); next != entries_.end();) {
    const CloudKey cloud = next->first;
    Entry& entry = (next++)->second;
    // Only the last user's removal changes anything: an address is kept as long as the port.
    if (entry.users.erase(user) != 0) DropUnwanted(cloud);
  }
}

bool HostPorts::DropUnwanted(const CloudKey& cloud) {
  const auto found = entries_.find(cloud);
  if (found == entries_.end()) return true;
  Entry& entry = found->second;
  if (entry.configured || !entry.users.empty()) return false;
  const bool was_open = entry.port != PortId::kNone;
  RemovePort(cloud, entry);
  const auto node = entries_.extract(found);
  const Entry& last = node.mapped();
  if (was_open) KeepFirewall();  // before the link, which its rules name
  if (const absl::Status status = parts_.kernel->remove(NodeAlias(cloud)); !status.ok()) {
    // Keeps the leases, by which the next start recognises the link.
    parts_.log->Warn("node port not removed",
                     {{"interface", last.link.ifname}, {"error", std::string(status.message())}});
  } else {
    if (was_open) {
      parts_.log->Info("node port closed",
                       {{"cloud", parts_.clouds->NameOf(cloud)}, {"interface", last.link.ifname}});
    }
    for (const auto& [subnet, address] : last.addresses) {
      parts_.claims->Release(LeaseOf(cloud, subnet));
    }
  }
  if (last.joined) parts_.clouds->Leave(kHolder, cloud);
  return true;
}

// An interface in use keeps its name even if the cloud is renamed. The name does not depend on the
// options with which a cloud was joined, so that a restarted agent chooses the same one.
std::string HostPorts::IfNameOf(const CloudKey& cloud, const Entry& entry) const {
  return entry.link.ifname.empty() ? NodeIfName(NameOfCloud(config_, cloud)) : entry.link.ifname;
}

std::vector<IpPrefix> HostPorts::WantedSubnets(const CloudKey& cloud, const Entry& entry) const {
  std::vector<IpPrefix> subnets;
  const NamedCloud* named = config_.FindByKey(cloud);
  if (entry.configured && named != nullptr) subnets = named->subnets;
  for (const auto& [user, wish] : entry.users) {
    for (const IpPrefix& subnet : wish.subnets) AddSubnet(subnet, subnets);
  }
  // The target of a published port must reach the node on its own link.
  for (const auto& [id, publication] : publications_) {
    if (publication.cloud != cloud) continue;
    for (const PortMapping& mapping : publication.mappings) {
      for (const FirewallMapping& rule : RulesOf(mapping, publication.addresses)) {
        for (const IpPrefix& address : publication.addresses) {
          if (address.address == rule.target) AddSubnet(address, subnets);
        }
      }
    }
  }
  return subnets;
}

std::vector<IpPrefix> HostPorts::AddressesOf(const Entry& entry) {
  std::vector<IpPrefix> addresses;
  for (const auto& [subnet, address] : entry.addresses) {
    if (address.has_value()) addresses.push_back(*address);
  }
  return addresses;
}

// ---- Opening a port ----

void HostPorts::Advance(const CloudKey& cloud) {
  if (DropUnwanted(cloud)) return;
  if (const absl::Status status = Join(cloud, entries_.at(cloud)); !status.ok()) {
    return Fail(cloud, status);
  }
  if (!Claim(cloud)) return;
  if (const absl::Status status = MakePort(cloud, entries_.at(cloud)); !status.ok()) {
    return Fail(cloud, status);
  }
  Succeed(cloud);
}

absl::Status HostPorts::Join(const CloudKey& cloud, Entry& entry) {
  const NamedCloud* named = config_.FindByKey(cloud);
  const CloudOptions* joined = parts_.clouds->Find(cloud);
  if (named == nullptr && joined == nullptr) {
    // Only the attachment that wants the port knows how to join the cloud.
    return absl::UnavailableError("the cloud is not joined");
  }
  RETURN_IF_ERROR(
      parts_.clouds->Join(kHolder, named != nullptr ? named->config : joined->config).status());
  entry.joined = true;
  return absl::OkStatus();
}

bool HostPorts::Claim(const CloudKey& cloud) {
  while (true) {
    // Looks it up each time: an immediate answer may have been a failure that removed the last
    // user.
    const auto found = entries_.find(cloud);
    if (found == entries_.end() || found->second.claiming) return false;
    Entry& entry = found->second;
    const std::vector<IpPrefix> wanted = WantedSubnets(cloud, entry);
    const auto next = std::find_if(wanted.begin(), wanted.end(), [&](const IpPrefix& subnet) {
      return !entry.addresses.contains(subnet);
    });
    if (next == wanted.end()) {
      ReleaseAllBut(wanted, cloud, entry);
      return std::all_of(entry.addresses.begin(), entry.addresses.end(),
                         [](const auto& one) { return one.second.has_value(); });
    }
    const IpPrefix subnet = *next;
    entry.addresses[subnet] = std::nullopt;
    entry.claiming = true;
    parts_.claims->Claim({.lease = LeaseOf(cloud, subnet),
                          .cloud = cloud,
                          .subnets = {subnet},
                          .owner = absl::StrCat("node/", config_.node),
                          .mac = MacOf(cloud),
                          .wanted = {}},
                         [this, cloud, subnet](absl::StatusOr<std::vector<IpPrefix>> claimed) {
                           OnClaimed(cloud, subnet, std::move(claimed));
                         });
    const auto again = entries_.find(cloud);
    if (again == entries_.end()) return false;
    again->second.claiming = false;
    if (!again->second.addresses.contains(subnet)) return false;
  }
}

void HostPorts::ReleaseAllBut(const std::vector<IpPrefix>& wanted, const CloudKey& cloud,
                              Entry& entry) {
  for (auto next = entry.addresses.begin(); next != entry.addresses.end();) {
    const auto current = next++;
    if (std::find(wanted.begin(), wanted.end(), current->first) != wanted.end()) continue;
    parts_.claims->Release(LeaseOf(cloud, current->first));
    entry.addresses.erase(current);
  }
}

void HostPorts::OnClaimed(const CloudKey& cloud, const IpPrefix& subnet,
                          const absl::StatusOr<std::vector<IpPrefix>>& claimed) {
  Entry& entry = entries_.at(cloud);  // exists: removing it would have released the claim
  if (!claimed.ok() || claimed->size() != 1) {
    entry.addresses.erase(subnet);
    return Fail(cloud, claimed.ok() ? absl::InternalError(absl::StrCat(claimed->size(),
                                                                       " addresses for one subnet"))
                                    : claimed.status());
  }
  entry.addresses[subnet] = claimed->front();
  if (!entry.claiming) Advance(cloud);
}

MacAddress HostPorts::MacOf(const CloudKey& cloud) const {
  return DeriveMac("node", config_.node, cloud.ToString(), /*attempt=*/0);
}

absl::Status HostPorts::MakePort(const CloudKey& cloud, Entry& entry) {
  const CloudOptions* joined = parts_.clouds->Find(cloud);
  if (joined == nullptr) return absl::InternalError("the cloud is not joined");
  const NamedCloud* named = config_.FindByKey(cloud);
  NodeLink link;
  link.ifname = IfNameOf(cloud, entry);
  link.switch_ifname = NodeSwitchIfName(cloud);
  link.alias = NodeAlias(cloud);
  link.mac = MacOf(cloud);
  ASSIGN_OR_RETURN(link.mtu, PodMtu(/*requested=*/0, named != nullptr ? named->mtu : 0,
                                    joined->uplink_mtu, cloud.group));
  ASSIGN_OR_RETURN(CloudHandle * handle, parts_.the_switch->Find(cloud));
  link.gso_max_size = GsoMaxSize(link.mtu, handle->IsOffloaded());
  link.addresses = AddressesOf(entry);

  const bool changed = !(link == entry.link);
  if (entry.port != PortId::kNone && !changed) return SyncFirewall();
  ASSIGN_OR_RETURN(const IfIndex end, parts_.kernel->ensure(link));
  if (entry.port != PortId::kNone && (link.mtu != entry.link.mtu || end != entry.end)) {
    RemovePort(cloud, entry);
  }
  entry.link = std::move(link);
  entry.end = end;
  entry.localnet.reset();
  if (entry.port == PortId::kNone) {
    ASSIGN_OR_RETURN(std::unique_ptr<FrameIo> io, parts_.links->packet_port(end));
    ASSIGN_OR_RETURN(entry.port, handle->AddPort({.name = entry.link.ifname,
                                                  .mac = entry.link.mac,
                                                  .mtu = entry.link.mtu,
                                                  .host_end = end},
                                                 std::move(io)));
  }
  AnnounceNowAndSoon(cloud, entry);
  TurnForwardingOn(entry);
  RETURN_IF_ERROR(SyncFirewall());
  parts_.log->Info("node port open",
                   {{"cloud", parts_.clouds->NameOf(cloud)},
                    {"interface", entry.link.ifname},
                    {"port", absl::StrCat(static_cast<uint32_t>(entry.port))},
                    {"mac", entry.link.mac.ToString()},
                    {"mtu", absl::StrCat(entry.link.mtu)},
                    {"addresses", absl::StrJoin(entry.link.addresses, ",",
                                                [](std::string* out, const IpPrefix& one) {
                                                  absl::StrAppend(out, one.ToString());
                                                })}});
  return absl::OkStatus();
}

// The node routes packets that leave a cloud, and packets from outside to a published port.
void HostPorts::TurnForwardingOn(Entry& entry) {
  entry.warning.clear();
  const auto turn_on = [&](const char* key) {
    const absl::StatusOr<std::string> value = parts_.kernel->get(key);
    if (value.ok() && *value != "0") return;
    const absl::Status status = value.ok() ? parts_.kernel->set(key, "1") : value.status();
    if (status.ok()) {
      parts_.log->Info("forwarding on", {{"sysctl", key}, {"for", entry.link.ifname}});
      return;
    }
    entry.warning = absl::StrCat("the node does not forward, and the agent cannot turn it on (set ",
                                 key, " to 1): ", status.message());
    parts_.log->Warn("forwarding off", {{"sysctl", key}, {"error", entry.warning}});
  };
  const auto has = [&](int family) {
    return std::any_of(entry.link.addresses.begin(), entry.link.addresses.end(),
                       [&](const IpPrefix& one) { return one.address.family() == family; });
  };
  if (has(AF_INET)) turn_on("net/ipv4/ip_forward");
  if (has(AF_INET6)) turn_on("net/ipv6/conf/all/forwarding");
}

void HostPorts::Succeed(const CloudKey& cloud) {
  Entry& entry = entries_.at(cloud);
  entry.problem.clear();
  Answer(cloud, AddressesOf(entry));
}

void HostPorts::Fail(const CloudKey& cloud, const absl::Status& why) {
  Entry& entry = entries_.at(cloud);
  if (entry.problem != why.message()) {
    entry.problem = std::string(why.message());
    parts_.log->Warn("node port waits",
                     {{"cloud", parts_.clouds->NameOf(cloud)}, {"problem", entry.problem}});
  }
  RetrySoon();
  Answer(cloud, AsRefusal(why));
}

void HostPorts::Answer(const CloudKey& cloud, const absl::StatusOr<std::vector<IpPrefix>>& answer) {
  std::vector<Opened> waiting;
  for (auto& [user, wish] : entries_.at(cloud).users) {
    if (wish.done) waiting.push_back(std::exchange(wish.done, nullptr));
  }
  for (const Opened& done : waiting) done(answer);  // which may close the port
}

void HostPorts::RetrySoon() {
  if (!retry_.pending()) retry_.After(kRetry, [this] { RetryNow(); });
}

void HostPorts::RetryNow() {
  std::vector<CloudKey> late;
  for (const auto& [cloud, entry] : entries_) {
    if (!entry.problem.empty()) late.push_back(cloud);
  }
  for (const CloudKey& cloud : late) Advance(cloud);
  if (!firewall_problem_.ok()) KeepFirewall();
}

void HostPorts::RemovePort(const CloudKey& cloud, Entry& entry) {
  entry.announcement.Cancel();
  const PortId port = std::exchange(entry.port, PortId::kNone);
  if (port == PortId::kNone) return;
  const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(cloud);
  const absl::Status status = handle.ok() ? (*handle)->TakePort(port).status() : handle.status();
  if (!status.ok()) {
    parts_.log->Warn("port not removed",
                     {{"interface", entry.link.ifname}, {"error", std::string(status.message())}});
  }
}

void HostPorts::OnEvent(const SwitchEvent& event) {
  if (event.kind != SwitchEvent::Kind::kPortFailed) return;
  // Posted, because the switch is still handling that port.
  tasks_.Post([this, cloud = event.cloud, port = event.port] {
    const auto found = entries_.find(cloud);
    if (found == entries_.end() || found->second.port != port) return;
    parts_.log->Warn("node port lost", {{"cloud", parts_.clouds->NameOf(cloud)},
                                        {"interface", found->second.link.ifname}});
    RemovePort(cloud, found->second);
    Advance(cloud);
  });
}

void HostPorts::Announce(const CloudKey& cloud, const Entry& entry) {
  for (const IpPrefix& address : entry.link.addresses) {
    const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(cloud);
    const absl::Status status =
        handle.ok()
            ? (*handle)->Inject(entry.port, BuildAnnouncement(entry.link.mac, address.address))
            : handle.status();
    if (!status.ok()) {
      parts_.log->Warn("not announced", {{"interface", entry.link.ifname},
                                         {"address", address.address.ToString()},
                                         {"error", std::string(status.message())}});
    }
  }
}

void HostPorts::AnnounceNowAndSoon(const CloudKey& cloud, Entry& entry) {
  Announce(cloud, entry);
  // RemovePort cancels it.
  entry.announcement.After(kSecondAnnouncement, [this, cloud, &entry] { Announce(cloud, entry); });
}

absl::Status HostPorts::FirewallProblem() const {
  return Annotate(firewall_problem_.ok() ? parts_.firewall->problem() : firewall_problem_,
                  "gateways and published ports are not as they should be");
}

absl::Status HostPorts::Ready(const CloudKey& cloud) const {
  RETURN_IF_ERROR(parts_.walls());
  // Its pods have a gateway or published ports.
  return entries_.contains(cloud) ? FirewallProblem() : absl::OkStatus();
}

std::vector<AttachmentInfo> HostPorts::List() const {
  std::vector<AttachmentInfo> list;
  for (const auto& [cloud, entry] : entries_) {
    const std::string ifname = IfNameOf(cloud, entry);
    std::string problem = entry.problem;
    for (const std::string& other :
         {entry.warning, std::string(FirewallProblem().message()),
          std::string(entry.port == PortId::kNone ? "its addresses are being claimed" : "")}) {
      if (problem.empty()) problem = other;
    }
    AttachmentInfo info;
    info.id = ifname;
    info.ifname = ifname;
    info.caller = "agent";
    info.mode = "node";
    info.host_ifname = ifname;
    info.addresses = AddressesOf(entry);
    info.cloud = cloud;
    info.port = entry.port;
    info.problem = std::move(problem);
    list.push_back(std::move(info));
  }
  return list;
}

}  // namespace vxvde
