// HeldAddresses: the addresses of one cloud that this agent answers for, and the leases that some
// of them belong to. Not here: how an address comes to be held. Pure.
//
// An address is held in one of four ways (HeldAddress::Use). It is *assigned* if it is leased or
// occupied: a pod has it. It is *unassigned* if it is kept for an owner that may return, or spare.

#ifndef VXVDE_AGENT_IPAM_HELD_ADDRESSES_H_
#define VXVDE_AGENT_IPAM_HELD_ADDRESSES_H_

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/ipam/address_pools.h"
#include "agent/model/allocator_snapshot.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

class HeldAddresses {
 public:
  static constexpr std::chrono::minutes kKeptFor{5};

  using Use = HeldAddress::Use;
  struct Entry {
    Use use = Use::kSpare;
    std::string lease;
    std::string owner;
    MacAddress mac;
    Instant since;
    Instant until;       // kKept
    Instant last_reply;  // when a station with the same address was last told of the conflict

    bool assigned() const { return use == Use::kLeased || use == Use::kOccupied; }
  };
  struct Lease {
    std::string owner;
    MacAddress mac;
    std::vector<IpPrefix> addresses;
    bool allocated = true;  // its addresses are leased; else a pod brought them: occupied
  };
  // Whom an address is assigned to.
  struct Assignee {
    std::string lease;
    std::string owner;
    MacAddress mac;
  };

  // Unassigned addresses are announced with the agent's own MAC.
  explicit HeldAddresses(const MacAddress& agent) : agent_(agent) {}

  // ---- Addresses ----

  bool Contains(const IpAddress& address) const { return entries_.contains(address); }
  const Entry* Find(const IpAddress& address) const;
  size_t Count(const IpPrefix& subnet, Use use) const;
  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  std::vector<IpAddress> All() const;
  // The next one in a rotation through all. Not to be called when there is none.
  IpAddress After(const IpAddress& address) const;
  std::vector<HeldAddress> Snapshot(Instant now) const;

  // Notes a reply to a station in conflict, unless the last one is younger than `interval`.
  bool ShouldReply(Instant now, const IpAddress& address, Duration interval);

  void AddSpare(Instant now, const IpAddress& address);
  void Assign(Instant now, const IpAddress& address, const Assignee& assignee);
  // Assigns an unassigned address: `wanted`, else the best one of `subnet`. Addresses that are kept
  // for this owner come first, then spare ones; with `any_owner`, or for `wanted`, those that are
  // kept for another owner take precedence over spare ones. The one held longest wins a tie.
  std::optional<IpAddress> TakeUnassigned(Instant now, const Assignee& assignee,
                                          const IpPrefix& subnet,
                                          const std::optional<IpAddress>& wanted, bool any_owner);
  // An assigned address loses its pod: it is kept for `owner`, else spare, else given up, as `pool`
  // has room. nullptr: it belongs to no pool, and is given up.
  void Unassign(Instant now, const IpAddress& address, const std::string& owner,
                const AddressPool* pool);
  void GiveUp(const IpAddress& address) { entries_.erase(address); }
  // Gives up the unassigned addresses that belong to none of `pools`.
  void GiveUpOutside(const AddressPools& pools);
  // Releases the addresses that have been kept for long enough.
  void Expire(Instant now);

  // ---- Leases ----

  const Lease* FindLease(const std::string& name) const;
  bool has_leases() const { return !leases_.empty(); }
  // The addresses of the lease are assigned to it already.
  void AddLease(const std::string& name, Lease lease) { leases_[name] = std::move(lease); }
  // Assigns the addresses of the lease, but for those that another lease has. Returns the assigned
  // ones.
  std::vector<IpAddress> RestoreLease(Instant now, const std::string& name, Lease lease);
  // Returns the addresses that no pod has any more. An occupied one is given up.
  std::vector<IpAddress> RemoveLease(Instant now, const std::string& name,
                                     const AddressPools& pools);

 private:
  MacAddress agent_;
  std::map<IpAddress, Entry> entries_;
  std::map<std::string, Lease> leases_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_HELD_ADDRESSES_H_
