// Cloud: one vxvde network on this node: its sockets, ports, peers and FDB, and the path of each
// frame between them (cloud.cc).
//
// It does not choose the uplink or the unicast port, nor when to join or leave. FloodControl limits
// floods, KernelOffload runs the kernel datapath, Greeter talks to other agents, StationSweep
// forgets.
//
// Invariants:
//   I1  Every frame that comes in is delivered, sent, or counted under one Drop.
//   I2  A frame's bytes are read until the end of the turn in which it came and never after it.
//   I3  Nothing is reported about a port or peer after it is gone. Its stations go with it; when a
//       peer leaves more of them than one turn can take, the others are reported gone in later
//       turns.
//   I4  No turn takes longer because there are many stations (StationSweep, KernelOffload).

#ifndef VXVDE_PLUGIN_CLOUD_CLOUD_H_
#define VXVDE_PLUGIN_CLOUD_CLOUD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/drop.h"
#include "plugin/base/frame.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/cloud/cloud_handle.h"
#include "plugin/cloud/cloud_port.h"
#include "plugin/cloud/egress.h"
#include "plugin/cloud/flood_control.h"
#include "plugin/cloud/greeter.h"
#include "plugin/cloud/kernel_offload.h"
#include "plugin/cloud/peer_table.h"
#include "plugin/cloud/station_sweep.h"
#include "plugin/fdb/fdb.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/io.h"
#include "plugin/os/random.h"
#include "plugin/os/task_scope.h"
#include "plugin/snoop/snooper.h"

namespace vxvde {

// The state that the clouds of one node share.
struct CloudContext {
  explicit CloudContext(EventLoop* loop) : loop(loop) {}

  EventLoop* loop;
  // Frames or datagrams of one read: enough to fill UDP_SEGMENT runs with small frames, and few
  // enough that no other descriptor waits long.
  Buffers buffers{64};
  // The addresses of this node: a datagram from one of them and from the cloud's own port is an
  // echo.
  absl::flat_hash_set<IpAddress> local;
  uint32_t last_port = 0;
  PeerProbe::Random random = RandomNumber;
};

class Cloud final : public CloudHandle, private OffloadHost {
 public:
  using Listener = std::function<void(const SwitchEvent&)>;

  // `context` outlives the cloud.
  Cloud(CloudOptions options, std::unique_ptr<DatagramIo> group,
        std::unique_ptr<DatagramIo> unicast, OffloadStart offload, CloudContext* context,
        Listener listener);
  ~Cloud();  // sends nothing
  Cloud(const Cloud&) = delete;
  Cloud& operator=(const Cloud&) = delete;

  // Starts to read, and sends a Hello. To be called once.
  absl::Status Start();
  // Sends the datagram that makes others forget this member.
  void SendLeave();
  // Changes to another uplink, with a group socket that has joined there. Ports, stations and the
  // unicast port stay. An error leaves everything as it was. If only the kernel datapath cannot
  // follow, the cloud continues without it.
  absl::Status MoveTo(IfIndex uplink, const std::string& name, int mtu,
                      std::unique_ptr<DatagramIo> group);
  // To be called every second. `now` never runs backwards.
  void Tick(Instant now);
  const CloudOptions& options() const { return options_; }

  absl::StatusOr<PortId> AddPort(const PortOptions& options, std::unique_ptr<FrameIo> io) override;
  absl::StatusOr<std::unique_ptr<FrameIo>> TakePort(PortId id) override;
  absl::Status SetGuard(PortId id, PortGuard guard) override;
  absl::Status Inject(PortId id, std::span<const uint8_t> frame) override;
  absl::Status InjectToGroup(PortId id, std::span<const uint8_t> frame) override;
  void SetStorm(const StormLimits& limits) override;
  void SetSnooping(bool on) override;
  void ReadNow() override;
  uint16_t FastPort() const override;
  CloudSnapshot Snapshot() const override;
  std::vector<StationSnapshot> Stations(const std::optional<MacAddress>& after,
                                        size_t limit) const override;
  Explanation Explain(const MacAddress& source, const MacAddress& destination) const override;

 private:
  using Via = Greeter::Via;
  // The verdict on the previous frame, most often also that on the next one.
  struct Flow {
    bool valid = false;
    MacAddress destination;
    MacAddress source;
    Verdict verdict;
    CloudPeer* peer = nullptr;  // of the verdict, or of the sender
  };

  absl::Status Watch(DatagramIo& io, Via via);
  absl::Status Watch(CloudPort& port);
  // Both return true when there may be more.
  bool ReadSocket(DatagramIo& io, Via via);
  bool ReadPort(CloudPort& port);
  void OnDatagram(const InDatagram& datagram, Via via);
  void OnFrameFromPeer(std::span<const uint8_t> frame, const Peer& from, CloudPeer* peer, Via via,
                       Flow& flow);
  // `punted`: it comes from the programs, which have read it or could not send it.
  void OnFrameFromPort(CloudPort& port, Frame& frame, Flow& flow, bool punted = false);
  // Floods `frame` to all ports that accept it, except `from`.
  template <typename Deliver>
  void FloodToPorts(std::span<const uint8_t> frame, bool checksum, const Location& from,
                    uint32_t count, Deliver deliver);
  CloudPeer* TouchPeer(const Peer& peer);
  CloudPort* FindPort(PortId id) const;

  void OnLeave(const Peer& from);
  void Sweep(Instant now);
  void UpdateOffload(const Peer& peer, const CloudPeer& state);
  void Report(SwitchEvent event) const;
  void OnFdbChange(const FdbChange& change);

  bool DrainPort(PortId id) override;
  bool ReadPunted() override;
  void RewatchPort(PortId id, int before) override;
  void FailPort(PortId id) override;
  void OnPortOffload(PortId id, PortOffload state, const FastCounters& counted) override;
  void OnPeerOffload(const Peer& peer, bool offloaded, const FastCounters& counted) override;

  CloudOptions options_;
  CloudContext* context_;
  EventLoop* loop_;
  Listener listener_;
  const Instant joined_;
  std::unique_ptr<DatagramIo> group_;
  Egress egress_;
  Fdb fdb_;
  std::map<PortId, std::unique_ptr<CloudPort>> ports_;
  PeerTable peers_;
  FloodControl flood_;
  KernelOffload offload_;
  Greeter greeter_;
  StationSweep sweep_;
  bool sweep_posted_ = false;
  std::optional<Snooper> snooper_;
  DropCounters drops_;
  FlowCounters from_group_;
  FlowCounters to_group_;
  TaskScope tasks_;
  // Kept to reuse their memory.
  std::vector<InDatagram> datagrams_;
  std::vector<Frame> frames_;
  std::vector<PuntedFrame> punted_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_CLOUD_H_
