// Candidates: the addresses of a subnet that may be handed out, in an order of its own for each
// owner. Pure.
//
// Never handed out: the network's and the broadcast address (IPv4), the subnet-router anycast
// address (IPv6, RFC 4291, section 2.6.1). Nothing else is set aside.

#ifndef VXVDE_AGENT_IPAM_CANDIDATES_H_
#define VXVDE_AGENT_IPAM_CANDIDATES_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

// How many there are; 2^63 - 1 where there are more.
uint64_t UsableAddresses(const IpPrefix& subnet);
bool IsUsable(const IpPrefix& subnet, const IpAddress& address);

// A walk through all of them, where there are at most 2^63 - 1: from a place and in steps that
// hang on (cloud, owner, subnet) alone, so that an owner meets the same ones first on every node.
class Candidates {
 public:
  Candidates(const IpPrefix& subnet, absl::string_view cloud, absl::string_view owner);

  // nullopt when each has been given once.
  std::optional<IpAddress> Next();

 private:
  IpPrefix subnet_;
  uint64_t count_;
  uint64_t index_;
  uint64_t step_;
  uint64_t given_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_CANDIDATES_H_
