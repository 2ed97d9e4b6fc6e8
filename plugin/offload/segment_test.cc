#include "plugin/offload/segment.h"

#include <algorithm>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/offload/testing/packets.h"

namespace vxvde {
namespace {

using packets::Bytes;
using packets::Spec;
using ::testing::ElementsAreArray;

const Bytes kPrefix = {0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0};

Bytes Join(const Segment& segment) {
  Bytes out(segment.headers.begin(), segment.headers.end());
  out.insert(out.end(), segment.payload.begin(), segment.payload.end());
  return out;
}

Bytes Prefixed(const Bytes& frame) {
  Bytes out = kPrefix;
  out.insert(out.end(), frame.begin(), frame.end());
  return out;
}

// Splits and compares byte for byte with the frames that packets::Segments builds one by one.
void ExpectSplits(const Spec& spec, uint16_t gso_size, bool ecn = false) {
  Offload offload;
  Bytes bytes = packets::BuildSuper(spec, gso_size, offload);
  offload.ecn = ecn;
  Frame frame{bytes, offload};
  Segmenter segmenter(kPrefix);
  std::vector<Segment> segments;
  ASSERT_EQ(segmenter.Split(frame, segments), Drop::kNone);

  const std::vector<Bytes> expected = packets::Segments(spec, gso_size, ecn);
  ASSERT_EQ(segments.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE("segment " + std::to_string(i));
    EXPECT_EQ(packets::WhatIsWrong(expected[i]), "");
    EXPECT_THAT(Join(segments[i]), ElementsAreArray(Prefixed(expected[i])));
    if (!segments[i].payload.empty()) {
      EXPECT_GE(segments[i].payload.data(), bytes.data()) << "payload was copied";
      EXPECT_LE(segments[i].payload.data(), bytes.data() + bytes.size()) << "payload was copied";
    }
  }
  EXPECT_EQ(SegmentCount(offload, bytes.size()), expected.size());
}

TEST(Split, GivesTheFramesThatASuperFrameStandsFor) {
  for (const bool udp : {false, true}) {
    for (const bool ipv6 : {false, true}) {
      for (const int tags : {0, 1, 2}) {
        for (const bool options : {false, true}) {
          for (const size_t payload : {0, 1, 99, 100, 101, 300, 399, 1450}) {
            SCOPED_TRACE(testing::Message() << "udp " << udp << " ipv6 " << ipv6 << " tags " << tags
                                            << " options " << options << " payload " << payload);
            Spec spec;
            spec.udp = udp;
            spec.ipv6 = ipv6;
            spec.tags = tags;
            if (options && !udp) spec.options = packets::TimestampOption();
            if (options && !ipv6) spec.ip_options = 8;
            spec.flags = packets::kAck | packets::kPsh | packets::kFin;
            spec.payload = packets::Payload(payload);
            ExpectSplits(spec, 100);
          }
        }
      }
    }
  }
}

TEST(Split, OddSegmentSizesKeepTheSumsRight) {
  for (const uint16_t gso_size : {9, 101, 1447}) {
    SCOPED_TRACE(gso_size);
    Spec spec;
    spec.payload = packets::Payload(20 * gso_size + 3, gso_size);
    ExpectSplits(spec, gso_size);
    spec.ipv6 = true;
    ExpectSplits(spec, gso_size);
  }
}

TEST(Split, SequenceAndIdWrapAround) {
  Spec spec;
  spec.sequence = 0xffffff80;
  spec.id = 0xffff;
  spec.payload = packets::Payload(400);
  ExpectSplits(spec, 100);
}

TEST(Split, CwrStaysOnTheFirstSegmentOnlyWhenMarked) {
  Spec spec;
  spec.flags = packets::kAck | packets::kCwr | packets::kEce | packets::kPsh;
  spec.payload = packets::Payload(300);
  ExpectSplits(spec, 100, /*ecn=*/true);
  ExpectSplits(spec, 100, /*ecn=*/false);
}

TEST(Split, SixtyFourKilobytesAndMore) {
  Spec spec;
  spec.options = packets::TimestampOption();
  for (const size_t payload : {65535 - 52, 65535 - 51, 65700}) {  // the last two: total length 0
    SCOPED_TRACE(payload);
    spec.ipv6 = false;
    spec.payload = packets::Payload(payload);
    ExpectSplits(spec, 1448);
    spec.ipv6 = true;  // its payload length field overflows
    ExpectSplits(spec, 1428);
  }
}

TEST(Split, TheLengthsOfASuperFrameAreNotBelieved) {
  Spec spec;
  spec.payload = packets::Payload(3000);
  Offload offload;
  Bytes bytes = packets::BuildSuper(spec, 1000, offload);
  bytes[14 + 2] = 0;
  bytes[14 + 3] = 60;
  Frame frame{bytes, offload};
  Segmenter segmenter(kPrefix);
  std::vector<Segment> segments;
  ASSERT_EQ(segmenter.Split(frame, segments), Drop::kNone);
  ASSERT_EQ(segments.size(), 3u);
  EXPECT_THAT(Join(segments[2]), ElementsAreArray(Prefixed(packets::Segments(spec, 1000)[2])));
}

TEST(Split, TheHeaderSizeOfTheKernelIsAHint) {
  Spec spec;
  spec.payload = packets::Payload(3000);
  Offload offload;
  Bytes bytes = packets::BuildSuper(spec, 1000, offload);
  for (const uint16_t header_size : {0, 14, 900, 3054}) {
    offload.header_size = header_size;
    Frame frame{bytes, offload};
    Segmenter segmenter(kPrefix);
    std::vector<Segment> segments;
    ASSERT_EQ(segmenter.Split(frame, segments), Drop::kNone);
    ASSERT_EQ(segments.size(), 3u);
    EXPECT_EQ(segments[0].payload.size(), 1000u);
  }
}

// RFC 768: a sum of 0 is sent as 0xffff; 0 would mean that there is none.
TEST(Split, AUdpSumOfZeroIsSentAsAllOnes) {
  Spec spec;
  spec.udp = true;
  spec.payload = {0, 0};
  const Bytes with_zeros = packets::Build(spec);
  const size_t field = 14 + 20 + 6;
  spec.payload = {with_zeros[field], with_zeros[field + 1]};  // now all sums to 0xffff

  Offload offload;
  Bytes bytes = packets::BuildSuper(spec, 2, offload);
  Frame frame{bytes, offload};
  Segmenter segmenter({});
  std::vector<Segment> segments;
  ASSERT_EQ(segmenter.Split(frame, segments), Drop::kNone);
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_EQ(segments[0].headers[field], 0xff);
  EXPECT_EQ(segments[0].headers[field + 1], 0xff);

  offload.gso = Gso::kNone;
  Frame plain{bytes, offload};
  ASSERT_EQ(segmenter.Split(plain, segments), Drop::kNone);
  EXPECT_EQ(bytes[field], 0xff);
  EXPECT_EQ(bytes[field + 1], 0xff);
}

TEST(Split, APlainFrameIsNotCopied) {
  Bytes bytes = packets::Build({});
  const Bytes before = bytes;
  Frame frame{bytes, {}};
  Segmenter segmenter(kPrefix);
  std::vector<Segment> segments;
  ASSERT_EQ(segmenter.Split(frame, segments), Drop::kNone);
  ASSERT_EQ(segments.size(), 1u);
  EXPECT_THAT(segments[0].headers, ElementsAreArray(kPrefix));
  EXPECT_EQ(segments[0].payload.data(), bytes.data());
  EXPECT_EQ(segments[0].payload.size(), bytes.size());
  EXPECT_EQ(bytes, before);
}

TEST(Split, APlainFrameGetsItsChecksumInPlace) {
  for (const bool udp : {false, true}) {
    for (const bool ipv6 : {false, true}) {
      Spec spec;
      spec.udp = udp;
      spec.ipv6 = ipv6;
      spec.payload = packets::Payload(333);
      Offload offload;
      Bytes bytes = packets::BuildSuper(spec, 0, offload);
      offload.gso = Gso::kNone;
      Frame frame{bytes, offload};
      Segmenter segmenter(kPrefix);
      std::vector<Segment> segments;
      ASSERT_EQ(segmenter.Split(frame, segments), Drop::kNone);
      EXPECT_THAT(bytes, ElementsAreArray(packets::Build(spec)));
      EXPECT_FALSE(frame.offload.needs_checksum);
    }
  }
}

struct Refusal {
  const char* why;
  void (*spoil)(Bytes& bytes, Offload& offload);
  Drop drop;
};

TEST(Split, RefusesWhatContradictsItselfAndLeavesOutAlone) {
  const Refusal refusals[] = {
      {"a checksum that starts elsewhere", [](Bytes&, Offload& o) { o.checksum_start += 2; },
       Drop::kBadOffload},
      {"a checksum field elsewhere", [](Bytes&, Offload& o) { o.checksum_offset = 6; },
       Drop::kBadOffload},
      {"marked TCP over IPv6", [](Bytes&, Offload& o) { o.gso = Gso::kTcp6; }, Drop::kBadOffload},
      {"marked UDP", [](Bytes&, Offload& o) { o.gso = Gso::kUdp; }, Drop::kBadOffload},
      {"no segment size", [](Bytes&, Offload& o) { o.gso_size = 0; }, Drop::kBadOffload},
      {"segments of 7 bytes", [](Bytes&, Offload& o) { o.gso_size = 7; }, Drop::kBadOffload},
      {"a fragment", [](Bytes& b, Offload&) { b[14 + 6] = 0x20; }, Drop::kBadOffload},
      {"IHL 4", [](Bytes& b, Offload&) { b[14] = 0x44; }, Drop::kBadOffload},
      {"data offset 4", [](Bytes& b, Offload&) { b[14 + 20 + 12] = 0x40; }, Drop::kBadOffload},
      {"headers cut short", [](Bytes& b, Offload&) { b.resize(40); }, Drop::kBadOffload},
      {"no frame at all", [](Bytes& b, Offload&) { b.clear(); }, Drop::kBadOffload},
      {"ARP", [](Bytes& b, Offload&) { b[13] = 6; }, Drop::kBadOffload},
      {"a segment of 65,500 bytes", [](Bytes&, Offload& o) { o.gso_size = 65500; }, Drop::kTooBig},
      {"plain, with a checksum behind its end",
       [](Bytes& b, Offload& o) {
         o.gso = Gso::kNone;
         o.checksum_start = static_cast<uint16_t>(b.size() - 17);
       },
       Drop::kBadOffload},
      {"plain, too big for a datagram", [](Bytes&, Offload& o) { o = {}; }, Drop::kTooBig},
  };
  for (const Refusal& refusal : refusals) {
    SCOPED_TRACE(refusal.why);
    Spec spec;
    spec.payload = packets::Payload(65535 - 40);
    if (std::string(refusal.why).starts_with("plain, with")) spec.payload.resize(100);
    Offload offload;
    Bytes bytes = packets::BuildSuper(spec, 1000, offload);
    refusal.spoil(bytes, offload);
    Frame frame{bytes, offload};
    Segmenter segmenter(kPrefix);
    std::vector<Segment> segments(1);
    EXPECT_EQ(segmenter.Split(frame, segments), refusal.drop);
    EXPECT_EQ(segments.size(), 1u);
  }
}

TEST(Split, RefusesMoreUdpSegmentsThanTheKernelMakes) {
  Spec spec;
  spec.udp = true;
  spec.payload = packets::Payload(129);
  Offload offload;
  Bytes bytes = packets::BuildSuper(spec, 1, offload);
  Frame frame{bytes, offload};
  Segmenter segmenter(kPrefix);
  std::vector<Segment> segments;
  EXPECT_EQ(segmenter.Split(frame, segments), Drop::kBadOffload);
  frame.bytes = frame.bytes.first(bytes.size() - 1);
  EXPECT_EQ(segmenter.Split(frame, segments), Drop::kNone);
  EXPECT_EQ(segments.size(), 128u);
}

TEST(Split, ExtensionHeadersAreUnsupported) {
  Spec spec;
  spec.ipv6 = true;
  spec.payload = packets::Payload(300);
  Offload offload;
  Bytes bytes = packets::BuildSuper(spec, 100, offload);
  bytes[14 + 6] = 60;  // destination options
  Frame frame{bytes, offload};
  Segmenter segmenter(kPrefix);
  std::vector<Segment> segments;
  EXPECT_EQ(segmenter.Split(frame, segments), Drop::kUnsupportedOffload);
}

TEST(Segmenter, SegmentsStayUntilClearAndTheirMemoryIsUsedAgain) {
  Spec spec;
  spec.options = packets::TimestampOption();
  spec.payload = packets::Payload(60000);
  Offload offload;
  Bytes bytes = packets::BuildSuper(spec, 100, offload);
  const std::vector<Bytes> expected = packets::Segments(spec, 100);
  Segmenter segmenter(kPrefix);
  std::vector<Segment> segments;
  const uint8_t* first = nullptr;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 4; ++i) {  // 4 x 600 x 74 bytes: several blocks
      Frame frame{bytes, offload};
      ASSERT_EQ(segmenter.Split(frame, segments), Drop::kNone);
    }
    ASSERT_EQ(segments.size(), 4 * expected.size());
    for (size_t i = 0; i < segments.size(); ++i) {
      ASSERT_EQ(Join(segments[i]), Prefixed(expected[i % expected.size()]));
    }
    if (round == 0) first = segments[0].headers.data();
    EXPECT_EQ(segments[0].headers.data(), first);
    segments.clear();
    segmenter.Clear();
  }
}

TEST(SegmentCount, IsOneWithoutGso) {
  EXPECT_EQ(SegmentCount({}, 60), 1u);
  EXPECT_EQ(SegmentCount({}, 65000), 1u);
}

TEST(SegmentCount, TakesTheUsualHeadersWhenNotSaid) {
  Offload offload;
  offload.gso = Gso::kTcp4;
  offload.gso_size = 1448;
  offload.checksum_start = 34;
  EXPECT_EQ(SegmentCount(offload, 66 + 1448), 1u);
  EXPECT_EQ(SegmentCount(offload, 66 + 1449), 2u);
  offload.header_size = 54;
  EXPECT_EQ(SegmentCount(offload, 66 + 1448), 2u);
  offload.header_size = 2000;  // no TCP header is that long: a hint about something else
  EXPECT_EQ(SegmentCount(offload, 66 + 1448), 1u);
  EXPECT_EQ(SegmentCount(offload, 20), 1u);
}

}  // namespace
}  // namespace vxvde
