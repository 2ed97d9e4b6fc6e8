// FastPath: the kernel datapath. tc programs (fastpath.bpf.c) forward known unicast between the
// pods of this node, and to and from agents that have a kernel datapath as well.
//
// The cloud (plugin/cloud) decides; the programs hold a copy of its table. Invariants:
//   F1  A program either forwards a frame as Forward() would, or punts it to the cloud, which reads
//       it from frames() or datagrams(). Never both, never neither.
//   F2  Only the cloud adds, moves or removes stations, peers and ports. The programs write ages
//       and counters.
//   F3  An entry of a station stays until the cloud removes it, so the cloud asks LastSeen() before
//       it expires a station.
//   F4  Frames with unfinished checksums and super-frames leave only to a fast port of another
//       agent, never to a plain member.
//
// The fast port is a second UDP port of a cloud on this node. Agents announce it to each other
// (plugin/wire/hello.h), and their programs send encapsulated frames to it. They send from the
// unicast port, which remains the one address by which a member is known. No socket reads the fast
// port: the programs punt the datagrams that they cannot handle, whole.

#ifndef VXVDE_PLUGIN_FASTPATH_FASTPATH_H_
#define VXVDE_PLUGIN_FASTPATH_FASTPATH_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/drop.h"
#include "plugin/base/frame.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/fastpath/counters.h"
#include "plugin/fdb/fdb.h"
#include "plugin/os/fd.h"
#include "plugin/os/fd_store.h"
#include "plugin/os/io.h"

namespace vxvde {

struct PuntedFrame {
  enum class Way {
    kFrom,         // from `port`, to be forwarded
    kTo,           // to `port`, a relayed one, to be delivered
    kTunnelProbe,  // shows that decapsulated frames of relayed ports arrive; `port` is none
  };
  Way way = Way::kFrom;
  PortId port = PortId::kNone;
  Frame frame = {};
};

// Frames that the programs punted to the cloud, or decapsulated for it.
class PuntIo {
 public:
  virtual ~PuntIo() = default;
  virtual int fd() const = 0;
  // As FrameIo::Receive. Super-frames come whole. Leaves out frames of removed ports.
  virtual absl::Status Receive(Buffers& buffers, std::vector<PuntedFrame>& out,
                               DropCounters& drops) = 0;
};

struct FastCloudOptions {
  IpAddress group;  // its family is that of all peers
  Vni vni;
  uint16_t unicast_port = 0;
  IfIndex uplink = IfIndex::kNone;
  int ttl = 1;  // of IPv4 datagrams; IPv6 unicast leaves with 64 (docs/PROTOCOL.md)
  std::optional<IpAddress> bind;  // address to send from; absent: that of the route to a peer
};

// The table by which the programs of one cloud forward: ports, peers, and the stations at them. A
// port, peer or station that was never added is not offloaded.
class FastTable {
 public:
  virtual ~FastTable() = default;

  // Unavailable: at present another program, which the message names, may keep the frames of this
  // interface from the agent's. The agent's program is put before it where that is possible: ask
  // again later.
  virtual absl::Status CheckPort(IfIndex host_end) = 0;
  // From now on the program reads the frames that come in at `host_end`; nothing else may read
  // them. FailedPrecondition: this interface cannot be offloaded (the message gives the reason),
  // and nothing has changed.
  virtual absl::Status AddPort(PortId port, IfIndex host_end) = 0;
  // Adds a relayed port: a tap, which the cloud reads and writes itself. The cloud sends the port's
  // frames to peers by FastTraffic::Relay(). Frames from peers to the port arrive at
  // FastTraffic::frames(), decapsulated and whole. They pass the node's own network stack, whose
  // packet filter must accept the fast port: Way::kTunnelProbe shows that it does.
  // `mac`: the port's own.
  virtual absl::Status AddRelayed(PortId port, const MacAddress& mac) = 0;
  virtual void RemovePort(PortId port) = 0;

  // Adds a peer, or follows its fast port and the routes. FailedPrecondition: the programs cannot
  // reach it now (no route, another kind of interface). A peer that was added before is then
  // stopped, as by StopPeer.
  virtual absl::Status SetPeer(const Peer& peer, uint16_t fast_port) = 0;
  virtual void ForgetPeer(const Peer& peer) = 0;
  // The first half of ForgetPeer, for a peer with many stations: the programs no longer send to it
  // nor receive from it, and its slot stays reserved. ForgetPeer follows.
  virtual void StopPeer(const Peer& peer) = 0;

  // Forgets a station at a peer that is not offloaded; marks a station at a port that is not.
  virtual void SetStation(const MacAddress& mac, const Location& where, Instant seen) = 0;
  virtual void ForgetStation(const MacAddress& mac) = 0;
  // The time of the last frame that the programs saw from it; nullopt: it has no entry.
  virtual std::optional<Instant> LastSeen(const MacAddress& mac) const = 0;

  virtual FastCounters CountersOf(PortId port) const = 0;
  virtual FastCounters CountersOf(const Peer& peer) const = 0;

  // Broadcast and multicast frames that each port may punt in a second (StormLimits); 0: no limit.
  // The programs drop the excess, before it takes room from other ports.
  virtual void SetFloodLimit(uint32_t rate) = 0;
};

// The frames that pass between the programs of one cloud and the cloud.
class FastTraffic {
 public:
  virtual ~FastTraffic() = default;

  // The same as before when an agent starts again.
  virtual uint16_t fast_port() const = 0;
  // Punted datagrams to the fast port, as if they had come to the unicast socket: the sender with
  // the port that it sends from, the payload with finished checksums. It sends nothing.
  virtual DatagramIo& datagrams() = 0;
  virtual PuntIo& frames() = 0;
  // Sends `frame` of a relayed port to a station at a peer. When the programs cannot send it, it
  // comes back at frames(). kPortFull and the like: it is lost.
  virtual Drop Relay(PortId port, const OutFrame& frame) = 0;

  virtual SlowCounters slow() const = 0;
  virtual FastLost lost() const = 0;
};

struct InheritedPeer {
  Peer peer;
  uint16_t fast_port = 0;
};
struct InheritedStation {
  MacAddress mac;
  Instant seen;
};

// State that an earlier agent left in the programs of one cloud, which keep forwarding by it; empty
// without an earlier agent. The cloud takes it over as if it were new: ports by AddPort and peers
// by SetPeer, then the stations there by SetStation. FastPath::DropInherited() removes the rest.
class InheritedState {
 public:
  virtual ~InheritedState() = default;
  virtual bool IsInheritedPort(IfIndex host_end) const = 0;
  virtual bool IsInheritedTap(const MacAddress& mac) const = 0;
  virtual std::vector<InheritedPeer> InheritedPeers() const = 0;
  virtual std::vector<InheritedStation> InheritedStations(const Location& where) const = 0;
};

// The fast path of one cloud. Destroying it undoes everything, unless
// FastPath::KeepForNextAgent() was called.
class FastCloud : public FastTable, public FastTraffic, public InheritedState {
 public:
  // Closes `fd` on a background thread (FrameIo::Reopen).
  virtual void Discard(UniqueFd fd) = 0;
  // Receives by another uplink from now on. An error leaves it on the present one.
  virtual absl::Status MoveTo(IfIndex uplink) = 0;
  // Follows changes at the ports' interfaces. To be called every second.
  virtual void Tick() = 0;
  // Names another program that may keep frames from the agent's programs, at the uplink or at the
  // port's host end; empty: there is none. Meanwhile the cloud forwards the frames itself.
  virtual std::string Obstacle() const = 0;
  virtual std::string Obstacle(PortId port) const = 0;
  // One sentence: the decision of the programs about a frame from `source` to `destination`.
  virtual std::string Explain(const MacAddress& source, const MacAddress& destination) const = 0;
};

// The fast path of a node. Outlives its clouds.
class FastPath {
 public:
  virtual ~FastPath() = default;

  // FailedPrecondition: this cloud cannot have one; the message gives the reason.
  virtual absl::StatusOr<std::unique_ptr<FastCloud>> Join(const FastCloudOptions& options) = 0;
  // Addresses at which this node receives datagrams.
  virtual void SetLocalAddresses(const std::vector<IpAddress>& addresses) = 0;

  // The hook that the programs of uplinks are attached to: "tcx" or "clsact".
  virtual std::string Hooks() const = 0;
  // For people: the reason for which the state of an earlier agent was not taken over; empty: it
  // was, or there was none.
  virtual std::string WhyNotInherited() const = 0;
  // Removes the inherited state that was not taken over. Nothing takes it over later.
  virtual void DropInherited() = 0;
  // This process ends: from now on destructors leave the programs and their table alone, for the
  // next agent to take over.
  virtual void KeepForNextAgent() = 0;
};

// Loads the programs, for the calling thread's network namespace, in which all further calls must
// be made. FailedPrecondition or PermissionDenied: this kernel or this process's privileges do not
// suffice; the message names the remedy. The programs of an earlier agent go on forwarding, or are
// removed when their state cannot be taken over (another FP_ABI, or no CAP_SYS_ADMIN). `store`
// keeps the taps, and outlives the result; nullptr: nothing keeps them.
absl::StatusOr<std::unique_ptr<FastPath>> OpenKernelFastPath(FdStore* store);

// For an agent without a kernel datapath: removes the programs and devices of an earlier agent.
absl::Status RemoveKernelFastPath();

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_FASTPATH_H_
