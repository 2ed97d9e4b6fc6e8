// What an agent before this one has left in the kernel, and how this one goes on with it. Its
// programs are attached and hold the maps (each all of them: bpf_prog_bind_map), so nothing is
// pinned, and what nobody holds any more is gone by itself.

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/fastpath/fastpath_programs.skel.h"
#include "plugin/fastpath/inherited.h"
#include "plugin/fastpath/kernel.h"
#include "plugin/fastpath/maps.h"
#include "plugin/fastpath/tc.h"
#include "plugin/wire/header.h"

namespace vxvde {
namespace {

constexpr uint32_t kMaxMaps = 64;  // of one program

// As the kernel knows it, which cuts it.
std::string NameOf(const bpf_map* map) {
  return std::string(bpf_map__name(map)).substr(0, BPF_OBJ_NAME_LEN - 1);
}

// Calls visit(key, value) for all that is in a map, as it is now.
template <typename Key, typename Value, typename Visit>
absl::Status ForEach(const bpf_map* map, const Visit& visit) {
  const auto failed = [&] { return ErrnoStatus(errno, absl::StrCat("read map ", NameOf(map))); };
  const int fd = bpf_map__fd(map);
  Key key;
  int error = bpf_map_get_next_key(fd, nullptr, &key);
  while (error == 0) {
    const Key current = key;
    error = bpf_map_get_next_key(fd, &current, &key);
    const int next = errno;
    Value value;
    if (bpf_map_lookup_elem(fd, &current, &value) == 0) {
      visit(current, value);
    } else if (errno != ENOENT) {  // the programs have it no more
      return failed();
    }
    errno = next;
  }
  return errno == ENOENT ? absl::OkStatus() : failed();
}

// The maps of the program `id`, by name: all or none. None: we may not have them.
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
    // One that was missing would be made anew beside the others.
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

Peer PeerOf(const fp_peer& value) { return {FromMapped(value.addr), ntohs(value.port)}; }

Instant SeenOf(const fp_station& station) {
  return Instant(std::chrono::seconds(station.seen_sec));
}

}  // namespace

void Slots::Reserve(std::vector<uint32_t> slots) {
  std::sort(slots.begin(), slots.end());
  for (const uint32_t slot : slots) {
    while (used_ < slot) free_.push_back(used_++);
    used_ = std::max(used_, slot + 1);
  }
}

// ---------------------------------------------------------------- the maps

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
    return absl::FailedPreconditionError("the maps cannot be had; it takes CAP_SYS_ADMIN");
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
    // One that did not exist then is made anew.
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
    // Where it cannot be (before Linux 5.10), the next agent begins anew.
    bpf_object__for_each_program(program, programs) {
      if (bpf_prog_bind_map(bpf_program__fd(program), bpf_map__fd(map), nullptr) != 0 &&
          errno != EINVAL && errno != EEXIST) {
        return ErrnoStatus(errno, absl::StrCat("leave map ", NameOf(map), " to the next agent"));
      }
    }
  }
  return absl::OkStatus();
}

// ---------------------------------------------------------------- the node

absl::Status KernelFastPath::ReadInherited(std::vector<IfIndex> interfaces) {
  const auto& maps = programs_->maps;
  left_interfaces_ = std::move(interfaces);
  std::vector<uint32_t> clouds;
  std::vector<uint32_t> ports;
  std::vector<uint32_t> peers;
  const auto read_cloud = [&](uint32_t slot, const fp_cloud& value) {
    if (value.frames_tap == 0) return;
    inherited_[slot].value = value;
    clouds.push_back(slot);
  };
  RETURN_IF_ERROR((ForEach<uint32_t, fp_cloud>(maps.fp_clouds, read_cloud)));
  const auto read_port = [&](uint32_t index, const fp_port& value) {
    InheritedCloud& cloud = inherited_[value.cloud];
    if (value.port >= FP_PORTS || index == cloud.value.frames_tap) return;
    cloud.ports[IfIndex{index}] = value.port;
    ports.push_back(value.port);
  };
  RETURN_IF_ERROR((ForEach<uint32_t, fp_port>(maps.fp_ports, read_port)));
  const auto read_peer = [&](uint32_t slot, const fp_peer& value) {
    if (value.uplink == 0) return;
    inherited_[value.cloud].peers[slot] = value;
    peers.push_back(slot);
  };
  RETURN_IF_ERROR((ForEach<uint32_t, fp_peer>(maps.fp_peers, read_peer)));
  const auto read_station = [&](const fp_station_key& key, const fp_station& value) {
    InheritedCloud& cloud = inherited_[key.cloud];
    std::array<uint8_t, 6> bytes;
    std::copy(std::begin(key.mac), std::end(key.mac), bytes.begin());
    const MacAddress mac(bytes);
    cloud.stations.insert(mac);
    if (value.where == FP_AT_SLOW_PORT) return;
    if (value.where == FP_AT_TAP && value.slot < FP_PORTS) {
      cloud.relayed[mac] = value.slot;
      ports.push_back(value.slot);
    }
    cloud.at[{value.where == FP_AT_PEER, value.slot}].push_back(
        {.mac = mac, .seen = SeenOf(value)});
  };
  RETURN_IF_ERROR((ForEach<fp_station_key, fp_station>(maps.fp_stations, read_station)));
  clouds_.Reserve(std::move(clouds));
  ports_.Reserve(std::move(ports));
  peers_.Reserve(std::move(peers));
  return absl::OkStatus();
}

std::optional<uint32_t> KernelFastPath::InheritedSlot(const FastCloudOptions& options) const {
  const VxvdeHeader header = EncodeHeader(options.vni);
  for (const auto& [slot, inherited] : inherited_) {
    if (inherited.value.frames_tap != 0 &&
        inherited.value.unicast_port == htons(options.unicast_port) &&
        (inherited.value.v6 != 0) == options.group.is_v6() &&
        std::memcmp(inherited.value.header, header.data(), header.size()) == 0) {
      return slot;
    }
  }
  return std::nullopt;
}

void KernelFastPath::DropInherited() {
  std::map<uint32_t, InheritedCloud> inherited = std::exchange(inherited_, {});
  for (auto& [slot, cloud] : inherited) {
    const fp_cloud none = {};
    if (cloud.value.frames_tap != 0) {
      (void)bpf_map_update_elem(bpf_map__fd(programs_->maps.fp_clouds), &slot, &none, BPF_ANY);
      clouds_.GiveBack(slot);
    }
    Forget(slot, cloud);
  }
  std::set<IfIndex> ours;
  for (const auto& [uplink, users] : uplinks_) ours.insert(uplink);
  for (const auto& [slot, cloud] : joined_) cloud->DropInherited(ours);
  for (const IfIndex index : std::exchange(left_interfaces_, {})) {
    if (!ours.contains(index)) DetachProgram(index);
  }
  std::vector<fp_local> locals;
  const auto read_local = [&](const fp_local& key, uint32_t) {
    const bool wanted = std::any_of(locals_.begin(), locals_.end(), [&](const fp_local& one) {
      return std::memcmp(&one, &key, sizeof(key)) == 0;
    });
    if (!wanted) locals.push_back(key);
  };
  (void)ForEach<fp_local, uint32_t>(programs_->maps.fp_locals, read_local);
  for (const fp_local& key : locals) {
    (void)bpf_map_delete_elem(bpf_map__fd(programs_->maps.fp_locals), &key);
  }
  (void)RemoveLeftDevices(netlink_, ours);
}

// What is left of it, whose slots are given back.
void KernelFastPath::Forget(uint32_t slot, const InheritedCloud& inherited) {
  const auto& maps = programs_->maps;
  for (const auto& [host_end, port] : inherited.ports) {
    const uint32_t index = static_cast<uint32_t>(host_end);
    (void)bpf_map_delete_elem(bpf_map__fd(maps.fp_ports), &index);
    ports_.GiveBack(port);
  }
  for (const auto& [at, peer] : inherited.peers) {
    const fp_peer none = {};
    (void)bpf_map_update_elem(bpf_map__fd(maps.fp_peers), &at, &none, BPF_ANY);
    peers_.GiveBack(at);
  }
  if (inherited.value.frames_tap != 0) {
    (void)bpf_map_delete_elem(bpf_map__fd(maps.fp_ports), &inherited.value.frames_tap);
  }
  std::set<uint32_t> relayed;
  for (const auto& [mac, port] : inherited.relayed) relayed.insert(port);
  for (const uint32_t port : relayed) ports_.GiveBack(port);
  for (const MacAddress& mac : inherited.stations) {
    fp_station_key key = {};
    std::memcpy(key.mac, mac.bytes().data(), sizeof(key.mac));
    key.cloud = static_cast<uint16_t>(slot);
    (void)bpf_map_delete_elem(bpf_map__fd(maps.fp_stations), &key);
  }
}

// ---------------------------------------------------------------- one cloud

void KernelFastCloud::TakeOver(InheritedCloud inherited) {
  inherited_ = std::move(inherited);
  for (const auto& [slot, value] : inherited_.peers) peers_[PeerOf(value)] = slot;
}

bool KernelFastCloud::IsInheritedPort(IfIndex host_end) const {
  return inherited_.ports.contains(host_end);
}

std::vector<InheritedPeer> KernelFastCloud::InheritedPeers() const {
  std::vector<InheritedPeer> peers;
  for (const auto& [slot, value] : inherited_.peers) {
    peers.push_back({.peer = PeerOf(value), .fast_port = ntohs(value.fast_port)});
  }
  return peers;
}

std::vector<InheritedStation> KernelFastCloud::InheritedStations(const Location& where) const {
  std::pair<bool, uint32_t> at;
  if (const auto* port = std::get_if<PortId>(&where)) {
    const auto found = ports_.find(*port);
    if (found == ports_.end()) return {};
    at = {false, found->second.slot};
  } else {
    const auto found = peers_.find(std::get<Peer>(where));
    if (found == peers_.end()) return {};
    at = {true, found->second};
  }
  const auto found = inherited_.at.find(at);
  return found != inherited_.at.end() ? found->second : std::vector<InheritedStation>();
}

std::optional<uint32_t> KernelFastCloud::TakeInheritedPort(IfIndex host_end) {
  const auto found = inherited_.ports.find(host_end);
  if (found == inherited_.ports.end()) return std::nullopt;
  const uint32_t slot = found->second;
  inherited_.ports.erase(found);
  return slot;
}

bool KernelFastCloud::IsInheritedTap(const MacAddress& mac) const {
  return inherited_.relayed.contains(mac);
}

std::optional<uint32_t> KernelFastCloud::TakeInheritedCarried(const MacAddress& mac) {
  const auto found = inherited_.relayed.find(mac);
  if (found == inherited_.relayed.end()) return std::nullopt;
  const uint32_t slot = found->second;
  // Those of all stations behind it.
  std::erase_if(inherited_.relayed, [&](const auto& one) { return one.second == slot; });
  return slot;
}

void KernelFastCloud::DropInherited(std::set<IfIndex>& ours) {
  InheritedCloud inherited = std::exchange(inherited_, {});
  if (inherited.value.frames_tap == static_cast<uint32_t>(frames_tap_)) inherited.value = {};
  for (const auto& [slot, value] : inherited.peers) peers_.erase(PeerOf(value));
  node_->Forget(slot_, inherited);
  ours.insert({tunnel_, frames_tap_, datagrams_tap_});
  for (const auto& [id, port] : ports_) ours.insert(port.host_end);
}

}  // namespace vxvde
