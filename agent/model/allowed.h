// Exceptions from port security, and the guard that they produce. Pure. docs/OPERATIONS.md, "Port
// security", has the grammar; plugin/cloud/guard.h has the checks.

#ifndef VXVDE_AGENT_MODEL_ALLOWED_H_
#define VXVDE_AGENT_MODEL_ALLOWED_H_

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/switch.h"

namespace vxvde {

// One entry of an `allow` list.
class Allowed {
 public:
  enum class Role {
    kDhcpServer,
    kRouter,
    kAll,  // anything
  };

  // "00:00:5e:00:01:0a", "00:00:5e:00:01:00/40", "10.42.0.200", "10.43.0.0/24", "dhcp-server",
  // "router", "all". InvalidArgument names the text.
  static absl::StatusOr<Allowed> Parse(absl::string_view text);
  std::string ToString() const;

  // Whether permission for this entry includes `other`.
  bool Covers(const Allowed& other) const;
  void AddTo(PortGuard& guard) const;

  friend bool operator==(const Allowed&, const Allowed&) = default;

 private:
  using What = std::variant<MacPrefix, IpPrefix, Role>;
  explicit Allowed(What what) : what_(std::move(what)) {}

  What what_;
};

// The maximum number of entries in one list.
inline constexpr size_t kMaxAllowed = 64;

// Parses each of `texts`.
absl::StatusOr<std::vector<Allowed>> ParseAllowed(const std::vector<std::string>& texts);
std::vector<std::string> FormatAllowed(const std::vector<Allowed>& list);

// The guard of a port with these addresses, in a cloud whose agents assign the addresses of
// `subnets`. In a family in which the port has an address, it may claim that address; in another
// one, any address outside of `subnets`.
PortGuard MakeGuard(const std::vector<IpPrefix>& addresses, const std::vector<IpPrefix>& subnets,
                    const std::vector<Allowed>& allow);

}  // namespace vxvde

#endif  // VXVDE_AGENT_MODEL_ALLOWED_H_
