// AddressClaims: addresses of the agent's own for what is attached here, each claimed on its cloud
// before it is given out, so that no server is needed. Not here: who needs one (attachments, the
// node's own ports).

#ifndef VXVDE_AGENT_IPAM_ADDRESS_CLAIMS_H_
#define VXVDE_AGENT_IPAM_ADDRESS_CLAIMS_H_

#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/model/allocator_snapshot.h"
#include "plugin/base/cloud_key.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

struct AddressWish {
  std::string lease;  // names it here: an attachment's id, or another unique name
  CloudKey cloud;     // joined
  std::vector<IpPrefix> subnets;
  std::string owner;  // whoever has the same owner gets the same address, where that can be
  MacAddress mac;     // of the interface that will have the addresses
  std::vector<IpAddress> wanted;  // exactly these; empty: one of each subnet
};

class AddressClaims {
 public:
  virtual ~AddressClaims() = default;

  // `done` is called once, in this turn or a later one, unless Release comes before; never from the
  // destructor. The result has the order of `wanted` or `subnets`, with the subnets' lengths; it
  // is on disk by then. A lease that there is already answers as it is when the wish is the same.
  // Errors carry a Refusal (kAddressInUse names the holder, kPoolExhausted the subnet).
  using Claimed = std::function<void(absl::StatusOr<std::vector<IpPrefix>>)>;
  virtual void Claim(AddressWish wish, Claimed done) = 0;
  // Also when there is no such lease, and in the middle of its claim. Of what Occupy noted, too.
  virtual void Release(const std::string& lease) = 0;

  // All there are, also of clouds that are not joined, and the cloud of each.
  virtual std::map<std::string, CloudKey> Leases() const = 0;

  // Of the attachments' leases only those of `attachments`, which are ids, are still wanted: the
  // others are released. How many.
  virtual size_t Collect(const std::set<std::string>& attachments) = 0;

  // What an attachment here has by other means (an IPAM plugin, a static request): never given out.
  // Replaces what `lease` had noted before.
  virtual void Occupy(const std::string& lease, const CloudKey& cloud, const MacAddress& mac,
                      const std::vector<IpPrefix>& addresses) = 0;

  // A refusal (kPoolExhausted) when Claim would find no address of one of `subnets`.
  virtual absl::Status Ready(const CloudKey& cloud, const std::vector<IpPrefix>& subnets) const = 0;

  // By cloud, those that are joined and have addresses of the agent's.
  virtual std::vector<AllocatorSnapshot> Snapshot() const = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_ADDRESS_CLAIMS_H_
