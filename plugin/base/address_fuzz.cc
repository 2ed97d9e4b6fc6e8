// Input: text. A text that parses as a MAC, IP address or prefix is formatted into a text that
// parses to the same value and is its own canonical form.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace {

template <typename T>
void CheckRoundTrip(absl::string_view text) {
  const absl::StatusOr<T> value = T::Parse(text);
  if (!value.ok()) return;
  const std::string canonical = value->ToString();
  const absl::StatusOr<T> again = T::Parse(canonical);
  if (!again.ok() || *again != *value || again->ToString() != canonical) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  CheckRoundTrip<vxvde::MacAddress>(text);
  CheckRoundTrip<vxvde::MacPrefix>(text);
  CheckRoundTrip<vxvde::IpAddress>(text);
  CheckRoundTrip<vxvde::IpPrefix>(text);

  const absl::StatusOr<vxvde::IpPrefix> prefix = vxvde::IpPrefix::Parse(text);
  if (prefix.ok() && !prefix->Network().Contains(prefix->address)) std::abort();
  return 0;
}
