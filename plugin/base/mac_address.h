// MacAddress: 48 bits in wire order. Text form: six lower-case hex pairs with colons.
// MacPrefix: all addresses that begin with the same bits.

#ifndef VXVDE_PLUGIN_BASE_MAC_ADDRESS_H_
#define VXVDE_PLUGIN_BASE_MAC_ADDRESS_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vxvde {

class MacAddress {
 public:
  static constexpr int kSize = 6;
  using Bytes = std::array<uint8_t, kSize>;

  constexpr MacAddress() = default;  // 00:00:00:00:00:00
  constexpr explicit MacAddress(const Bytes& bytes) : bytes_(bytes) {}

  // Reads the six bytes at `data`.
  static MacAddress FromWire(const uint8_t* data) {
    MacAddress mac;
    std::memcpy(mac.bytes_.data(), data, kSize);
    return mac;
  }
  // "02:00:5e:10:00:01", upper or lower case, with ':' or '-' between the pairs. The message of
  // InvalidArgument contains the text.
  static absl::StatusOr<MacAddress> Parse(absl::string_view text);

  static constexpr MacAddress Broadcast() { return MacAddress({255, 255, 255, 255, 255, 255}); }

  // The group bit: multicast, broadcast included (IEEE 802-2014, 8.2.2).
  constexpr bool IsGroup() const { return (bytes_[0] & 1) != 0; }
  constexpr bool IsBroadcast() const { return *this == Broadcast(); }
  constexpr bool IsZero() const { return *this == MacAddress(); }
  // Whether it can be the address of a station: neither group nor zero.
  constexpr bool IsStation() const { return !IsGroup() && !IsZero(); }

  constexpr const Bytes& bytes() const { return bytes_; }
  std::string ToString() const;

  friend constexpr bool operator==(const MacAddress&, const MacAddress&) = default;
  friend constexpr auto operator<=>(const MacAddress&, const MacAddress&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const MacAddress& mac) {
    uint64_t value = 0;
    std::memcpy(&value, mac.bytes_.data(), kSize);
    return H::combine(std::move(h), value);
  }

 private:
  Bytes bytes_ = {};
};

struct MacPrefix {
  MacAddress address;   // the bits beyond `length` are zero
  uint8_t length = 48;  // bits; at most 48

  // "02:00:5e:10:00:01", which stands for itself, or "00:00:5e:00:01:00/40". The message of
  // InvalidArgument contains the text. Bits beyond the length are an error.
  static absl::StatusOr<MacPrefix> Parse(absl::string_view text);

  bool Contains(const MacAddress& mac) const;
  bool Contains(const MacPrefix& other) const {
    return length <= other.length && Contains(other.address);
  }
  std::string ToString() const;  // without the length if it is 48

  friend bool operator==(const MacPrefix&, const MacPrefix&) = default;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_BASE_MAC_ADDRESS_H_
