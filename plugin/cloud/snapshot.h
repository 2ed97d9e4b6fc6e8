// Reports of a cloud to people: snapshots, events and explanations. Plain values, for any thread.

#ifndef VXVDE_PLUGIN_CLOUD_SNAPSHOT_H_
#define VXVDE_PLUGIN_CLOUD_SNAPSHOT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plugin/base/cloud_key.h"
#include "plugin/base/drop.h"
#include "plugin/base/ids.h"
#include "plugin/base/location.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/cloud/options.h"
#include "plugin/cloud/verdict.h"
#include "plugin/fastpath/counters.h"
#include "plugin/snoop/snoop_state.h"

namespace vxvde {

struct PortSnapshot {
  PortId id = PortId::kNone;
  PortOptions options;
  FlowCounters from_pod;
  FlowCounters to_pod;
  DropCounters drops;             // of frames from this port, and of frames to it
  bool fast = false;              // the kernel datapath forwards or relays its frames
  std::string why_not_fast = {};  // empty: it does, will soon, or there is none
  bool obstructed = false;        // why_not_fast names another program that keeps frames away
  Duration age{};                 // since it was added
  Duration blocked{};             // time left during which it is blocked as in a loop
  uint64_t blocks = 0;            // how often that began
};
struct PeerSnapshot {
  Peer peer;
  uint64_t stations = 0;   // FDB entries behind it
  uint16_t fast_port = 0;  // 0: it has no kernel datapath, or cannot be reached by it
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
  uint64_t peers_not_kept = 0;     // frames of peers beyond those in the PeerTable
  Duration age{};                  // since it was joined
  uint16_t fast_port = 0;          // 0: it has no kernel datapath
  std::string why_not_fast = {};   // empty: it has one, or `datapath: user` excludes it
  bool obstructed = false;         // as of a port, at the uplink
  SlowCounters slow = {};          // frames that the programs punted
  std::string group_problem = {};  // how multicast fails on the underlay; empty: no sign of it
  uint64_t rejoins = 0;            // of the group, because of that
  std::optional<SnoopState> snooping = {};  // absent: groups go to all ports
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
    kStorm,         // a port or peers (`peer` is one) flood more than their limit; reported once
    kPortFailed,    // its interface is gone or down for good; the owner calls TakePort
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

// The verdict of Forward() on a frame, and its reasons.
struct Explanation {
  Verdict verdict;
  Location from;  // where `source` is, or the place that was assumed for it
  bool source_known = false;
  bool destination_known = false;
  std::vector<std::string> reasons;  // one sentence each, in the order of the decision
  std::string fast = {};             // the same of the kernel datapath; empty without one
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_SNAPSHOT_H_
