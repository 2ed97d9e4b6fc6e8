// Cloud: one vxvde network on this node. Two sockets, the ports, the FDB; it turns
// what they deliver into forward() calls and carries the verdicts out.
//
// Not its business: which uplink, which unicast port, when to join or leave.
//
// Invariants:
//   I1  Every frame that comes in is delivered, sent, or counted under one Drop.
//   I2  A frame's bytes are read until the end of the turn in which it came and never after it.
//   I3  What is said of a port or peer after it is gone: nothing. Its stations go with it; where a
//       peer leaves more of them than one turn can take, the rest is said to be gone in the next
//       ones.
//   I6  No turn takes longer because there are many stations (cloud_age.cc).
//
// With a fast path (cloud_fast.cc) the kernel forwards part of the frames by a copy of the FDB:
//   I4  The copy has the stations at all ports and at fast peers, each where the FDB has it. Fast
//       is a peer that has answered from its fast port, and that FastCloud has taken.
//       So it is from the first turn of the loop on when it takes over what an agent before it
//       left.
//   I5  A port's frames are read from its interface or by the fast path, never by both. A carried
//       port's, a tap's, are read from its interface and may be handed to the fast path, which
//       gives back what it cannot send.

#ifndef VXVDE_PLUGIN_CLOUD_CLOUD_H_
#define VXVDE_PLUGIN_CLOUD_CLOUD_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/drop.h"
#include "plugin/base/frame.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/cloud/forward.h"
#include "plugin/cloud/group_watch.h"
#include "plugin/cloud/storm.h"
#include "plugin/cloud/tx_batch.h"
#include "plugin/cloud/types.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/fdb/fdb.h"
#include "plugin/offload/coalesce.h"
#include "plugin/offload/segment.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/io.h"
#include "plugin/snoop/snooper.h"
#include "plugin/wire/header.h"

namespace vxvde {

class Cloud {
 public:
  // Peers that are counted one by one; frames of further ones flow all the same, the slow way.
  static constexpr size_t kMaxPeers = 4096;
  // Of Fdb::Sweep, in one turn: some 1000 stations that go, or a look at all of 16,000.
  static constexpr size_t kSweepPerTurn = 16'384;
  // Said to the group this often, and believed this long (docs/PROTOCOL.md, "Hello").
  static constexpr Duration kHelloPeriod = std::chrono::seconds(30);
  static constexpr Duration kHelloLife = std::chrono::seconds(128);
  // Between two tries of a fast port: without an answer, and with one.
  static constexpr Duration kTryAgain = std::chrono::seconds(1);
  static constexpr Duration kTryPeriod = std::chrono::seconds(15);
  static constexpr int kTries = 5;  // then the next Hello is waited for
  // A port becomes a fast one at the first Tick after this. Short-lived pods cost nothing more, and
  // who made the pair has finished with it.
  static constexpr Duration kFastAfter = std::chrono::seconds(1);
  // In one turn of the loop, of which each takes a millisecond or so.
  static constexpr int kMostMadeFast = 16;

  // Half of what all peers may flood is kept for those that have been known so long.
  static constexpr Duration kKnownAfter = std::chrono::seconds(10);
  // A second: Hellos of one peer and of all whose fast port we do not use; frames from peers whose
  // source is a pod of ours.
  static constexpr uint32_t kMostHellosOfPeer = 10;
  static constexpr uint32_t kMostHellos = 2000;
  static constexpr uint32_t kMostConflicts = 100;

  using Listener = std::function<void(const SwitchEvent&)>;
  using LocalAddresses = absl::flat_hash_set<IpAddress>;

  // What a cloud may have of the node's fast path.
  struct Fast {
    std::unique_ptr<FastCloud> cloud = nullptr;  // of this cloud's group, VNI and unicast port
    std::string why_not = {};                    // for people, when there is none
  };

  // All pointers outlive the cloud. `buffers` is shared by all that read on this loop.
  Cloud(CloudOptions options, std::unique_ptr<DatagramIo> group,
        std::unique_ptr<DatagramIo> unicast, Fast fast, EventLoop* loop, Buffers* buffers,
        const LocalAddresses* local, Listener listener);
  ~Cloud();  // says nothing on the wire
  Cloud(const Cloud&) = delete;
  Cloud& operator=(const Cloud&) = delete;

  // Begins to read, and says Hello. To be called once.
  absl::Status Start();

  const CloudKey& key() const { return options_.config.key; }
  const CloudOptions& options() const { return options_; }

  // Goes on over another uplink, with a group socket that has joined there. Ports, stations and
  // the unicast port stay. An error leaves everything as it was. When only the fast path cannot
  // follow, the cloud goes on without one.
  absl::Status MoveTo(IfIndex uplink, const std::string& name, int mtu,
                      std::unique_ptr<DatagramIo> group);
  // 0: it has no fast path.
  uint16_t FastPort() const { return fast_ != nullptr ? fast_->fast_port() : 0; }
  bool has_ports() const { return !ports_.empty(); }
  void SetStorm(const StormLimits& limits) { options_.storm = limits; }

  // The datagram that makes others forget us.
  void SendLeave();

  // AlreadyExists when the MAC is static on another port.
  absl::Status AddPort(PortId id, const PortOptions& options, std::unique_ptr<FrameIo> io);
  // Removes it and gives back its interface. NotFound names the port.
  absl::StatusOr<std::unique_ptr<FrameIo>> TakePort(PortId id);
  // For frames from now on. NotFound names the port.
  absl::Status SetGuard(PortId id, PortGuard guard);
  absl::Status Inject(PortId id, std::span<const uint8_t> frame);
  absl::Status InjectToGroup(PortId id, std::span<const uint8_t> frame);
  void ReadNow();

  void SetSnooping(bool on);

  // What time brings; to be called every second. Forgets what has not been heard for too long,
  // makes ports fast ones, says Hello. `now` never runs backwards.
  void Tick(Instant now);

  // Without stations.
  CloudSnapshot Snapshot() const;
  // The first `limit` by MAC, of those behind `after`.
  std::vector<StationSnapshot> Stations(const std::optional<MacAddress>& after, size_t limit) const;
  Explanation Explain(const MacAddress& source, const MacAddress& destination) const;

 private:
  struct Port {
    PortId id;
    PortOptions options;
    std::unique_ptr<FrameIo> io;
    Coalescer coalescer;
    bool coalescing = false;   // has frames of this turn in its coalescer
    bool failed = false;       // was reported as kPortFailed
    bool fast = false;         // the fast path reads its frames, or carries them (I5)
    std::string why_not_fast;  // not empty: it was tried once, and never will be again
    FlowCounters from_pod;
    FlowCounters to_pod;
    DropCounters drops;
    Instant added;
    TokenBucket floods;
    StormWatch storm;
    LoopGuard::PortState loop;

    bool carried() const { return fast && options.host_end == IfIndex::kNone; }
  };
  struct PeerState {
    FlowCounters from_peer;
    FlowCounters to_peer;
    Instant first;
    Instant last;
    std::optional<Instant> hello;  // when its last one came
    uint16_t fast_port = 0;        // that it named in it
    std::optional<Instant> heard;  // when it last said that it hears us there
    std::optional<Instant> tried;  // when it was last asked that
    int tries = 0;                 // without an answer
    bool fast = false;             // I4
    uint64_t fast_frames = 0;      // that the programs had taken from it at the last Tick
    TokenBucket floods;
    TokenBucket hellos;
  };
  enum class Via { kUnicast, kGroup, kFastPort };
  // The verdict on the frame before, which most often is the verdict on this one too.
  struct Flow {
    bool valid = false;
    MacAddress destination;
    MacAddress source;
    Verdict verdict;
    PeerState* peer = nullptr;  // of the verdict, or of the sender
  };

  absl::Status NoPort(PortId id) const;
  absl::Status WatchPort(Port& port);
  absl::Status WatchGroup(const DatagramIo& group);
  // These two: true when there may be more.
  bool ReadSocket(DatagramIo& io, Via via);
  void OnDatagram(const InDatagram& datagram, Via via);
  void OnFrameFromPeer(std::span<const uint8_t> frame, const Peer& from, PeerState* peer, Via via,
                       Flow& flow);
  bool ReadPort(Port& port);
  // `punted`: the fast path has read it, or has given it back.
  void OnFrameFromPort(Port& port, Frame& frame, Flow& flow, bool punted = false);

  void DeliverSegment(Port& port, std::span<const uint8_t> frame);
  void DeliverWhole(Port& port, const OutFrame& frame);
  void SendFrame(Port& port, Frame& frame, const Peer& to, FlowCounters* counters);
  void FlushPorts();
  void FlushSends();

  // Who goes: cloud_age.cc.
  void OnLeave(const Peer& from);
  void Sweep(Instant now);
  void ForgetSilentPeers(Instant now);

  // Storms and loops: cloud_storm.cc. LearnAt: false when the frame is not to be forwarded.
  bool LearnAt(Port& port, const MacAddress& source);
  bool LearnAt(const Peer& peer, const MacAddress& source);
  Drop MayFlood(Port& port, uint32_t frames);
  bool MayFlood(const Peer& from, PeerState* peer);
  bool MaySayHello(PeerState* peer);
  bool TakesFloods(Port& port, uint32_t frames);
  void OnHelloFromPort(Port& port, const MacAddress& source);
  void ReportLoop(const Port& port);

  // The fast path: cloud_fast.cc. All may be called without one.
  absl::Status WatchFast();
  void UnwatchFast();
  bool ReadPunted();
  void SayHello(const Peer& to, bool answer_wanted, bool heard = false);
  void OnHello(std::span<const uint8_t> frame, const Peer& from, PeerState* peer, Via via);
  void TryFastPort(const Peer& peer, PeerState& state);
  void TickFast(Instant now);
  void MoveFast();
  void LeaveFast(std::string why);
  void UpdatePeer(const Peer& peer, PeerState& state);
  void SlowDown(const Peer& peer, PeerState& state);
  void PeerIsSlow(const Peer& peer, PeerState& state, const FastCounters& last);
  void SpeedUp(Port& port);
  void TakeOverPeers();
  bool TakeOverPort(PortId id, const PortOptions& options, FrameIo& io);
  void TakeOverStations(const Location& where);
  void CarryOrNot(Port& port, Instant now);
  bool Reopen(Port& port, bool receives);
  void SlowDown(Port& port);
  void CopyChange(const FdbChange& change);
  void CopyStationsAt(const Location& where);
  bool IsFast(const Location& where) const;
  std::optional<Instant> LastSeen(const MacAddress& mac, const Location& where, Instant now);
  void AddFastTo(CloudSnapshot& snapshot) const;
  void AddFastTo(std::vector<StationSnapshot>& stations) const;

  // Who of the ports gets a flooded frame, and who is asked: cloud_snoop.cc.
  Snooper::Audience AudienceOf(std::span<const uint8_t> frame, bool checksum, const Location& from);
  bool IsFor(const Snooper::Audience& audience, PortId port);
  void TickSnooper(Instant now);

  // Is the group heard, of which we are a member on the underlay? cloud_group.cc.
  void TickGroup(Instant now);

  PeerState* FindPeer(const Peer& peer) const;
  PeerState* TouchPeer(const Peer& peer);
  Port* FindPort(PortId id) const;
  void Report(SwitchEvent event) const;
  void OnFdbChange(const FdbChange& change);
  void FailPort(Port& port);

  CloudOptions options_;
  std::unique_ptr<DatagramIo> group_;
  std::unique_ptr<DatagramIo> unicast_;
  EventLoop* loop_;
  Buffers* buffers_;
  const LocalAddresses* local_;
  Listener listener_;
  const VxvdeHeader header_;
  const Peer group_address_;
  const Instant joined_;

  std::unique_ptr<FastCloud> fast_;  // may be null
  std::string why_not_fast_;
  Instant last_hello_;
  Instant last_tick_;
  std::optional<Instant> proof_;  // when frames for carried ports were last seen to come through

  std::optional<Snooper> snooper_;
  GroupWatch group_watch_;

  Fdb fdb_;
  std::map<PortId, std::unique_ptr<Port>> ports_;
  // Values keep their place: Flow points at them within a turn.
  absl::flat_hash_map<Peer, std::unique_ptr<PeerState>> peers_;
  // Of this turn, what is left for Sweep.
  Instant sweep_turn_;
  size_t sweep_left_ = 0;
  bool sweep_posted_ = false;
  bool expiring_ = false;  // silent peers are looked for when the sweep is through
  // The fast path must not give their places to others before their last station is gone there.
  absl::flat_hash_set<Peer> stopped_;
  TokenBucket floods_;  // of all peers
  TokenBucket floods_of_uncounted_;
  TokenBucket hellos_;
  TokenBucket conflicts_;
  StormWatch storm_;
  LoopGuard loops_;
  uint64_t peers_not_kept_ = 0;
  Segmenter segmenter_;
  TxBatch sends_;
  DropCounters drops_;
  FlowCounters from_group_;
  FlowCounters to_group_;

  // Posted tasks look at it: they may outlive us in the loop's queue.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // Kept for their memory.
  std::vector<InDatagram> datagrams_;
  std::vector<Frame> frames_;
  std::vector<PuntedFrame> punted_;
  std::vector<Segment> segments_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_CLOUD_H_
