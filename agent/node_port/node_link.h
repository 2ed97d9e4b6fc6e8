// The link of a node's own port in a cloud: a veth pair in the agent's namespace. The named end is
// the node's, with addresses; the other one is the switch's. Pure names, and the kernel as plain
// functions, as in links.h. Not here: when there is such a port (host_ports).
//
// How it is known again: the alias of both ends names the cloud. The switch's end has the name of a
// hash of that, from the message that makes the pair, so that a pair without aliases is ours, too.

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

// "vx-" and the cloud's name; a part of it and a hash when that is too long for an interface, or
// not a name but a locator.
std::string NodeIfName(absl::string_view cloud_name);
// "vxvde-node:" and the cloud's key as text.
std::string NodeAlias(const CloudKey& cloud);
// Of the switch's end.
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
  // Makes the pair, or takes over the one with that alias and makes it so: both ends up, exactly
  // these addresses. The switch's end. AlreadyExists: somebody else's interface has the name.
  std::function<absl::StatusOr<IfIndex>(const NodeLink&)> ensure;
  // OK when there is none.
  std::function<absl::Status(const std::string& alias)> remove;
  // "net/ipv4/ip_forward" of /proc/sys.
  std::function<absl::StatusOr<std::string>(const std::string& key)> get;
  std::function<absl::Status(const std::string& key, const std::string& value)> set;
};

// The kernel of the calling thread's network namespace; `proc_sys`: where its /proc/sys can be
// written, which in a container is somewhere else.
absl::StatusOr<NodeLinkKernel> KernelNodeLinks(const std::string& proc_sys);

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_NODE_LINK_H_
