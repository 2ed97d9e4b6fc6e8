// KernelOffload: the kernel datapath of one cloud. It decides which ports and peers the programs
// serve, keeps their copy of the FDB, takes over the state of an earlier agent, and gives
// everything back to the cloud when the programs cannot go on.
//
// Another program may run before the agent's and keep frames from it: an obstacle. As long as it is
// there, one at a host end makes the port kNone, and one at the uplink all ports and peers.
//
// A port goes through these states:
//
//   kNone     the cloud reads and writes its interface
//   kKernel   a program reads the host end of its veth pair; the cloud only writes (send-only)
//   kRelayed  a tap: the cloud reads it, and may hand its frames to the programs by Relay()
//
// Invariants:
//   I1  The copy has the stations at all ports and at offloaded peers, each where the FDB has it.
//       Copying those of one peer may take several turns of the loop: until a station is copied,
//       the programs punt the frames for it. A peer is offloaded when it has answered a trial of
//       its fast port (PeerProbe) and the programs know a way to it.
//       After a restart this holds from the first turn of the loop on.
//   I2  The interface of a port or a program reads its frames, never both.
//   I3  The slot of a stopped peer is reused only after the last of its stations has left the copy.
//   I4  No turn copies or removes more than kStationsPerTurn stations of peers.

#ifndef VXVDE_PLUGIN_CLOUD_KERNEL_OFFLOAD_H_
#define VXVDE_PLUGIN_CLOUD_KERNEL_OFFLOAD_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "plugin/base/drop.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/options.h"
#include "plugin/cloud/snapshot.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/fdb/fdb.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/io.h"
#include "plugin/os/task_scope.h"

namespace vxvde {

enum class PortOffload : uint8_t { kNone, kKernel, kRelayed };

// A cloud as its offload sees it. Ports and peers are those that the cloud has added.
class OffloadHost {
 public:
  virtual ~OffloadHost() = default;

  // Reads and forwards all frames that wait at the port. False: the port has failed.
  virtual bool DrainPort(PortId port) = 0;
  // Forwards a batch of the frames that wait at punted_fd(). True: there may be more.
  virtual bool ReadPunted() = 0;
  // The descriptor of the port is no longer `before`, which must be unwatched.
  virtual void RewatchPort(PortId port, int before) = 0;
  // Nothing reads the port any more.
  virtual void FailPort(PortId port) = 0;

  // The state has changed, or the programs have refused frames of a port. `counted`: frames that
  // the programs counted until now, which count as the cloud's from now on.
  virtual void OnPortOffload(PortId port, PortOffload state, const FastCounters& counted) = 0;
  virtual void OnPeerOffload(const Peer& peer, bool offloaded, const FastCounters& counted) = 0;
};

// How the offload of a cloud starts.
struct OffloadStart {
  std::unique_ptr<FastCloud> fast = nullptr;  // of this cloud's group, VNI and unicast port
  std::string why_not = {};                   // for messages, if there is none
};

class KernelOffload {
 public:
  // The first Tick after this offloads a port: short-lived pods do not pay for it, and the creator
  // of the pair has finished.
  static constexpr Duration kStartAfter = std::chrono::seconds(1);
  // Starting one takes about a millisecond.
  static constexpr int kMaxStartedPerTick = 16;
  // The interval of checks for the end of an obstacle at a host end.
  static constexpr Duration kCheckAgain = std::chrono::seconds(5);
  // A tunnel probe proves for this long that frames for relayed taps arrive.
  static constexpr Duration kTunnelProbeLife = std::chrono::seconds(128);
  static constexpr size_t kStationsPerTurn = 1024;

  // Without `start.fast` all calls do nothing. The pointers outlive it.
  KernelOffload(OffloadStart start, Fdb* fdb, EventLoop* loop, Buffers* buffers, OffloadHost* host);
  KernelOffload(const KernelOffload&) = delete;
  KernelOffload& operator=(const KernelOffload&) = delete;

  bool active() const { return fast_ != nullptr; }
  // 0: there is none, or none now. When Tick() changes it, the caller announces it, and starts or
  // stops the peers.
  uint16_t fast_port() const { return active() && obstacle_.empty() ? fast_->fast_port() : 0; }

  // The datagrams at the fast port; only while it is active.
  DatagramIo& datagrams() { return fast_->datagrams(); }
  int punted_fd() { return fast_->frames().fd(); }
  // Replaces `out` by a batch of punted frames. True: there may be more.
  bool ReceivePunted(std::vector<PuntedFrame>& out, DropCounters& drops);
  Drop Relay(PortId port, const OutFrame& frame) { return fast_->Relay(port, frame); }

  // `io` is the interface of the port, until RemovePort. Other than kNone: an earlier agent
  // offloaded the port, and it still is.
  PortOffload AddPort(PortId id, const PortOptions& options, FrameIo* io);
  void RemovePort(PortId id);
  // Stops the port for good.
  void FailPort(PortId id);
  // Broadcast and multicast frames that each port may hand over in a second; 0: no limit.
  void SetFloodLimit(uint32_t rate);

  // Offloads the peer, or follows its fast port and route. Does nothing if the programs cannot
  // reach it.
  void StartPeer(const Peer& peer, uint16_t fast_port);
  void StopPeer(const Peer& peer);

  // I1.
  void OnFdbChange(const FdbChange& change);
  // The FDB has reported removed stations.
  void OnSwept();
  // The time at which the programs last saw the station; nullopt: its place is not offloaded.
  std::optional<Instant> LastSeen(const MacAddress& mac, const Location& where) const;
  // The programs received frames of an offloaded peer since the last call. To be called every
  // second.
  bool TakeInUse(const Peer& peer, Instant now);
  // To be called every second.
  void Tick(Instant now);

  // State of an earlier agent: its peers, and the stations of an added port or peer. `may` returns
  // whether a station may be there.
  std::vector<InheritedPeer> InheritedPeers() const;
  void InheritStations(const Location& where, Duration expiry,
                       absl::FunctionRef<bool(const MacAddress&)> may);

  // Follows the cloud to another uplink. After an error only Abandon() may follow.
  absl::Status MoveTo(IfIndex uplink);
  // Gives all ports and peers back to the cloud, and ends. `drops` counts frames that were lost.
  void Abandon(std::string why, DropCounters& drops);

  // Frames that the programs forwarded count as the cloud's own.
  void AddTo(CloudSnapshot& snapshot) const;
  void AddTo(std::vector<StationSnapshot>& stations) const;
  std::string Explain(const MacAddress& source, const MacAddress& destination) const;

 private:
  struct Port {
    IfIndex host_end;  // kNone: a tap
    MacAddress mac;
    FrameIo* io;
    Instant added;
    PortOffload state = PortOffload::kNone;
    bool failed = false;
    std::string why_not = {};                 // not empty: StartPort() has failed
    std::optional<Instant> check_again = {};  // for an obstacle; absent: never
    uint64_t refused = 0;                     // reported by OnRefused()
  };
  struct OffloadedPeer {
    uint16_t fast_port;
    uint64_t frames = 0;  // that the programs had taken from it at the last TakeInUse()
  };
  // Stations of a peer that are still to be copied, or removed from the copy.
  struct Pending {
    bool remove = false;
    std::vector<MacAddress> macs;
  };

  PortOffload TakeOver(PortId id, const Port& port);
  void StartPort(PortId id, Port& port);
  void StopPort(PortId id, Port& port);
  // Stops the port and reads its interface again.
  void GiveBack(PortId id, Port& port);
  void FollowObstacle(PortId id, Port& port, Instant now);
  void ReportRefused(PortId id, Port& port);
  void TickTap(PortId id, Port& port, Instant now);
  bool Reopen(PortId id, Port& port, bool receives);
  void CopyStationsOfPort(PortId id);

  void CopyStationsOfPeer(const Peer& peer, bool remove);
  void Apply(const Peer& peer, bool remove, const MacAddress& mac);
  void Continue();
  void FinishPeer(const Peer& peer);
  bool IsOffloaded(const Location& where) const;

  std::unique_ptr<FastCloud> fast_;  // may be null
  std::string why_not_;
  std::string obstacle_;  // at the uplink
  Fdb* fdb_;
  EventLoop* loop_;
  Buffers* buffers_;
  OffloadHost* host_;

  std::map<PortId, Port> ports_;
  absl::flat_hash_map<Peer, OffloadedPeer> peers_;
  absl::flat_hash_set<Peer> stopped_;  // I3
  std::vector<Peer> unswept_;          // those whose stations the FDB has yet to report
  absl::flat_hash_map<Peer, Pending> pending_;
  std::deque<Peer> queue_;  // keys of pending_
  Instant turn_{};
  size_t left_ = 0;  // the work left for this turn (I4)
  bool posted_ = false;

  Instant last_use_{};                   // TakeInUse()
  std::optional<Instant> tunnel_probe_;  // the last one

  TaskScope tasks_;
  std::vector<Frame> frames_;  // kept to reuse its memory
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_KERNEL_OFFLOAD_H_
