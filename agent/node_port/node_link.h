// The link of a node's own port in a cloud: a veth pair in the agent's namespace. The named end is
// the node's, with addresses; the other one is the switch's. Names are pure functions; the
// kernel is a set of plain functions, as in links.h. Not here: when such a port exists
// (host_ports).
//
// The alias of both ends names the cloud, by which a restarted agent recognises the pair. The
// message that creates the pair names the switch's end by a hash of that alias, so that a pair
// without aliases is recognised, too.

#ifndef VXVDE_AGENT_NODE_PORT_NODE_LINK_H_
#define VXVDE_AGENT_NODE_PORT_NODE_LINK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/cloud_key.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

// "vx-" and the cloud's name. If the name is too long for an interface, or is a locator: a part of
// it and a hash.
std::string NodeIfName(absl::string_view cloud_name);
// "vxvde-node:" and the cloud's key as text.
std::string NodeAlias(const CloudKey& cloud);
// The name of the switch's end.
std::string NodeSwitchIfName(const CloudKey& cloud);

struct NodeLink {
  std::string ifname;
  std::string switch_ifname;
  std::string alias;
  MacAddress mac;
  int mtu = 0;
  uint32_t gso_max_size = 0;
  std::vector<IpPrefix> addresses;

  friend bool operator==(const NodeLink&, const NodeLink&) = default;
};

struct NodeLinkKernel {
  // Makes the pair, or takes over the pair with that alias and adapts it: both ends up, exactly
  // these addresses. Returns the switch's end. AlreadyExists: another program's interface has the
  // name.
  std::function<absl::StatusOr<IfIndex>(const NodeLink&)> ensure;
  // OK if there is none.
  std::function<absl::Status(const std::string& alias)> remove;
  // Reads a key below /proc/sys, such as "net/ipv4/ip_forward".
  std::function<absl::StatusOr<std::string>(const std::string& key)> get;
  std::function<absl::Status(const std::string& key, const std::string& value)> set;
};

// The kernel of the calling thread's network namespace. `proc_sys`: the path of a writable
// /proc/sys, which differs in a container.
absl::StatusOr<NodeLinkKernel> KernelNodeLinks(const std::string& proc_sys);

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_NODE_LINK_H_
