// FastPath: the kernel (tc programs, fastpath.bpf.c) forwards known unicast between the pods of
// this node, and to and from agents that have a fast path as well.
//
// The cloud (plugin/cloud) decides; the programs hold a copy of its table. Invariants:
//   F1  A frame is either forwarded here as Forward() would, or punted: handed to the cloud, which
//       reads it from frames() or datagrams(). Never both, never neither.
//   F2  Only the cloud adds, moves or removes stations, peers and ports. The programs write ages
//       and counters.
//   F3  A station lives here until the cloud removes it, so the cloud asks LastSeen() before it
//       lets one expire.
//   F4  What leaves with unfinished checksums or as a super-frame goes to a fast port of another
//       agent, never to a plain member.
//
// The fast port is a second UDP port of a cloud on this node. Agents announce it to each other
// (plugin/wire/hello.h) and send to it what their programs encapsulate, from the unicast port,
// which stays the one address by which a member is known. No socket reads the fast port: the
// programs punt whole datagrams that they cannot handle there.

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
    kTunnelProbe,  // shows that frames unpacked for relayed ports arrive; `port` is none
  };
  Way way = Way::kFrom;
  PortId port = PortId::kNone;
  Frame frame = {};
};

// Frames that the programs left to us, or unpacked for us.
class PuntIo {
 public:
  virtual ~PuntIo() = default;
  virtual int fd() const = 0;
  // As FrameIo::Receive. Super-frames come whole. Frames of ports that are gone are left out.
  virtual absl::Status Receive(Buffers& buffers, std::vector<PuntedFrame>& out,
                               DropCounters& drops) = 0;
};

struct FastCloudOptions {
  IpAddress group;  // its family is that of all peers
  Vni vni;
  uint16_t unicast_port = 0;
  IfIndex uplink = IfIndex::kNone;
  int ttl = 1;  // of IPv4 datagrams; IPv6 unicast leaves with 64 (docs/PROTOCOL.md)
  std::optional<IpAddress> bind;  // address to send from; absent: what the route to a peer says
};

// The table that the programs of one cloud forward by: ports, peers, and the stations at them. A
// port, peer or station that was never added is not offloaded.
class FastTable {
 public:
  virtual ~FastTable() = default;

  // Unavailable: at present another program may keep the frames of this interface from the program
  // (the message names it). The program is put before it where that is possible: ask again later.
  virtual absl::Status CheckPort(IfIndex host_end) = 0;
  // From now on the program reads the frames that come in at `host_end`; nothing else may read
  // them. FailedPrecondition: this interface cannot be offloaded (the message says why), and
  // nothing has changed.
  virtual absl::Status AddPort(PortId port, IfIndex host_end) = 0;
  // For a port that the cloud reads and writes itself (a tap): a relayed one. The cloud sends its
  // frames to peers by FastTraffic::Relay(). Frames for it from peers arrive at
  // FastTraffic::frames() unpacked and whole. They pass the node's own network stack, which must
  // let the fast port through: Way::kTunnelProbe shows that it does.
  // `mac`: the port's own.
  virtual absl::Status AddRelayed(PortId port, const MacAddress& mac) = 0;
  virtual void RemovePort(PortId port) = 0;

  // FailedPrecondition: there is no way to it for now (no route, another kind of interface). A peer
  // that was added before is stopped then, as by StopPeer. Called again when its fast port or the
  // routes may have changed.
  virtual absl::Status SetPeer(const Peer& peer, uint16_t fast_port) = 0;
  virtual void ForgetPeer(const Peer& peer) = 0;
  // The first half of ForgetPeer, for a peer with many stations: the programs send nothing to it
  // and take nothing from it any more, but its slot stays reserved. ForgetPeer follows.
  virtual void StopPeer(const Peer& peer) = 0;

  // A station that is at no offloaded port or peer is forgotten, or marked as one of a slow port.
  virtual void SetStation(const MacAddress& mac, const Location& where, Instant seen) = 0;
  virtual void ForgetStation(const MacAddress& mac) = 0;
  // When the programs last saw a frame from it; nullopt: it has no entry.
  virtual std::optional<Instant> LastSeen(const MacAddress& mac) const = 0;

  virtual FastCounters CountersOf(PortId port) const = 0;
  virtual FastCounters CountersOf(const Peer& peer) const = 0;

  // Broadcast and multicast frames that each port may punt in a second (StormLimits); 0: no limit.
  // The programs drop the excess before it takes room from other ports.
  virtual void SetFloodLimit(uint32_t rate) = 0;
};

// The frames that pass between the programs of one cloud and the cloud.
class FastTraffic {
 public:
  virtual ~FastTraffic() = default;

  // The same as before when an agent starts again.
  virtual uint16_t fast_port() const = 0;
  // Datagrams to the fast port that were punted, as if they had come to the unicast socket: the
  // sender with the port that it sends from, the payload with finished checksums. Never sent on.
  virtual DatagramIo& datagrams() = 0;
  virtual PuntIo& frames() = 0;
  // Sends `frame`, of a relayed port and to a station at a peer; or gives it back at frames(), when
  // the programs cannot. kPortFull and the like: it is lost.
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

// What an earlier agent left in the programs of one cloud, which forward by it all the time; empty
// when there was none. The cloud takes it over as if it were new: ports by AddPort and peers by
// SetPeer, then the stations there by SetStation. FastPath::DropInherited() removes the rest.
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
  // Goes on over another uplink.
  virtual absl::Status MoveTo(IfIndex uplink) = 0;
  // Follows changes at the ports' interfaces. To be called every second.
  virtual void Tick() = 0;
  // Names another program that may keep frames from these programs at the uplink, or at the port's
  // host end; empty: there is none. As long as there is one, the cloud forwards by itself.
  virtual std::string Obstacle() const = 0;
  virtual std::string Obstacle(PortId port) const = 0;
  // What the programs would do with a frame from `source` to `destination`: one sentence.
  virtual std::string Explain(const MacAddress& source, const MacAddress& destination) const = 0;
};

// The fast path of a node. Outlives its clouds.
class FastPath {
 public:
  virtual ~FastPath() = default;

  // FailedPrecondition: this cloud cannot have one; the message says why.
  virtual absl::StatusOr<std::unique_ptr<FastCloud>> Join(const FastCloudOptions& options) = 0;
  // Addresses at which this node takes datagrams.
  virtual void SetLocalAddresses(const std::vector<IpAddress>& addresses) = 0;

  // The hook that the programs of uplinks are attached to: "tcx" or "clsact".
  virtual std::string Hooks() const = 0;
  // For people: why the state of an earlier agent could not be taken over; empty when it was, or
  // when there was none.
  virtual std::string WhyNotInherited() const = 0;
  // Removes what was inherited and not taken over: nothing more will be.
  virtual void DropInherited() = 0;
  // This process ends: the programs keep forwarding by their table, whatever is destroyed from now
  // on, until the next agent takes it over.
  virtual void KeepForNextAgent() = 0;
};

// Loads the programs, for the calling thread's network namespace, in which all further calls must
// be made. FailedPrecondition or PermissionDenied: this kernel, or what we may do with it, is not
// enough; the message says what is missing and what helps. What an agent before this one has left
// goes on meanwhile, or is taken away when we cannot go on with it (another FP_ABI, or no
// CAP_SYS_ADMIN). Taps are kept in `store`, which outlives it; nullptr: they are not.
absl::StatusOr<std::unique_ptr<FastPath>> OpenKernelFastPath(FdStore* store);

// For an agent that has no fast path: takes away the programs and devices of one before it that
// had.
absl::Status RemoveKernelFastPath();

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_FASTPATH_H_
