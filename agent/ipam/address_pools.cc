#include "agent/ipam/address_pools.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vxvde {
namespace {

// Spare addresses: this many, and at most a 32nd of the subnet. Kept ones: at most a 16th.
constexpr size_t kMaxSpare = 8;
constexpr uint64_t kSparePart = 32;
constexpr size_t kMaxKept = 32;
constexpr uint64_t kKeptPart = 16;

size_t Share(const IpPrefix& subnet, uint64_t part, size_t max) {
  return static_cast<size_t>(std::min<uint64_t>(max, UsableAddresses(subnet) / part));
}

}  // namespace

void AddressPools::Set(Instant now, const std::vector<IpPrefix>& subnets) {
  std::vector<AddressPool> pools;
  for (const IpPrefix& subnet : subnets) {
    const auto same = std::find_if(pools_.begin(), pools_.end(),
                                   [&](const AddressPool& pool) { return pool.subnet == subnet; });
    if (same != pools_.end()) {
      pools.push_back(std::move(*same));
    } else {
      pools.push_back({.subnet = subnet,
                       .max_spare = Share(subnet, kSparePart, kMaxSpare),
                       .max_kept = Share(subnet, kKeptPart, kMaxKept),
                       .order = Order(subnet),
                       .failures = 0,
                       .resume = now,
                       .exhausted_until = {}});
    }
  }
  pools_ = std::move(pools);
}

const AddressPool* AddressPools::Find(const IpAddress& address) const {
  const auto found = std::find_if(pools_.begin(), pools_.end(), [&](const AddressPool& pool) {
    return pool.subnet.Contains(address);
  });
  return found == pools_.end() ? nullptr : &*found;
}

AddressPool* AddressPools::FindMutable(const IpAddress& address) {
  return const_cast<AddressPool*>(Find(address));
}

Candidates AddressPools::Order(const IpPrefix& subnet) const {
  return Candidates(subnet, cloud_, absl::StrCat("spare ", seed_));
}

std::vector<IpAddress> AddressPools::NextSpares(Instant now,
                                                const std::function<size_t(const IpPrefix&)>& have,
                                                const std::function<bool(const IpAddress&)>& skip) {
  std::vector<IpAddress> spares;
  for (AddressPool& pool : pools_) {
    if (now < pool.resume) continue;
    for (size_t count = have(pool.subnet); count < pool.max_spare;) {
      const std::optional<IpAddress> next = pool.order.Next();
      if (!next) {
        pool.order = Order(pool.subnet);
        pool.resume = now + kRest;
        break;
      }
      if (skip(*next)) continue;
      spares.push_back(*next);
      ++count;
    }
  }
  return spares;
}

void AddressPools::OnSpareFree(const IpAddress& address) {
  if (AddressPool* pool = FindMutable(address)) pool->failures = 0;
}

void AddressPools::OnSpareInUse(Instant now, const IpAddress& address) {
  AddressPool* pool = FindMutable(address);
  if (pool == nullptr || ++pool->failures < kMaxFailures) return;
  pool->failures = 0;
  pool->resume = now + kRest;
}

void AddressPools::SetExhausted(Instant now, const IpAddress& address) {
  if (AddressPool* pool = FindMutable(address)) pool->exhausted_until = now + kExhaustedFor;
}

void AddressPools::ClearExhausted(const IpAddress& address) {
  if (AddressPool* pool = FindMutable(address)) pool->exhausted_until = {};
}

}  // namespace vxvde
