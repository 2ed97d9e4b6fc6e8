// What people are shown of a node: plain structs, taken in one turn of the event
// loop. The gRPC services, the metrics and vxvdectl all read this one snapshot.

#ifndef VXVDE_AGENT_NODE_H_
#define VXVDE_AGENT_NODE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/ipam/snapshot.h"
#include "plugin/base/ip_address.h"
#include "plugin/switch.h"

namespace vxvde {

// Who is behind a port, as the runtime named it; or the node itself (mode "node").
struct AttachmentInfo {
  std::string id;       // AttachmentId
  std::string network;  // CNI network name
  std::string container_id;
  std::string ifname;
  std::string main_ifname;    // of its ADD
  std::string pod_namespace;  // empty outside Kubernetes
  std::string pod_name;
  std::string caller = "cni";  // or "netavark"
  std::string mode;            // "veth", "tap" or "node"
  std::string host_ifname;     // empty for taps
  std::string netns;           // path
  std::vector<IpPrefix> addresses;
  std::vector<std::string> allow = {};  // to send beside what is its own
  CloudKey cloud;
  PortId port = PortId::kNone;  // kNone: recorded, but not attached now
  std::string problem;          // why not attached; empty when it is
};

struct CloudInfo {
  std::string name;  // from the configuration; else the locator
  std::string vnl;   // canonical
  CloudSnapshot state;
  std::string datapath;         // "kernel" or "user"
  std::string datapath_reason;  // why not the kernel; empty when it is
};

// What did not agree with the kernel, or with itself, and was put in order: since the agent
// started.
struct Reconciled {
  uint64_t looks = 0;          // at the kernel
  uint64_t attachments = 0;    // ended, because their interface or namespace was gone without a DEL
  uint64_t links = 0;          // deleted, because their ADD had died
  uint64_t leases = 0;         // of nobody, given back
  uint64_t dels = 0;           // queued while no agent answered, and done
  uint64_t records = 0;        // written anew from their copies
  uint64_t unreadable = 0;     // files of the run-dir that were set aside
  uint64_t unknown_links = 0;  // not a count: those that are there now, left alone
};

struct NodeSnapshot {
  std::string node;
  std::string version;
  Duration uptime{};
  std::vector<CloudInfo> clouds;            // joined ones, by name
  std::vector<AttachmentInfo> attachments;  // by id
  std::vector<AllocatorSnapshot> ipam;      // of joined clouds
  Reconciled reconciled = {};
};

// What the status side may ask of the node. Every call is made on the loop's thread.
class NodeView {
 public:
  virtual ~NodeView() = default;
  // Of stations only how many.
  virtual NodeSnapshot Snapshot() const = 0;
  // The first `limit` stations of a cloud by MAC, of those behind `after`; none of an unknown
  // cloud.
  virtual std::vector<StationSnapshot> Stations(const CloudKey& cloud,
                                                const std::optional<MacAddress>& after,
                                                size_t limit) const = 0;
  // `cloud`: a configured name or a locator. NotFound names it.
  virtual absl::StatusOr<Explanation> Explain(const std::string& cloud, const MacAddress& source,
                                              const MacAddress& destination) const = 0;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_NODE_H_
