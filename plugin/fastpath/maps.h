// What is read from and written to the programs' maps, in the words of abi.h.

#ifndef VXVDE_PLUGIN_FASTPATH_MAPS_H_
#define VXVDE_PLUGIN_FASTPATH_MAPS_H_

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "plugin/base/ip_address.h"
#include "plugin/fastpath/abi.h"
#include "plugin/fastpath/fastpath.h"

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

// Of all CPUs together.
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
