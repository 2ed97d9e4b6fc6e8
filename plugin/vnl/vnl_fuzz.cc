// Input: a locator. An accepted one is formatted into a locator that parses to the same values, is
// its own shortest form, and holds only values that the rooms above may rely on.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "plugin/vnl/vnl.h"

namespace {

void Check(bool condition) {
  if (!condition) std::abort();
}

std::optional<uint32_t> Groups(absl::string_view name) {
  if (name == "staff") return 50;
  if (name == "big") return 0x1000007;
  return std::nullopt;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view vnl(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<vxvde::CloudConfig> config = vxvde::ParseVnl(vnl, Groups);
  if (!config.ok()) {
    Check(absl::IsInvalidArgument(config.status()) && !config.status().message().empty());
    return 0;
  }
  Check(config->key.group.IsMulticast() && config->key.port != 0);
  Check(config->ttl >= 1 && config->ttl <= 255);
  Check(config->expiry >= std::chrono::seconds(1));
  Check(config->table_size >= 1 && config->receive_buffer >= 0 && config->interface.size() <= 15);
  Check(!config->bind.has_value() || config->bind->is_v6() == config->key.group.is_v6());

  const std::string text = vxvde::FormatVnl(*config);
  const absl::StatusOr<vxvde::CloudConfig> again = vxvde::ParseVnl(text, nullptr);
  Check(again.ok());
  Check(again->key == config->key && again->ttl == config->ttl && again->expiry == config->expiry &&
        again->table_size == config->table_size &&
        again->receive_buffer == config->receive_buffer && again->interface == config->interface &&
        again->bind == config->bind);
  Check(vxvde::FormatVnl(*again) == text);
  return 0;
}
