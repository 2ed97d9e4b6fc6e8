// FastPath: known unicast, forwarded by the kernel itself (tc programs, fastpath.bpf.c), between
// the pods of this node and to and from agents that have a fast path as well.
//
// The cloud (plugin/cloud) decides; this holds a copy of what it has learned. Invariants:
//   F1  A frame is either forwarded here as Forward() would, or punted: handed to the cloud, which
//       reads it from frames() or datagrams(). Never both, never neither.
//   F2  Only the cloud adds, moves or removes stations, peers and ports. The programs write ages
//       and counters.
//   F3  A station is alive here until the cloud takes it away, so the cloud must ask LastSeen()
//   before
//       it lets one expire.
//   F4  What leaves with unfinished checksums or as a super-frame goes to a fast port of another
//       agent, never to a plain member.
//
// The fast port is a second UDP port of a cloud on this node. Agents tell it to each other
// (plugin/wire/hello.h) and send to it what their programs encapsulate, from the unicast port,
// which stays the one address by which a member is known. No socket of ours reads it: what the
// programs cannot handle there is punted whole.

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
#include "plugin/fdb/fdb.h"
#include "plugin/os/fd.h"
#include "plugin/os/fd_store.h"
#include "plugin/os/io.h"

namespace vxvde {

// Why the programs left a frame to the cloud. Numbers are those of abi.h; kernel.cc compares them.
enum class Slow : uint8_t {
  kGroup = 0,     // broadcast or multicast
  kUnknown = 1,   // the destination is unknown, or at a peer without a fast path
  kMoved = 2,     // the source is unknown or elsewhere: to be learned
  kKind = 3,      // not IP; or to or from a peer with a VLAN tag, or a super-frame that is not TCP
  kTooBig = 4,    // does not fit one datagram of the way there
  kSlowPort = 5,  // the destination's port is not a fast one (a tap)
  kSamePort = 6,  // to where it came from
  kOdd = 7,       // headers that the programs do not understand
  kGuarded = 8,   // from a pod: what a PortGuard may refuse (plugin/cloud/guard.h), or may hide it
};
inline constexpr size_t kSlowReasons = 9;
// "group", "unknown", ...; "" when out of range.
absl::string_view SlowName(Slow reason);

// What the programs have counted since the port or peer was added.
struct FastCounters {
  FlowCounters from;  // from the pod, or from the peer
  FlowCounters to;
};
// Punted, and lost because the cloud did not read them soon enough.
struct FastLost {
  uint64_t frames = 0;
  uint64_t datagrams = 0;
};
using SlowCounters = std::array<uint64_t, kSlowReasons>;

struct PuntedFrame {
  enum class Way {
    kFrom,   // from `port`, to be forwarded
    kTo,     // to `port`, a carried one, to be delivered
    kProof,  // what was unpacked for carried ports arrives; `port` is none
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

// What the programs know from an agent before this one.
struct LeftPeer {
  Peer peer;
  uint16_t fast_port = 0;
};
struct LeftStation {
  MacAddress mac;
  Instant seen;
};

// The fast path of one cloud. A port, peer or station that was never added is no fast one.
class FastCloud {
 public:
  virtual ~FastCloud() = default;  // undoes all, unless FastPath::LeaveAll() was called

  // The same as before when an agent starts again.
  virtual uint16_t fast_port() const = 0;
  // Datagrams to the fast port that were punted, as if they had come to the unicast socket: the
  // sender with the port that it sends from, the payload with finished checksums. Never sent on.
  virtual DatagramIo& datagrams() = 0;
  virtual PuntIo& frames() = 0;

  // From now on the program reads what comes in at `host_end`, which must be no longer read
  // otherwise. FailedPrecondition: this interface cannot be fast (the message says why), and
  // nothing has changed.
  virtual absl::Status AddPort(PortId port, IfIndex host_end) = 0;
  // For a port that the cloud must read and write itself (a tap): a carried one. Its frames to
  // peers may go by Carry(); frames for it from peers come unpacked and whole to frames(), through
  // the node's own network stack, which must let the fast port through: Way::kProof says that it
  // does.
  // `mac`: the port's own.
  virtual absl::Status AddCarried(PortId port, const MacAddress& mac) = 0;
  // Sends `frame`, of a carried port and to a station at a peer; or gives it back at frames(), when
  // the programs cannot. kPortFull and the like: it is lost.
  virtual Drop Carry(PortId port, const OutFrame& frame) = 0;
  virtual void RemovePort(PortId port) = 0;

  // FailedPrecondition: there is no way to it for now (no route, another kind of interface); what
  // was known of it is forgotten. Called again when its fast port or the routes may have changed.
  virtual absl::Status SetPeer(const Peer& peer, uint16_t fast_port) = 0;
  virtual void ForgetPeer(const Peer& peer) = 0;
  // The first half of ForgetPeer, for a peer with many stations: the programs send nothing to it
  // and take nothing from it any more, but its place is not another's. ForgetPeer follows.
  virtual void StopPeer(const Peer& peer) = 0;

  // A station that is at no fast port or peer is forgotten, or marked as one of a slow port.
  virtual void SetStation(const MacAddress& mac, const Location& where, Instant seen) = 0;
  virtual void ForgetStation(const MacAddress& mac) = 0;
  // When the programs last saw a frame from it; nullopt: it has no entry.
  virtual std::optional<Instant> LastSeen(const MacAddress& mac) const = 0;

  // What an agent before this one has left, by which the programs forward all the time; nothing
  // when there was none. It is to be taken over as if it were new, ports by AddPort and peers by
  // SetPeer, then the stations there by SetStation; what is not is gone with FastPath::DropLeft().
  virtual bool WasPort(IfIndex host_end) const = 0;
  virtual bool WasCarried(const MacAddress& mac) const = 0;
  virtual std::vector<LeftPeer> LeftPeers() const = 0;
  virtual std::vector<LeftStation> LeftStations(const Location& where) const = 0;

  // Closes it on a thread of its own (FrameIo::Reopen).
  virtual void Discard(UniqueFd fd) = 0;

  // Goes on over another uplink.
  virtual absl::Status MoveTo(IfIndex uplink) = 0;

  virtual FastCounters CountersOf(PortId port) const = 0;
  virtual FastCounters CountersOf(const Peer& peer) const = 0;
  virtual SlowCounters slow() const = 0;
  virtual FastLost lost() const = 0;
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

  // For people: why what an agent before this one has left could not be taken over; empty when it
  // was, or nothing was there.
  virtual std::string WhyAnew() const = 0;
  // All that is to be taken over from an agent before this one has been.
  virtual void DropLeft() = 0;
  // This process ends: the programs go on with what they know, for the next agent to take over,
  // whatever is destroyed from now on.
  virtual void LeaveAll() = 0;
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
