// The only door into the switch core. A Switch holds the clouds of one node and
// belongs to the thread of its EventLoop; nothing here is thread-safe.
//
// A cloud is joined with its first port's plan and left by Leave(): joining and leaving, and
// which port number each cloud keeps, are the owner's decisions.

#ifndef VXVDE_PLUGIN_SWITCH_H_
#define VXVDE_PLUGIN_SWITCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/drop.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/forward.h"
#include "plugin/fdb/fdb.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/io.h"
#include "plugin/os/udp.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

class Cloud;

struct CloudOptions {
  CloudConfig config;
  IfIndex uplink = IfIndex::kNone;
  std::string uplink_name;
  int uplink_mtu = 1500;
  uint16_t unicast_port = 0;  // 0 = the kernel chooses
};

struct PortOptions {
  std::string name;    // for people: the host interface, or CONTAINER/IFNAME
  MacAddress mac;      // static in the FDB
  int mtu = 0;         // of the pod's interface
};

// What one turn of the event loop saw. Plain values, safe to hand to any thread.
struct PortSnapshot {
  PortId id = PortId::kNone;
  PortOptions options;
  FlowCounters from_pod;
  FlowCounters to_pod;
  DropCounters drops;  // of frames from this port and of frames that it could not take
  Duration age{};      // since it was added
};
struct PeerSnapshot {
  Peer peer;
  uint64_t stations = 0;  // FDB entries behind it
  FlowCounters from_peer;
  FlowCounters to_peer;
  Duration age{};         // since it was first heard
  Duration idle{};        // since it was last heard
};
struct StationSnapshot {
  MacAddress mac;
  Location where;
  bool is_static = false;
  Duration idle{};  // since its last frame; zero when static
};
struct CloudSnapshot {
  CloudOptions options;  // unicast_port as bound
  std::vector<PortSnapshot> ports;        // by id
  std::vector<PeerSnapshot> peers;        // by peer
  std::vector<StationSnapshot> stations;  // by MAC
  DropCounters drops;                     // of datagrams; those of frames are with their port
  FlowCounters from_group;                // received at the group socket, own echoes excluded
  FlowCounters to_group;
  uint64_t moves = 0;           // stations that changed place
  uint64_t conflicts = 0;       // frames that claimed a pod's MAC from elsewhere
  uint64_t not_learned = 0;     // stations refused because the FDB is full
  Duration age{};               // since it was joined
};
struct SwitchSnapshot {
  std::vector<CloudSnapshot> clouds;  // by key
};

struct SwitchEvent {
  enum class Kind {
    kCloudJoined,
    kCloudLeft,
    kPortAdded,
    kPortRemoved,
    kPeerSeen,
    kPeerGone,     // left, or silent until its last station expired
    kStationAdded,
    kStationMoved,
    kStationGone,  // removed or expired
    kPortFailed,   // its interface is gone or down for good; RemovePort is the owner's move
  };
  Kind kind;
  CloudKey cloud;
  PortId port = PortId::kNone;        // kPort*, or the station's place
  std::optional<Peer> peer;           // kPeer*, or the station's place
  std::optional<MacAddress> mac;      // kStation*
};

// What Forward() says of a frame, and why.
struct Explanation {
  Verdict verdict;
  Location from;          // where `source` is, or the place that was assumed for it
  bool source_known = false;
  bool destination_known = false;
  std::vector<std::string> reasons;  // one sentence each, in the order of the decision
};

// How sockets are made; tests put their own in.
struct SwitchSockets {
  using Factory = std::function<absl::StatusOr<std::unique_ptr<DatagramIo>>(const UdpOptions&)>;
  Factory group = OpenGroupSocket;
  Factory unicast = OpenUnicastSocket;
};

class Switch {
 public:
  using Listener = std::function<void(const SwitchEvent&)>;

  explicit Switch(EventLoop* loop, SwitchSockets sockets = {});
  ~Switch();  // says nothing on the wire

  void SetListener(Listener listener);

  // Addresses of this node: a datagram from one of them and from a cloud's own port is our echo.
  void SetLocalAddresses(std::vector<IpAddress> addresses);

  // AlreadyExists: the cloud is joined already, or the unicast port is taken (the message says which).
  absl::Status Join(const CloudOptions& options);
  bool IsJoined(const CloudKey& cloud) const;
  // Sends the leave datagram to the group and forgets the cloud. Its ports must be removed before.
  void Leave(const CloudKey& cloud);

  // AlreadyExists when the MAC is another port's. Frames flow when it returns.
  absl::StatusOr<PortId> AddPort(const CloudKey& cloud, const PortOptions& options,
                                 std::unique_ptr<FrameIo> io);
  absl::Status RemovePort(const CloudKey& cloud, PortId port);

  // Sends `frame` (whole, plain) as if the pod of `port` had sent it: gratuitous ARP and the like.
  absl::Status Inject(const CloudKey& cloud, PortId port, std::span<const uint8_t> frame);

  SwitchSnapshot Snapshot() const;

  // NotFound: no such cloud. An unknown `source` is
  // assumed behind a port of its own.
  absl::StatusOr<Explanation> Explain(const CloudKey& cloud, const MacAddress& source,
                                      const MacAddress& destination) const;

 private:
  friend class Cloud;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_SWITCH_H_
