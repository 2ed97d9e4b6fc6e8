// CNI_ARGS: "KEY=VALUE;KEY=VALUE", in any order. Pure.
// Source: CNI CONVENTIONS.md, "CNI_ARGS"; K8S_* are what kubelet's runtimes send.

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

// kCniInvalidEnvironment for a pair without '=', and for a key that is not known here
// unless IgnoreUnknown is 1 or true.
absl::StatusOr<CniArgs> ParseCniArgs(absl::string_view text);

}  // namespace vxvde

#endif  // VXVDE_CNI_CNI_ARGS_H_
