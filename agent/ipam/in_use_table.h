// InUseTable: addresses that other stations use or probe for, as heard on the cloud. The allocator
// neither probes these nor counts them as free until the entry expires. Pure.

#ifndef VXVDE_AGENT_IPAM_IN_USE_TABLE_H_
#define VXVDE_AGENT_IPAM_IN_USE_TABLE_H_

#include <chrono>
#include <cstddef>
#include <map>

#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

class InUseTable {
 public:
  // Any station can invent entries, so their number is bounded. A full table ignores new
  // addresses.
  static constexpr size_t kMaxEntries = 16'384;
  // An agent that probes twice within this time needs one "free" only.
  static constexpr std::chrono::milliseconds kMinFreeInterval{50};

  // `station` uses `address`, or is about to. Never shortens the life of an entry.
  void NoteInUse(Instant now, const IpAddress& address, const MacAddress& station,
                 Duration lifetime);
  bool InUse(Instant now, const IpAddress& address) const;
  size_t Count(Instant now, const IpPrefix& subnet) const;
  void Expire(Instant now);

  // Whether `station`, which probes `address`, is to be told now that this agent does not hold it.
  bool ShouldSendFree(Instant now, const IpAddress& address, const MacAddress& station);

 private:
  struct Entry {
    MacAddress station;
    Instant until;
    Instant free_sent;
  };
  std::map<IpAddress, Entry> entries_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_IN_USE_TABLE_H_
