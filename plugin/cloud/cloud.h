// Cloud: one vxvde network on this node. Two sockets, the ports, the FDB; it turns
// what they deliver into forward() calls and carries the verdicts out.
//
// Not its business: which uplink, which unicast port, when to join or leave.
//
// Invariants:
//   I1  Every frame that comes in is delivered, sent, or counted under one Drop.
//   I2  A frame's bytes are read until the end of the turn in which it came and never after it.
//   I3  What is said of a port or peer after it is gone: nothing. Its stations go with it.

#ifndef VXVDE_PLUGIN_CLOUD_CLOUD_H_
#define VXVDE_PLUGIN_CLOUD_CLOUD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
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
#include "plugin/cloud/tx_batch.h"
#include "plugin/cloud/types.h"
#include "plugin/fdb/fdb.h"
#include "plugin/offload/coalesce.h"
#include "plugin/offload/segment.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/io.h"
#include "plugin/wire/header.h"

namespace vxvde {

class Cloud {
 public:
  // Peers that are counted one by one; frames of further ones flow all the same.
  static constexpr size_t kMaxPeers = 65'536;

  using Listener = std::function<void(const SwitchEvent&)>;
  using LocalAddresses = absl::flat_hash_set<IpAddress>;

  // All pointers outlive the cloud. `buffers` is shared by all that read on this loop.
  Cloud(CloudOptions options, std::unique_ptr<DatagramIo> group,
        std::unique_ptr<DatagramIo> unicast, EventLoop* loop, Buffers* buffers,
        const LocalAddresses* local, Listener listener);
  ~Cloud();  // says nothing on the wire
  Cloud(const Cloud&) = delete;
  Cloud& operator=(const Cloud&) = delete;

  // Begins to read. To be called once.
  absl::Status Start();

  const CloudKey& key() const { return options_.config.key; }
  const CloudOptions& options() const { return options_; }

  // Goes on over another uplink, with a group socket that has joined there. Ports, stations and
  // the unicast port stay. An error leaves everything as it was.
  absl::Status MoveTo(IfIndex uplink, const std::string& name, int mtu,
                      std::unique_ptr<DatagramIo> group);
  bool has_ports() const { return !ports_.empty(); }

  // The datagram that makes others forget us.
  void SendLeave();

  // AlreadyExists when the MAC is static on another port.
  absl::Status AddPort(PortId id, const PortOptions& options, std::unique_ptr<FrameIo> io);
  // Removes it and gives back its interface. NotFound names the port.
  absl::StatusOr<std::unique_ptr<FrameIo>> TakePort(PortId id);
  absl::Status Inject(PortId id, std::span<const uint8_t> frame);
  void ReadNow();

  // Forgets what has not been heard for too long.
  void Expire();

  CloudSnapshot Snapshot() const;
  Explanation Explain(const MacAddress& source, const MacAddress& destination) const;

 private:
  struct Port {
    PortId id;
    PortOptions options;
    std::unique_ptr<FrameIo> io;
    Coalescer coalescer;
    bool coalescing = false;  // has frames of this turn in its coalescer
    bool failed = false;      // was reported as kPortFailed
    FlowCounters from_pod;
    FlowCounters to_pod;
    DropCounters drops;
    Instant added;
  };
  struct PeerState {
    FlowCounters from_peer;
    FlowCounters to_peer;
    Instant first;
    Instant last;
  };
  // The verdict on the frame before, which most often is the verdict on this one too.
  struct Flow {
    bool valid = false;
    MacAddress destination;
    MacAddress source;
    Verdict verdict;
    PeerState* peer = nullptr;  // of the verdict, or of the sender
  };

  absl::Status WatchGroup(const DatagramIo& group);
  // These two: true when there may be more.
  bool ReadSocket(DatagramIo& io, bool is_group);
  void OnDatagram(const InDatagram& datagram, bool is_group);
  void OnFrameFromPeer(std::span<const uint8_t> frame, const Peer& from, PeerState* peer,
                       bool is_group, Flow& flow);
  void OnLeave(const Peer& from);
  bool ReadPort(Port& port);
  void OnFrameFromPort(Port& port, Frame& frame, Flow& flow);

  void DeliverSegment(Port& port, std::span<const uint8_t> frame);
  void DeliverWhole(Port& port, const OutFrame& frame);
  void SendFrame(Port& port, Frame& frame, const Peer& to, FlowCounters* counters);
  void FlushPorts();
  void FlushSends();

  PeerState* FindPeer(const Peer& peer);
  PeerState* TouchPeer(const Peer& peer);
  Port* FindPort(PortId id);
  void Report(SwitchEvent event) const;
  void OnFdbChange(const FdbChange& change) const;
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

  Fdb fdb_;
  std::map<PortId, std::unique_ptr<Port>> ports_;
  // Values keep their place: Flow points at them within a turn.
  absl::flat_hash_map<Peer, std::unique_ptr<PeerState>> peers_;
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
  std::vector<Segment> segments_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_CLOUD_H_
