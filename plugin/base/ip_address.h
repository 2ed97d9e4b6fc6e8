// IpAddress and IpPrefix: IPv4 or IPv6, in wire order. Text forms of RFC 5952 and RFC 4632.

#ifndef VXVDE_PLUGIN_BASE_IP_ADDRESS_H_
#define VXVDE_PLUGIN_BASE_IP_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

class IpAddress {
 public:
  constexpr IpAddress() = default;  // 0.0.0.0

  static constexpr IpAddress V4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    IpAddress ip;
    ip.bytes_ = {a, b, c, d};
    return ip;
  }
  // `wire`: 4 or 16 bytes in network order. Any other size results in 0.0.0.0.
  static IpAddress FromWire(std::span<const uint8_t> wire);
  static constexpr IpAddress AnyV6() {
    IpAddress ip;
    ip.v6_ = true;
    return ip;
  }
  // The message of InvalidArgument contains the text. A zone ("%eth0") or prefix length is an
  // error. An IPv4-mapped IPv6 text remains IPv6.
  static absl::StatusOr<IpAddress> Parse(absl::string_view text);

  constexpr bool is_v4() const { return !v6_; }
  constexpr bool is_v6() const { return v6_; }
  constexpr int family() const { return v6_ ? AF_INET6 : AF_INET; }
  constexpr int bits() const { return v6_ ? 128 : 32; }

  bool IsMulticast() const;    // 224.0.0.0/4, ff00::/8
  bool IsUnspecified() const;  // 0.0.0.0, ::
  bool IsLoopback() const;     // 127.0.0.0/8, ::1
  bool IsLinkLocal() const;    // 169.254.0.0/16, fe80::/10

  // 4 or 16 bytes in network order.
  std::span<const uint8_t> wire() const { return {bytes_.data(), v6_ ? 16u : 4u}; }
  std::string ToString() const;

  friend constexpr bool operator==(const IpAddress&, const IpAddress&) = default;
  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const IpAddress& ip) {
    return H::combine(std::move(h), ip.v6_, ip.bytes_);
  }

 private:
  bool v6_ = false;
  std::array<uint8_t, 16> bytes_ = {};  // IPv4 in the first four bytes, the rest zero
};

// An address with a prefix length, as assigned to an interface: host bits are kept.
struct IpPrefix {
  IpAddress address;
  uint8_t length = 0;  // bits; at most address.bits()

  // "10.42.0.7/16". The message of InvalidArgument contains the text. The length is required.
  static absl::StatusOr<IpPrefix> Parse(absl::string_view text);

  // The same with all host bits zero.
  IpPrefix Network() const;
  bool Contains(const IpAddress& ip) const;
  std::string ToString() const;

  friend constexpr bool operator==(const IpPrefix&, const IpPrefix&) = default;
  friend constexpr auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
};

// The address from fe80::/64 and the modified EUI-64 of `mac` (RFC 4291, appendix A).
IpPrefix LinkLocalOf(const MacAddress& mac);

// Fills in a kernel socket address and returns its length. `scope` is the interface of a link-local
// IPv6 address (sockaddr_in6.sin6_scope_id) and is ignored for all others.
socklen_t ToSockaddr(const IpAddress& address, uint16_t port, uint32_t scope,
                     sockaddr_storage& out);
// Reads address and port from an AF_INET or AF_INET6 `from`. False for another family. An
// IPv4-mapped IPv6 address is returned as IPv4.
bool FromSockaddr(const sockaddr_storage& from, IpAddress& address, uint16_t& port);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_IP_ADDRESS_H_
