// AddressClaims: allocates addresses for attachments and for the node's own ports. Each is claimed
// on its cloud before it is assigned, so there is no server.

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
  std::string lease;  // a unique name on this node, such as an attachment's id
  CloudKey cloud;     // joined
  std::vector<IpPrefix> subnets;
  std::string owner;              // wishes of one owner get the same addresses where possible
  MacAddress mac;                 // of the interface that will have the addresses
  std::vector<IpAddress> wanted;  // exactly these; empty: one of each subnet
};

class AddressClaims {
 public:
  virtual ~AddressClaims() = default;

  // Calls `done` once, in this turn or a later one, unless Release comes before; never from the
  // destructor. The result has the order of `wanted` or `subnets`, with the subnets' lengths, and
  // is on disk by then. A lease that exists is the result if its wish was the same. Errors carry a
  // Refusal (kAddressInUse names the station, kPoolExhausted the subnet).
  using Claimed = std::function<void(absl::StatusOr<std::vector<IpPrefix>>)>;
  virtual void Claim(AddressWish wish, Claimed done) = 0;
  // Ends a lease, a claim in progress, or the effect of RegisterExternal. Does nothing if there is
  // none.
  virtual void Release(const std::string& lease) = 0;

  // All leases, including those of clouds that are not joined, and the cloud of each.
  virtual std::map<std::string, CloudKey> Leases() const = 0;

  // Releases each lease that is named by an attachment's id which is not in `attachments`. Returns
  // their number.
  virtual size_t Collect(const std::set<std::string>& attachments) = 0;

  // Reserves addresses that an attachment has by other means: an IPAM plugin, a static request.
  // Replaces those that `lease` had before.
  virtual void RegisterExternal(const std::string& lease, const CloudKey& cloud,
                                const MacAddress& mac, const std::vector<IpPrefix>& addresses) = 0;

  // A refusal (kPoolExhausted) if Claim would find no address in one of `subnets`.
  virtual absl::Status Ready(const CloudKey& cloud, const std::vector<IpPrefix>& subnets) const = 0;

  // Of each joined cloud with an allocator.
  virtual std::vector<AllocatorSnapshot> Snapshot() const = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_ADDRESS_CLAIMS_H_
