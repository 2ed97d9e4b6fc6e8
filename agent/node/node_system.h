// NodeSystem: the system under a node, as plain functions: sockets, links, rules, the kernel
// datapath and notifications. OpenNodeSystem() fills it with the kernel's; tests fill it with
// fakes.

#ifndef VXVDE_AGENT_NODE_NODE_SYSTEM_H_
#define VXVDE_AGENT_NODE_NODE_SYSTEM_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/attach/reconciler.h"
#include "agent/base/log.h"
#include "agent/kernel/links.h"
#include "agent/node/fast_path.h"
#include "agent/node_port/firewall.h"
#include "agent/node_port/host_end_wall.h"
#include "agent/node_port/node_link.h"
#include "agent/node_port/underlay_wall.h"
#include "plugin/os/fd_store.h"
#include "plugin/os/netlink.h"
#include "plugin/os/netlink_monitor.h"
#include "plugin/os/nftables.h"
#include "plugin/switch.h"

namespace vxvde {

struct NodeSystem {
  SwitchSockets sockets;
  NodeFastPath fast_path;
  Links links;
  NodeLinkKernel node_links;
  FirewallKernel firewall;
  NftKernel underlay_rules;
  UnderlayView underlay;
  NftKernel host_end_rules;
  HostEndLinks host_ends;
  std::function<absl::StatusOr<std::vector<IpAddress>>()> local_addresses;
  Reconciler::Look snapshot;
  GroupLookup group_id;
  std::function<uint64_t()> random;
  // Report changes of links and addresses, and of rules.
  std::optional<NetlinkMonitor> link_monitor;
  std::function<absl::StatusOr<NftMonitor>()> open_rule_monitor;
};

// The system of the calling thread's network namespace. Descriptors of ports and sockets are kept
// in `kept`, which outlives it. `proc_sys`: see KernelNodeLinks.
absl::StatusOr<NodeSystem> OpenNodeSystem(FdStore* kept, Datapath datapath,
                                          const std::string& proc_sys, const Log& log);

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_NODE_SYSTEM_H_
