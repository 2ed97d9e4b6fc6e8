#include "agent/ipam/in_use_table.h"

#include <algorithm>

namespace vxvde {

void InUseTable::NoteInUse(Instant now, const IpAddress& address, const MacAddress& station,
                           Duration lifetime) {
  if (entries_.size() >= kMaxEntries && !entries_.contains(address)) return;
  Entry& entry = entries_[address];
  entry.station = station;
  entry.until = std::max(entry.until, now + lifetime);
}

bool InUseTable::InUse(Instant now, const IpAddress& address) const {
  const auto found = entries_.find(address);
  return found != entries_.end() && now < found->second.until;
}

size_t InUseTable::Count(Instant now, const IpPrefix& subnet) const {
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [&](const auto& one) {
    return now < one.second.until && subnet.Contains(one.first);
  }));
}

void InUseTable::Expire(Instant now) {
  std::erase_if(entries_, [&](const auto& one) { return one.second.until <= now; });
}

bool InUseTable::ShouldSendFree(Instant now, const IpAddress& address, const MacAddress& station) {
  const auto found = entries_.find(address);
  if (found == entries_.end()) return true;
  Entry& entry = found->second;
  if (entry.station == station && now - entry.free_sent < kMinFreeInterval) return false;
  entry.free_sent = now;
  return true;
}

}  // namespace vxvde
