#include "agent/base/derive.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace vxvde {

// FNV-1a with 64 bits over the texts, each preceded by its length so that ("ab", "c") differs from
// ("a", "bc"), then the finalizer of SplitMix64, because FNV alone maps similar texts to close
// values.
uint64_t DeriveHash(std::initializer_list<absl::string_view> texts) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&hash](uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const absl::string_view text : texts) {
    for (int shift = 0; shift < 32; shift += 8) add(static_cast<uint8_t>(text.size() >> shift));
    for (const char c : text) add(static_cast<uint8_t>(c));
  }
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

MacAddress DeriveMac(absl::string_view network, absl::string_view identity,
                     absl::string_view ifname, uint32_t attempt) {
  uint64_t hash = DeriveHash({network, identity, ifname, absl::StrCat(attempt)});
  MacAddress::Bytes bytes;
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(hash);
    hash >>= 8;
  }
  bytes[0] = static_cast<uint8_t>((bytes[0] & ~0x01) | 0x02);  // unicast, locally administered
  return MacAddress(bytes);
}

uint16_t FirstUnicastPort(const CloudKey& cloud, absl::string_view node, PortRange range) {
  const uint64_t offset =
      DeriveHash({cloud.ToString(), node}) % static_cast<uint64_t>(range.size());
  return static_cast<uint16_t>(range.first + offset);
}

}  // namespace vxvde
