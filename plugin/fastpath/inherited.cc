#include "plugin/fastpath/inherited.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/fastpath/fastpath_programs.skel.h"
#include "plugin/fastpath/maps.h"
#include "plugin/fastpath/tc.h"
#include "plugin/wire/header.h"

namespace vxvde {
namespace {

constexpr uint32_t kMaxMaps = 64;  // of one program

// The maps of the program `id`, by name: all of them, or none when any cannot be read.
std::map<std::string, UniqueFd> MapsOf(uint32_t id) {
  std::map<std::string, UniqueFd> maps;
  const UniqueFd program(bpf_prog_get_fd_by_id(id));
  if (!program) return maps;
  std::array<uint32_t, kMaxMaps> ids = {};
  bpf_prog_info info = {};
  info.nr_map_ids = ids.size();
  info.map_ids = reinterpret_cast<uint64_t>(ids.data());
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0) return maps;
  for (uint32_t i = 0; i < std::min<uint32_t>(info.nr_map_ids, ids.size()); ++i) {
    UniqueFd map(bpf_map_get_fd_by_id(ids[i]));
    bpf_map_info about = {};
    size = sizeof(about);
    // libbpf would create a new map beside the inherited ones.
    if (!map || bpf_obj_get_info_by_fd(map.get(), &about, &size) != 0) return {};
    maps[about.name] = std::move(map);
  }
  return maps;
}

bool Suits(const bpf_map* wanted, const UniqueFd& there) {
  bpf_map_info info = {};
  uint32_t size = sizeof(info);
  return bpf_obj_get_info_by_fd(there.get(), &info, &size) == 0 &&
         info.type == bpf_map__type(wanted) && info.key_size == bpf_map__key_size(wanted) &&
         info.value_size == bpf_map__value_size(wanted) &&
         info.max_entries == bpf_map__max_entries(wanted) &&
         info.map_flags == bpf_map__map_flags(wanted);
}

Instant SeenOf(const fp_station& station) {
  return Instant(std::chrono::seconds(station.seen_sec));
}

}  // namespace

Peer PeerOf(const fp_peer& value) { return {FromMapped(value.addr), ntohs(value.port)}; }

// ---------------------------------------------------------------- programs and maps

absl::StatusOr<InheritedPrograms> FindInheritedPrograms(Netlink& netlink) {
  InheritedPrograms inherited;
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.ListLinks());
  for (const LinkInfo& link : links) {
    const uint32_t program = AttachedProgram(link.index);
    if (program == 0) continue;
    inherited.interfaces.push_back(link.index);
    if (inherited.maps.empty()) inherited.maps = MapsOf(program);
  }
  return inherited;
}

absl::Status ReuseMaps(const InheritedPrograms& inherited, bpf_object* programs) {
  if (inherited.maps.empty()) {
    return absl::FailedPreconditionError("the maps cannot be read; it takes CAP_SYS_ADMIN");
  }
  const auto node = inherited.maps.find("fp_node");
  const uint32_t slot = 0;
  fp_node about = {};
  if (node == inherited.maps.end() || bpf_map_lookup_elem(node->second.get(), &slot, &about) != 0 ||
      about.abi != FP_ABI) {
    return absl::FailedPreconditionError(
        absl::StrCat("the maps are those of version ", about.abi, ", and not of ", FP_ABI));
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, programs) {
    // Creates a map that the earlier version did not have.
    const auto found = inherited.maps.find(NameOf(map));
    if (found == inherited.maps.end()) continue;
    if (!Suits(map, found->second) || bpf_map__reuse_fd(map, found->second.get()) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("map ", NameOf(map), " is of another shape"));
    }
  }
  return absl::OkStatus();
}

absl::Status LeaveMapsTo(bpf_object* programs) {
  const uint32_t slot = 0;
  const fp_node about = {.abi = FP_ABI};
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, programs) {
    if (NameOf(map) == "fp_node" &&
        bpf_map_update_elem(bpf_map__fd(map), &slot, &about, BPF_ANY) != 0) {
      return ErrnoStatus(errno, "write the node's map");
    }
    bpf_program* program = nullptr;
    // Before Linux 5.10 the kernel cannot bind maps, and the next agent starts afresh.
    bpf_object__for_each_program(program, programs) {
      if (bpf_prog_bind_map(bpf_program__fd(program), bpf_map__fd(map), nullptr) != 0 &&
          errno != EINVAL && errno != EEXIST) {
        return ErrnoStatus(errno, absl::StrCat("leave map ", NameOf(map), " to the next agent"));
      }
    }
  }
  return absl::OkStatus();
}

// ---------------------------------------------------------------- entries

absl::StatusOr<InheritedEntries> ReadInheritedEntries(const fastpath_programs& programs) {
  const auto& maps = programs.maps;
  InheritedEntries entries;
  const auto read_cloud = [&](uint32_t slot, const fp_cloud& value) {
    if (value.frames_tap == 0) return;
    entries.clouds[slot].value = value;
    entries.cloud_slots.push_back(slot);
  };
  RETURN_IF_ERROR((ForEach<uint32_t, fp_cloud>(maps.fp_clouds, read_cloud)));
  const auto read_port = [&](uint32_t index, const fp_port& value) {
    InheritedCloud& cloud = entries.clouds[value.cloud];
    if (value.port >= FP_PORTS) {
      cloud.devices.push_back(IfIndex{index});
      return;
    }
    cloud.ports[IfIndex{index}] = value.port;
    entries.port_slots.push_back(value.port);
  };
  RETURN_IF_ERROR((ForEach<uint32_t, fp_port>(maps.fp_ports, read_port)));
  const auto read_peer = [&](uint32_t slot, const fp_peer& value) {
    if (value.uplink == 0) return;
    entries.clouds[value.cloud].peers[slot] = value;
    entries.peer_slots.push_back(slot);
  };
  RETURN_IF_ERROR((ForEach<uint32_t, fp_peer>(maps.fp_peers, read_peer)));
  const auto read_station = [&](const fp_station_key& key, const fp_station& value) {
    InheritedCloud& cloud = entries.clouds[key.cloud];
    std::array<uint8_t, 6> bytes;
    std::copy(std::begin(key.mac), std::end(key.mac), bytes.begin());
    const MacAddress mac(bytes);
    cloud.stations.insert(mac);
    if (value.where == FP_AT_SLOW_PORT) return;
    if (value.where == FP_AT_TAP && value.slot < FP_PORTS) {
      cloud.relayed[mac] = value.slot;
      entries.port_slots.push_back(value.slot);
    }
    cloud.at[{value.where == FP_AT_PEER, value.slot}].push_back(
        {.mac = mac, .seen = SeenOf(value)});
  };
  RETURN_IF_ERROR((ForEach<fp_station_key, fp_station>(maps.fp_stations, read_station)));
  return entries;
}

bool InheritedCloud::Matches(const FastCloudOptions& options) const {
  const VxvdeHeader header = EncodeHeader(options.vni);
  return value.frames_tap != 0 && value.unicast_port == htons(options.unicast_port) &&
         (value.v6 != 0) == options.group.is_v6() &&
         std::memcmp(value.header, header.data(), header.size()) == 0;
}

std::optional<uint32_t> InheritedCloud::TakePort(IfIndex host_end) {
  const auto found = ports.find(host_end);
  if (found == ports.end()) return std::nullopt;
  const uint32_t slot = found->second;
  ports.erase(found);
  return slot;
}

std::optional<uint32_t> InheritedCloud::TakeRelayed(const MacAddress& mac) {
  const auto found = relayed.find(mac);
  if (found == relayed.end()) return std::nullopt;
  const uint32_t slot = found->second;
  // Several stations may be behind the port.
  std::erase_if(relayed, [&](const auto& one) { return one.second == slot; });
  return slot;
}

std::vector<InheritedPeer> InheritedCloud::Peers() const {
  std::vector<InheritedPeer> out;
  for (const auto& [slot, value] : peers) {
    out.push_back({.peer = PeerOf(value), .fast_port = ntohs(value.fast_port)});
  }
  return out;
}

std::vector<InheritedStation> InheritedCloud::StationsAt(bool is_peer, uint32_t slot) const {
  const auto found = at.find({is_peer, slot});
  return found != at.end() ? found->second : std::vector<InheritedStation>();
}

}  // namespace vxvde
