// The commands: the order of their steps, and how each step is undone.
//
// No system calls and no JSON: everything outside is an interface, so that a test can fail each
// step in turn. One file for each command: add.cc, del.cc, check.cc, gc.cc, status.cc. netavark's
// setup and teardown are Add and Delete. Specification: CNI SPEC 1.1.0, section 2.

#ifndef VXVDE_CNI_COMMANDS_H_
#define VXVDE_CNI_COMMANDS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cni/agent_client.h"
#include "cni/ipam.h"
#include "cni/links.h"
#include "cni/request.h"

namespace vxvde {

class Output {
 public:
  virtual ~Output() = default;
  // The result, for the runtime (E1).
  virtual absl::Status Print(absl::string_view line) = 0;
  // One line for the log.
  virtual void Log(absl::string_view line) = 0;
};

struct Outside {
  PodLinks& links;
  AgentClient& agent;
  IpamPlugin& ipam;
  Output& output;
};

// Makes all attachments or none: an error restores the previous state. After SIGKILL at any point,
// Delete does so (E9).
absl::Status Add(const AddRequest& request, const Outside& outside);

// OK when nothing of what the ADD attached remains on this node, in whatever state it was (D1). The
// request need not name the clouds. Tries every step; the error names all that failed.
absl::Status Delete(const DelRequest& request, const Outside& outside);

// Compares the state of the container with the result of ADD, and changes nothing (C1).
// AttachError::kChanged names each difference; the agent's own codes say that no frame flows.
// Changes by later plugins are not differences: additional addresses, routes and interfaces, a
// smaller MTU, and a MAC address that they put into the result. Without an attachment of this
// network in the result the agent is not asked: ADD did not need it either.
absl::Status Check(const CheckRequest& request, const Outside& outside);

// Runs DEL for each attachment of the network that the agent knows, that CNI made and that
// `request.valid` does not list (G1). Skips those whose namespace exists and contains the
// interface: a runtime may be in the middle of an ADD, and an interface in use counts for more than
// its absence from the list. Then tells the IPAM plugin what remains. Continues after errors; the
// error names all. Removes nothing if the agent cannot list the attachments.
absl::Status CollectGarbage(const GcRequest& request, const Outside& outside);

// OK if the section attaches nothing by itself. kCniNotAvailable when ADD could not be served now;
// kCniLimitedConnectivity when in addition the existing attachments are cut off. An agent that
// restarts has a few seconds of grace (S1).
absl::Status CheckStatus(const StatusRequest& request, const Outside& outside);

}  // namespace vxvde

#endif  // VXVDE_CNI_COMMANDS_H_
