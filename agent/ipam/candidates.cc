#include "agent/ipam/candidates.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <string>

#include "agent/base/derive.h"

namespace vxvde {
namespace {

constexpr uint64_t kMaxCount = std::numeric_limits<int64_t>::max();

// The address `offset` of `subnet`. The offset fits the host bits.
IpAddress At(const IpPrefix& subnet, uint64_t offset) {
  const std::span<const uint8_t> network = subnet.address.wire();
  std::array<uint8_t, 16> bytes = {};
  std::copy(network.begin(), network.end(), bytes.begin());
  for (size_t i = network.size(); offset != 0; offset >>= 8) {
    bytes[--i] |= static_cast<uint8_t>(offset);
  }
  return IpAddress::FromWire(std::span(bytes).first(network.size()));
}

}  // namespace

uint64_t UsableAddresses(const IpPrefix& subnet) {
  const int host_bits = subnet.address.bits() - subnet.length;
  if (host_bits >= 63) return kMaxCount;
  const uint64_t all = uint64_t{1} << host_bits;
  const uint64_t reserved = subnet.address.is_v4() ? 2 : 1;
  return all > reserved ? all - reserved : 0;
}

bool IsUsable(const IpPrefix& subnet, const IpAddress& address) {
  if (!subnet.Contains(address) || address == subnet.Network().address) return false;
  if (address.is_v6()) return true;
  const uint32_t host_bits = 32u - subnet.length;
  const uint64_t broadcast = (uint64_t{1} << host_bits) - 1;
  return address != At(subnet.Network(), broadcast);
}

Candidates::Candidates(const IpPrefix& subnet, absl::string_view cloud, absl::string_view owner)
    : subnet_(subnet.Network()), count_(UsableAddresses(subnet)), index_(0), step_(1) {
  if (count_ == 0) return;
  const std::string text = subnet_.ToString();
  index_ = DeriveHash({"place", cloud, owner, text}) % count_;
  step_ = DeriveHash({"step", cloud, owner, text}) % count_;
  // A step that is coprime to the count visits every address before it returns to the first.
  while (std::gcd(step_, count_) != 1) step_ = step_ % count_ + 1;
}

std::optional<IpAddress> Candidates::Next() {
  if (returned_ == count_) return std::nullopt;
  ++returned_;
  const IpAddress address = At(subnet_, index_ + 1);  // 0: the network or anycast address
  index_ = (index_ + step_) % count_;                 // both below 2^63
  return address;
}

}  // namespace vxvde
