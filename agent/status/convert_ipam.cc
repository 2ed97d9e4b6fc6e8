// Addresses that the agent assigns -> agent/api/status.proto.

#include <algorithm>
#include <map>
#include <string>

#include "agent/status/convert.h"

namespace vxvde {
namespace {

v1::HeldAddress::Use ToUse(HeldAddress::Use use) {
  switch (use) {
    case HeldAddress::Use::kLeased:
      return v1::HeldAddress::LEASED;
    case HeldAddress::Use::kOccupied:
      return v1::HeldAddress::OCCUPIED;
    case HeldAddress::Use::kKept:
      return v1::HeldAddress::KEPT;
    case HeldAddress::Use::kSpare:
      return v1::HeldAddress::SPARE;
  }
  return v1::HeldAddress::USE_UNSPECIFIED;
}

// The owners of addresses, by lease. An address that a pod brought has no other owner.
std::map<std::string, std::string> Owners(const NodeSnapshot& node) {
  std::map<std::string, std::string> owners;
  for (const AttachmentInfo& attachment : node.attachments) {
    owners[attachment.id] = attachment.pod_name.empty()
                                ? attachment.container_id
                                : attachment.pod_namespace + "/" + attachment.pod_name;
  }
  return owners;
}

void Append(const AllocatorSnapshot& state, const std::string& cloud,
            const std::map<std::string, std::string>& owners, v1::Ipam& out) {
  const auto owner = [&](const std::string& lease, const std::string& otherwise) {
    const auto found = owners.find(lease);
    return found != owners.end() ? found->second : otherwise;
  };
  for (const PoolSnapshot& pool : state.pools) {
    v1::AddressPool& one = *out.add_pools();
    one.set_cloud(cloud);
    one.set_subnet(pool.subnet.ToString());
    one.set_usable(pool.usable);
    one.set_leased(pool.leased);
    one.set_occupied(pool.occupied);
    one.set_kept(pool.kept);
    one.set_spare(pool.spare);
    one.set_others(pool.others);
    one.set_exhausted(pool.exhausted);
  }
  std::map<std::string, std::string> owner_of;  // by lease
  for (const HeldAddress& held : state.held) {
    v1::HeldAddress& one = *out.add_addresses();
    one.set_cloud(cloud);
    one.set_address(held.address.ToString());
    one.set_use(ToUse(held.use));
    one.set_lease(held.lease);
    one.set_owner(owner(held.lease, held.owner));
    one.set_mac(held.mac.ToString());
    Set(one.mutable_age(), held.age);
    owner_of[held.lease] = one.owner();
  }
  for (const AddressConflict& conflict : state.conflicts) {
    v1::AddressConflict& one = *out.add_conflicts();
    one.set_cloud(cloud);
    one.set_address(conflict.address.ToString());
    one.set_lease(conflict.lease);
    one.set_owner(owner_of[conflict.lease]);
    one.set_mac(conflict.mac.ToString());
    one.set_other_mac(conflict.other.ToString());
    one.set_other_where(conflict.where);
    one.set_count(conflict.count);
    Set(one.mutable_first(), conflict.first);
    Set(one.mutable_last(), conflict.last);
  }
  v1::IpamCounters& counters = *out.add_counters();
  counters.set_cloud(cloud);
  counters.set_claims(state.claims);
  counters.set_taken(state.taken);
  counters.set_exhausted(state.exhausted);
  counters.set_conflicts(state.conflicts_total);
}

}  // namespace

absl::StatusOr<v1::Ipam> ToResponse(const NodeSnapshot& node, const v1::GetIpamRequest& request) {
  v1::Ipam out;
  const std::map<std::string, std::string> owners = Owners(node);
  bool found = request.cloud().empty();
  for (const CloudInfo& cloud : node.clouds) {
    if (!request.cloud().empty() && request.cloud() != cloud.name && request.cloud() != cloud.vnl) {
      continue;
    }
    found = true;
    for (const AllocatorSnapshot& state : node.ipam) {
      if (state.cloud == cloud.state.options.config.key) Append(state, cloud.name, owners, out);
    }
  }
  if (!found) {
    return absl::NotFoundError("no cloud '" + request.cloud() + "' is joined on this node");
  }
  return out;
}

}  // namespace vxvde
