// Input: a frame of the pod 02:00:5e:10:00:01 with the leases 192.0.2.7 and 2001:db8::7. Checks
// that the parsers here do not recognise, in a frame that a strict guard passes, anything that the
// guard should have refused, and that a wider permission never refuses more.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "plugin/cloud/guard.h"
#include "plugin/wire/dhcp.h"
#include "plugin/wire/neighbour.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vxvde;
  static const MacAddress own({0x02, 0x00, 0x5e, 0x10, 0x00, 0x01});
  static const auto prefix = [](const char* text) { return IpPrefix::Parse(text).value(); };
  static const PortGuard strict{
      .on = true,
      .macs = {},
      .addresses = {prefix("192.0.2.7/32"), prefix("2001:db8::7/128")},
      .reserved = {prefix("0.0.0.0/0"), prefix("::/0")},
  };
  static const PortGuard loose{
      .on = true,
      .macs = {MacPrefix{.address = {}, .length = 0}},
      .addresses = {prefix("0.0.0.0/0"), prefix("::/0")},
      .reserved = {},
      .dhcp_server = true,
      .router = true,
  };
  const std::vector<uint8_t> frame(data, data + size);  // so that a read beyond the end is noticed
  const Drop drop = CheckFromPort(frame, own, strict);
  const Drop anyway = CheckFromPort(frame, own, loose);
  if (anyway != Drop::kNone &&
      (drop == Drop::kNone || (anyway != Drop::kUnreadable && anyway != Drop::kBadSource))) {
    std::abort();
  }
  if (drop != Drop::kNone) return 0;

  Neighbour neighbour;
  if (ParseNeighbour(frame, /*checksum=*/false, neighbour)) {
    const auto may_have = [](const IpAddress& address) {
      return address == strict.addresses[0].address || address == strict.addresses[1].address ||
             (address.is_v6() && address.IsLinkLocal());
    };
    const bool asks = neighbour.kind == Neighbour::Kind::kAsk;
    if (neighbour.source != own || neighbour.mac != own ||
        !may_have(asks ? *neighbour.asker : neighbour.address)) {
      std::abort();
    }
  }
  DhcpAck ack;
  if (ParseDhcpAck(frame, /*checksum=*/false, ack)) std::abort();
  return 0;
}
