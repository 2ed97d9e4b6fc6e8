// Options for joining a cloud and adding a port: plain values.

#ifndef VXVDE_PLUGIN_CLOUD_OPTIONS_H_
#define VXVDE_PLUGIN_CLOUD_OPTIONS_H_

#include <cstdint>
#include <string>

#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/cloud/guard.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

// The datapath that forwards: the kernel's where possible, only the kernel's, only the agent's.
enum class Datapath { kAuto, kKernel, kUser };

// Flooded frames a second; 0: no limit. A super-frame counts as the frames that it stands for.
struct StormLimits {
  uint32_t port = 20'000;   // of one port, and of one peer
  uint32_t cloud = 50'000;  // of all peers together

  friend bool operator==(const StormLimits&, const StormLimits&) = default;
};

struct CloudOptions {
  CloudConfig config;
  IfIndex uplink = IfIndex::kNone;
  std::string uplink_name;
  int uplink_mtu = 1500;
  uint16_t unicast_port = 0;  // 0 = the kernel chooses
  Datapath datapath = Datapath::kAuto;
  // Source of the agent's own frames in the cloud; no station: it sends none.
  MacAddress agent_mac = {};
  StormLimits storm = {};
  // Sends IP groups only to ports that have joined them. Requires `agent_mac`, to query from.
  bool snooping = true;
};

struct PortOptions {
  std::string name;  // for messages: the host interface, or CONTAINER/IFNAME
  MacAddress mac;    // static in the FDB
  int mtu = 0;       // of the pod's interface
  // This node's end of the pod's veth pair, if there is one: the kernel datapath may take it over.
  IfIndex host_end = IfIndex::kNone;
  PortGuard guard = {};  // frames that it may send
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_OPTIONS_H_
