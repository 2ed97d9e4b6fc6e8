// What is said to a cloud, and what it says of itself: plain values, safe to
// hand to any thread. Part of the door: plugin/switch.h brings them to its users.

#ifndef VXVDE_PLUGIN_CLOUD_TYPES_H_
#define VXVDE_PLUGIN_CLOUD_TYPES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plugin/base/drop.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/forward.h"
#include "plugin/cloud/guard.h"
#include "plugin/cloud/storm.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/fdb/fdb.h"
#include "plugin/snoop/snooper.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

// Who may forward: the kernel where it can, the kernel or nobody, this program.
enum class Datapath { kAuto, kKernel, kUser };

struct CloudOptions {
  CloudConfig config;
  IfIndex uplink = IfIndex::kNone;
  std::string uplink_name;
  int uplink_mtu = 1500;
  uint16_t unicast_port = 0;  // 0 = the kernel chooses
  Datapath datapath = Datapath::kAuto;
  // Source of what the agent itself says in the cloud; no station: it says nothing.
  MacAddress agent_mac = {};
  StormLimits storm = {};
  // Groups only to ports that want them. Not without a station that asks.
  bool snooping = true;
};

struct PortOptions {
  std::string name;  // for people: the host interface, or CONTAINER/IFNAME
  MacAddress mac;    // static in the FDB
  int mtu = 0;       // of the pod's interface
  // This node's end of the pod's veth pair, if the port is one: it may become fast.
  IfIndex host_end = IfIndex::kNone;
  PortGuard guard = {};  // what it may send
};

// What one turn of the event loop saw. Plain values, safe to hand to any thread.
struct PortSnapshot {
  PortId id = PortId::kNone;
  PortOptions options;
  FlowCounters from_pod;
  FlowCounters to_pod;
  DropCounters drops;  // of frames from this port and of frames that it could not take
  bool fast = false;   // its frames pass the kernel's programs first
  std::string why_not_fast =
      {};               // empty when it is, when it is soon to be, and without a fast path
  Duration age{};       // since it was added
  Duration blocked{};   // for so long it is still kept out of floods because it is in a loop
  uint64_t blocks = 0;  // how often that was so
};
struct PeerSnapshot {
  Peer peer;
  uint64_t stations = 0;   // FDB entries behind it
  uint16_t fast_port = 0;  // 0: a member without a fast path, or one that we have no way to
  FlowCounters from_peer;
  FlowCounters to_peer;
  Duration age{};   // since it was first heard
  Duration idle{};  // since it was last heard
};
struct StationSnapshot {
  MacAddress mac;
  Location where;
  bool is_static = false;
  Duration idle{};    // since its last frame; zero when static
  bool held = false;  // it moved too often, and stays here for a while
};
struct CloudSnapshot {
  CloudOptions options;                        // unicast_port as bound
  std::vector<PortSnapshot> ports = {};        // by id
  std::vector<PeerSnapshot> peers = {};        // by peer
  uint64_t station_count = 0;                  // FDB entries
  std::vector<StationSnapshot> stations = {};  // by MAC; only those that were asked for
  DropCounters drops;                          // of datagrams; those of frames are with their port
  FlowCounters from_group;                     // received at the group socket, own echoes excluded
  FlowCounters to_group;
  uint64_t moves = 0;        // stations that changed place
  uint64_t conflicts = 0;    // frames that claimed a pod's MAC from elsewhere
  uint64_t not_learned = 0;  // stations refused because the FDB, or the share of a place, is full
  uint64_t holds = 0;        // how often a station was held where it is
  uint64_t peers_not_kept = 0;     // frames of peers beyond those that are counted one by one
  Duration age{};                  // since it was joined
  uint16_t fast_port = 0;          // 0: it has no fast path
  std::string why_not_fast = {};   // empty when it has a fast path, and when it was to have none
  SlowCounters slow = {};          // what the programs left to us
  std::string group_problem = {};  // how multicast fails on the underlay; empty: not that we know
  uint64_t rejoins = 0;            // of the group, because of that
  std::optional<Snooper::State> snooping = {};  // absent: groups go to all ports
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
    kPeerGone,  // left, or silent until its last station expired
    kStationAdded,
    kStationMoved,
    kStationGone,   // removed or expired
    kStationHeld,   // it moves too often: it stays where it was before for a while
    kPortBlocked,   // it is in a loop: nothing is flooded to or from it for a while
    kStorm,         // more is flooded than may be, by a port or by peers (`peer` is one): said once
    kPortFailed,    // its interface is gone or down for good; RemovePort is the owner's move
    kGroupUnheard,  // multicast fails on the underlay: `text` says how
    kGroupHeard,    // and works again
  };
  Kind kind;
  CloudKey cloud = {};
  PortId port = PortId::kNone;         // kPort*, or the station's place
  std::optional<Peer> peer = {};       // kPeer*, or the station's place
  std::optional<MacAddress> mac = {};  // kStation*
  std::string text = {};               // kGroupUnheard
};

// What Forward() says of a frame, and why.
struct Explanation {
  Verdict verdict;
  Location from;  // where `source` is, or the place that was assumed for it
  bool source_known = false;
  bool destination_known = false;
  std::vector<std::string> reasons;  // one sentence each, in the order of the decision
  std::string fast = {};             // what the fast path says of it; empty without one
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_TYPES_H_
