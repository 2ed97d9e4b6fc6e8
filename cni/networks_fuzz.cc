// Input: the three annotations, with an empty line between them.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "cni/networks.h"
#include "cni/values.h"
#include "plugin/base/interface_name.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> texts = absl::StrSplit(input, absl::MaxSplits("\n\n", 2));
  const char* const keys[] = {vxvde::kNetworksAnnotation, vxvde::kNpwgAnnotation,
                              vxvde::kCloudAnnotation};
  std::map<std::string, std::string> annotations;
  for (size_t i = 0; i < texts.size(); ++i) annotations[keys[i]] = texts[i];
  const auto networks = vxvde::ParsePodNetworks(annotations, {"lo", "eth0"});
  if (!networks.ok()) {
    if (!absl::IsInvalidArgument(networks.status())) __builtin_trap();
    return 0;
  }
  // The commands rely on this.
  std::set<std::string> names = {"lo", "eth0"};
  if (networks->others.size() > vxvde::kMaxNetworks) __builtin_trap();
  for (const vxvde::Attachment& one : networks->others) {
    if (!vxvde::IsInterfaceName(one.ifname)) __builtin_trap();
    if (one.problem.ok() && !names.insert(one.ifname).second) __builtin_trap();
    if (one.cloud.name.empty() == one.cloud.vnl.empty()) __builtin_trap();
    for (const vxvde::RequestedIp& ip : one.ips) {
      if (!ip.length) __builtin_trap();
    }
  }
  if (networks->first &&
      networks->first->cloud.name.empty() == networks->first->cloud.vnl.empty()) {
    __builtin_trap();
  }
  return 0;
}
