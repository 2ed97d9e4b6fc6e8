// KernelFastCloud: the kernel datapath of one cloud: its entries in the maps, and its devices.

#ifndef VXVDE_PLUGIN_FASTPATH_KERNEL_CLOUD_H_
#define VXVDE_PLUGIN_FASTPATH_KERNEL_CLOUD_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/fastpath/abi.h"
#include "plugin/fastpath/cloud_devices.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/fastpath/inherited.h"
#include "plugin/fastpath/kernel.h"
#include "plugin/fastpath/punt.h"
#include "plugin/fastpath/punt_room.h"
#include "plugin/fastpath/station_entries.h"

namespace vxvde {

class KernelFastCloud final : public FastCloud {
 public:
  // `node` outlives it, and has given it `slot`. `inherited`: entries in that slot.
  KernelFastCloud(KernelFastPath* node, FastCloudOptions options, uint32_t slot,
                  InheritedCloud inherited);
  ~KernelFastCloud() override;
  // May be called again after an error.
  absl::Status Open();
  const FastCloudOptions& options() const { return options_; }
  // Removes the inherited entries that are not taken over. Adds the cloud's interfaces to `own`.
  void DropInherited(std::set<IfIndex>& own);

  uint16_t fast_port() const override { return devices_.fast_port(); }
  DatagramIo& datagrams() override { return *datagrams_; }
  PuntIo& frames() override { return *frames_; }
  absl::Status CheckPort(IfIndex host_end) override;
  absl::Status AddPort(PortId port, IfIndex host_end) override;
  absl::Status AddRelayed(PortId port, const MacAddress& mac) override;
  Drop Relay(PortId port, const OutFrame& frame) override;
  void RemovePort(PortId port) override;
  absl::Status SetPeer(const Peer& peer, uint16_t fast_port) override;
  void ForgetPeer(const Peer& peer) override;
  void StopPeer(const Peer& peer) override;
  void SetStation(const MacAddress& mac, const Location& where, Instant seen) override;
  void ForgetStation(const MacAddress& mac) override;
  std::optional<Instant> LastSeen(const MacAddress& mac) const override;
  bool IsInheritedPort(IfIndex host_end) const override;
  bool IsInheritedTap(const MacAddress& mac) const override;
  std::vector<InheritedPeer> InheritedPeers() const override { return inherited_.Peers(); }
  std::vector<InheritedStation> InheritedStations(const Location& where) const override;
  void Discard(UniqueFd fd) override;
  absl::Status MoveTo(IfIndex uplink) override;
  FastCounters CountersOf(PortId port) const override;
  FastCounters CountersOf(const Peer& peer) const override;
  void Tick() override;
  void SetFloodLimit(uint32_t rate) override;
  SlowCounters slow() const override;
  FastLost lost() const override;
  std::string Obstacle() const override;
  std::string Obstacle(PortId port) const override;
  std::string Explain(const MacAddress& source, const MacAddress& destination) const override;

 private:
  struct Port {
    uint32_t slot;
    IfIndex host_end;  // kNone: a relayed one
    fp_where where;
    uint32_t mtu;
    uint32_t rules = 0;  // FP_RULE_...
    PuntRoom::Last punts = {};
  };
  absl::Status WriteCloud();
  void WriteRules(const Port& port);
  absl::Status Insert(PortId port, IfIndex host_end, std::optional<uint32_t>& slot);
  absl::StatusOr<uint32_t> TakePortSlot();

  KernelFastPath* node_;
  FastCloudOptions options_;
  const uint32_t slot_;
  bool attached_ = false;  // to the uplink
  uint32_t flood_limit_ = 0;
  CloudDevices devices_;
  StationEntries stations_;
  std::unique_ptr<FramesTap> frames_;
  std::unique_ptr<DatagramsTap> datagrams_;
  InheritedCloud inherited_;  // what has not been taken over yet
  std::map<PortId, Port> ports_;
  absl::flat_hash_map<uint32_t, PortId> port_at_;
  absl::flat_hash_map<Peer, uint32_t> peers_;  // slot
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_KERNEL_CLOUD_H_
