// CloudKey: what makes two locators name the same cloud.

#ifndef VXVDE_PLUGIN_BASE_CLOUD_KEY_H_
#define VXVDE_PLUGIN_BASE_CLOUD_KEY_H_

#include <cstdint>
#include <string>
#include <utility>

#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

// Two locators name the same cloud when their keys agree.
struct CloudKey {
  IpAddress group;
  uint16_t port = 0;  // UDP port of the group
  Vni vni;

  // "239.0.0.1:14789/1"
  std::string ToString() const;

  friend constexpr bool operator==(const CloudKey&, const CloudKey&) = default;
  friend constexpr auto operator<=>(const CloudKey&, const CloudKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const CloudKey& key) {
    return H::combine(std::move(h), key.group, key.port, key.vni);
  }
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_CLOUD_KEY_H_
