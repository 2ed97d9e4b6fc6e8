// Text and kernel forms of IP addresses. inet_pton(3) and inet_ntop(3) convert the text; glibc's
// inet_ntop writes the form of RFC 5952.

#include "plugin/base/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(text), "\"");
}

}  // namespace

IpAddress IpAddress::FromWire(std::span<const uint8_t> wire) {
  IpAddress ip;
  if (wire.size() != 4 && wire.size() != 16) return ip;
  ip.v6_ = wire.size() == 16;
  std::copy(wire.begin(), wire.end(), ip.bytes_.begin());
  return ip;
}

absl::StatusOr<IpAddress> IpAddress::Parse(absl::string_view text) {
  // inet_pton() would stop at an embedded zero byte and accept the text before it.
  char copy[INET6_ADDRSTRLEN] = {};
  if (text.size() < sizeof(copy) && text.find('\0') == absl::string_view::npos) {
    std::copy(text.begin(), text.end(), copy);
    std::array<uint8_t, 16> bytes;
    if (inet_pton(AF_INET, copy, bytes.data()) == 1) return FromWire(std::span(bytes).first(4));
    if (inet_pton(AF_INET6, copy, bytes.data()) == 1) return FromWire(bytes);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      Quoted(text), " is not an IP address: write one as in 192.0.2.1 or 2001:db8::1"));
}

bool IpAddress::IsMulticast() const { return v6_ ? bytes_[0] == 0xff : (bytes_[0] & 0xf0) == 0xe0; }

bool IpAddress::IsUnspecified() const {
  return std::all_of(bytes_.begin(), bytes_.end(), [](uint8_t b) { return b == 0; });
}

bool IpAddress::IsLoopback() const {
  if (!v6_) return bytes_[0] == 127;
  return bytes_[15] == 1 &&
         std::all_of(bytes_.begin(), bytes_.end() - 1, [](uint8_t b) { return b == 0; });
}

bool IpAddress::IsLinkLocal() const {
  return v6_ ? bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80
             : bytes_[0] == 169 && bytes_[1] == 254;
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(family(), bytes_.data(), text, sizeof(text));
}

absl::StatusOr<IpPrefix> IpPrefix::Parse(absl::string_view text) {
  const size_t slash = text.find('/');
  if (slash == absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        Quoted(text), " has no prefix length: write one as in 192.0.2.1/24 or 2001:db8::1/64"));
  }
  IpPrefix prefix;
  ASSIGN_OR_RETURN(prefix.address, IpAddress::Parse(text.substr(0, slash)));

  // Digits only: SimpleAtoi() would also take a sign and white space.
  const absl::string_view digits = text.substr(slash + 1);
  const bool plain = !digits.empty() && digits.size() <= 3 &&
                     digits.find_first_not_of("0123456789") == absl::string_view::npos &&
                     (digits.size() == 1 || digits[0] != '0');
  int length = 0;
  if (!plain || !absl::SimpleAtoi(digits, &length) || length > prefix.address.bits()) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text),
                                                   " has no valid prefix length: write 0 to ",
                                                   prefix.address.bits(), " after the slash"));
  }
  prefix.length = static_cast<uint8_t>(length);
  return prefix;
}

IpPrefix IpPrefix::Network() const {
  std::array<uint8_t, 16> bytes = {};
  const std::span<const uint8_t> wire = address.wire();
  for (size_t i = 0; i < wire.size(); ++i) {
    const int kept = std::clamp(length - static_cast<int>(8 * i), 0, 8);  // bits of this byte
    bytes[i] = static_cast<uint8_t>(wire[i] & (0xff00 >> kept));
  }
  return {IpAddress::FromWire(std::span(bytes).first(wire.size())), length};
}

bool IpPrefix::Contains(const IpAddress& ip) const {
  return ip.is_v6() == address.is_v6() && IpPrefix{ip, length}.Network() == Network();
}

std::string IpPrefix::ToString() const { return absl::StrCat(address.ToString(), "/", length); }

IpPrefix LinkLocalOf(const MacAddress& mac) {
  const MacAddress::Bytes& m = mac.bytes();
  const uint8_t wire[16] = {
      0xfe, 0x80, 0,    0,    0,    0,    0,   0, static_cast<uint8_t>(m[0] ^ 2),
      m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
  return {IpAddress::FromWire(wire), 64};
}

socklen_t ToSockaddr(const IpAddress& address, uint16_t port, uint32_t scope,
                     sockaddr_storage& out) {
  out = {};
  if (address.is_v6()) {
    sockaddr_in6 v6 = {};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    // Link-local unicast, and the group scopes that are local to an interface or a link (RFC 4291,
    // 2.7): the kernel reads the scope of no other addresses.
    const std::span<const uint8_t> bytes = address.wire();
    const bool local_group = bytes[0] == 0xff && ((bytes[1] & 0xf) == 1 || (bytes[1] & 0xf) == 2);
    if (address.IsLinkLocal() || local_group) v6.sin6_scope_id = scope;
    std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
    std::memcpy(&out, &v6, sizeof(v6));
    return sizeof(v6);
  }
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  std::memcpy(&v4.sin_addr, address.wire().data(), address.wire().size());
  std::memcpy(&out, &v4, sizeof(v4));
  return sizeof(v4);
}

bool FromSockaddr(const sockaddr_storage& from, IpAddress& address, uint16_t& port) {
  if (from.ss_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &from, sizeof(v4));
    address = IpAddress::FromWire({reinterpret_cast<const uint8_t*>(&v4.sin_addr), 4});
    port = ntohs(v4.sin_port);
    return true;
  }
  if (from.ss_family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &from, sizeof(v6));
    const std::span<const uint8_t> bytes(v6.sin6_addr.s6_addr, 16);
    address = IpAddress::FromWire(IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) ? bytes.subspan(12) : bytes);
    port = ntohs(v6.sin6_port);
    return true;
  }
  return false;
}

}  // namespace vxvde
