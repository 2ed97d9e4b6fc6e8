#include "plugin/fastpath/punt.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "plugin/base/vnet.h"
#include "plugin/fastpath/abi.h"
#include "plugin/os/port.h"
#include "plugin/wire/checksum.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

constexpr size_t kBatch = 64;
constexpr size_t kMacs = 12;
constexpr size_t kTagSize = 4;
constexpr size_t kUdpHeaderSize = 8;
constexpr size_t kUdpChecksumAt = 6;

// Reads one frame. Returns its size; -1: none waits, or the tap cannot be read.
ssize_t ReadTap(int tap, std::span<const iovec> parts) {
  while (true) {
    const ssize_t size = readv(tap, parts.data(), static_cast<int>(parts.size()));
    if (size >= 0 || errno != EINTR) return size;
  }
}

}  // namespace

absl::Status FramesTap::Receive(Buffers& buffers, std::vector<PuntedFrame>& out,
                                DropCounters& drops) {
  out.clear();
  const size_t batch = std::min(buffers.count(), kBatch);
  size_t bytes = 0;
  for (size_t reads = 0; reads < batch && bytes < BatchSize::kBytes; ++reads) {
    const std::span<uint8_t> room = buffers[out.size()];
    VnetHeader header;
    std::array<uint8_t, kTagSize> tag;
    // Reads the tag into a buffer of its own, so that the frame is contiguous without it.
    const std::array<iovec, 4> parts = {iovec{&header, sizeof(header)}, iovec{room.data(), kMacs},
                                        iovec{tag.data(), tag.size()},
                                        iovec{room.data() + kMacs, room.size() - kMacs}};
    const ssize_t size = ReadTap(tap_.get(), parts);
    if (size < 0 && errno == EINVAL) {  // a super-frame that a vnet header cannot describe
      drops.Add(Drop::kUnsupportedOffload);
      continue;
    }
    if (size < 0) {
      if (errno == EAGAIN || !out.empty()) return absl::OkStatus();
      return TapReadError(errno);
    }
    bytes += static_cast<size_t>(size);
    // Packets of the kernel itself carry no tag of the programs.
    if (static_cast<size_t>(size) < sizeof(header) + kMacs + kTagSize + 2) continue;
    const uint16_t kind = LoadBe16(tag.data());
    const uint16_t slot = LoadBe16(tag.data() + 2);
    PuntedFrame punted;
    if (kind == kEtherTypeQinQ) {
      punted.way = PuntedFrame::Way::kFrom;
      read_(slot, (room[0] & 1) != 0);
    } else if (kind == kEtherTypeVlan) {
      punted.way = slot == FP_TUNNEL_PROBE ? PuntedFrame::Way::kTunnelProbe : PuntedFrame::Way::kTo;
    } else {
      continue;
    }
    punted.port = punted.way == PuntedFrame::Way::kTunnelProbe ? PortId::kNone : port_at_(slot);
    if (punted.port == PortId::kNone && punted.way != PuntedFrame::Way::kTunnelProbe) continue;
    punted.frame.bytes = room.first(static_cast<size_t>(size) - sizeof(header) - kTagSize);
    if (punted.frame.bytes.size() == room.size()) {  // a tap truncates without an error
      drops.Add(Drop::kTruncated);
      continue;
    }
    if ((header.flags & VnetHeader::kNeedsChecksum) != 0) header.csum_start -= kTagSize;
    if (header.hdr_len >= kTagSize) header.hdr_len -= kTagSize;
    if (const Drop drop = FromVnet(header, punted.frame.bytes, punted.frame.offload);
        drop != Drop::kNone) {
      drops.Add(drop);
      continue;
    }
    out.push_back(punted);
  }
  return absl::OkStatus();
}

Drop FramesTap::Send(uint16_t slot, const OutFrame& frame) {
  // Addresses, tag, and the rest of the first part, which contains all headers.
  const iovec& first = frame.parts.front();
  if (first.iov_len <= kMacs || frame.parts.size() > OutFrame::kMaxParts) return Drop::kShortFrame;
  VnetHeader header = ToVnet(frame.offload);
  if ((header.flags & VnetHeader::kNeedsChecksum) != 0) header.csum_start += kTagSize;
  if (header.hdr_len != 0) header.hdr_len += kTagSize;
  std::array<uint8_t, kTagSize> tag;
  StoreBe16(tag.data(), kEtherTypeQinQ);
  StoreBe16(tag.data() + 2, slot);
  std::array<iovec, OutFrame::kMaxParts + 3> parts = {
      iovec{&header, sizeof(header)}, iovec{first.iov_base, kMacs}, iovec{tag.data(), tag.size()},
      iovec{static_cast<uint8_t*>(first.iov_base) + kMacs, first.iov_len - kMacs}};
  std::copy(frame.parts.begin() + 1, frame.parts.end(), parts.begin() + 4);
  while (writev(tap_.get(), parts.data(), static_cast<int>(frame.parts.size() + 3)) < 0) {
    if (errno != EINTR) return errno == EINVAL ? Drop::kBadOffload : Drop::kSendFailed;
  }
  return Drop::kNone;
}

absl::Status DatagramsTap::Receive(Buffers& buffers, std::vector<InDatagram>& out,
                                   DropCounters& drops) {
  out.clear();
  const size_t batch = std::min(buffers.count(), kBatch);
  for (size_t reads = 0; reads < batch; ++reads) {
    const std::span<uint8_t> room = buffers[out.size()];
    VnetHeader header;
    const std::array<iovec, 2> parts = {iovec{&header, sizeof(header)},
                                        iovec{room.data(), room.size()}};
    const ssize_t size = ReadTap(tap_.get(), parts);
    if (size < 0) {
      if (errno == EAGAIN || !out.empty()) return absl::OkStatus();
      return TapReadError(errno);
    }
    if (static_cast<size_t>(size) < sizeof(header)) continue;
    const std::span<uint8_t> packet = room.first(static_cast<size_t>(size) - sizeof(header));
    InDatagram datagram;
    // The tap has no offloads: the kernel has segmented, and has finished checksums.
    Drop drop = ParseDatagram(packet, fast_port_, datagram);
    if (packet.size() == room.size()) drop = Drop::kTruncated;
    if (drop == Drop::kNone) {
      out.push_back(datagram);
    } else {
      drops.Add(drop);
    }
  }
  return absl::OkStatus();
}

void DatagramsTap::Send(std::span<const OutDatagram> batch, DropCounters& drops) {
  for (const OutDatagram& datagram : batch) drops.Add(Drop::kSendFailed, datagram.datagrams);
}

Drop ParseDatagram(std::span<uint8_t> packet, uint16_t fast_port, InDatagram& out) {
  PacketView view;
  if (packet.size() < kEthernetHeaderSize || !ParsePacket(packet, view) ||
      view.l4 != PacketView::L4::kUdp || view.l3_offset != kEthernetHeaderSize) {
    return Drop::kBadOffload;
  }
  const bool v6 = view.l3 == PacketView::L3::kIpv6;
  const uint8_t* udp = packet.data() + view.l4_offset;
  const size_t there = packet.size() - view.l4_offset;
  const size_t size = LoadBe16(udp + 4);
  const size_t ip_end = view.l3_offset + size_t{view.ip_length};
  if (LoadBe16(udp + 2) != fast_port || size < kUdpHeaderSize || size > there ||
      view.l4_offset + size > ip_end) {
    return Drop::kBadOffload;
  }
  const uint8_t* ip = packet.data() + view.l3_offset;
  const size_t address_size = v6 ? 16 : 4;
  const std::span<const uint8_t> source(ip + (v6 ? 8 : 12), address_size);
  const std::span<const uint8_t> destination(ip + (v6 ? 24 : 16), address_size);
  // Zero: no checksum, as the programs of other agents send it (IPv6: RFC 6935, section 5).
  if (LoadBe16(udp + kUdpChecksumAt) != 0) {
    const uint64_t pseudo =
        PseudoHeaderSum(source, destination, kProtocolUdp, static_cast<uint32_t>(size));
    if (ChecksumFinish(ChecksumAdd({udp, size}, pseudo)) != 0) return Drop::kBadOffload;
  }
  out = {.bytes = packet.subspan(view.l4_offset + kUdpHeaderSize, size - kUdpHeaderSize),
         .from = {IpAddress::FromWire(source), LoadBe16(udp)}};
  return Drop::kNone;
}

}  // namespace vxvde
