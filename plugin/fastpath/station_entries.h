// StationEntries: the stations of one cloud in fp_stations.

#ifndef VXVDE_PLUGIN_FASTPATH_STATION_ENTRIES_H_
#define VXVDE_PLUGIN_FASTPATH_STATION_ENTRIES_H_

#include <bpf/libbpf.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "plugin/base/mac_address.h"
#include "plugin/fastpath/abi.h"
#include "plugin/fastpath/maps.h"

namespace vxvde {

class StationEntries {
 public:
  StationEntries(const bpf_map* map, uint32_t cloud) : map_(map), cloud_(cloud) {}

  // When the map is full the station has no entry: the programs punt its frames.
  void Set(const MacAddress& mac, const fp_station& value) {
    const fp_station_key key = KeyOf(mac);
    if (!Write(map_, key, value).ok()) Erase(map_, key);
  }
  void Remove(const MacAddress& mac) { Erase(map_, KeyOf(mac)); }
  std::optional<fp_station> Find(const MacAddress& mac) const {
    fp_station value;
    if (!Read(map_, KeyOf(mac), value)) return std::nullopt;
    return value;
  }
  void RemoveAll() {
    std::vector<fp_station_key> keys;
    (void)ForEachKey<fp_station_key>(map_, [&](const fp_station_key& key) {
      if (key.cloud == cloud_) keys.push_back(key);
      return absl::OkStatus();
    });
    for (const fp_station_key& key : keys) Erase(map_, key);
  }

 private:
  fp_station_key KeyOf(const MacAddress& mac) const {
    fp_station_key key = {};
    std::memcpy(key.mac, mac.bytes().data(), sizeof(key.mac));
    key.cloud = static_cast<uint16_t>(cloud_);
    return key;
  }

  const bpf_map* map_;
  uint32_t cloud_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_STATION_ENTRIES_H_
