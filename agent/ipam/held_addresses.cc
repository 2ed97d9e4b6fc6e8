#include "agent/ipam/held_addresses.h"

#include <algorithm>
#include <utility>

namespace vxvde {

const HeldAddresses::Entry* HeldAddresses::Find(const IpAddress& address) const {
  const auto found = entries_.find(address);
  return found == entries_.end() ? nullptr : &found->second;
}

size_t HeldAddresses::Count(const IpPrefix& subnet, Use use) const {
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [&](const auto& one) {
    return one.second.use == use && subnet.Contains(one.first);
  }));
}

std::vector<IpAddress> HeldAddresses::All() const {
  std::vector<IpAddress> all;
  for (const auto& [address, entry] : entries_) all.push_back(address);
  return all;
}

IpAddress HeldAddresses::After(const IpAddress& address) const {
  auto next = entries_.upper_bound(address);
  if (next == entries_.end()) next = entries_.begin();
  return next->first;
}

std::vector<HeldAddress> HeldAddresses::Snapshot(Instant now) const {
  std::vector<HeldAddress> all;
  for (const auto& [address, entry] : entries_) {
    all.push_back({.address = address,
                   .use = entry.use,
                   .lease = entry.lease,
                   .owner = entry.owner,
                   .mac = entry.mac,
                   .age = now - entry.since});
  }
  return all;
}

bool HeldAddresses::ShouldReply(Instant now, const IpAddress& address, Duration interval) {
  const auto found = entries_.find(address);
  if (found == entries_.end() || now - found->second.last_reply < interval) return false;
  found->second.last_reply = now;
  return true;
}

void HeldAddresses::AddSpare(Instant now, const IpAddress& address) {
  entries_[address] = {.use = Use::kSpare,
                       .lease = "",
                       .owner = "",
                       .mac = agent_,
                       .since = now,
                       .until = {},
                       .last_reply = {}};
}

void HeldAddresses::Assign(Instant now, const IpAddress& address, const Assignee& assignee) {
  entries_[address] = {.use = Use::kLeased,
                       .lease = assignee.lease,
                       .owner = assignee.owner,
                       .mac = assignee.mac,
                       .since = now,
                       .until = {},
                       .last_reply = {}};
}

std::optional<IpAddress> HeldAddresses::TakeUnassigned(Instant now, const Assignee& assignee,
                                                       const IpPrefix& subnet,
                                                       const std::optional<IpAddress>& wanted,
                                                       bool any_owner) {
  // 0: the address must not be taken.
  const auto rank = [&](const Entry& entry) {
    if (entry.use == Use::kSpare) return 1;
    if (entry.use != Use::kKept) return 0;
    if (entry.owner == assignee.owner) return 3;
    return any_owner || wanted ? 2 : 0;
  };
  auto best = entries_.end();
  for (auto one = entries_.begin(); one != entries_.end(); ++one) {
    if (wanted ? one->first != *wanted : !subnet.Contains(one->first)) continue;
    const int its = rank(one->second);
    if (its == 0) continue;
    if (best == entries_.end() || its > rank(best->second) ||
        (its == rank(best->second) && one->second.since < best->second.since)) {
      best = one;
    }
  }
  if (best == entries_.end()) return std::nullopt;
  const IpAddress address = best->first;
  Assign(now, address, assignee);
  return address;
}

void HeldAddresses::Unassign(Instant now, const IpAddress& address, const std::string& owner,
                             const AddressPool* pool) {
  GiveUp(address);
  if (pool == nullptr) return;
  // The owner may return: a pod of a StatefulSet, a container that is restarted.
  if (Count(pool->subnet, Use::kKept) < pool->max_kept) {
    AddSpare(now, address);
    Entry& entry = entries_[address];
    entry.use = Use::kKept;
    entry.owner = owner;
    entry.until = now + kKeptFor;
  } else if (Count(pool->subnet, Use::kSpare) < pool->max_spare) {
    AddSpare(now, address);
  }
}

void HeldAddresses::GiveUpOutside(const AddressPools& pools) {
  std::erase_if(entries_, [&](const auto& one) {
    return !one.second.assigned() && pools.Find(one.first) == nullptr;
  });
}

void HeldAddresses::Expire(Instant now) {
  std::erase_if(entries_, [&](const auto& one) {
    return one.second.use == Use::kKept && one.second.until <= now;
  });
}

const HeldAddresses::Lease* HeldAddresses::FindLease(const std::string& name) const {
  const auto found = leases_.find(name);
  return found == leases_.end() ? nullptr : &found->second;
}

std::vector<IpAddress> HeldAddresses::RestoreLease(Instant now, const std::string& name,
                                                   Lease lease) {
  std::vector<IpAddress> assigned;
  for (const IpPrefix& address : lease.addresses) {
    const Entry* entry = Find(address.address);
    if (entry != nullptr && entry->assigned()) continue;
    Assign(now, address.address, {.lease = name, .owner = lease.owner, .mac = lease.mac});
    if (!lease.allocated) entries_[address.address].use = Use::kOccupied;
    assigned.push_back(address.address);
  }
  AddLease(name, std::move(lease));
  return assigned;
}

std::vector<IpAddress> HeldAddresses::RemoveLease(Instant now, const std::string& name,
                                                  const AddressPools& pools) {
  const auto found = leases_.find(name);
  if (found == leases_.end()) return {};
  const Lease lease = std::move(found->second);
  leases_.erase(found);
  std::vector<IpAddress> unassigned;
  for (const IpPrefix& address : lease.addresses) {
    const Entry* entry = Find(address.address);
    if (entry == nullptr || entry->lease != name) continue;
    if (lease.allocated) {
      Unassign(now, address.address, lease.owner, pools.Find(address.address));
    } else {
      GiveUp(address.address);
    }
    unassigned.push_back(address.address);
  }
  return unassigned;
}

}  // namespace vxvde
