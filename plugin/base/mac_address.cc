// The text forms of MacAddress and MacPrefix, both ways.

#include "plugin/base/mac_address.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vxvde {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = absl::ascii_tolower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

uint64_t Bits(const MacAddress& mac) {
  uint64_t bits = 0;
  for (const uint8_t byte : mac.bytes()) bits = bits << 8 | byte;
  return bits;
}

}  // namespace

absl::StatusOr<MacAddress> MacAddress::Parse(absl::string_view text) {
  const absl::Status error = absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CHexEscape(text),
                   "\" is not a MAC address: write six hex pairs, as in 02:00:5e:10:00:01"));
  if (text.size() != 17) return error;
  const char separator = text[2];
  if (separator != ':' && separator != '-') return error;

  Bytes bytes;
  for (size_t i = 0; i < kSize; ++i) {
    const int high = HexDigit(text[3 * i]);
    const int low = HexDigit(text[3 * i + 1]);
    if (high < 0 || low < 0) return error;
    if (i + 1 < kSize && text[3 * i + 2] != separator) return error;
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return MacAddress(bytes);
}

std::string MacAddress::ToString() const {
  return absl::StrFormat("%02x:%02x:%02x:%02x:%02x:%02x", bytes_[0], bytes_[1], bytes_[2],
                         bytes_[3], bytes_[4], bytes_[5]);
}

absl::StatusOr<MacPrefix> MacPrefix::Parse(absl::string_view text) {
  const size_t slash = text.find('/');
  const absl::StatusOr<MacAddress> address = MacAddress::Parse(text.substr(0, slash));
  if (!address.ok())
    return MacAddress::Parse(text).status();  // its message contains the whole text
  MacPrefix prefix{.address = *address};
  if (slash == absl::string_view::npos) return prefix;
  // Digits only: SimpleAtoi() would also take a sign and white space.
  const absl::string_view digits = text.substr(slash + 1);
  int length = 0;
  if (digits.empty() || digits.size() > 2 ||
      digits.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(digits, &length) || length > 48) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", absl::CHexEscape(text), "\" has no valid length: write 0 to 48 after the slash"));
  }
  prefix.length = static_cast<uint8_t>(length);
  if ((Bits(prefix.address) & ((uint64_t{1} << (48 - length)) - 1)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" has bits behind its length of ",
                                                   length, ": write zeros there"));
  }
  return prefix;
}

bool MacPrefix::Contains(const MacAddress& mac) const {
  return (Bits(mac) ^ Bits(address)) >> (48 - length) == 0;
}

std::string MacPrefix::ToString() const {
  return length == 48 ? address.ToString() : absl::StrCat(address.ToString(), "/", length);
}

}  // namespace vxvde
