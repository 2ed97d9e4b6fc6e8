// Store: what an agent must remember over its own restart, as files in the run-dir.
//
//   attachments/ID.json   one for each committed attachment
//   copies/ID.json        the same once more, written before it and removed before it: from it a
//                         record that was torn or lost is written anew
//   planned/ID            empty: an ADD is under way, or was when it or the agent was killed, and
//                         has perhaps left a link
//   ended/ID.json         the same of one whose interface is gone without a DEL: what it has
//                         elsewhere (a lease) is still to be given back, by DEL or GC
//   queue/ID.json         DELs that came while no agent answered (agent/api/detach_queue.h)
//   leases/NAME.json      one for each lease of addresses that the agent itself gave out; NAME is a
//                         hash of what the lease is called
//   clouds.json           the unicast port of each joined cloud
//
// A file is replaced whole (written beside, then renamed): a reader sees the old or the new.
// Each has the version of its format and a checksum; agents without checksums read and write them
// as well. No fsync: the run-dir is a tmpfs, and a reboot ends all attachments anyway. A file that
// cannot be understood is set aside as *.bad and reported, never fatal.
//
// What a version writes the next one reads, and the other way round: keys are added, never given
// another meaning; who does not know one leaves it out. "version" would change when that cannot be.

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
  std::string main_ifname;    // of the ADD that it is part of: what the runtime knows it by
  std::string pod_namespace;  // these three are empty outside Kubernetes
  std::string pod_name;
  std::string pod_uid;
  std::string caller = "cni";  // or "netavark"
  bool tap = false;
  std::string netns;        // path
  std::string netns_id;     // of a tap's namespace, if the agent has seen the path lead there
  std::string host_ifname;  // empty for a tap
  MacAddress mac;
  int mtu = 0;  // of the pod's interface
  std::vector<IpPrefix> addresses;
  std::vector<PortMapping> port_mappings;
  bool node_port =
      false;  // it uses the node's own port in the cloud: routes or publishes through it
  std::vector<Allowed> allow;  // to send beside what is its own
  std::string vnl;             // canonical, of the cloud as it was joined
  uint16_t unicast_port = 0;   // of the cloud; 0: not known

  friend bool operator==(const AttachmentRecord&, const AttachmentRecord&) = default;
};

// Total functions over text. InvalidArgument says what is wrong with it.
std::string FormatRecord(const AttachmentRecord& record);
absl::StatusOr<AttachmentRecord> ParseRecord(absl::string_view json);

// Addresses that the agent itself gave out.
struct LeaseRecord {
  std::string lease;  // what it is called: an attachment's id, or another part's name for it
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
  // `run_dir` exists; makes what is missing in it.
  static absl::StatusOr<Store> Open(const std::string& run_dir);

  // Before a link may be made.
  absl::Status Plan(const std::string& id);
  // Nothing is left of that plan. Also OK when there was none.
  absl::Status Unplan(const std::string& id);
  // The plan, if there was one, is over.
  absl::Status Save(const AttachmentRecord& record);
  // From attachments to ended. Also OK when there is none.
  absl::Status End(const std::string& id);
  // From both, and its plan. Also OK when there is none.
  absl::Status Remove(const std::string& id);
  absl::Status RemoveEnded(const std::string& id);
  absl::Status SavePorts(const UnicastPorts& ports);
  absl::Status SaveLease(const LeaseRecord& record);
  // Also OK when there is none.
  absl::Status RemoveLease(const std::string& lease);
  DetachQueue& queue() { return queue_; }

  struct Contents {
    std::vector<AttachmentRecord> records;  // by id
    std::vector<AttachmentRecord> ended;    // by id
    std::vector<std::string> planned;       // ids without a record
    UnicastPorts ports;
    std::vector<std::string> problems;  // one sentence for each file that was set aside
    std::vector<std::string> rebuilt;   // ids of records that are there by their copy alone
  };
  // Everything, as it was saved last; and puts in order what was not.
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
