// Input: an Ethernet frame. Every frame that is accepted with its checksum is accepted without it.

#include <cstdint>
#include <cstdlib>

#include "plugin/wire/membership.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vxvde::Membership message;
  const bool strict = vxvde::ParseMembership({data, size}, true, message);
  const bool lax = vxvde::ParseMembership({data, size}, false, message);
  if (strict && !lax) std::abort();
  if (lax && message.records.size() * 8 > size) std::abort();
  const auto group = vxvde::GroupOf({data, size});
  if (group.has_value() && !group->IsMulticast()) std::abort();
  return 0;
}
