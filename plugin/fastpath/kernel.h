// The fast path in the kernel: what fastpath.h promises, by loading fastpath.bpf.c and keeping its
// maps. To the outside there is OpenKernelFastPath(); tests look inside.
//
// When an agent ends, the programs stay attached, and with them the maps, and go on forwarding. The
// next one finds them there and takes over what it has records for (kernel_inherited.cc): clouds,
// ports and peers keep their slots.
//
// Devices of one cloud, named after its unicast port P: vxtP, the tap of punted frames; vxdP, the
// tap of punted datagrams; vxfP, a VXLAN device on the fast port. The last one makes the kernel
// aggregate what comes in there (udp_gro_receive() wants a tunnel's socket), before from_uplink
// sees it, and unpacks what is for relayed ports. They all stay when the agent ends.

#ifndef VXVDE_PLUGIN_FASTPATH_KERNEL_H_
#define VXVDE_PLUGIN_FASTPATH_KERNEL_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/fastpath/abi.h"
#include "plugin/fastpath/chain_keeper.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/fastpath/inherited.h"
#include "plugin/fastpath/punt.h"
#include "plugin/fastpath/punt_room.h"
#include "plugin/os/fd.h"
#include "plugin/os/netlink.h"

struct fastpath_programs;  // the skeleton

namespace vxvde {

// Numbers from 0 below `size`. One that was given back waits until all others were out, so that
// what is still said of its last owner finds nobody.
class Slots {
 public:
  explicit Slots(uint32_t size) : size_(size) {}
  std::optional<uint32_t> Take();
  void GiveBack(uint32_t slot) { free_.push_back(slot); }
  // Before any was taken: these are.
  void Reserve(std::vector<uint32_t> slots);

 private:
  uint32_t size_;
  uint32_t used_ = 0;
  std::deque<uint32_t> free_;
};

class KernelFastCloud;

class KernelFastPath final : public FastPath {
 public:
  // Without `tcx`: as on a kernel that has none.
  static absl::StatusOr<std::unique_ptr<KernelFastPath>> Open(FdStore* store = nullptr,
                                                              bool tcx = true);
  ~KernelFastPath() override;

  absl::StatusOr<std::unique_ptr<FastCloud>> Join(const FastCloudOptions& options) override;
  void SetLocalAddresses(const std::vector<IpAddress>& addresses) override;
  std::string WhyNotInherited() const override { return why_anew_; }
  std::string Hooks() const override;
  void DropInherited() override;
  void KeepForNextAgent() override {
    stays_ = true;
    keeper_->Stop();
  }

  // Descriptors of the programs, for BPF_PROG_TEST_RUN.
  int from_pod() const;
  int from_uplink() const;
  int from_cloud() const;
  int from_tunnel() const;
  PuntRoom& punts() { return *punts_; }

 private:
  friend class KernelFastCloud;
  KernelFastPath(fastpath_programs* programs, Netlink netlink, FdStore* store);
  static absl::StatusOr<std::unique_ptr<KernelFastPath>> GoOn(FdStore* store);
  absl::Status MapPunts();
  // Attaches the program, and keeps it attached and reached.
  absl::Status Keep(IfIndex index, Where where, int program);
  // The same for a host end, of which it says what is there.
  absl::StatusOr<Seen> KeepHostEnd(IfIndex index);

  // kernel_inherited.cc.
  absl::Status ReadInherited(std::vector<IfIndex> interfaces);
  std::optional<uint32_t> InheritedSlot(const FastCloudOptions& options) const;
  void Forget(uint32_t slot, const InheritedCloud& inherited);

  // Counted: clouds share an uplink.
  absl::Status Attach(IfIndex uplink);
  void Detach(IfIndex uplink);
  // Fast ports at addresses of ours, as they should be now.
  void WriteLocals();
  // Ends taps, sockets and devices on a thread of its own: each waits some 10 ms for RCU.
  void CloseLater(std::vector<UniqueFd> fds, std::vector<IfIndex> devices);
  void WaitForBurials();

  fastpath_programs* programs_;
  Netlink netlink_;
  std::unique_ptr<ChainKeeper> keeper_;
  std::unique_ptr<PuntRoom> punts_;
  FdStore* store_;      // may be null
  bool stays_ = false;  // KeepForNextAgent()
  std::string why_anew_;
  Slots clouds_{FP_CLOUDS};
  Slots ports_{FP_PORTS};
  Slots peers_{FP_PEERS};
  std::vector<IpAddress> addresses_;
  std::map<IfIndex, int> uplinks_;
  std::map<uint32_t, KernelFastCloud*> joined_;  // by slot
  std::vector<fp_local> locals_;                 // that are in the map
  // Until DropInherited(): what nobody has taken over.
  std::map<uint32_t, InheritedCloud> inherited_;  // by slot
  std::vector<IfIndex> left_interfaces_;
  struct Closing {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> done;
  };
  std::vector<Closing> closing_;
};

class KernelFastCloud final : public FastCloud {
 public:
  ~KernelFastCloud() override;

  uint16_t fast_port() const override { return fast_port_; }
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
  std::vector<InheritedPeer> InheritedPeers() const override;
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
  friend class KernelFastPath;
  struct Port {
    uint32_t slot;
    IfIndex host_end;  // kNone: a relayed one
    fp_where where;
    uint32_t mtu;
    uint32_t rules = 0;  // FP_RULE_...
    PuntRoom::Last punts = {};
  };
  void WriteRules(const Port& port);
  absl::Status Insert(PortId port, IfIndex host_end, std::optional<uint32_t>& slot);
  absl::StatusOr<uint32_t> TakeSlot();

  KernelFastCloud(KernelFastPath* node, FastCloudOptions options, uint32_t slot)
      : node_(node), options_(std::move(options)), slot_(slot) {}
  // May be tried again when it has failed.
  absl::Status Open();
  absl::Status OpenTunnel();
  absl::Status OpenTaps();
  absl::StatusOr<UniqueFd> OpenPuntTap(const std::string& name, KeptFd& kept);

  // kernel_inherited.cc.
  void TakeOver(InheritedCloud inherited);
  std::optional<uint32_t> TakeInheritedPort(IfIndex host_end);
  std::optional<uint32_t> TakeInheritedCarried(const MacAddress& mac);
  // And says which interfaces it has.
  void DropInherited(std::set<IfIndex>& ours);
  bool v6() const { return options_.group.is_v6(); }
  fp_station_key KeyOf(const MacAddress& mac) const;
  std::optional<fp_station> Find(const MacAddress& mac) const;

  KernelFastPath* node_;
  FastCloudOptions options_;
  uint32_t slot_;
  uint16_t fast_port_ = 0;
  bool attached_ = false;
  bool queue_kept_ = false;  // what an earlier agent has not read is still in the queue
  uint32_t flood_limit_ = 0;
  IfIndex tunnel_ = IfIndex::kNone;
  UniqueFd reserved_;   // holds the fast port where the kernel has no VXLAN
  UniqueFd frames_fd_;  // until frames_ has it
  UniqueFd datagrams_fd_;
  IfIndex frames_tap_ = IfIndex::kNone;
  IfIndex datagrams_tap_ = IfIndex::kNone;
  std::unique_ptr<FramesTap> frames_;
  std::unique_ptr<DatagramsTap> datagrams_;
  KeptFd kept_frames_;
  KeptFd kept_datagrams_;
  InheritedCloud inherited_;  // what has not been taken over yet
  std::map<PortId, Port> ports_;
  absl::flat_hash_map<uint32_t, PortId> port_at_;
  absl::flat_hash_map<Peer, uint32_t> peers_;  // slot
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_KERNEL_H_
