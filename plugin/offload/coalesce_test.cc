#include "plugin/offload/coalesce.h"

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/offload/segment.h"
#include "plugin/offload/testing/packets.h"

namespace vxvde {
namespace {

using packets::Bytes;
using packets::Spec;
using ::testing::ElementsAreArray;

struct Out {
  Bytes bytes;
  Offload offload;
};

// Copies the output, and checks the properties that every OutFrame has.
class Collector {
 public:
  void Add(const Bytes& frame) {
    input_.push_back(frame);  // the coalescer may look at it until Flush()
    coalescer_.Add(input_.back(), [this](const OutFrame& f) { Take(f); });
  }
  void Flush() {
    coalescer_.Flush([this](const OutFrame& f) { Take(f); });
  }
  Coalescer& coalescer() { return coalescer_; }
  const std::vector<Out>& out() const { return out_; }

 private:
  void Take(const OutFrame& frame) {
    Out out{{}, frame.offload};
    ASSERT_LE(frame.parts.size(), OutFrame::kMaxParts);
    for (const iovec& part : frame.parts) {
      ASSERT_GT(part.iov_len, 0u);
      const auto* data = static_cast<const uint8_t*>(part.iov_base);
      out.bytes.insert(out.bytes.end(), data, data + part.iov_len);
    }
    ASSERT_EQ(out.bytes.size(), frame.size);
    out_.push_back(std::move(out));
  }

  std::deque<Bytes> input_;
  Coalescer coalescer_;
  std::vector<Out> out_;
};

std::vector<Out> Coalesce(const std::vector<Bytes>& frames) {
  Collector collector;
  for (const Bytes& frame : frames) collector.Add(frame);
  collector.Flush();
  return collector.out();
}

void ExpectSameOffload(const Offload& got, const Offload& want) {
  EXPECT_EQ(got.gso, want.gso);
  EXPECT_EQ(got.needs_checksum, want.needs_checksum);
  EXPECT_EQ(got.ecn, want.ecn);
  EXPECT_EQ(got.gso_size, want.gso_size);
  EXPECT_EQ(got.header_size, want.header_size);
  EXPECT_EQ(got.checksum_start, want.checksum_start);
  EXPECT_EQ(got.checksum_offset, want.checksum_offset);
}

void ExpectUntouched(const std::vector<Out>& out, const std::vector<Bytes>& frames) {
  ASSERT_EQ(out.size(), frames.size());
  for (size_t i = 0; i < out.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(out[i].bytes, frames[i]);
    ExpectSameOffload(out[i].offload, {});
  }
}

// The frame after `spec` in its flow.
Spec Next(const Spec& spec) {
  Spec next = spec;
  next.id = static_cast<uint16_t>(spec.id + 1);
  next.sequence = static_cast<uint32_t>(spec.sequence + spec.payload.size());
  next.payload = packets::Payload(spec.payload.size(), spec.sequence);
  return next;
}

Spec Full() {
  Spec spec;
  spec.options = packets::TimestampOption();
  spec.payload = packets::Payload(1000);
  return spec;
}

TEST(Coalesce, TheSegmentsOfASuperFrameBecomeThatSuperFrame) {
  for (const bool ipv6 : {false, true}) {
    for (const int tags : {0, 1, 2}) {
      for (const bool options : {false, true}) {
        for (const size_t payload : {1001, 2000, 44 * 1000, 44 * 1000 + 9}) {
          for (const uint8_t flags : {0, +packets::kPsh, packets::kPsh | packets::kFin}) {
            SCOPED_TRACE(testing::Message()
                         << "ipv6 " << ipv6 << " tags " << tags << " options " << options
                         << " payload " << payload << " flags " << int{flags});
            Spec spec;
            spec.ipv6 = ipv6;
            spec.tags = tags;
            if (options) spec.options = packets::TimestampOption();
            spec.tos = 0x02;
            spec.label = 0xabcde;
            spec.flags = packets::kAck | flags;
            spec.sequence = 0xffff0000;
            spec.payload = packets::Payload(payload);
            const std::vector<Out> out = Coalesce(packets::Segments(spec, 1000));
            Offload offload;
            const Bytes expected = packets::BuildSuper(spec, 1000, offload);
            ASSERT_EQ(out.size(), 1u);
            EXPECT_TRUE(out[0].bytes == expected);
            ExpectSameOffload(out[0].offload, offload);
          }
        }
      }
    }
  }
}

TEST(Coalesce, DatagramsOfOneSizeBecomeASuperFrameOfUdp) {
  for (const bool ipv6 : {false, true}) {
    for (const int tags : {0, 1, 2}) {
      for (const size_t payload : {19, 36, 64 * 18, 63 * 18 + 1}) {
        SCOPED_TRACE(testing::Message()
                     << "ipv6 " << ipv6 << " tags " << tags << " payload " << payload);
        Spec spec;
        spec.udp = true;
        spec.ipv6 = ipv6;
        spec.tags = tags;
        spec.payload = packets::Payload(payload);
        const std::vector<Out> out = Coalesce(packets::Segments(spec, 18));
        Offload offload;
        const Bytes expected = packets::BuildSuper(spec, 18, offload);
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(out[0].bytes, expected);
        ExpectSameOffload(out[0].offload, offload);
      }
    }
  }
}

Spec Datagram() {
  Spec spec;
  spec.udp = true;
  spec.payload = packets::Payload(100);
  return spec;
}

TEST(Coalesce, OneDifferenceIsEnoughForDatagramsToStayApart) {
  struct Case {
    const char* what;
    void (*make)(Spec& second);
    void (*spoil)(Bytes& second);
  };
  constexpr size_t kUdp = 14 + 20;
  const Case cases[] = {
      {"TOS", [](Spec& s) { s.tos = 1; }, nullptr},
      {"TTL", [](Spec& s) { s.ttl = 63; }, nullptr},
      {"DF", [](Spec& s) { s.fragment = 0; }, nullptr},
      {"id jumps", [](Spec& s) { s.id++; }, nullptr},
      {"IP options", [](Spec& s) { s.ip_options = 4; }, nullptr},
      {"larger", [](Spec& s) { s.payload.push_back(0); }, nullptr},
      {"empty", [](Spec& s) { s.payload.clear(); }, nullptr},
      {"no checksum", nullptr, [](Bytes& b) { b[kUdp + 6] = b[kUdp + 7] = 0; }},
      {"a wrong checksum", nullptr, [](Bytes& b) { b[kUdp + 6] ^= 0x10; }},
      {"a wrong length", nullptr, [](Bytes& b) { b[kUdp + 5] -= 1; }},
      {"a wrong payload", nullptr, [](Bytes& b) { b.back() ^= 0x10; }},
      {"cut short", nullptr, [](Bytes& b) { b.pop_back(); }},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    Spec spec = Next(Datagram());
    if (one.make != nullptr) one.make(spec);
    Bytes second = packets::Build(spec);
    if (one.spoil != nullptr) one.spoil(second);
    const std::vector<Bytes> frames = {packets::Build(Datagram()), second};
    ExpectUntouched(Coalesce(frames), frames);
  }
}

TEST(Coalesce, AShortDatagramCloses) {
  Spec second = Next(Datagram());
  second.payload.resize(1);
  const Spec third = Next(second);
  Collector collector;
  collector.Add(packets::Build(Datagram()));
  EXPECT_EQ(collector.out().size(), 0u);
  collector.Add(packets::Build(second));
  EXPECT_EQ(collector.out().size(), 1u) << "must leave with what closes it";
  collector.Add(packets::Build(third));
  collector.Flush();
  EXPECT_EQ(collector.out().size(), 2u);
}

TEST(Coalesce, DatagramsPassAloneToAPortThatTakesNoSuperFramesOfThem) {
  const std::vector<Bytes> datagrams = {packets::Build(Datagram()),
                                        packets::Build(Next(Datagram()))};
  Collector collector;
  collector.coalescer().LeaveUdpAlone();
  for (const Bytes& frame : datagrams) collector.Add(frame);
  ExpectUntouched(collector.out(), datagrams);
  for (const Spec& spec : {Full(), Next(Full())}) collector.Add(packets::Build(spec));
  collector.Flush();
  ASSERT_EQ(collector.out().size(), 3u);
  EXPECT_EQ(collector.out()[2].offload.gso, Gso::kTcp4);
}

TEST(Coalesce, ASegmentThatStaysAlonePassesAsItCame) {
  const Bytes frame = packets::Build(Full());
  ExpectUntouched(Coalesce({frame}), {frame});
}

struct Difference {
  const char* what;
  void (*make)(Spec& second);
};

TEST(Coalesce, R1OneDifferenceIsEnoughToStayApart) {
  const Difference differences[] = {
      {"TOS", [](Spec& s) { s.tos = 1; }},
      {"TTL", [](Spec& s) { s.ttl = 63; }},
      {"ack", [](Spec& s) { s.ack++; }},
      {"window", [](Spec& s) { s.window++; }},
      {"timestamp", [](Spec& s) { s.options = packets::TimestampOption(7); }},
      {"no options", [](Spec& s) { s.options.clear(); }},
      {"urgent pointer", [](Spec& s) { s.urgent = 1; }},
      {"a hole", [](Spec& s) { s.sequence++; }},
      {"sent again", [](Spec& s) { s.sequence -= 1000; }},
      {"overlap", [](Spec& s) { s.sequence--; }},
      {"larger", [](Spec& s) { s.payload.push_back(0); }},
      {"reserved bits", [](Spec& s) { s.reserved = 1; }},
      {"SYN", [](Spec& s) { s.flags |= packets::kSyn; }},
      {"RST", [](Spec& s) { s.flags |= packets::kRst; }},
      {"URG", [](Spec& s) { s.flags |= packets::kUrg; }},
      {"ECE", [](Spec& s) { s.flags |= packets::kEce; }},
      {"CWR", [](Spec& s) { s.flags |= packets::kCwr; }},
      {"no ACK", [](Spec& s) { s.flags = packets::kPsh; }},
      {"empty", [](Spec& s) { s.payload.clear(); }},
  };
  for (const bool ipv6 : {false, true}) {
    for (const Difference& difference : differences) {
      SCOPED_TRACE(difference.what);
      Spec first = Full();
      first.ipv6 = ipv6;
      Spec second = Next(first);
      difference.make(second);
      const std::vector<Bytes> frames = {packets::Build(first), packets::Build(second)};
      ExpectUntouched(Coalesce(frames), frames);
    }
  }
}

TEST(Coalesce, R1OfIpAlone) {
  const Difference v4[] = {
      {"id jumps", [](Spec& s) { s.id++; }},
      {"id goes back", [](Spec& s) { s.id -= 2; }},
      {"DF", [](Spec& s) { s.fragment = 0; }},
      {"the evil bit", [](Spec& s) { s.fragment = 0xc000; }},
      {"IP options", [](Spec& s) { s.ip_options = 4; }},
      {"a first fragment", [](Spec& s) { s.fragment = 0x2000; }},
      {"a later fragment", [](Spec& s) { s.fragment = 0x0001; }},
  };
  for (const Difference& difference : v4) {
    SCOPED_TRACE(difference.what);
    Spec second = Next(Full());
    difference.make(second);
    const std::vector<Bytes> frames = {packets::Build(Full()), packets::Build(second)};
    ExpectUntouched(Coalesce(frames), frames);
  }
  Spec first = Full();
  first.ipv6 = true;
  Spec second = Next(first);
  second.label = 1;
  const std::vector<Bytes> frames = {packets::Build(first), packets::Build(second)};
  ExpectUntouched(Coalesce(frames), frames);
}

// The fields that identify a flow. The second frame of the other flow shows that the first flow
// stays open.
TEST(Coalesce, AnotherFlowLeavesTheFirstOpen) {
  const Difference differences[] = {
      {"source MAC and address", [](Spec& s) { s.host = 2; }},
      {"source port", [](Spec& s) { s.source_port++; }},
      {"destination port", [](Spec& s) { s.destination_port++; }},
      {"VLAN tag", [](Spec& s) { s.tags = 1; }},
      {"family", [](Spec& s) { s.ipv6 = true; }},
      {"protocol", [](Spec& s) { s.udp = true; }},
  };
  for (const Difference& difference : differences) {
    SCOPED_TRACE(difference.what);
    Spec one = Full();
    Spec other = Full();
    difference.make(other);
    const std::vector<Out> out = Coalesce({packets::Build(one), packets::Build(other),
                                           packets::Build(Next(one)), packets::Build(Next(other))});
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(out[0].offload.gso, Gso::kTcp4);
    EXPECT_EQ(out[1].offload.gso, other.udp ? Gso::kUdp : other.ipv6 ? Gso::kTcp6 : Gso::kTcp4);
  }
}

TEST(Coalesce, AnIdMayStandStillOnlyWithDf) {
  Spec first = Full();
  Spec second = Next(first);
  second.id = first.id;
  Spec third = Next(second);
  third.id = first.id;
  EXPECT_EQ(Coalesce({packets::Build(first), packets::Build(second), packets::Build(third)}).size(),
            1u);
  third.id++;  // the id was constant first, now it counts up
  EXPECT_EQ(Coalesce({packets::Build(first), packets::Build(second), packets::Build(third)}).size(),
            2u);
  first.fragment = second.fragment = 0;
  EXPECT_EQ(Coalesce({packets::Build(first), packets::Build(second)}).size(), 2u);
  second.id++;
  EXPECT_EQ(Coalesce({packets::Build(first), packets::Build(second)}).size(), 1u);
}

TEST(Coalesce, R2AndR3ShortPshAndFinClose) {
  const Difference differences[] = {
      {"short", [](Spec& s) { s.payload.pop_back(); }},
      {"PSH", [](Spec& s) { s.flags |= packets::kPsh; }},
      {"FIN", [](Spec& s) { s.flags |= packets::kFin; }},
  };
  for (const Difference& difference : differences) {
    SCOPED_TRACE(difference.what);
    Spec first = Full();
    Spec second = Next(first);
    difference.make(second);
    Collector collector;
    collector.Add(packets::Build(first));
    EXPECT_EQ(collector.out().size(), 0u);
    collector.Add(packets::Build(second));
    EXPECT_EQ(collector.out().size(), 1u) << "must leave with what closes it";
    Spec third = Next(second);
    third.flags = packets::kAck;
    collector.Add(packets::Build(third));
    EXPECT_EQ(collector.out().size(), 1u);
    collector.Flush();
    EXPECT_EQ(collector.out().size(), 2u);
  }
}

TEST(Coalesce, APushedSegmentDoesNotWait) {
  Spec spec = Full();
  spec.flags |= packets::kPsh;
  Collector collector;
  collector.Add(packets::Build(spec));
  ExpectUntouched(collector.out(), {packets::Build(spec)});
}

TEST(Coalesce, R4WrongChecksumsPassAloneAndInOrder) {
  const size_t spoilt[] = {14 + 10, 14 + 20 + 16, 14 + 20 + 32 + 500};  // IPv4, TCP, payload
  for (const size_t at : spoilt) {
    SCOPED_TRACE(at);
    const Spec a = Full(), b = Next(a), c = Next(b);
    std::vector<Bytes> frames = {packets::Build(a), packets::Build(b), packets::Build(c)};
    frames[1][at] ^= 0x10;
    ExpectUntouched(Coalesce(frames), frames);
  }
}

TEST(Coalesce, R5APureAckComesAfterTheDataBeforeIt) {
  const Spec a = Full(), b = Next(a);
  Spec ack = Next(b);
  ack.payload.clear();
  Collector collector;
  for (const Spec& spec : {a, b}) collector.Add(packets::Build(spec));
  EXPECT_EQ(collector.out().size(), 0u);
  collector.Add(packets::Build(ack));
  ASSERT_EQ(collector.out().size(), 2u);
  EXPECT_EQ(collector.out()[0].offload.gso, Gso::kTcp4);
  EXPECT_EQ(collector.out()[1].bytes, packets::Build(ack));
}

TEST(Coalesce, R5AFragmentComesAfterTheDataBeforeIt) {
  Spec fragment = Next(Full());
  fragment.fragment = 0x2000;
  Spec of_udp = Next(Datagram());
  of_udp.fragment = 0x2000;
  Spec hidden = Full();
  hidden.ipv6 = true;
  Bytes behind_options = packets::Build(hidden);
  behind_options[14 + 6] = 60;
  for (const Bytes& second : {packets::Build(fragment), packets::Build(of_udp), behind_options}) {
    for (const Bytes& first : {packets::Build(Full()), packets::Build(Datagram())}) {
      Collector collector;
      collector.Add(first);
      collector.Add(second);
      ExpectUntouched(collector.out(), {first, second});
    }
  }
}

TEST(Coalesce, OtherFramesPassAtOnceAndCloseNothing) {
  Bytes arp(42, 0);
  arp[12] = 0x08;
  arp[13] = 0x06;
  Bytes icmp = packets::Build(Full());
  icmp[14 + 9] = 1;
  Bytes broken = packets::Build(Full());
  broken.resize(30);
  for (const Bytes& other : {arp, icmp, broken, Bytes(14, 0), Bytes(1, 0)}) {
    Collector collector;
    collector.Add(packets::Build(Full()));
    collector.Add(other);
    ExpectUntouched(collector.out(), {other});
    collector.Add(packets::Build(Next(Full())));
    collector.Flush();
    ASSERT_EQ(collector.out().size(), 2u);
    EXPECT_EQ(collector.out()[1].offload.gso, Gso::kTcp4);
  }
}

TEST(Coalesce, R6SixtyFourSegments) {
  Spec spec;
  spec.payload = packets::Payload(65 * 100);
  const std::vector<Bytes> frames = packets::Segments(spec, 100);
  const std::vector<Out> out = Coalesce(frames);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].bytes.size(), 14 + 40 + 64 * 100u);
  EXPECT_EQ(out[1].bytes, frames[64]);
}

TEST(Coalesce, R6TheLargestIpPacket) {
  for (const bool ipv6 : {false, true}) {
    Spec spec;
    spec.ipv6 = ipv6;
    const size_t most = 65535 - (ipv6 ? 60 : 40);
    spec.payload = packets::Payload(most);
    EXPECT_EQ(Coalesce(packets::Segments(spec, 8000)).size(), 1u);
    spec.payload = packets::Payload(most + 1);
    EXPECT_EQ(Coalesce(packets::Segments(spec, 8000)).size(), 2u);
  }
}

TEST(Coalesce, ANinthFlowClosesTheOldest) {
  std::vector<Spec> flows(Coalescer::kMaxFlows + 1, Full());
  Collector collector;
  for (size_t i = 0; i < flows.size(); ++i) {
    flows[i].source_port = static_cast<uint16_t>(1000 + i);
    collector.Add(packets::Build(flows[i]));
  }
  ExpectUntouched(collector.out(), {packets::Build(flows[0])});
  collector.Flush();
  std::vector<Bytes> frames;
  for (const Spec& spec : flows) frames.push_back(packets::Build(spec));
  ExpectUntouched(collector.out(), frames);  // in the order in which they were opened
}

TEST(Coalesce, PaddingIsNotPayload) {
  Spec first;
  first.payload = packets::Payload(8);
  Spec second = Next(first);
  second.payload.resize(3);
  second.padding = 60 - (14 + 40 + 3);
  const std::vector<Out> out = Coalesce({packets::Build(first), packets::Build(second)});
  Spec both = first;
  both.payload.insert(both.payload.end(), second.payload.begin(), second.payload.end());
  Offload offload;
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].bytes, packets::BuildSuper(both, 8, offload));
}

TEST(Coalesce, APacketLargerThanItsFramePassesUntouched) {
  Spec spec = Full();
  Bytes cut = packets::Build(Next(spec));
  cut.pop_back();
  const std::vector<Bytes> frames = {packets::Build(spec), cut};
  ExpectUntouched(Coalesce(frames), frames);
}

// The input comes out again when super-frames are split, byte for byte and in each flow's order,
// except for padding and, under DF, the id (RFC 6864, section 4.1).
Bytes WithoutIdAndPadding(Bytes frame, const Spec& spec) {
  frame.resize(frame.size() - spec.padding);
  if (!spec.ipv6) {
    for (const size_t at : {4, 5, 10, 11}) frame[14 + static_cast<size_t>(spec.tags) * 4 + at] = 0;
  }
  return frame;
}

TEST(Coalesce, WhatWasMergedSplitsIntoWhatItWas) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto roll = [&](unsigned n) { return random() % n; };
    const unsigned kinds = 1 + roll(11);

    std::vector<Spec> flows;
    for (unsigned i = 0; i < kinds; ++i) {
      Spec spec;
      spec.source_port = static_cast<uint16_t>(1000 + i);
      spec.udp = roll(3) == 0;
      spec.ipv6 = roll(2) == 0;
      spec.tags = static_cast<int>(roll(3));
      spec.sequence = static_cast<uint32_t>(random());
      spec.id = static_cast<uint16_t>(random());
      if (!spec.udp && roll(2) == 0) spec.options = packets::TimestampOption();
      spec.payload = packets::Payload(8 + roll(1400), i);
      flows.push_back(spec);
    }
    std::map<uint16_t, std::vector<std::pair<Bytes, Spec>>> input;  // by source port
    Collector collector;
    size_t frames = 0;
    for (int i = 0; i < 400; ++i) {
      Spec& flow = flows[roll(kinds)];
      const int run = 1 + static_cast<int>(roll(20));
      for (int j = 0; j < run; ++j) {
        Spec spec = flow;
        const size_t full = flow.payload.size();
        switch (roll(30)) {
          case 0:
            spec.payload.clear();
            break;
          case 1:
            spec.payload.resize(1 + roll(static_cast<unsigned>(full)));
            break;
          case 2:
            spec.flags |= packets::kPsh;
            break;
          case 3:
            spec.flags |= packets::kEce;
            break;
          case 4:
            spec.padding = roll(7);
            break;
          case 5:
            spec.sequence += roll(3) - 1;
            break;
          case 6:
            spec.ack = flow.ack = static_cast<uint32_t>(random());
            break;
          default:
            break;
        }
        const Bytes frame = packets::Build(spec);
        input[spec.source_port].push_back({frame, spec});
        collector.Add(frame);
        ++frames;
        flow.sequence = static_cast<uint32_t>(spec.sequence + spec.payload.size());
        if (roll(40) != 0) flow.id++;
      }
    }
    collector.Flush();
    ASSERT_LT(collector.out().size(), frames * 2 / 3) << "nothing was merged";

    std::map<uint16_t, size_t> done;
    Segmenter segmenter({});
    for (Out out : collector.out()) {
      const bool merged = out.offload.gso != Gso::kNone;
      Frame frame{out.bytes, out.offload};
      std::vector<Segment> segments;
      ASSERT_EQ(segmenter.Split(frame, segments), Drop::kNone);
      for (const Segment& segment : segments) {
        Bytes got(segment.headers.begin(), segment.headers.end());
        got.insert(got.end(), segment.payload.begin(), segment.payload.end());
        ASSERT_EQ(packets::WhatIsWrong(got), "");
        size_t port_at = 14 + 20;
        for (size_t at = 12; got[at] == 0x81 || got[at] == 0x88; at += 4) port_at += 4;
        if (got[port_at - 20 - 2] == 0x86) port_at += 20;
        const auto port = static_cast<uint16_t>(got[port_at] << 8 | got[port_at + 1]);
        const size_t index = done[port]++;
        ASSERT_LT(index, input[port].size());
        const auto& [want, spec] = input[port][index];
        if (merged) {
          Spec trimmed = spec;
          trimmed.padding = 0;
          ASSERT_EQ(WithoutIdAndPadding(got, trimmed), WithoutIdAndPadding(want, spec));
        } else {
          ASSERT_EQ(got, want);
        }
      }
    }
    for (const auto& [port, list] : input) EXPECT_EQ(done[port], list.size());
  }
}

}  // namespace
}  // namespace vxvde
