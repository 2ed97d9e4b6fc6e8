// ConflictTable: addresses of pods of this node that another station announces, too. Pure.

#ifndef VXVDE_AGENT_IPAM_CONFLICT_TABLE_H_
#define VXVDE_AGENT_IPAM_CONFLICT_TABLE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/model/allocator_snapshot.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

class ConflictTable {
 public:
  // A conflict ends when its station was not heard for so long.
  static constexpr std::chrono::minutes kLifetime{5};
  // Any station can make conflicts up, so their number is bounded. A full table ignores new ones.
  static constexpr size_t kMaxConflicts = 4096;

  // The station `other`, which is at `where`, announced `address`, which `mac` has by `lease`.
  // False: the table is full.
  bool Note(Instant now, const IpAddress& address, const std::string& lease, const MacAddress& mac,
            const MacAddress& other, std::string where);
  // `address` is no longer a pod's.
  void Remove(const IpAddress& address);
  void Expire(Instant now);

  // Those that were not there when it was last called.
  std::vector<AddressConflict> TakeNew() { return std::exchange(new_, {}); }
  // By address and station.
  std::vector<AddressConflict> Snapshot(Instant now) const;
  // Since the start.
  uint64_t total() const { return total_; }

 private:
  struct Conflict {
    std::string lease;
    MacAddress mac;
    std::string where;
    uint64_t count = 0;
    Instant first;
    Instant last;
  };

  std::map<std::pair<IpAddress, MacAddress>, Conflict> conflicts_;
  std::vector<AddressConflict> new_;
  uint64_t total_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_CONFLICT_TABLE_H_
