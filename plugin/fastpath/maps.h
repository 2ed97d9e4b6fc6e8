// Access to the programs' maps, whose keys and values are those of abi.h.

#ifndef VXVDE_PLUGIN_FASTPATH_MAPS_H_
#define VXVDE_PLUGIN_FASTPATH_MAPS_H_

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/status.h"
#include "plugin/fastpath/abi.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/os/fd.h"

namespace vxvde {

inline std::array<uint8_t, FP_ADDR_SIZE> Mapped(const IpAddress& address) {
  std::array<uint8_t, FP_ADDR_SIZE> out = {};
  const std::span<const uint8_t> wire = address.wire();
  if (address.is_v4()) out[10] = out[11] = 0xff;
  std::copy(wire.begin(), wire.end(), out.end() - static_cast<ptrdiff_t>(wire.size()));
  return out;
}

inline IpAddress FromMapped(const uint8_t (&address)[FP_ADDR_SIZE]) {
  constexpr std::array<uint8_t, 12> kV4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const bool v4 = std::equal(kV4.begin(), kV4.end(), address);
  return IpAddress::FromWire(std::span<const uint8_t>(address).subspan(v4 ? kV4.size() : 0));
}

// The name of the map in the kernel, which truncates it.
inline std::string NameOf(const bpf_map* map) {
  return std::string(bpf_map__name(map)).substr(0, BPF_OBJ_NAME_LEN - 1);
}

template <typename Key, typename Value>
bool Read(const bpf_map* map, const Key& key, Value& value) {
  return bpf_map_lookup_elem(bpf_map__fd(map), &key, &value) == 0;
}

template <typename Key, typename Value>
absl::Status Write(const bpf_map* map, const Key& key, const Value& value) {
  if (bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_ANY) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("write map ", NameOf(map)));
}

// For an array, whose elements cannot be erased.
template <typename Value>
void Zero(const bpf_map* map, uint32_t slot) {
  Write(map, slot, Value{}).IgnoreError();
}

template <typename Key>
void Erase(const bpf_map* map, const Key& key) {
  (void)bpf_map_delete_elem(bpf_map__fd(map), &key);
}

// Calls visit(key) for all keys of a map, as it is now. `visit` does not erase them.
template <typename Key, typename Visit>
absl::Status ForEachKey(const bpf_map* map, const Visit& visit) {
  const int fd = bpf_map__fd(map);
  Key key;
  int error = bpf_map_get_next_key(fd, nullptr, &key);
  while (error == 0) {
    const Key current = key;
    error = bpf_map_get_next_key(fd, &current, &key);
    const int next = errno;
    RETURN_IF_ERROR(visit(current));
    errno = next;
  }
  if (errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("read map ", NameOf(map)));
}

// Calls visit(key, value) for all entries of a map, as it is now. `visit` does not erase them.
template <typename Key, typename Value, typename Visit>
absl::Status ForEach(const bpf_map* map, const Visit& visit) {
  return ForEachKey<Key>(map, [&](const Key& key) {
    Value value;
    if (Read(map, key, value)) {
      visit(key, value);
    } else if (errno != ENOENT) {  // ENOENT: the entry has gone
      return ErrnoStatus(errno, absl::StrCat("read map ", NameOf(map)));
    }
    return absl::OkStatus();
  });
}

// The sum over all CPUs.
template <typename Value>
Value Sum(const bpf_map* map, uint32_t slot) {
  const int cpus = libbpf_num_possible_cpus();
  std::vector<Value> values(static_cast<size_t>(std::max(cpus, 1)));
  Value sum = {};
  if (cpus < 1 || bpf_map_lookup_elem(bpf_map__fd(map), &slot, values.data()) != 0) return sum;
  constexpr size_t kNumbers = sizeof(Value) / sizeof(__u64);
  std::array<uint64_t, kNumbers> total = {};
  for (const Value& value : values) {
    std::array<uint64_t, kNumbers> numbers;
    std::memcpy(numbers.data(), &value, sizeof(value));
    for (size_t i = 0; i < kNumbers; ++i) total[i] += numbers[i];
  }
  std::memcpy(&sum, total.data(), sizeof(sum));
  return sum;
}

template <typename Value>
void Clear(const bpf_map* map, uint32_t slot) {
  const std::vector<Value> zeros(static_cast<size_t>(std::max(libbpf_num_possible_cpus(), 1)));
  (void)bpf_map_update_elem(bpf_map__fd(map), &slot, zeros.data(), BPF_ANY);
}

inline FastCounters Counters(const bpf_map* map, uint32_t slot) {
  const fp_counters sum = Sum<fp_counters>(map, slot);
  return {.from = {sum.from_frames, sum.from_bytes}, .to = {sum.to_frames, sum.to_bytes}};
}

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_MAPS_H_
