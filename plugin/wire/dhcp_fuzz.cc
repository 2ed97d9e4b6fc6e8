// ParseDhcpAck on any bytes: an accepted frame has an address of a station.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "plugin/wire/dhcp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const bool checksum : {false, true}) {
    vxvde::DhcpAck ack;
    if (!vxvde::ParseDhcpAck({data, size}, checksum, ack)) continue;
    if (!ack.address.is_v4() || ack.address.IsUnspecified() || !ack.client.IsStation()) {
      std::abort();
    }
  }
  return 0;
}
