// What ADD, DEL and STATUS do, in which order, and how each step is undone. No system
// calls: what is outside comes as interfaces, so that every step can be failed in a test.
// Source: CNI SPEC 1.1.0, section 2.

#ifndef VXVDE_CNI_COMMANDS_H_
#define VXVDE_CNI_COMMANDS_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cni/agent_client.h"
#include "cni/ipam.h"
#include "cni/links.h"
#include "cni/request.h"

namespace vxvde {

struct Outside {
  PodLinks& links;
  AgentClient& agent;
  IpamPlugin& ipam;
  // The result, for the runtime.
  absl::FunctionRef<absl::Status(absl::string_view)> print;
  // One line for people.
  absl::FunctionRef<void(absl::string_view)> log;
};

// All that is asked for or nothing: an error leaves what was there before. (E9: so does SIGKILL,
// after Delete.)
absl::Status Add(const Request& request, const Outside& outside);

// OK when nothing of what its ADD attached remains on this node, whatever there was of it: the
// request need not say what it was. Tries every step; the error names all that failed.
absl::Status Delete(const Request& request, const Outside& outside);

// kCniNotAvailable when ADD could not be served now.
absl::Status CheckStatus(const Request& request, const Outside& outside);

}  // namespace vxvde

#endif  // VXVDE_CNI_COMMANDS_H_
