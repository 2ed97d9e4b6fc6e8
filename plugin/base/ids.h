// The small identities of the switch: Vni, IfIndex, PortId, Peer.

#ifndef VXVDE_PLUGIN_BASE_IDS_H_
#define VXVDE_PLUGIN_BASE_IDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "plugin/base/ip_address.h"

namespace vxvde {

// VXLAN network identifier, 24 bits (RFC 7348, section 5).
class Vni {
 public:
  static constexpr uint32_t kMax = 0xffffff;

  constexpr Vni() = default;  // 0
  static constexpr std::optional<Vni> Make(uint32_t value) {
    if (value > kMax) return std::nullopt;
    return Vni(value);
  }
  constexpr uint32_t value() const { return value_; }

  friend constexpr bool operator==(Vni, Vni) = default;
  friend constexpr auto operator<=>(Vni, Vni) = default;
  template <typename H>
  friend H AbslHashValue(H h, Vni vni) {
    return H::combine(std::move(h), vni.value_);
  }

 private:
  constexpr explicit Vni(uint32_t value) : value_(value) {}
  uint32_t value_ = 0;
};

// An index of an interface in the current network namespace; 0 is none.
enum class IfIndex : uint32_t { kNone = 0 };

// A port of one cloud on this node, numbered from 1 in the order of attachment. Numbers are not
// reused during the lifetime of the switch.
enum class PortId : uint32_t { kNone = 0 };

// A member as other members see it: the address and UDP port from which it sends.
struct Peer {
  IpAddress address;
  uint16_t port = 0;

  // "192.0.2.1:14790" or "[2001:db8::1]:14790".
  std::string ToString() const;

  friend constexpr bool operator==(const Peer&, const Peer&) = default;
  friend constexpr auto operator<=>(const Peer&, const Peer&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Peer& peer) {
    return H::combine(std::move(h), peer.address, peer.port);
  }
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_IDS_H_
