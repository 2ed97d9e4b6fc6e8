// Values of a request that CNI and netavark share, and the one text form of each. Pure.
//
// This room does not know which key or variable a value came from: readers (request.cc,
// networks.cc, netavark.cc) add that to the message.

#ifndef VXVDE_CNI_VALUES_H_
#define VXVDE_CNI_VALUES_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

// An address that the caller requests. Without a length, the IPAM plugin or the agent supplies it.
struct RequestedIp {
  IpAddress address;
  std::optional<uint8_t> length;

  bool operator==(const RequestedIp&) const = default;
};

// A port of the node that is forwarded to the pod.
struct PublishedPort {
  uint16_t host_port = 0;
  uint16_t container_port = 0;
  std::string protocol = "tcp";      // or "udp", "sctp"
  std::optional<IpAddress> host_ip;  // of the node; absent: all its addresses

  bool operator==(const PublishedPort&) const = default;
};

struct BitRate {
  uint64_t rate = 0;   // bits per second
  uint64_t burst = 0;  // bits

  bool operator==(const BitRate&) const = default;
};

struct Bandwidth {
  std::optional<BitRate> ingress;  // to the pod
  std::optional<BitRate> egress;   // from the pod

  bool operator==(const Bandwidth&) const = default;
};

// At most one of the two; neither: the default cloud.
struct CloudChoice {
  std::string name;  // of a cloud in the agent's configuration
  std::string vnl;   // a locator

  bool operator==(const CloudChoice&) const = default;
};

inline constexpr uint32_t kMaxMtu = 65535;

// CNI SPEC: ^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$, for network names and container ids. The error names
// the text and the rule.
absl::Status CheckCniName(absl::string_view what, absl::string_view text);
// The same for an interface name (plugin/base/interface_name.h).
absl::Status CheckInterfaceName(absl::string_view what, absl::string_view text);
// The same for an interface that is to be made. The kernel replaces "%d" in such a name by a
// number, and refuses any other '%'.
absl::Status CheckNewInterfaceName(absl::string_view what, absl::string_view text);
// Absolute, and short enough for sockaddr_un.
bool IsSocketPath(absl::string_view text);
// "192.0.2.7" or "192.0.2.7/24".
absl::StatusOr<RequestedIp> ParseRequestedIp(const std::string& text);
// A unicast MAC address other than zero.
absl::StatusOr<MacAddress> ParseStationMac(const std::string& text);

}  // namespace vxvde

#endif  // VXVDE_CNI_VALUES_H_
