// What people and programs are shown of a node: plain structs, taken in one turn of the event loop.
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
  std::string warning = {};  // what is wrong with the node as a whole; empty when nothing is
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_MODEL_NODE_SNAPSHOT_H_
