// Published ports: conflicts between them, and the firewall's rules for them.

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/base/refusal.h"
#include "agent/node_port/host_ports.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

std::string TextOf(const PortMapping& mapping) {
  return absl::StrCat(
      mapping.host_ip.has_value() ? absl::StrCat("[", mapping.host_ip->ToString(), "]:") : "",
      mapping.host_port, "/", mapping.protocol);
}

bool IsOfFamily(const PortMapping& mapping, int family) {
  return !mapping.host_ip.has_value() || mapping.host_ip->family() == family;
}

// Returns whether one connection could match both.
bool Overlap(const PortMapping& a, const PortMapping& b) {
  if (a.host_port != b.host_port || a.protocol != b.protocol) return false;
  if (!a.host_ip.has_value() || !b.host_ip.has_value()) return true;
  return a.host_ip == b.host_ip || (a.host_ip->family() == b.host_ip->family() &&
                                    (a.host_ip->IsUnspecified() || b.host_ip->IsUnspecified()));
}

}  // namespace

std::vector<FirewallMapping> HostPorts::RulesOf(const PortMapping& mapping,
                                                const std::vector<IpPrefix>& addresses) {
  std::vector<FirewallMapping> rules;
  for (const int family : {AF_INET, AF_INET6}) {
    if (!IsOfFamily(mapping, family)) continue;
    const auto target = std::find_if(addresses.begin(), addresses.end(), [&](const IpPrefix& one) {
      return one.address.family() == family;
    });
    if (target == addresses.end()) continue;
    rules.push_back({.protocol = mapping.protocol,
                     .host_port = mapping.host_port,
                     .host_ip = mapping.host_ip.has_value() && !mapping.host_ip->IsUnspecified()
                                    ? mapping.host_ip
                                    : std::nullopt,
                     .target = target->address,
                     .target_port = mapping.container_port});
  }
  return rules;
}

absl::Status HostPorts::AsRefusal(const absl::Status& status) {
  if (absl::IsPermissionDenied(status)) {
    return Refuse(
        kCniInvalidConfig,
        absl::StrCat("the agent is not permitted to create the node's own port: ",
                     status.message()),
        "run the agent with CAP_NET_ADMIN in the node's network namespace (not rootless), "
        "or remove `gateway:` and publish no ports");
  }
  if (absl::IsAlreadyExists(status)) {
    return Refuse(kCniInvalidConfig, status.message(),
                  "remove or rename that interface: the node's own port has that name");
  }
  return status;
}

absl::Status HostPorts::CheckFree(const std::string& id,
                                  const std::vector<PortMapping>& mappings) const {
  for (size_t i = 0; i < mappings.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      // podman passes -p 0.0.0.0:80:80 as all addresses, which already include [::]:80:80.
      if (!Overlap(mappings[i], mappings[j]) ||
          mappings[i].container_port == mappings[j].container_port) {
        continue;
      }
      return Refuse(kCniInvalidConfig,
                    absl::StrCat("port ", TextOf(mappings[i]), " of the node is mapped twice"),
                    "map it once");
    }
    for (const auto& [other, publication] : publications_) {
      if (other == id) continue;
      for (const PortMapping& theirs : publication.mappings) {
        if (!Overlap(mappings[i], theirs)) continue;
        return Refuse(AttachError::kPortInUse,
                      absl::StrCat("port ", TextOf(mappings[i]), " of node ", config_.node,
                                   " is in use by ", publication.holder),
                      "publish another port, or end that container");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status HostPorts::Publish(const Publication& publication) {
  RETURN_IF_ERROR(CheckFree(publication.id, publication.mappings));
  const auto leads = [&](const PortMapping& mapping) {
    return !RulesOf(mapping, publication.addresses).empty();
  };
  for (const PortMapping& mapping : publication.mappings) {
    if (leads(mapping)) continue;
    // For example [::]:80 beside 0.0.0.0:80: the port is open for the families of the container.
    const bool other_family = std::any_of(
        publication.mappings.begin(), publication.mappings.end(), [&](const PortMapping& other) {
          return mapping.host_ip.has_value() && mapping.host_ip->IsUnspecified() &&
                 other.host_port == mapping.host_port && other.protocol == mapping.protocol &&
                 other.container_port == mapping.container_port && leads(other);
        });
    if (other_family) continue;
    return Refuse(
        kCniInvalidConfig,
        absl::StrCat("port ", TextOf(mapping), " cannot lead to the container: it has no ",
                     !mapping.host_ip.has_value() ? ""
                     : mapping.host_ip->is_v6()   ? "IPv6 "
                                                  : "IPv4 ",
                     "address"),
        "give the container one, or do not publish the port");
  }
  std::optional<Publication> before;
  if (const auto found = publications_.find(publication.id); found != publications_.end()) {
    before = found->second;
  }
  publications_[publication.id] = publication;
  if (const absl::Status status = SyncFirewall(); !status.ok()) {
    if (before.has_value()) {
      publications_[publication.id] = *std::move(before);
    } else {
      publications_.erase(publication.id);
    }
    return AsRefusal(status);
  }
  if (entries_.contains(publication.cloud)) Advance(publication.cloud);  // maybe with a new subnet
  return absl::OkStatus();
}

void HostPorts::Unpublish(const std::string& id) {
  if (publications_.erase(id) != 0) KeepFirewall();
}

FirewallPort HostPorts::RulesOfPort(const CloudKey& cloud, const Entry& entry) const {
  FirewallPort port{.ifname = entry.link.ifname};
  const NamedCloud* named = config_.FindByKey(cloud);
  if (!entry.configured || named == nullptr) return port;
  port.masquerade = named->masquerade;
  if (named->masquerade) port.subnets = named->subnets;
  port.routed = named->routed;
  for (const std::string& name : named->reaches) {
    const NamedCloud* other = config_.FindByName(name);
    const auto found = other == nullptr ? entries_.end() : entries_.find(other->config.key);
    if (found != entries_.end() && found->second.port != PortId::kNone) {
      port.reaches.push_back(found->second.link.ifname);
    }
  }
  return port;
}

FirewallState HostPorts::WantedRules() const {
  FirewallState state;
  for (const auto& [cloud, entry] : entries_) {
    if (entry.port != PortId::kNone) state.ports.push_back(RulesOfPort(cloud, entry));
  }
  for (const auto& [id, publication] : publications_) {
    const auto entry = entries_.find(publication.cloud);
    if (entry == entries_.end() || entry->second.port == PortId::kNone) continue;
    for (const PortMapping& mapping : publication.mappings) {
      for (FirewallMapping& rule : RulesOf(mapping, publication.addresses)) {
        state.mappings.push_back(std::move(rule));
      }
    }
  }
  // Two mappings of one container may be equal.
  std::sort(state.mappings.begin(), state.mappings.end());
  state.mappings.erase(std::unique(state.mappings.begin(), state.mappings.end()),
                       state.mappings.end());
  return state;
}

absl::Status HostPorts::SyncFirewall() {
  if (!started_) return absl::OkStatus();
  firewall_problem_ = parts_.firewall->Set(WantedRules());
  if (!firewall_problem_.ok()) {
    RetrySoon();
    return firewall_problem_;
  }
  LetLocalhostThrough();
  return absl::OkStatus();
}

void HostPorts::KeepFirewall() {
  const absl::Status was = firewall_problem_;
  const absl::Status status = SyncFirewall();
  if (status.ok() || status == was) return;
  parts_.log->Error("nftables rules not applied", {{"error", std::string(status.message())}});
}

// A packet from 127.0.0.1 leaves by an interface only if its route_localnet is set
// (Documentation/networking/ip-sysctl.rst). The firewall drops packets from the cloud to
// 127.0.0.0/8.
void HostPorts::LetLocalhostThrough() {
  for (auto& [cloud, entry] : entries_) {
    if (entry.port == PortId::kNone) continue;
    bool wanted = false;
    for (const auto& [id, publication] : publications_) {
      if (publication.cloud != cloud) continue;
      for (const PortMapping& mapping : publication.mappings) {
        for (const FirewallMapping& rule : RulesOf(mapping, publication.addresses)) {
          wanted = wanted || rule.target.is_v4();
        }
      }
    }
    if (entry.localnet == wanted) continue;
    const std::string key = absl::StrCat("net/ipv4/conf/", entry.link.ifname, "/route_localnet");
    if (const absl::Status status = parts_.kernel->set(key, wanted ? "1" : "0"); !status.ok()) {
      parts_.log->Warn("127.0.0.1 does not reach published ports",
                       {{"sysctl", key}, {"error", std::string(status.message())}});
    }
    entry.localnet = wanted;  // tried once: the node's other addresses work without
  }
}

}  // namespace vxvde
