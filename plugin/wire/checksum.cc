// Sums in the machine's own byte order, 64 bits at a time, and swaps once at the end: the one's
// complement sum is the same in either order up to that swap, and in words of any size up to the
// folding (RFC 1071, section 2 (B) and (C)).

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

  // Four independent sums, so that no carry waits for another. Written out, because g++ -O2 keeps a
  // loop over an array of them a loop, which is several times slower.
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (uint64_t word[4]; left >= sizeof(word); left -= sizeof(word)) {
    std::memcpy(word, p, sizeof(word));
    a = AddWithCarry(a, word[0]);
    b = AddWithCarry(b, word[1]);
    c = AddWithCarry(c, word[2]);
    d = AddWithCarry(d, word[3]);
    p += sizeof(word);
  }
  uint64_t native = AddWithCarry(AddWithCarry(a, b), AddWithCarry(c, d));

  for (; left >= sizeof(uint16_t); left -= sizeof(uint16_t)) {
    uint16_t word;
    std::memcpy(&word, p, sizeof(word));
    native = AddWithCarry(native, word);
    p += sizeof(word);
  }
  if (left != 0) {
    uint16_t word = 0;  // the byte, followed by a zero
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
