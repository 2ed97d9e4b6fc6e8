// What attachments ask of a request before they act on it: which cloud, may it, is its name, MAC or
// address another's; and of what is attached: is it, does it forward, could more come.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/api/attachment_id.h"
#include "agent/attach/attachments.h"
#include "agent/attach/confinement.h"
#include "agent/base/refusal.h"
#include "agent/clouds/uplink.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr uint32_t kMaxMacAttempts = 16;

// `who` may allow a port no more than the operator lets annotations allow.
absl::Status CheckCovered(const std::vector<Allowed>& entries, const NamedCloud* named,
                          absl::string_view who, absl::string_view remedy) {
  const std::vector<Allowed> limit =
      named != nullptr ? named->allow_by_annotation : std::vector<Allowed>();
  for (const Allowed& one : entries) {
    const bool covered = std::any_of(limit.begin(), limit.end(),
                                     [&](const Allowed& most) { return most.Covers(one); });
    if (covered) continue;
    return Refuse(AttachError::kForbidden,
                  absl::StrCat(who, " may not allow ", one.ToString(),
                               named == nullptr
                                   ? ": its cloud is not in the agent's configuration"
                                   : absl::StrCat(": the rule of cloud \"", named->name,
                                                  "\" is allowByAnnotation: [",
                                                  absl::StrJoin(FormatAllowed(limit), ", "), "]")),
                  remedy);
  }
  return absl::OkStatus();
}

absl::Status CheckAllowed(const PlanRequest& request, const NamedCloud* named, bool confined) {
  RETURN_IF_ERROR(CheckCovered(request.allow_by_annotation, named, "a pod's annotation",
                               "add it to the cloud's allowByAnnotation, or to \"allow\" of the "
                               "network's configuration"));
  if (confined) {
    RETURN_IF_ERROR(
        CheckCovered(request.allow, named,
                     absl::StrCat("a network of namespace \"", request.pod_namespace, "\""),
                     "add it to the cloud's allowByAnnotation, or set confineNamespaces: false in "
                     "the agent's configuration"));
  }
  if (request.allow.size() + request.allow_by_annotation.size() <= kMaxAllowed) {
    return absl::OkStatus();
  }
  return Refuse(kCniInvalidConfig,
                absl::StrCat("allow: ", request.allow.size(), " entries of the configuration and ",
                             request.allow_by_annotation.size(), " of annotations are too many"),
                absl::StrCat("give at most ", kMaxAllowed));
}

}  // namespace

std::string Attachments::Holder(const AttachmentRecord& record) {
  return absl::StrCat("container ", record.container_id, " interface ", record.ifname,
                      " of network ", record.network,
                      record.pod_name.empty() ? ""
                                              : absl::StrCat(" (pod ", record.pod_namespace, "/",
                                                             record.pod_name, ")"));
}

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
  const bool confined = IsConfined(config_, request.pod_namespace);
  if (named != nullptr && !MayUse(*named, request.pod_namespace)) {
    return Refuse(
        AttachError::kForbidden,
        absl::StrCat("pods of namespace \"", request.pod_namespace, "\" may not use cloud \"",
                     named->name, "\": its rule is namespaces: [",
                     absl::StrJoin(named->namespaces, ", "), "]"),
        "use another cloud, or change the rule in the agent's configuration");
  }
  if (confined) RETURN_IF_ERROR(CheckConfinedPlan(request, named, CloudName(cloud.key)));
  return CheckAllowed(request, named, confined);
}

PortGuard Attachments::GuardOf(const Entry& entry) const {
  const NamedCloud* named = config_.FindByKey(entry.cloud.key);
  if (named != nullptr && !named->port_security) return {};
  return MakeGuard(entry.record.addresses,
                   named != nullptr ? named->subnets : std::vector<IpPrefix>(), entry.record.allow);
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

}  // namespace vxvde
