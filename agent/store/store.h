// Store: the state that an agent keeps over its own restart, as files in the run-dir.
//
//   attachments/ID.json   one for each committed attachment
//   copies/ID.json        a copy of the record, written before it and removed before it: a record
//                         that was torn or lost is rewritten from it
//   planned/ID            empty: an ADD is in progress, or was when it or the agent was killed, and
//                         may have left a link
//   ended/ID.json         the record of an attachment whose interface is gone without a DEL: DEL or
//                         GC still has to release what it holds elsewhere (a lease)
//   queue/ID.json         DELs that came while no agent answered (agent/api/detach_queue.h)
//   leases/NAME.json      one for each lease of addresses that the agent assigned; NAME is a hash
//                         of the name of the lease
//   clouds.json           the unicast port of each joined cloud
//
// A file is replaced as a whole (written beside, then renamed): a reader sees the old or the new
// one. Each contains the version of its format and a checksum; agents without checksums read and
// write the same files. There is no fsync: the run-dir is a tmpfs, and a reboot ends all
// attachments anyway. A file that cannot be parsed is set aside as *.bad and reported, and is never
// fatal.
//
// Neighbouring versions read each other's files: keys are added and never get another meaning, and
// a reader ignores unknown keys. "version" changes only where that is impossible.

#ifndef VXVDE_AGENT_STORE_STORE_H_
#define VXVDE_AGENT_STORE_STORE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/api/detach_queue.h"
#include "agent/model/allowed.h"
#include "agent/model/attachment.h"
#include "plugin/base/cloud_key.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {

struct AttachmentRecord {
  std::string id;  // AttachmentId of the next three
  std::string network;
  std::string container_id;
  std::string ifname;
  std::string
      main_ifname;  // interface name of the ADD that it belongs to, by which the runtime knows it
  std::string pod_namespace;  // these three are empty outside Kubernetes
  std::string pod_name;
  std::string pod_uid;
  std::string caller = "cni";  // or "netavark"
  bool tap = false;
  std::string netns;        // path
  std::string netns_id;     // of a tap's namespace, if the agent has seen that the path leads there
  std::string host_ifname;  // empty for a tap
  MacAddress mac;
  int mtu = 0;  // of the pod's interface
  std::vector<IpPrefix> addresses;
  std::vector<PortMapping> port_mappings;
  bool node_port =
      false;  // it uses the node's own port in the cloud, as a gateway or to publish ports
  std::vector<Allowed> allow;  // exceptions from port security
  std::string vnl;             // canonical locator of the cloud as it was joined
  uint16_t unicast_port = 0;   // of the cloud; 0: unknown

  friend bool operator==(const AttachmentRecord&, const AttachmentRecord&) = default;
};

// Total functions over text. The message of InvalidArgument describes the error.
std::string FormatRecord(const AttachmentRecord& record);
absl::StatusOr<AttachmentRecord> ParseRecord(absl::string_view json);

// Addresses that the agent assigned.
struct LeaseRecord {
  std::string lease;  // name of the lease: an attachment's id, or a name that another part of the
                      // agent chose
  CloudKey cloud;
  std::string owner;  // AddressWish
  MacAddress mac;
  std::vector<IpPrefix> addresses;

  friend bool operator==(const LeaseRecord&, const LeaseRecord&) = default;
};

std::string FormatLease(const LeaseRecord& record);
absl::StatusOr<LeaseRecord> ParseLease(absl::string_view json);

using UnicastPorts = std::map<CloudKey, uint16_t>;
std::string FormatUnicastPorts(const UnicastPorts& ports);
absl::StatusOr<UnicastPorts> ParseUnicastPorts(absl::string_view json);

class Store {
 public:
  // `run_dir` exists; creates what is missing in it.
  static absl::StatusOr<Store> Open(const std::string& run_dir);

  // To be called before a link may be created.
  absl::Status Plan(const std::string& id);
  // The plan left nothing behind. Also OK if there was none.
  absl::Status Unplan(const std::string& id);
  // Ends the plan, if there was one.
  absl::Status Save(const AttachmentRecord& record);
  // Moves a record from attachments to ended. Also OK if there is none.
  absl::Status End(const std::string& id);
  // Removes the record from both folders, and its plan. Also OK if there is none.
  absl::Status Remove(const std::string& id);
  absl::Status RemoveEnded(const std::string& id);
  absl::Status SavePorts(const UnicastPorts& ports);
  absl::Status SaveLease(const LeaseRecord& record);
  // Also OK if there is none.
  absl::Status RemoveLease(const std::string& lease);
  DetachQueue& queue() { return queue_; }

  struct Contents {
    std::vector<AttachmentRecord> records;  // by id
    std::vector<AttachmentRecord> ended;    // by id
    std::vector<std::string> planned;       // ids without a record
    UnicastPorts ports;
    std::vector<std::string> problems;  // one sentence for each file that was set aside
    std::vector<std::string> rebuilt;   // ids of records that were rebuilt from their copies
  };
  // Loads the state as last saved, and repairs inconsistencies.
  absl::StatusOr<Contents> Load();

  struct Leases {
    std::vector<LeaseRecord> records;
    std::vector<std::string> problems;
  };
  absl::StatusOr<Leases> LoadLeases();

 private:
  explicit Store(const std::string& run_dir) : run_dir_(run_dir), queue_(run_dir) {}
  std::string RecordPath(const std::string& id) const;
  std::string CopyPath(const std::string& id) const;
  std::string PlanPath(const std::string& id) const;
  std::string EndedPath(const std::string& id) const;
  absl::Status MatchCopies(Contents& contents);
  std::string LeasePath(const std::string& lease) const;

  std::string run_dir_;
  DetachQueue queue_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_STORE_STORE_H_
