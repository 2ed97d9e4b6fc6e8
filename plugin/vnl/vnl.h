// vxvde:// locators <-> CloudConfig, with all defaults in one table.
//
//   vxvde://[GROUP][/OPTION[=VALUE]]...
//
// The options are those of libvdeplug_vxvde (vdeplug4): port= vni= grp= ttl=
// rcvbuf= v4 v6 hashsize= expiretime= if= bind=. docs/PROTOCOL.md has the grammar. Pure.

#ifndef VXVDE_PLUGIN_VNL_VNL_H_
#define VXVDE_PLUGIN_VNL_VNL_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/cloud_key.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/time.h"

namespace vxvde {

inline constexpr char kDefaultGroup[] = "239.0.0.1";
inline constexpr char kDefaultGroupV6[] = "ff05:56de::1";  // with the option v6
inline constexpr uint16_t kDefaultGroupPort = 14789;
inline constexpr uint32_t kDefaultVni = 1;
inline constexpr int kDefaultTtl = 1;
inline constexpr int kDefaultTableSize = 1024;
inline constexpr std::chrono::seconds kDefaultExpiry{128};

struct CloudConfig {
  CloudKey key;
  // Local properties: members of one cloud may differ in them.
  int ttl = kDefaultTtl;               // 1-255; for IPv6 group datagrams only, as in the reference
  Duration expiry = kDefaultExpiry;    // of a learned station; at least 1 s
  int table_size = kDefaultTableSize;  // initial capacity, in stations
  int receive_buffer = 0;              // bytes; 0 = the switch's default
  std::string interface;               // if=; empty = the route to the group
  std::optional<IpAddress> bind;       // bind=; address to send from
};

// Numeric id of a Unix group name, or nullopt. An argument, so that parsing stays pure.
using GroupLookup = std::function<std::optional<uint32_t>(absl::string_view name)>;

// The message of InvalidArgument names the option and the value, and gives the remedy. Stricter
// than the reference where the latter would join another cloud than intended (docs/PROTOCOL.md,
// "Refused locators").
absl::StatusOr<CloudConfig> ParseVnl(absl::string_view vnl, const GroupLookup& group_id);

// The shortest locator that parses to `config`, which ParseVnl() returned or could return;
// "vxvde://" for all defaults. It contains no group names, so it means the same on every host.
std::string FormatVnl(const CloudConfig& config);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_VNL_VNL_H_
