// What people allow a port to send beside what is its own, and the guard that this makes. Pure.
// docs/OPERATIONS.md, "Port security", has the grammar; plugin/cloud/guard.h what is checked.

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
    kAll,  // whatever it wants
  };

  // "00:00:5e:00:01:0a", "00:00:5e:00:01:00/40", "10.42.0.200", "10.43.0.0/24", "dhcp-server",
  // "router", "all". InvalidArgument names the text.
  static absl::StatusOr<Allowed> Parse(absl::string_view text);
  std::string ToString() const;

  // Whoever may allow this may allow `other`.
  bool Covers(const Allowed& other) const;
  void AddTo(PortGuard& guard) const;

  friend bool operator==(const Allowed&, const Allowed&) = default;

 private:
  using What = std::variant<MacPrefix, IpPrefix, Role>;
  explicit Allowed(What what) : what_(std::move(what)) {}

  What what_;
};

// In one list.
inline constexpr size_t kMaxAllowed = 64;

// Each of `texts`.
absl::StatusOr<std::vector<Allowed>> ParseAllowed(const std::vector<std::string>& texts);
std::vector<std::string> FormatAllowed(const std::vector<Allowed>& list);

// Of a port with these addresses, in a cloud where agents keep order in `subnets`. In a family in
// which it has an address, it may say that it has that one; in another, any that is not of
// `subnets`.
PortGuard MakeGuard(const std::vector<IpPrefix>& addresses, const std::vector<IpPrefix>& subnets,
                    const std::vector<Allowed>& allow);

}  // namespace vxvde

#endif  // VXVDE_AGENT_MODEL_ALLOWED_H_
