// Input: KEY=VALUE lines, an empty line, standard input.

#include <cstdint>
#include <string>
#include <variant>

#include "absl/strings/str_split.h"
#include "cni/request.h"
#include "cni/values.h"
#include "plugin/base/interface_name.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(input, absl::MaxSplits("\n\n", 1));
  vxvde::Environment environment;
  for (const absl::string_view line : absl::StrSplit(parts.first, '\n')) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits('=', 1));
    environment[pair.first] = pair.second;
  }
  const auto command = vxvde::ParseCommand(environment);
  if (!command.ok() || !command->has_value()) return 0;
  const auto request = vxvde::ParseRequest(**command, environment, parts.second);
  (void)vxvde::AnswerVersion(parts.second);
  if (!request.ok()) return 0;
  const auto* add = std::get_if<vxvde::AddRequest>(&*request);
  if (add == nullptr) return 0;
  // The commands rely on this: the values become interface names, keys and arguments.
  if (!vxvde::IsInterfaceName(add->container.ifname)) __builtin_trap();
  if (add->container.id.empty() || add->network.name.empty()) __builtin_trap();
  for (const vxvde::Attachment& one : add->attachments) {
    if (!vxvde::IsInterfaceName(one.ifname)) __builtin_trap();
    if (!one.cloud.name.empty() && !one.cloud.vnl.empty()) __builtin_trap();
    if (one.address_source == vxvde::AddressSource::kIpamPlugin) {
      if (!add->network.ipam || one.ifname != add->container.ifname) __builtin_trap();
    }
  }
  return 0;
}
