// NodePorts: this node's own port in a cloud, with an address there. Through it, host and pods
// reach each other, pods may route through the node, and ports of the node may lead to pods.

#ifndef VXVDE_AGENT_NODE_PORT_NODE_PORTS_H_
#define VXVDE_AGENT_NODE_PORT_NODE_PORTS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/model/attachment.h"
#include "plugin/base/cloud_key.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

// The published ports of one attachment.
struct Publication {
  std::string id;      // of the attachment
  std::string holder;  // for messages: "container c1 interface eth0 ..."
  CloudKey cloud;
  std::vector<IpPrefix> addresses;  // of the attachment
  std::vector<PortMapping> mappings;
};

class NodePorts {
 public:
  virtual ~NodePorts() = default;

  // Opens the node's port in `cloud`, which is joined, with an address in each of `subnets`. The
  // port stays as long as the configuration or any user wants it. `done` is called once, in this
  // turn or a later one, unless Close(user) comes before; never from the destructor.
  using Opened = std::function<void(absl::StatusOr<std::vector<IpPrefix>>)>;
  virtual void Open(const std::string& user, const CloudKey& cloud,
                    const std::vector<IpPrefix>& subnets, Opened done) = 0;
  virtual void Close(const std::string& user) = 0;

  // Refuses mappings that cannot be published. The message names the attachment that has the port.
  virtual absl::Status CheckFree(const std::string& id,
                                 const std::vector<PortMapping>& mappings) const = 0;
  // The attachment's id must be a user of the port. Replaces its previous publication.
  virtual absl::Status Publish(const Publication& publication) = 0;
  // Does nothing if nothing is published.
  virtual void Unpublish(const std::string& id) = 0;

  // Refuses while nftables lack rules that pods of `cloud` need: those of its node port, of
  // published ports, and of the walls between pods and node. The message gives the reason.
  virtual absl::Status Ready(const CloudKey& cloud) const = 0;

  // The wanted ports, with mode "node", by cloud.
  virtual std::vector<AttachmentInfo> List() const = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_PORT_NODE_PORTS_H_
