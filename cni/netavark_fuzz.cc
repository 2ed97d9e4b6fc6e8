// Input: the standard input of create, setup and teardown, as podman and netavark write it.

#include <cstddef>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "cni/netavark.h"
#include "cni/values.h"
#include "plugin/base/interface_name.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const auto network = vxvde::CreateNetwork(input);
  if (network.ok()) {
    // podman stores the answer of create and passes it back: it must be valid and final.
    const auto again = vxvde::CreateNetwork(network->json);
    if (!again.ok() || again->json != network->json) __builtin_trap();
  }
  const auto setup = vxvde::ParseSetup("/run/netns/x", input);
  const auto teardown = vxvde::ParseTeardown("/run/netns/x", input);
  if (setup.ok()) {
    // Everything that setup accepts, teardown accepts.
    if (!teardown.ok() || teardown->network.agent != setup->network.agent) __builtin_trap();
    if (!vxvde::IsInterfaceName(setup->container.ifname) ||
        !vxvde::CheckCniName("", setup->container.id).ok() ||
        !vxvde::CheckCniName("", setup->network.name).ok() ||
        !absl::StartsWith(setup->network.agent, "/")) {
      __builtin_trap();
    }
    if (setup->attachments.size() != 1) __builtin_trap();
    const vxvde::Attachment& one = setup->attachments[0];
    if (!one.cloud.name.empty() && !one.cloud.vnl.empty()) __builtin_trap();
    for (const vxvde::RequestedIp& ip : one.ips) {
      // The agent knows the prefix lengths of its own subnets.
      if (!ip.length && one.address_source != vxvde::AddressSource::kAgent) __builtin_trap();
    }
  } else {
    (void)vxvde::FormatNetavarkError(setup.status());
  }
  return 0;
}
