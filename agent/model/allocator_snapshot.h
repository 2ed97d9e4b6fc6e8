// What people are shown of the agent's own addresses: plain values, taken in one turn of the loop.

#ifndef VXVDE_AGENT_MODEL_ALLOCATOR_SNAPSHOT_H_
#define VXVDE_AGENT_MODEL_ALLOCATOR_SNAPSHOT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "plugin/base/cloud_key.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

struct HeldAddress {
  enum class Use {
    kLeased,    // given out by the agent
    kOccupied,  // a pod here brought it
    kKept,      // its owner has gone, and may come back
    kSpare,     // claimed ahead of need
  };
  IpAddress address;
  Use use = Use::kSpare;
  std::string lease;  // kLeased, kOccupied
  std::string owner;  // kLeased, kKept
  MacAddress mac;     // who is said to have it: the pod's, or the agent's own
  Duration age{};
};

// Two that have one address.
struct AddressConflict {
  IpAddress address;
  std::string lease;   // ours
  MacAddress mac;      // ours
  MacAddress other;    // theirs
  std::string where;   // theirs: "peer 192.0.2.1:14790" or "port 3"
  uint64_t count = 0;  // how often it was noticed
  Duration first{};    // ago
  Duration last{};
};

struct PoolSnapshot {
  IpPrefix subnet;
  uint64_t usable = 0;
  uint64_t leased = 0;
  uint64_t occupied = 0;
  uint64_t kept = 0;
  uint64_t spare = 0;
  uint64_t others = 0;     // heard in use elsewhere, lately
  bool exhausted = false;  // the last search found none
};

struct AllocatorSnapshot {
  CloudKey cloud;
  std::vector<PoolSnapshot> pools;
  std::vector<HeldAddress> held;           // by address
  std::vector<AddressConflict> conflicts;  // by address
  uint64_t conflicts_total = 0;            // pairs of stations
  uint64_t claims = 0;                     // addresses that were claimed, spare ones too
  uint64_t taken = 0;                      // candidates that another had
  uint64_t exhausted = 0;                  // claims that found none
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_MODEL_ALLOCATOR_SNAPSHOT_H_
