#include "agent/ipam/conflict_table.h"

namespace vxvde {

bool ConflictTable::Note(Instant now, const IpAddress& address, const std::string& lease,
                         const MacAddress& mac, const MacAddress& other, std::string where) {
  const auto key = std::pair(address, other);
  if (conflicts_.size() >= kMaxConflicts && !conflicts_.contains(key)) return false;
  const auto [it, fresh] = conflicts_.try_emplace(key);
  Conflict& conflict = it->second;
  conflict.lease = lease;
  conflict.mac = mac;
  conflict.where = std::move(where);
  conflict.last = now;
  ++conflict.count;
  if (!fresh) return true;
  conflict.first = now;
  ++total_;
  new_.push_back({.address = address,
                  .lease = lease,
                  .mac = mac,
                  .other = other,
                  .where = conflict.where,
                  .count = 1});
  return true;
}

void ConflictTable::Remove(const IpAddress& address) {
  std::erase_if(conflicts_, [&](const auto& one) { return one.first.first == address; });
}

void ConflictTable::Expire(Instant now) {
  std::erase_if(conflicts_, [&](const auto& one) { return now - one.second.last > kLifetime; });
}

std::vector<AddressConflict> ConflictTable::Snapshot(Instant now) const {
  std::vector<AddressConflict> all;
  for (const auto& [key, conflict] : conflicts_) {
    all.push_back({.address = key.first,
                   .lease = conflict.lease,
                   .mac = conflict.mac,
                   .other = key.second,
                   .where = conflict.where,
                   .count = conflict.count,
                   .first = now - conflict.first,
                   .last = now - conflict.last});
  }
  return all;
}

}  // namespace vxvde
