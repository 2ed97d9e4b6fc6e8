// Input: KEY=VALUE lines, an empty line, standard input.

#include <cstdint>
#include <string>

#include "absl/strings/str_split.h"
#include "cni/request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(input, absl::MaxSplits("\n\n", 1));
  vxvde::Environment environment;
  for (const absl::string_view line : absl::StrSplit(parts.first, '\n')) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits('=', 1));
    environment[pair.first] = pair.second;
  }
  const auto request = vxvde::ParseRequest(environment, parts.second);
  if (request.ok() && request->command == vxvde::Command::kAdd) {
    // What everything after this relies on: these become interface names and keys.
    if (request->ifname.empty() || request->ifname.size() > 15) __builtin_trap();
    if (request->container_id.empty() || request->network.empty()) __builtin_trap();
    if (!request->cloud.empty() && !request->vnl.empty()) __builtin_trap();
  }
  (void)vxvde::AnswerVersion(parts.second);
  return 0;
}
