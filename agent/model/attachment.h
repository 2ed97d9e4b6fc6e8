// Values that name an attachment and describe the ports that it publishes. The contracts of several
// rooms use them.

#ifndef VXVDE_AGENT_MODEL_ATTACHMENT_H_
#define VXVDE_AGENT_MODEL_ATTACHMENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plugin/base/cloud_key.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

// attach.proto, AttachmentKey.
struct AttachmentKey {
  std::string network;
  std::string container_id;
  std::string ifname;
};

// attach.proto, PortMapping.
struct PortMapping {
  uint16_t host_port = 0;
  uint16_t container_port = 0;
  std::string protocol;  // "tcp", "udp" or "sctp"
  // The node's address at which it is published. Unspecified: all addresses of its family; absent:
  // all.
  std::optional<IpAddress> host_ip;

  friend bool operator==(const PortMapping&, const PortMapping&) = default;
};

// The attachment of a port, named as the runtime does, or the node itself (mode "node").
struct AttachmentInfo {
  std::string id;       // AttachmentId
  std::string network;  // CNI network name
  std::string container_id;
  std::string ifname;
  std::string main_ifname;    // interface name of its ADD
  std::string pod_namespace;  // empty outside Kubernetes
  std::string pod_name;
  std::string caller = "cni";  // or "netavark"
  std::string mode;            // "veth", "tap" or "node"
  std::string host_ifname;     // empty for taps
  std::string netns;           // path
  std::vector<IpPrefix> addresses;
  std::vector<std::string> allow = {};  // exceptions from port security
  CloudKey cloud;
  PortId port = PortId::kNone;  // kNone: recorded, but without a port now
  std::string problem;          // why it has no port; empty if it has one
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_MODEL_ATTACHMENT_H_
