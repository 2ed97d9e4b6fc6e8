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
  // Local matters: members of one cloud need not agree on them.
  int ttl = kDefaultTtl;               // 1-255; the reference: in IPv6, group datagrams only
  Duration expiry = kDefaultExpiry;    // of a learned station; at least 1 s
  int table_size = kDefaultTableSize;  // stations to make room for at the start
  int receive_buffer = 0;              // bytes; 0 = the switch's default
  std::string interface;               // if=; empty = the route to the group
  std::optional<IpAddress> bind;       // bind=; address to send from
};

// Numeric id of a Unix group name, or nullopt. An argument, so that parsing stays pure.
using GroupLookup = std::function<std::optional<uint32_t>(absl::string_view name)>;

// InvalidArgument names the option and the value, and says what would be right. Stricter than
// the reference where that would join another cloud than the one that was meant
// (docs/PROTOCOL.md, "Refused locators").
absl::StatusOr<CloudConfig> ParseVnl(absl::string_view vnl, const GroupLookup& group_id);

// The shortest locator that parses to `config`, a result of ParseVnl() or as legal;
// "vxvde://" for all defaults. Names of no group: what it says is the same everywhere.
std::string FormatVnl(const CloudConfig& config);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_VNL_VNL_H_
