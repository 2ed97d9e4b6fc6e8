// AddressPools: the subnets of one cloud that the agent gives addresses of, and for each how many
// spare addresses it wants, which ones to probe for that, and whether the last search found none.
// Pure.

#ifndef VXVDE_AGENT_IPAM_ADDRESS_POOLS_H_
#define VXVDE_AGENT_IPAM_ADDRESS_POOLS_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "agent/ipam/candidates.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/time.h"

namespace vxvde {

struct AddressPool {
  IpPrefix subnet;
  size_t max_spare = 0;
  size_t max_kept = 0;
  Candidates order;  // of spare addresses
  int failures = 0;  // probes for spare addresses, in a row
  Instant resume;    // no probes for spare addresses before
  Instant exhausted_until;
};

class AddressPools {
 public:
  // So many failures in a row mean a crowded subnet: spare addresses then have to wait.
  static constexpr int kMaxFailures = 8;
  static constexpr std::chrono::seconds kRest{30};
  // After a search that found no address, the pool counts as exhausted for this long. Then only
  // another search can tell.
  static constexpr std::chrono::seconds kExhaustedFor{15};

  // Agents with different `seed`s take their spare addresses from different places of a subnet.
  AddressPools(std::string cloud, std::string seed)
      : cloud_(std::move(cloud)), seed_(std::move(seed)) {}

  // A subnet that was there before keeps its state.
  void Set(Instant now, const std::vector<IpPrefix>& subnets);
  const std::vector<AddressPool>& all() const { return pools_; }
  // The pool that `address` belongs to.
  const AddressPool* Find(const IpAddress& address) const;

  // Addresses to probe so that each pool gets its spare ones. `have` counts those of a subnet that
  // are spare or probed to be spare; `skip` is true of addresses that are not to be probed.
  std::vector<IpAddress> NextSpares(Instant now, const std::function<size_t(const IpPrefix&)>& have,
                                    const std::function<bool(const IpAddress&)>& skip);
  // The probe of a spare address has ended.
  void OnSpareFree(const IpAddress& address);
  void OnSpareInUse(Instant now, const IpAddress& address);

  // A search in the pool of `address` found none, or one.
  void SetExhausted(Instant now, const IpAddress& address);
  void ClearExhausted(const IpAddress& address);

 private:
  AddressPool* FindMutable(const IpAddress& address);
  Candidates Order(const IpPrefix& subnet) const;

  std::string cloud_;
  std::string seed_;
  std::vector<AddressPool> pools_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_ADDRESS_POOLS_H_
