// The eight bytes in both directions. protocol_test has those of docs/PROTOCOL.md.

#include "plugin/wire/header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace vxvde {
namespace {

using testing::ElementsAre;

Vni V(uint32_t value) { return Vni::Make(value).value(); }

std::vector<uint8_t> WithFrame(std::vector<uint8_t> header, size_t frame_size) {
  header.resize(header.size() + frame_size, 0x5a);
  return header;
}

TEST(VxvdeHeader, CarriesTheVniInNetworkOrder) {
  EXPECT_THAT(EncodeHeader(V(0)), ElementsAre(0x08, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(EncodeHeader(V(1)), ElementsAre(0x08, 0, 0, 0, 0, 0, 1, 0));
  EXPECT_THAT(EncodeHeader(V(0x123456)), ElementsAre(0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0));
  EXPECT_THAT(EncodeHeader(V(0xffffff)), ElementsAre(0x08, 0, 0, 0, 0xff, 0xff, 0xff, 0));
}

TEST(Decode, SplitsHeaderAndFrame) {
  const std::vector<uint8_t> payload = WithFrame({0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0}, 15);
  Datagram datagram;
  ASSERT_EQ(Decode(payload, datagram), Drop::kNone);
  EXPECT_EQ(datagram.vni, V(0x123456));
  EXPECT_FALSE(datagram.leave);
  EXPECT_EQ(datagram.frame.data(), payload.data() + 8);
  EXPECT_EQ(datagram.frame.size(), 15u);
}

TEST(Decode, HeaderAloneIsLeave) {
  const std::vector<uint8_t> payload = {0x08, 0, 0, 0, 0, 0, 7, 0};
  Datagram datagram;
  ASSERT_EQ(Decode(payload, datagram), Drop::kNone);
  EXPECT_TRUE(datagram.leave);
  EXPECT_TRUE(datagram.frame.empty());
  EXPECT_EQ(datagram.vni, V(7));
}

TEST(Decode, SayingWhyLeavesTheResultAlone) {
  const std::vector<uint8_t> frame(15);
  Datagram datagram{.vni = V(99), .leave = true, .frame = frame};
  const auto decode = [&](const std::vector<uint8_t>& payload) {
    const Drop drop = Decode(payload, datagram);
    EXPECT_EQ(datagram.vni, V(99));
    EXPECT_TRUE(datagram.leave);
    EXPECT_EQ(datagram.frame.data(), frame.data());
    return drop;
  };
  for (size_t size = 0; size < 8; ++size) {
    EXPECT_EQ(decode(std::vector<uint8_t>(size, 0x08)), Drop::kShortDatagram) << size;
  }
  for (size_t size = 1; size <= 14; ++size) {
    EXPECT_EQ(decode(WithFrame({0x08, 0, 0, 0, 0, 0, 1, 0}, size)), Drop::kShortFrame) << size;
  }
}

TEST(Decode, EveryWrongBitOutsideTheVniIsRefused) {
  for (size_t bit = 0; bit < 64; ++bit) {
    std::vector<uint8_t> payload = WithFrame({0x08, 0, 0, 0, 0, 0, 0, 0}, 60);
    payload[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const bool in_vni = bit / 8 >= 4 && bit / 8 <= 6;
    Datagram datagram;
    EXPECT_EQ(Decode(payload, datagram), in_vni ? Drop::kNone : Drop::kBadHeader) << bit;
  }
}

}  // namespace
}  // namespace vxvde
