// The state of a node for status and metrics: plain structs, taken in one turn of the event loop.
// The gRPC services, the metrics and vxvdectl read this one snapshot.

#ifndef VXVDE_AGENT_MODEL_NODE_SNAPSHOT_H_
#define VXVDE_AGENT_MODEL_NODE_SNAPSHOT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "agent/model/allocator_snapshot.h"
#include "agent/model/attachment.h"
#include "plugin/base/time.h"
#include "plugin/switch.h"

namespace vxvde {

struct CloudInfo {
  std::string name;  // from the configuration, or the locator
  std::string vnl;   // canonical
  CloudSnapshot state;
  std::string datapath;         // "kernel" or "user"
  std::string datapath_reason;  // why it is not "kernel"; empty if it is
};

// Repairs of differences between the run-dir and the kernel since the agent started.
struct Reconciled {
  uint64_t looks = 0;          // comparisons with the kernel
  uint64_t attachments = 0;    // ended, because their interface or namespace was gone without a DEL
  uint64_t links = 0;          // deleted, because their ADD had died
  uint64_t leases = 0;         // released, because no attachment used them
  uint64_t dels = 0;           // queued while no agent answered, and carried out
  uint64_t records = 0;        // rewritten from their copies
  uint64_t unreadable = 0;     // files of the run-dir that were set aside
  uint64_t unknown_links = 0;  // a gauge: links that exist now and are left alone
};

// nftables of one purpose.
struct RulesState {
  std::string part;          // "firewall"
  std::string problem = {};  // why they are not as they should be; empty when they are
  bool blocks_pods = false;  // until then the node must not get new pods
};

struct NodeSnapshot {
  std::string node;
  std::string version;
  Duration uptime{};
  std::vector<CloudInfo> clouds;            // joined ones, by name
  std::vector<AttachmentInfo> attachments;  // by id
  std::vector<AllocatorSnapshot> ipam;      // of joined clouds
  Reconciled reconciled = {};
  std::vector<RulesState> rules = {};
  std::string warning = {};    // a problem of the node as a whole; empty if there is none
  std::string not_ready = {};  // the part of it that keeps new pods from the node
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_MODEL_NODE_SNAPSHOT_H_
