#include "plugin/fastpath/punt.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/base/vnet.h"
#include "plugin/offload/testing/packets.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using packets::Bytes;

constexpr uint16_t kFastPort = 15814;

// A datagram to the fast port, from the sender in packets.h.
packets::Spec ToFastPort(bool ipv6) {
  packets::Spec spec;
  spec.ipv6 = ipv6;
  spec.udp = true;
  spec.source_port = 14790;
  spec.destination_port = kFastPort;
  spec.payload = packets::Payload(101);
  return spec;
}

// A socket that keeps message boundaries, in place of a tap.
struct Tap {
  Tap() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    kernel = UniqueFd(ends[0]);
    ours = UniqueFd(ends[1]);
  }
  void Write(const VnetHeader& header, const Bytes& frame) const {
    Bytes all(sizeof(header));
    std::memcpy(all.data(), &header, sizeof(header));
    all.insert(all.end(), frame.begin(), frame.end());
    ASSERT_EQ(write(kernel.get(), all.data(), all.size()), static_cast<ssize_t>(all.size()));
  }
  UniqueFd kernel, ours;
};

// `frame` with an 802.1ad or other tag between MACs and EtherType.
Bytes Tagged(const Bytes& frame, uint16_t tci, uint16_t kind = 0x88a8) {
  Bytes out(frame.begin(), frame.begin() + 12);
  for (const int byte : {kind >> 8, kind & 0xff, tci >> 8, tci & 0xff})
    out.push_back(static_cast<uint8_t>(byte));
  out.insert(out.end(), frame.begin() + 12, frame.end());
  return out;
}

TEST(ParseDatagram, GivesTheSenderAndThePayload) {
  for (const bool ipv6 : {false, true}) {
    const packets::Spec spec = ToFastPort(ipv6);
    for (const bool checksum : {true, false}) {
      Bytes packet = packets::Build(spec);
      if (!checksum) StoreBe16(&packet[14 + (ipv6 ? 40 : 20) + 6], 0);
      InDatagram datagram;
      ASSERT_EQ(ParseDatagram(packet, kFastPort, datagram), Drop::kNone);
      EXPECT_EQ(datagram.from.port, 14790);
      EXPECT_EQ(datagram.from.address, IpAddress::FromWire(std::span(packet).subspan(
                                           14 + (ipv6 ? 8 : 12), ipv6 ? 16 : 4)));
      EXPECT_EQ(Bytes(datagram.bytes.begin(), datagram.bytes.end()), spec.payload);
      EXPECT_EQ(datagram.segment_size, 0);
    }
  }
}

TEST(ParseDatagram, ASumThatIsWrongIsNoticed) {
  for (const bool ipv6 : {false, true}) {
    const Bytes good = packets::Build(ToFastPort(ipv6));
    const size_t udp = 14 + (ipv6 ? 40u : 20u);
    for (size_t at = udp; at < good.size(); ++at) {
      Bytes bad = good;
      bad[at] ^= 0x04;
      InDatagram datagram;
      EXPECT_EQ(ParseDatagram(bad, kFastPort, datagram), Drop::kBadOffload) << at;
    }
    for (size_t size = 0; size < good.size(); ++size) {
      Bytes cut(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
      InDatagram datagram;
      EXPECT_EQ(ParseDatagram(cut, kFastPort, datagram), Drop::kBadOffload) << size;
    }
  }
}

TEST(ParseDatagram, OthersAreNotOurs) {
  InDatagram datagram;
  Bytes other_port = packets::Build(ToFastPort(false));
  EXPECT_EQ(ParseDatagram(other_port, kFastPort + 1, datagram), Drop::kBadOffload);
  packets::Spec tcp = ToFastPort(false);
  tcp.udp = false;
  Bytes segment = packets::Build(tcp);
  EXPECT_EQ(ParseDatagram(segment, kFastPort, datagram), Drop::kBadOffload);
  packets::Spec fragment = ToFastPort(false);
  fragment.fragment = 0x2000;
  Bytes piece = packets::Build(fragment);
  EXPECT_EQ(ParseDatagram(piece, kFastPort, datagram), Drop::kBadOffload);
  packets::Spec tagged = ToFastPort(false);
  tagged.tags = 1;
  Bytes with_tag = packets::Build(tagged);
  EXPECT_EQ(ParseDatagram(with_tag, kFastPort, datagram), Drop::kBadOffload);
}

TEST(FramesTap, TheTagNamesThePortAndIsGone) {
  Tap tap;
  Buffers buffers(4);
  std::vector<PuntedFrame> frames;
  DropCounters drops;
  packets::Spec spec;
  spec.payload = packets::Payload(5000);
  Offload offload;
  const Bytes super = packets::BuildSuper(spec, 1000, offload);
  VnetHeader header = ToVnet(offload);
  header.csum_start += 4;
  header.hdr_len += 4;
  tap.Write(header, Tagged(super, 0xfffe));
  spec.tags = 1;  // of the pod's own
  spec.payload = packets::Payload(10);
  const Bytes with_tag = packets::Build(spec);
  tap.Write(VnetHeader{}, Tagged(with_tag, 7));
  tap.Write(VnetHeader{}, Tagged(with_tag, 8));  // of a port that is gone
  tap.Write(VnetHeader{}, with_tag);             // not from the programs

  FramesTap reader(std::move(tap.ours), [](uint16_t slot) {
    return slot == 0xfffe ? PortId{1} : slot == 7 ? PortId{2} : PortId::kNone;
  });
  ASSERT_TRUE(reader.Receive(buffers, frames, drops).ok());
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].port, PortId{1});
  EXPECT_EQ(Bytes(frames[0].frame.bytes.begin(), frames[0].frame.bytes.end()), super);
  EXPECT_EQ(frames[0].frame.offload.gso, Gso::kTcp4);
  EXPECT_EQ(frames[0].frame.offload.gso_size, 1000);
  EXPECT_EQ(frames[0].frame.offload.checksum_start, offload.checksum_start);
  EXPECT_EQ(frames[1].port, PortId{2});
  EXPECT_EQ(Bytes(frames[1].frame.bytes.begin(), frames[1].frame.bytes.end()), with_tag);
  EXPECT_EQ(drops.Total(), 0u);
}

TEST(FramesTap, AnotherTagMeansTheOtherWay) {
  Tap tap;
  Buffers buffers(4);
  std::vector<PuntedFrame> frames;
  DropCounters drops;
  const Bytes frame = packets::Build({});
  tap.Write(VnetHeader{}, Tagged(frame, 7, 0x8100));
  tap.Write(VnetHeader{}, Tagged(frame, 8, 0x8100));  // of a port that is gone
  tap.Write(VnetHeader{}, Tagged(frame, 0x1fff, 0x8100));
  FramesTap reader(std::move(tap.ours),
                   [](uint16_t slot) { return slot == 7 ? PortId{2} : PortId::kNone; });
  ASSERT_TRUE(reader.Receive(buffers, frames, drops).ok());
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].way, PuntedFrame::Way::kTo);
  EXPECT_EQ(frames[0].port, PortId{2});
  EXPECT_EQ(Bytes(frames[0].frame.bytes.begin(), frames[0].frame.bytes.end()), frame);
  EXPECT_EQ(frames[1].way, PuntedFrame::Way::kTunnelProbe);
  EXPECT_EQ(drops.Total(), 0u);
}

TEST(FramesTap, SendsWithTheTagThatItReads) {
  Tap tap;
  packets::Spec spec;
  spec.payload = packets::Payload(5000);
  Offload offload;
  Bytes super = packets::BuildSuper(spec, 1000, offload);
  FramesTap writer(std::move(tap.ours), [](uint16_t) { return PortId::kNone; });
  const std::array<iovec, 2> parts = {iovec{super.data(), 100},
                                      iovec{super.data() + 100, super.size() - 100}};
  const OutFrame frame{.parts = parts, .size = super.size(), .offload = offload};
  ASSERT_EQ(writer.Send(0x0abc, frame), Drop::kNone);

  Bytes got(65536);
  got.resize(static_cast<size_t>(read(tap.kernel.get(), got.data(), got.size())));
  VnetHeader header;
  ASSERT_GT(got.size(), sizeof(header));
  std::memcpy(&header, got.data(), sizeof(header));
  const VnetHeader plain = ToVnet(offload);
  EXPECT_EQ(header.csum_start, plain.csum_start + 4);
  EXPECT_EQ(header.csum_offset, plain.csum_offset);
  EXPECT_EQ(header.hdr_len, plain.hdr_len + 4);
  EXPECT_EQ(header.gso_size, 1000);
  EXPECT_EQ(Bytes(got.begin() + sizeof(header), got.end()), Tagged(super, 0x0abc));

  tap.kernel.Reset();
  EXPECT_EQ(writer.Send(0x0abc, frame), Drop::kSendFailed);
  const iovec only_macs{super.data(), 12};
  EXPECT_EQ(writer.Send(1, {.parts = {&only_macs, 1}, .size = 12, .offload = {}}),
            Drop::kShortFrame);
}

TEST(DatagramsTap, ReadsABatchAndCountsWhatIsNone) {
  Tap tap;
  Buffers buffers(4);
  std::vector<InDatagram> datagrams;
  DropCounters drops;
  const Bytes good = packets::Build(ToFastPort(true));
  Bytes bad = good;
  bad.back() ^= 1;
  for (const Bytes& packet : {good, bad, good}) tap.Write(VnetHeader{}, packet);
  DatagramsTap reader(std::move(tap.ours), kFastPort);
  ASSERT_TRUE(reader.Receive(buffers, datagrams, drops).ok());
  ASSERT_EQ(datagrams.size(), 2u);
  EXPECT_TRUE(std::ranges::equal(datagrams[0].bytes, datagrams[1].bytes));
  EXPECT_EQ(drops[Drop::kBadOffload], 1u);
  ASSERT_TRUE(reader.Receive(buffers, datagrams, drops).ok());
  EXPECT_TRUE(datagrams.empty());
}

}  // namespace
}  // namespace vxvde
