// Sums the headers once for each super-frame, and reads the payload once for each segment.
// Model of behaviour: Linux tcp_gso_segment, __udp_gso_segment, skb_checksum_help.

#include "plugin/offload/segment.h"

#include <algorithm>
#include <cstring>

#include "plugin/wire/checksum.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

// The largest payload of a UDP datagram over IPv4; 20 bytes less than over IPv6.
constexpr size_t kMaxDatagram = 65535 - 20 - 8;

// Limits, as kMinTcpSegment does, the number of frames from one read of a pod (UDP_MAX_SEGMENTS).
constexpr size_t kMaxUdpSegments = 128;

constexpr size_t kTcpSequence = 4;
constexpr size_t kTcpFlags = 13;
constexpr size_t kTcpChecksum = 16;
constexpr uint8_t kTcpFin = 0x01;
constexpr uint8_t kTcpPsh = 0x08;
constexpr uint8_t kTcpCwr = 0x80;
constexpr size_t kUdpLength = 4;
constexpr size_t kUdpChecksum = 6;

constexpr size_t kIpv4Length = 2;
constexpr size_t kIpv4Id = 4;
constexpr size_t kIpv4Checksum = 10;
constexpr size_t kIpv6Length = 4;

size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

// kNone: headers and marks of a super-frame agree.
Drop CheckSuperFrame(const Frame& frame, const PacketView& view) {
  const Offload& offload = frame.offload;
  const bool tcp = offload.gso != Gso::kUdp;
  if (view.l3 == PacketView::L3::kIpv6 && view.l4 == PacketView::L4::kOther &&
      offload.gso != Gso::kTcp4) {
    return Drop::kUnsupportedOffload;  // extension headers, or a fragment
  }
  if (view.l4 != (tcp ? PacketView::L4::kTcp : PacketView::L4::kUdp)) return Drop::kBadOffload;
  if (offload.gso == Gso::kTcp4 && view.l3 != PacketView::L3::kIpv4) return Drop::kBadOffload;
  if (offload.gso == Gso::kTcp6 && view.l3 != PacketView::L3::kIpv6) return Drop::kBadOffload;
  if (offload.needs_checksum && (offload.checksum_start != view.l4_offset ||
                                 offload.checksum_offset != (tcp ? kTcpChecksum : kUdpChecksum))) {
    return Drop::kBadOffload;
  }
  const size_t payload = frame.bytes.size() - view.payload;
  if (tcp ? offload.gso_size < kMinTcpSegment
          : offload.gso_size == 0 || DivideUp(payload, offload.gso_size) > kMaxUdpSegments) {
    return Drop::kBadOffload;
  }
  return Drop::kNone;
}

// Makes the headers of each segment from those of the super-frame. Sums constant fields once; for
// each segment only the fields that change, and the payload.
class HeaderWriter {
 public:
  // `headers`: of the super-frame. Ignores its length and checksum fields: at and above 64 KiB the
  // length is usually 0 or otherwise wrong.
  HeaderWriter(std::span<const uint8_t> headers, const PacketView& view, const Offload& offload)
      : view_(view), gso_size_(offload.gso_size), ecn_(offload.ecn), size_(headers.size()) {
    std::memcpy(headers_, headers.data(), size_);
    uint8_t* ip = headers_ + view.l3_offset;
    uint8_t* l4 = headers_ + view.l4_offset;
    std::span<const uint8_t> source, destination;
    if (view.l3 == PacketView::L3::kIpv4) {
      id_ = LoadBe16(ip + kIpv4Id);
      StoreBe16(ip + kIpv4Length, 0);
      StoreBe16(ip + kIpv4Id, 0);
      StoreBe16(ip + kIpv4Checksum, 0);
      ip_sum_ = ChecksumAdd({ip, l4});
      source = {ip + 12, 4};
      destination = {ip + 16, 4};
    } else {
      source = {ip + 8, 16};
      destination = {ip + 24, 16};
    }
    if (view.l4 == PacketView::L4::kTcp) {
      sequence_ = LoadBe32(l4 + kTcpSequence);
      flags_ = l4[kTcpFlags];
      StoreBe32(l4 + kTcpSequence, 0);
      l4[kTcpFlags] = 0;
      StoreBe16(l4 + kTcpChecksum, 0);
    } else {
      StoreBe16(l4 + kUdpLength, 0);
      StoreBe16(l4 + kUdpChecksum, 0);
    }
    const uint8_t protocol = view.l4 == PacketView::L4::kTcp ? kProtocolTcp : kProtocolUdp;
    l4_sum_ =
        ChecksumAdd({l4, headers_ + size_}, PseudoHeaderSum(source, destination, protocol, 0));
  }

  // `out` has room for the headers.
  void Write(size_t index, bool last, std::span<const uint8_t> payload, uint8_t* out) const {
    std::memcpy(out, headers_, size_);
    uint8_t* ip = out + view_.l3_offset;
    uint8_t* l4 = out + view_.l4_offset;
    const auto l4_length = static_cast<uint16_t>(size_ - view_.l4_offset + payload.size());

    if (view_.l3 == PacketView::L3::kIpv4) {
      const auto length = static_cast<uint16_t>(view_.l4_offset - view_.l3_offset + l4_length);
      const auto id = static_cast<uint16_t>(id_ + index);
      StoreBe16(ip + kIpv4Length, length);
      StoreBe16(ip + kIpv4Id, id);
      StoreBe16(ip + kIpv4Checksum, ChecksumFinish(ip_sum_ + length + id));
    } else {
      StoreBe16(ip + kIpv6Length, l4_length);
    }

    uint64_t sum = l4_sum_ + l4_length;  // of the pseudo-header
    if (view_.l4 == PacketView::L4::kTcp) {
      const auto sequence = static_cast<uint32_t>(sequence_ + index * gso_size_);
      uint8_t flags = flags_;
      if (!last) flags &= static_cast<uint8_t>(~(kTcpFin | kTcpPsh));
      if (ecn_ && index != 0) flags &= static_cast<uint8_t>(~kTcpCwr);
      StoreBe32(l4 + kTcpSequence, sequence);
      l4[kTcpFlags] = flags;
      sum += (sequence >> 16) + (sequence & 0xffff) + flags;
      StoreBe16(l4 + kTcpChecksum, ChecksumFinish(ChecksumAdd(payload, sum)));
    } else {
      StoreBe16(l4 + kUdpLength, l4_length);
      const uint16_t checksum = ChecksumFinish(ChecksumAdd(payload, sum + l4_length));
      StoreBe16(l4 + kUdpChecksum, checksum == 0 ? 0xffff : checksum);
    }
  }

  // Ethernet with two tags, IPv4 with options, TCP with options.
  static constexpr size_t kMaxSize = 22 + 60 + 60;

 private:
  PacketView view_;
  size_t gso_size_;
  bool ecn_;
  size_t size_;
  uint16_t id_ = 0;
  uint32_t sequence_ = 0;
  uint8_t flags_ = 0;
  uint64_t ip_sum_ = 0;
  uint64_t l4_sum_ = 0;
  uint8_t headers_[kMaxSize];
};

}  // namespace

Segmenter::Segmenter(std::span<const uint8_t> prefix) : prefix_(prefix.begin(), prefix.end()) {}

Drop Segmenter::Split(Frame& frame, std::vector<Segment>& out) {
  if (frame.offload.gso == Gso::kNone) return Plain(frame, out);

  PacketView view;
  if (!ParsePacket(frame.bytes, view)) return Drop::kBadOffload;
  if (const Drop drop = CheckSuperFrame(frame, view); drop != Drop::kNone) return drop;

  // Ignores offload.header_size: from the kernel it is only a hint (skb_headlen, which may reach
  // into the payload).
  const auto headers = frame.bytes.first(view.payload);
  const auto payload = frame.bytes.subspan(view.payload);
  const size_t gso_size = frame.offload.gso_size;
  if (headers.size() > HeaderWriter::kMaxSize) return Drop::kBadOffload;
  if (prefix_.size() + headers.size() + std::min(gso_size, payload.size()) > kMaxDatagram) {
    return Drop::kTooBig;
  }

  const HeaderWriter writer(headers, view, frame.offload);
  const size_t count = std::max<size_t>(1, DivideUp(payload.size(), gso_size));
  for (size_t i = 0; i < count; ++i) {
    const auto slice =
        payload.subspan(i * gso_size, std::min(gso_size, payload.size() - i * gso_size));
    const std::span<uint8_t> own = Allocate(prefix_.size() + headers.size());
    std::copy(prefix_.begin(), prefix_.end(), own.begin());
    writer.Write(i, i + 1 == count, slice, own.data() + prefix_.size());
    out.push_back({own, slice});
  }
  return Drop::kNone;
}

Drop Segmenter::Plain(Frame& frame, std::vector<Segment>& out) {
  Offload& offload = frame.offload;
  if (prefix_.size() + frame.bytes.size() > kMaxDatagram) return Drop::kTooBig;
  if (offload.needs_checksum) {
    const size_t end_of_field = size_t{offload.checksum_start} + offload.checksum_offset + 2;
    if (end_of_field > frame.bytes.size()) return Drop::kBadOffload;
    FinishChecksum(frame.bytes, offload);
  }
  out.push_back({prefix_, frame.bytes});
  return Drop::kNone;
}

void Segmenter::Clear() {
  block_ = 0;
  used_ = 0;
}

std::span<uint8_t> Segmenter::Allocate(size_t size) {
  if (block_ < blocks_.size() && used_ + size > blocks_[block_].size()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) blocks_.emplace_back(kBlockSize);
  const std::span<uint8_t> result{blocks_[block_].data() + used_, size};
  used_ += size;
  return result;
}

void FinishChecksum(std::span<uint8_t> bytes, Offload& offload) {
  if (!offload.needs_checksum) return;
  const auto summed = bytes.subspan(offload.checksum_start);
  const uint16_t checksum = ChecksumFinish(ChecksumAdd(summed));
  // For UDP, 0 would mean "no checksum" (RFC 768); for others 0xffff equals 0.
  StoreBe16(summed.data() + offload.checksum_offset, checksum == 0 ? 0xffff : checksum);
  offload.needs_checksum = false;
  offload.checksum_start = 0;
  offload.checksum_offset = 0;
}

uint32_t SegmentCount(const Offload& offload, size_t size) {
  if (offload.gso == Gso::kNone || offload.gso_size == 0) return 1;
  const size_t smallest = offload.checksum_start + (offload.gso == Gso::kUdp ? 8 : 20);
  const size_t largest = offload.checksum_start + (offload.gso == Gso::kUdp ? 8 : 60);
  // Linux puts 12 bytes of options (timestamps) in each segment.
  const size_t usual = offload.checksum_start + (offload.gso == Gso::kUdp ? 8 : 32);
  const bool said = offload.header_size >= smallest && offload.header_size <= largest;
  const size_t headers = said ? offload.header_size : usual;
  if (size <= headers) return 1;
  return static_cast<uint32_t>(DivideUp(size - headers, offload.gso_size));
}

}  // namespace vxvde
