// The Internet checksum (RFC 1071), fast enough to run over every byte. Pure.

#ifndef VXVDE_PLUGIN_WIRE_CHECKSUM_H_
#define VXVDE_PLUGIN_WIRE_CHECKSUM_H_

#include <cstdint>
#include <span>

#include "plugin/base/ip_address.h"

namespace vxvde {

// One's complement sum of `bytes` as big-endian 16-bit words, added to `sum`, neither folded to 16
// bits nor inverted. An odd last byte counts as the high half of a word, so only the last part of a
// sum may be odd. The value is in host order; StoreBe16 stores Finish() of it.
uint64_t ChecksumAdd(std::span<const uint8_t> bytes, uint64_t sum = 0);

// Sum of the TCP/UDP/ICMPv6 pseudo-header (RFC 9293 3.1, RFC 8200 8.1). Both
// addresses are of one family; `length` is that of transport header and payload.
uint64_t PseudoHeaderSum(std::span<const uint8_t> source, std::span<const uint8_t> destination,
                         uint8_t protocol, uint32_t length);

// Folds to 16 bits, not inverted.
uint16_t ChecksumFold(uint64_t sum);
// Folds and inverts: the value of a checksum field.
inline uint16_t ChecksumFinish(uint64_t sum) { return static_cast<uint16_t>(~ChecksumFold(sum)); }

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_WIRE_CHECKSUM_H_
