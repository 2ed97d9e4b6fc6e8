// Candidates: the usable addresses of a subnet, in an order that depends on the owner. Pure.
//
// All addresses are usable but for the network and broadcast addresses (IPv4) and the subnet-router
// anycast address (IPv6, RFC 4291, section 2.6.1).

#ifndef VXVDE_AGENT_IPAM_CANDIDATES_H_
#define VXVDE_AGENT_IPAM_CANDIDATES_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

// The number of usable addresses, at most 2^63 - 1.
uint64_t UsableAddresses(const IpPrefix& subnet);
bool IsUsable(const IpPrefix& subnet, const IpAddress& address);

// Walks through all usable addresses, or the first 2^63 - 1 of them. Start and step depend on
// (cloud, owner, subnet) alone, so an owner meets the same addresses first on every node.
class Candidates {
 public:
  Candidates(const IpPrefix& subnet, absl::string_view cloud, absl::string_view owner);

  // nullopt after each address was returned once.
  std::optional<IpAddress> Next();

 private:
  IpPrefix subnet_;
  uint64_t count_;
  uint64_t index_;
  uint64_t step_;
  uint64_t returned_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_CANDIDATES_H_
