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

// A kernel interface index of the namespace at hand; 0 is none.
enum class IfIndex : uint32_t { kNone = 0 };

// A port of one cloud on this node, numbered from 1 in the order of attachment
// and never used again while the switch lives.
enum class PortId : uint32_t { kNone = 0 };

// A member as others know it: the address and UDP port that it sends from.
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
