// vxvdectl's side of agent/api/attach.proto: checks attachments, and forgets ended ones.
// handoff.sock serves root and the agent's own user only.

#ifndef VXVDE_AGENT_CTL_ATTACHMENTS_H_
#define VXVDE_AGENT_CTL_ATTACHMENTS_H_

#include <google/protobuf/struct.pb.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/api/status.pb.h"

namespace vxvde {

// The state of one attachment.
struct AttachmentFinding {
  std::string network, container, ifname;
  std::string netns;    // path
  std::string finding;  // empty: no problem
  std::string remedy;
};

// Every attached or planned attachment, with the agent's answer to CNI's CHECK. Unavailable: no
// answer at `socket`, the path of handoff.sock.
absl::StatusOr<std::vector<AttachmentFinding>> CheckAttachments(const std::string& socket);

// Adds the ports that work but are slow: another program keeps their frames, or all frames of their
// cloud, from the kernel datapath.
void AddObstacles(const v1::ListCloudsResponse& clouds, const v1::ListPortsResponse& ports,
                  std::vector<AttachmentFinding>& findings);

// Every attachment that ended without a DEL. Unless `dry_run`, the agent forgets those whose
// network namespace is gone too.
absl::StatusOr<std::vector<AttachmentFinding>> CollectEnded(const std::string& socket,
                                                            bool dry_run);

// A header line, then one line for each finding; `title` heads the findings.
std::string FindingsView(const std::vector<AttachmentFinding>& all, const std::string& title,
                         bool wide);
// {"attachments": [{"network": ...}]}; `name` is the key of the findings.
google::protobuf::Struct FindingsMessage(const std::vector<AttachmentFinding>& all,
                                         const std::string& name);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CTL_ATTACHMENTS_H_
