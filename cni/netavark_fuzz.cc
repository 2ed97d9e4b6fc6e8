// Input: what podman and netavark write to standard input, for all of create, setup and teardown.

#include <cstddef>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "cni/netavark.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const auto network = vxvde::CreateNetwork(input);
  if (network.ok()) {
    // What create answered, podman gives back: it must be as good as what it asked.
    const auto again = vxvde::CreateNetwork(network->json);
    if (!again.ok() || again->json != network->json) __builtin_trap();
  }
  const auto setup = vxvde::ParseSetup("/run/netns/x", input);
  const auto teardown = vxvde::ParseTeardown("/run/netns/x", input);
  if (setup.ok()) {
    // What was set up can be torn down, and these become interface names, keys and paths.
    if (!teardown.ok() || teardown->agent != setup->agent) __builtin_trap();
    if (!vxvde::IsInterfaceName(setup->ifname) || !vxvde::IsCniName(setup->container_id) ||
        !vxvde::IsCniName(setup->network) || !absl::StartsWith(setup->agent, "/")) {
      __builtin_trap();
    }
    if (!setup->cloud.empty() && !setup->vnl.empty()) __builtin_trap();
    for (const vxvde::RequestedIp& ip : setup->ips) {
      // The agent knows the length of what is of its own subnets.
      if (!ip.length && setup->ipam.kind != vxvde::Ipam::Kind::kAgent) __builtin_trap();
    }
  } else {
    (void)vxvde::FormatNetavarkError(setup.status());
  }
  return 0;
}
