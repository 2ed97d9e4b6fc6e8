// Parses CNI_ARGS: "KEY=VALUE;KEY=VALUE", in any order (A9). Pure.
//
// Values are not checked here: request.cc does, where it knows their precedence. Specification: CNI
// CONVENTIONS.md, "CNI_ARGS"; container runtimes of Kubernetes send the K8S_ keys.

#ifndef VXVDE_CNI_CNI_ARGS_H_
#define VXVDE_CNI_CNI_ARGS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vxvde {

struct CniArgs {
  std::string mac;
  std::vector<std::string> ips;
  std::string pod_namespace;
  std::string pod_name;
  std::string pod_uid;
};

// kCniInvalidEnvironment for a pair without '=', and for an unknown key unless IgnoreUnknown is 1
// or true (A7).
absl::StatusOr<CniArgs> ParseCniArgs(absl::string_view text);

}  // namespace vxvde

#endif  // VXVDE_CNI_CNI_ARGS_H_
