#include "agent/attach/admission.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/attach/attachment.h"
#include "agent/attach/confinement.h"
#include "agent/base/derive.h"
#include "agent/base/refusal.h"
#include "agent/model/allowed.h"
#include "agent/model/mtu.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr uint32_t kMaxMacAttempts = 16;

bool IsInOneOf(const std::vector<IpPrefix>& subnets, const IpAddress& address) {
  return std::any_of(subnets.begin(), subnets.end(),
                     [&](const IpPrefix& subnet) { return subnet.Contains(address); });
}

// The first address that both lists have.
const IpPrefix* FindCommon(const std::vector<IpPrefix>& addresses,
                           const std::vector<IpPrefix>& others) {
  for (const IpPrefix& address : addresses) {
    for (const IpPrefix& other : others) {
      if (address.address == other.address) return &address;
    }
  }
  return nullptr;
}

// Allows `requester` only those entries that the operator lets annotations allow.
absl::Status CheckCovered(const std::vector<Allowed>& entries, const NamedCloud* named,
                          absl::string_view requester, absl::string_view remedy) {
  const std::vector<Allowed> limit =
      named != nullptr ? named->allow_by_annotation : std::vector<Allowed>();
  for (const Allowed& entry : entries) {
    const bool covered = std::any_of(limit.begin(), limit.end(),
                                     [&](const Allowed& most) { return most.Covers(entry); });
    if (covered) continue;
    return Refuse(AttachError::kForbidden,
                  absl::StrCat(requester, " may not allow ", entry.ToString(),
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

absl::StatusOr<CloudConfig> ChooseCloud(const Config& config, const GroupLookup& group_id,
                                        const std::string& name, const std::string& vnl) {
  if (!name.empty()) {
    const NamedCloud* named = config.FindByName(name);
    if (named != nullptr) return named->config;
    std::vector<std::string> names;
    for (const NamedCloud& cloud : config.clouds) names.push_back(cloud.name);
    return Refuse(AttachError::kUnknownCloud,
                  absl::StrCat("cloud \"", name, "\" is not configured on node ", config.node),
                  names.empty() ? "add it to `clouds:` of the agent's configuration"
                                : absl::StrCat("use one of ", absl::StrJoin(names, ", "),
                                               ", or add it to `clouds:` of the agent's "
                                               "configuration"));
  }
  const absl::StatusOr<CloudConfig> cloud = ParseVnl(vnl.empty() ? "vxvde://" : vnl, group_id);
  if (!cloud.ok()) {
    return Refuse(kCniInvalidConfig, cloud.status().message(),
                  "correct the locator, for example vxvde://239.1.2.3/vni=42");
  }
  const NamedCloud* named = config.FindByKey(cloud->key);
  return named != nullptr ? named->config : *cloud;
}

absl::Status CheckPolicy(const Config& config, const PlanRequest& request,
                         const CloudConfig& cloud) {
  const NamedCloud* named = config.FindByKey(cloud.key);
  if (request.by_annotation && !request.vnl.empty() && !config.allow_vnl) {
    return Refuse(AttachError::kForbidden,
                  absl::StrCat("a pod's annotation may not name the locator ", request.vnl,
                               ": the rule is allowVnl: false"),
                  "name a cloud of the agent's configuration, or set allowVnl: true there");
  }
  if (named != nullptr && !MayUse(*named, request.pod_namespace)) {
    return Refuse(
        AttachError::kForbidden,
        absl::StrCat("pods of namespace \"", request.pod_namespace, "\" may not use cloud \"",
                     named->name, "\": its rule is namespaces: [",
                     absl::StrJoin(named->namespaces, ", "), "]"),
        "use another cloud, or change the rule in the agent's configuration");
  }
  const bool confined = IsConfined(config, request.pod_namespace);
  if (confined) RETURN_IF_ERROR(CheckConfinedPlan(request, named, NameOfCloud(config, cloud)));
  return CheckAllowed(request, named, confined);
}

absl::StatusOr<int> ChooseMtu(const Config& config, const PlanRequest& request,
                              const CloudConfig& cloud, int uplink_mtu) {
  const NamedCloud* named = config.FindByKey(cloud.key);
  const int of_cloud = named != nullptr ? named->mtu : 0;
  ASSIGN_OR_RETURN(const int mtu, PodMtu(request.mtu, of_cloud, uplink_mtu, cloud.key.group));
  if (IsConfined(config, request.pod_namespace)) {
    ASSIGN_OR_RETURN(const int most, PodMtu(0, of_cloud, uplink_mtu, cloud.key.group));
    RETURN_IF_ERROR(CheckConfinedMtu(request.pod_namespace, NameOfCloud(config, cloud), mtu, most));
  }
  return mtu;
}

absl::StatusOr<MacAddress> ChooseMac(const PlanRequest& request,
                                     const std::vector<const AttachmentRecord*>& others) {
  const auto holder_of = [&](const MacAddress& mac) -> const AttachmentRecord* {
    const auto found = std::find_if(others.begin(), others.end(),
                                    [&](const auto* other) { return other->mac == mac; });
    return found == others.end() ? nullptr : *found;
  };
  if (request.mac.has_value()) {
    const AttachmentRecord* holder = holder_of(*request.mac);
    if (holder == nullptr) return *request.mac;
    return Refuse(
        AttachError::kMacInUse,
        absl::StrCat("MAC ", request.mac->ToString(), " is in use by ", HolderOf(*holder)),
        "request another MAC, or none to have one derived");
  }
  // A new sandbox of a pod gets the MAC of its predecessor.
  const std::string& identity =
      request.pod_uid.empty() ? request.key.container_id : request.pod_uid;
  for (uint32_t attempt = 0; attempt < kMaxMacAttempts; ++attempt) {
    const MacAddress mac = DeriveMac(request.key.network, identity, request.key.ifname, attempt);
    if (holder_of(mac) == nullptr) return mac;
  }
  return Refuse(AttachError::kMacInUse,
                absl::StrCat("all of the first ", kMaxMacAttempts, " MACs derived for container ",
                             request.key.container_id, " are in use"),
                "request a MAC in the network configuration");
}

absl::StatusOr<std::optional<AddressWish>> ChooseAddresses(const Config& config,
                                                           const PlanRequest& request,
                                                           const CloudConfig& cloud,
                                                           const std::string& id,
                                                           const MacAddress& mac) {
  const NamedCloud* named = config.FindByKey(cloud.key);
  if (named == nullptr || named->subnets.empty()) {
    if (request.addresses.empty()) return std::nullopt;
    return Refuse(
        kCniInvalidConfig,
        absl::StrCat("address ", request.addresses[0].ToString(), " is requested, but cloud ",
                     NameOfCloud(config, cloud), " has no subnets"),
        "add `subnets:` to the cloud in the agent's configuration, or set \"ipam\": {} "
        "in the network configuration for addresses that the caller chooses; in an annotation, "
        "write the prefix length");
  }
  // Addresses that a caller brings within the subnets are claimed like allocated ones, because
  // another node may have them.
  std::vector<IpAddress> wanted = request.addresses;
  for (const IpPrefix& brought : request.brought) {
    if (IsInOneOf(named->subnets, brought.address)) wanted.push_back(brought.address);
  }
  if (request.addresses_by_caller && wanted.empty()) return std::nullopt;
  return AddressWish{.lease = id,
                     .cloud = cloud.key,
                     .subnets = named->subnets,
                     // podman starts a container again under its id.
                     .owner = request.pod_name.empty()
                                  ? absl::StrCat("container/", request.key.container_id)
                                  : absl::StrCat(request.pod_namespace, "/", request.pod_name),
                     .mac = mac,
                     .wanted = std::move(wanted)};
}

absl::Status CheckCommit(const Config& config, const AttachmentRecord& record,
                         const CloudConfig& cloud, const std::vector<IpPrefix>& addresses,
                         const std::vector<IpAddress>& claimed) {
  const NamedCloud* named = config.FindByKey(cloud.key);
  if (named == nullptr || !IsConfined(config, record.pod_namespace)) return absl::OkStatus();
  return CheckConfinedAddresses(record.pod_namespace, *named, addresses, claimed);
}

absl::Status CheckAddressesFree(const Config& config, const CloudConfig& cloud,
                                const std::vector<IpPrefix>& addresses,
                                const std::vector<const AttachmentRecord*>& others,
                                const std::vector<AttachmentInfo>& node_ports) {
  const auto in_use = [&](const IpPrefix& address, absl::string_view holder) {
    return Refuse(AttachError::kAddressInUse,
                  absl::StrCat("address ", address.address.ToString(), " is in use on cloud ",
                               NameOfCloud(config, cloud), " by ", holder),
                  "give another address, or check the IPAM plugin's range");
  };
  for (const AttachmentRecord* other : others) {
    if (const IpPrefix* common = FindCommon(addresses, other->addresses)) {
      return in_use(*common, HolderOf(*other));
    }
  }
  for (const AttachmentInfo& node : node_ports) {
    if (node.cloud != cloud.key) continue;
    if (const IpPrefix* common = FindCommon(addresses, node.addresses)) {
      return in_use(*common, absl::StrCat("this node's own port ", node.ifname));
    }
  }
  return absl::OkStatus();
}

PortGuard GuardFor(const Config& config, const CloudKey& cloud, const AttachmentRecord& record) {
  const NamedCloud* named = config.FindByKey(cloud);
  if (named != nullptr && !named->port_security) return {};
  return MakeGuard(record.addresses, named != nullptr ? named->subnets : std::vector<IpPrefix>(),
                   record.allow);
}

}  // namespace vxvde
