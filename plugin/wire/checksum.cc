// Summing in the machine's own byte order, 32 bits at a time into 64-bit
// accumulators, and swapping once at the end: the one's complement sum is the
// same in either order up to that swap (RFC 1071, section 2 (B)).

#include "plugin/wire/checksum.h"

#include <bit>
#include <cstring>

namespace vxvde {
namespace {

// One's complement addition of 64-bit words.
uint64_t AddWithCarry(uint64_t a, uint64_t b) {
  a += b;
  return a + (a < b);
}

uint16_t ToHost(uint16_t big_endian) {
  if constexpr (std::endian::native == std::endian::big) return big_endian;
  return static_cast<uint16_t>(big_endian << 8 | big_endian >> 8);
}

}  // namespace

uint16_t ChecksumFold(uint64_t sum) {
  sum = (sum >> 32) + (sum & 0xffffffff);  // at most 33 bits
  sum = (sum >> 16) + (sum & 0xffff);      // at most 18
  sum = (sum >> 16) + (sum & 0xffff);      // at most 17
  sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint16_t>(sum);
}

uint64_t ChecksumAdd(std::span<const uint8_t> bytes, uint64_t sum) {
  const uint8_t* p = bytes.data();
  size_t left = bytes.size();

  // Independent lanes without carries between them, so that the compiler may use
  // vectors. A lane gains less than 2^32 a step: it cannot overflow below 2^32 steps.
  constexpr size_t kLanes = 8;
  uint64_t lane[kLanes] = {};
  for (; left >= kLanes * sizeof(uint32_t); left -= kLanes * sizeof(uint32_t)) {
    uint32_t word[kLanes];
    std::memcpy(word, p, sizeof(word));
    for (size_t i = 0; i < kLanes; ++i) lane[i] += word[i];
    p += sizeof(word);
  }
  uint64_t native = 0;
  for (const uint64_t l : lane) native = AddWithCarry(native, l);

  for (; left >= sizeof(uint16_t); left -= sizeof(uint16_t)) {
    uint16_t word;
    std::memcpy(&word, p, sizeof(word));
    native = AddWithCarry(native, word);
    p += sizeof(word);
  }
  if (left != 0) {
    uint16_t word = 0;  // the byte and a zero after it
    std::memcpy(&word, p, 1);
    native = AddWithCarry(native, word);
  }
  return AddWithCarry(sum, ToHost(ChecksumFold(native)));
}

uint64_t PseudoHeaderSum(std::span<const uint8_t> source, std::span<const uint8_t> destination,
                         uint8_t protocol, uint32_t length) {
  uint64_t sum = ChecksumAdd(source);
  sum = ChecksumAdd(destination, sum);
  return sum + protocol + (length >> 16) + (length & 0xffff);
}

}  // namespace vxvde
