// The state of the agent's address allocation for status and metrics: plain values, taken in one
// turn of the event loop.

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
    kLeased,    // allocated by the agent
    kOccupied,  // brought by a pod of this node
    kKept,      // reserved for an owner that may return
    kSpare,     // claimed ahead of need
  };
  IpAddress address;
  Use use = Use::kSpare;
  std::string lease;  // kLeased, kOccupied
  std::string owner;  // kLeased, kKept
  MacAddress mac;     // the announced one: the pod's, or the agent's own
  Duration age{};
};

// A pod of this node and another station have the same address.
struct AddressConflict {
  IpAddress address;
  std::string lease;   // of the pod
  MacAddress mac;      // of the pod
  MacAddress other;    // of the other station
  std::string where;   // location of the other station: "peer 192.0.2.1:14790" or "port 3"
  uint64_t count = 0;  // of the other station's announcements
  Duration first{};    // since the first one
  Duration last{};     // since the last one
};

struct PoolSnapshot {
  IpPrefix subnet;
  uint64_t usable = 0;
  uint64_t leased = 0;
  uint64_t occupied = 0;
  uint64_t kept = 0;
  uint64_t spare = 0;
  uint64_t others = 0;     // recently heard in use elsewhere
  bool exhausted = false;  // the last search found no free address
};

struct AllocatorSnapshot {
  CloudKey cloud;
  std::vector<PoolSnapshot> pools;
  std::vector<HeldAddress> held;           // by address
  std::vector<AddressConflict> conflicts;  // by address
  uint64_t conflicts_total = 0;            // pairs of stations
  uint64_t claims = 0;                     // claimed addresses, spare ones included
  uint64_t taken = 0;                      // candidates found in use
  uint64_t exhausted = 0;                  // claims that found no free address
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_MODEL_ALLOCATOR_SNAPSHOT_H_
