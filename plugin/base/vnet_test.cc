// Values of flags and gso_type as in VIRTIO 1.2, 5.1.6.

#include "plugin/base/vnet.h"

#include <gtest/gtest.h>

#include <vector>

namespace vxvde {
namespace {

constexpr uint8_t kUfo = 3;  // VIRTIO_NET_HDR_GSO_UDP

// TCP over IPv4 without options: 14 + 20 + 20 bytes of headers, 2,920 of payload.
VnetHeader Tcp4() {
  VnetHeader header;
  header.flags = 1;
  header.gso_type = 1;
  header.hdr_len = 54;
  header.gso_size = 1460;
  header.csum_start = 34;
  header.csum_offset = 16;
  return header;
}

class FromVnetTest : public testing::Test {
 protected:
  Drop Check(const VnetHeader& header, size_t size = 54 + 2920) {
    out_ = Offload{};
    out_.checksum_start = kMark;
    const std::vector<uint8_t> frame(size);
    const Drop drop = FromVnet(header, frame, out_);
    if (drop != Drop::kNone) {
      EXPECT_EQ(out_.checksum_start, kMark) << "out was touched";
    }
    return drop;
  }
  static constexpr uint16_t kMark = 0xdead;
  Offload out_;
};

TEST_F(FromVnetTest, ReadsASuperFrame) {
  ASSERT_EQ(Check(Tcp4()), Drop::kNone);
  EXPECT_EQ(out_.gso, Gso::kTcp4);
  EXPECT_TRUE(out_.needs_checksum);
  EXPECT_FALSE(out_.ecn);
  EXPECT_EQ(out_.gso_size, 1460);
  EXPECT_EQ(out_.header_size, 54);
  EXPECT_EQ(out_.checksum_start, 34);
  EXPECT_EQ(out_.checksum_offset, 16);
}

TEST_F(FromVnetTest, ReadsEveryKind) {
  VnetHeader header = Tcp4();
  header.gso_type = 4;
  ASSERT_EQ(Check(header), Drop::kNone);
  EXPECT_EQ(out_.gso, Gso::kTcp6);

  header.gso_type = 5;
  header.csum_offset = 6;
  ASSERT_EQ(Check(header), Drop::kNone);
  EXPECT_EQ(out_.gso, Gso::kUdp);

  header = Tcp4();
  header.gso_type = 0x81;
  ASSERT_EQ(Check(header), Drop::kNone);
  EXPECT_EQ(out_.gso, Gso::kTcp4);
  EXPECT_TRUE(out_.ecn);
}

TEST_F(FromVnetTest, APlainFrameHasNoMarksWhateverTheOtherFieldsHold) {
  VnetHeader header;
  header.hdr_len = header.gso_size = header.csum_start = header.csum_offset = 0xffff;
  header.flags = 2;  // VIRTIO_NET_HDR_F_DATA_VALID
  ASSERT_EQ(Check(header, 60), Drop::kNone);
  EXPECT_EQ(out_.gso, Gso::kNone);
  EXPECT_FALSE(out_.needs_checksum);
  EXPECT_EQ(out_.gso_size, 0);
  EXPECT_EQ(out_.header_size, 0);
  EXPECT_EQ(out_.checksum_start, 0);
}

TEST_F(FromVnetTest, TheChecksumFieldLiesInsideTheFrame) {
  VnetHeader header = Tcp4();
  header.gso_type = 0;
  EXPECT_EQ(Check(header, 52), Drop::kNone);
  EXPECT_EQ(Check(header, 51), Drop::kBadOffload);
  EXPECT_EQ(Check(header, 0), Drop::kBadOffload);
  header.csum_start = 0xffff;  // the sum of the two does not wrap
  header.csum_offset = 0xffff;
  EXPECT_EQ(Check(header), Drop::kBadOffload);
  header.csum_start = 13;  // inside the Ethernet header
  header.csum_offset = 16;
  EXPECT_EQ(Check(header), Drop::kBadOffload);
}

TEST_F(FromVnetTest, ASuperFrameNeedsASizeAndAPartialChecksum) {
  VnetHeader header = Tcp4();
  header.gso_size = 0;
  EXPECT_EQ(Check(header), Drop::kBadOffload);
  header = Tcp4();
  header.flags = 0;
  EXPECT_EQ(Check(header), Drop::kBadOffload);
}

TEST_F(FromVnetTest, KindsThatCannotBeSaidAreUnsupported) {
  for (const uint8_t type : {kUfo, uint8_t{2}, uint8_t{6}, uint8_t{0x7f}, uint8_t{0x40}}) {
    VnetHeader header = Tcp4();
    header.gso_type = type;
    EXPECT_EQ(Check(header), Drop::kUnsupportedOffload) << int{type};
    header.gso_type |= VnetHeader::kGsoEcn;
    EXPECT_EQ(Check(header), Drop::kUnsupportedOffload) << int{type};
  }
}

TEST_F(FromVnetTest, AHeaderLengthThatCannotBeIsAsNotSaid) {
  for (const uint16_t length : {0, 34, 54 + 2920 + 1, 0xffff}) {
    VnetHeader header = Tcp4();
    header.hdr_len = length;
    ASSERT_EQ(Check(header), Drop::kNone) << length;
    EXPECT_EQ(out_.header_size, 0) << length;
  }
}

TEST_F(FromVnetTest, ToVnetIsItsInverse) {
  for (const Gso gso : {Gso::kNone, Gso::kTcp4, Gso::kTcp6, Gso::kUdp}) {
    Offload offload;
    offload.gso = gso;
    offload.needs_checksum = true;
    offload.checksum_start = 34;
    offload.checksum_offset = 16;
    if (gso != Gso::kNone) {
      offload.gso_size = 1460;
      offload.header_size = 54;
      offload.ecn = gso != Gso::kUdp;
    }
    ASSERT_EQ(Check(ToVnet(offload)), Drop::kNone);
    EXPECT_EQ(out_.gso, offload.gso);
    EXPECT_EQ(out_.needs_checksum, offload.needs_checksum);
    EXPECT_EQ(out_.ecn, offload.ecn);
    EXPECT_EQ(out_.gso_size, offload.gso_size);
    EXPECT_EQ(out_.header_size, offload.header_size);
    EXPECT_EQ(out_.checksum_start, offload.checksum_start);
    EXPECT_EQ(out_.checksum_offset, offload.checksum_offset);
  }
}

TEST(ToVnet, WritesTheNumbersOfTheSpecification) {
  EXPECT_EQ(ToVnet({}).flags, 0);
  EXPECT_EQ(ToVnet({}).gso_type, 0);
  Offload offload{.gso = Gso::kTcp6, .needs_checksum = true, .ecn = true, .gso_size = 1440};
  EXPECT_EQ(ToVnet(offload).flags, 1);
  EXPECT_EQ(ToVnet(offload).gso_type, 0x84);
  EXPECT_EQ(ToVnet(offload).gso_size, 1440);
}

}  // namespace
}  // namespace vxvde
