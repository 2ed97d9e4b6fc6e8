// Compares with a sum made byte by byte, and with the numbers of RFC 1071 and RFC 768.

#include "plugin/wire/checksum.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

namespace vxvde {
namespace {

// RFC 1071, section 1, implemented literally.
uint16_t SlowSum(std::span<const uint8_t> bytes, uint32_t sum = 0) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

TEST(Checksum, IsThatOfRfc1071Section3) {
  const std::array<uint8_t, 8> bytes = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(ChecksumFold(ChecksumAdd(bytes)), 0xddf2);
  EXPECT_EQ(ChecksumFinish(ChecksumAdd(bytes)), 0x220d);
}

TEST(Checksum, OfNothingIsZero) {
  EXPECT_EQ(ChecksumAdd({}), 0u);
  EXPECT_EQ(ChecksumFinish(0), 0xffff);
}

TEST(Checksum, AnOddLastByteIsTheHighHalf) {
  const std::array<uint8_t, 3> bytes = {0x12, 0x34, 0x56};
  EXPECT_EQ(ChecksumFold(ChecksumAdd(bytes)), 0x1234 + 0x5600);
}

TEST(Checksum, AgreesWithTheSlowSumAtEveryAlignmentAndLength) {
  std::mt19937 random(1071);
  std::vector<uint8_t> bytes(600);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
  for (size_t start = 0; start < 33; ++start) {
    for (size_t size = 0; start + size <= 300; ++size) {
      const auto part = std::span(bytes).subspan(start, size);
      ASSERT_EQ(ChecksumFold(ChecksumAdd(part)), SlowSum(part)) << start << "+" << size;
    }
  }
}

TEST(Checksum, CarriesAreNotLost) {
  // All ones is the sum that wraps most often; 64 KiB is the longest input.
  for (const size_t size : {2u, 31u, 32u, 33u, 64u, 1500u, 65535u, 65536u}) {
    const std::vector<uint8_t> ones(size, 0xff);
    EXPECT_EQ(ChecksumFold(ChecksumAdd(ones)), SlowSum(ones)) << size;
    for (const uint64_t before : {uint64_t{1}, uint64_t{0xffff}, ~uint64_t{0}, ~uint64_t{0} - 1}) {
      EXPECT_EQ(ChecksumFold(ChecksumAdd(ones, before)), SlowSum(ones, ChecksumFold(before)))
          << size << " on " << before;
    }
  }
}

TEST(Checksum, PartsOfEvenSizeAddUp) {
  std::mt19937 random(768);
  std::vector<uint8_t> bytes(4097);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
  for (int round = 0; round < 500; ++round) {
    const size_t size = random() % bytes.size();
    const size_t cut = random() % (size + 1) & ~size_t{1};
    const auto all = std::span(bytes).first(size);
    const uint64_t sum = ChecksumAdd(all.subspan(cut), ChecksumAdd(all.first(cut)));
    ASSERT_EQ(ChecksumFold(sum), SlowSum(all)) << size << " cut at " << cut;
  }
}

TEST(Checksum, PseudoHeaderIsThatOfBothFamilies) {
  const auto sum = [](const char* from, const char* to, uint8_t protocol, uint32_t length) {
    return ChecksumFold(PseudoHeaderSum(IpAddress::Parse(from)->wire(),
                                        IpAddress::Parse(to)->wire(), protocol, length));
  };
  // By hand: c000 + 0201 + c000 + 0202 + 0011 + 001a, carry folded.
  EXPECT_EQ(sum("192.0.2.1", "192.0.2.2", 17, 26), 0x842f);
  // By hand: 2001 + 0db8 + 0001 + 2001 + 0db8 + 0002 + (1 + 0002) + 0006; the length is 0x10002.
  EXPECT_EQ(sum("2001:db8::1", "2001:db8::2", 6, 0x10002), 0x5b7e);
}

TEST(Checksum, AReceiverThatSumsTheFieldTooGetsAllOnes) {
  std::vector<uint8_t> bytes(101, 0x37);
  bytes[10] = bytes[11] = 0;
  const uint16_t sum = ChecksumFinish(ChecksumAdd(bytes));
  bytes[10] = static_cast<uint8_t>(sum >> 8);
  bytes[11] = static_cast<uint8_t>(sum);
  EXPECT_EQ(ChecksumFold(ChecksumAdd(bytes)), 0xffff);
}

}  // namespace
}  // namespace vxvde
