// Handles a frame in three steps: finds its open flow, decides whether a frame like it may be part
// of a super-frame (Candidate), and whether it continues that flow (Fits).

#include "plugin/offload/coalesce.h"

#include <algorithm>
#include <cstring>

#include "plugin/offload/segment.h"
#include "plugin/wire/checksum.h"

namespace vxvde {
namespace {

constexpr size_t kMaxIpPacket = 65535;

constexpr uint8_t kTcpFin = 0x01;
constexpr uint8_t kTcpPsh = 0x08;
constexpr uint8_t kTcpAck = 0x10;
constexpr size_t kTcpHeaderSize = 20;
constexpr size_t kTcpChecksum = 16;  // offset
constexpr size_t kUdpLength = 4;
constexpr size_t kUdpChecksum = 6;
constexpr uint16_t kIpv4DontFragment = 0x4000;

bool SameBytes(const uint8_t* a, const uint8_t* b, size_t from, size_t to) {
  return std::memcmp(a + from, b + from, to - from) == 0;
}

bool IpHeaderIsRight(std::span<const uint8_t> header) {
  return ChecksumFold(ChecksumAdd(header)) == 0xffff;
}

bool IsTcp(const PacketView& view) { return view.l4 == PacketView::L4::kTcp; }

uint64_t PseudoHeader(const uint8_t* ip, const PacketView& view, uint32_t length) {
  const uint8_t protocol = IsTcp(view) ? kProtocolTcp : kProtocolUdp;
  if (view.l3 == PacketView::L3::kIpv4) {
    return PseudoHeaderSum({ip + 12, 4}, {ip + 16, 4}, protocol, length);
  }
  return PseudoHeaderSum({ip + 8, 16}, {ip + 24, 16}, protocol, length);
}

// May hold a piece of a flow that the headers do not show: it is a fragment, or has IPv6 extension
// headers.
bool MayBeHiddenFlow(std::span<const uint8_t> frame, const PacketView& view) {
  if (view.l4 != PacketView::L4::kOther) return false;
  if (view.l3 == PacketView::L3::kIpv4) {
    const uint8_t protocol = frame[view.l3_offset + 9];
    return protocol == kProtocolTcp || protocol == kProtocolUdp;
  }
  if (view.l3 == PacketView::L3::kIpv6) return frame[view.l3_offset + 6] != kProtocolIcmpv6;
  return false;
}

void PassAsItIs(std::span<const uint8_t> frame, Coalescer::Sink sink) {
  const iovec part = {const_cast<uint8_t*>(frame.data()), frame.size()};
  sink({.parts = {&part, 1}, .size = frame.size(), .offload = {}});
}

}  // namespace

// A frame that may be part of a super-frame by R3, R4, and the "without" of R1.
struct Coalescer::Candidate {
  std::span<const uint8_t> frame;
  PacketView view;
  std::span<const uint8_t> payload;

  const uint8_t* ip() const { return frame.data() + view.l3_offset; }
  const uint8_t* l4() const { return frame.data() + view.l4_offset; }
  bool ipv4() const { return view.l3 == PacketView::L3::kIpv4; }
  uint16_t id() const { return ipv4() ? LoadBe16(ip() + 4) : 0; }
  bool dont_fragment() const { return !ipv4() || LoadBe16(ip() + 6) == kIpv4DontFragment; }
  uint32_t sequence() const { return LoadBe32(l4() + 4); }
  uint8_t flags() const { return l4()[13]; }
  bool closes() const { return IsTcp(view) && (flags() & (kTcpFin | kTcpPsh)) != 0; }

  // `view` is of a TCP segment or of a UDP datagram.
  static std::optional<Candidate> Make(std::span<const uint8_t> frame, const PacketView& view);
};

std::optional<Coalescer::Candidate> Coalescer::Candidate::Make(std::span<const uint8_t> frame,
                                                               const PacketView& view) {
  const uint8_t* ip = frame.data() + view.l3_offset;
  const uint8_t* l4 = frame.data() + view.l4_offset;
  const size_t end = view.l3_offset + size_t{view.ip_length};
  if (end > frame.size() || end <= view.payload) return std::nullopt;  // cut short; nothing inside

  if (IsTcp(view)) {
    if ((l4[13] & ~(kTcpFin | kTcpPsh)) != kTcpAck || (l4[12] & 0x0f) != 0) return std::nullopt;
  } else if (LoadBe16(l4 + kUdpLength) != end - view.l4_offset ||
             LoadBe16(l4 + kUdpChecksum) == 0) {
    return std::nullopt;
  }
  if (view.l3 == PacketView::L3::kIpv4) {
    if (view.l4_offset - view.l3_offset != 20) return std::nullopt;
    const uint16_t fragment = LoadBe16(ip + 6);
    if (fragment != 0 && fragment != kIpv4DontFragment) return std::nullopt;
    if (!IpHeaderIsRight({ip, l4})) return std::nullopt;
  }
  const auto segment = frame.subspan(view.l4_offset, end - view.l4_offset);
  const uint64_t pseudo = PseudoHeader(ip, view, static_cast<uint32_t>(segment.size()));
  if (ChecksumFold(ChecksumAdd(segment, pseudo)) != 0xffff) return std::nullopt;

  return Candidate{frame, view, frame.subspan(view.payload, end - view.payload)};
}

void Coalescer::Add(std::span<const uint8_t> frame, Sink sink) {
  PacketView view;
  if (!ParsePacket(frame, view) || view.l4 == PacketView::L4::kOther) {
    if (MayBeHiddenFlow(frame, view)) Flush(sink);
    PassAsItIs(frame, sink);
    return;
  }

  Flow* flow = FindFlow(frame, view);
  const std::optional<Candidate> candidate = Candidate::Make(frame, view);
  if (flow != nullptr && candidate && Fits(*flow, *candidate)) {
    Append(*flow, *candidate);
    if (MustClose(*flow, *candidate)) Emit(*flow, sink);
    return;
  }
  if (flow != nullptr) Emit(*flow, sink);
  if (!candidate || candidate->closes() ||
      (IsTcp(view) ? candidate->payload.size() < kMinTcpSegment : !udp_)) {
    PassAsItIs(frame, sink);
    return;
  }
  Open(flow != nullptr ? *flow : TakeSlot(sink), *candidate);
}

void Coalescer::Flush(Sink sink) {
  while (true) {
    Flow* oldest = nullptr;
    for (Flow& flow : flows_) {
      if (flow.open && (oldest == nullptr || flow.opened < oldest->opened)) oldest = &flow;
    }
    if (oldest == nullptr) return;
    Emit(*oldest, sink);
  }
}

// Compares the fields that stay the same during a connection. Fits() compares the others.
Coalescer::Flow* Coalescer::FindFlow(std::span<const uint8_t> frame, const PacketView& view) {
  const size_t addresses = view.l3 == PacketView::L3::kIpv4 ? 12 : 8;
  const size_t addresses_end = view.l3 == PacketView::L3::kIpv4 ? 20 : 40;
  for (Flow& flow : flows_) {
    if (!flow.open || flow.view.l3 != view.l3 || flow.view.l4 != view.l4 ||
        flow.view.l3_offset != view.l3_offset) {
      continue;
    }
    const uint8_t* ours = flow.first.data();
    if (SameBytes(ours + flow.view.l4_offset, frame.data() + view.l4_offset, 0, 4) &&
        SameBytes(ours + view.l3_offset, frame.data() + view.l3_offset, addresses, addresses_end) &&
        SameBytes(ours, frame.data(), 0, view.l3_offset)) {
      return &flow;
    }
  }
  return nullptr;
}

Coalescer::Flow& Coalescer::TakeSlot(Sink sink) {
  Flow* oldest = &flows_[0];
  for (Flow& flow : flows_) {
    if (!flow.open) return flow;
    if (flow.opened < oldest->opened) oldest = &flow;
  }
  Emit(*oldest, sink);
  return *oldest;
}

void Coalescer::Open(Flow& flow, const Candidate& candidate) {
  flow.open = true;
  flow.opened = ++clock_;
  flow.first = candidate.frame;
  flow.view = candidate.view;
  flow.flags = 0;
  flow.segment_size = static_cast<uint16_t>(candidate.payload.size());
  flow.next_sequence = IsTcp(candidate.view) ? candidate.sequence() : 0;
  flow.id_step.reset();
  flow.payload_bytes = 0;
  flow.segments = 0;
  Append(flow, candidate);
}

// R1 and R2, and R6 in bytes; `candidate` is of that flow.
bool Coalescer::Fits(const Flow& flow, const Candidate& candidate) {
  const bool tcp = IsTcp(flow.view);
  if (tcp && candidate.sequence() != flow.next_sequence) return false;
  if (candidate.payload.size() > flow.segment_size) return false;
  if (candidate.view.payload != flow.view.payload) return false;  // amount of options
  const size_t headers = flow.view.payload - flow.view.l3_offset;
  if (headers + flow.payload_bytes + candidate.payload.size() > kMaxIpPacket) return false;

  const uint8_t* ip = flow.first.data() + flow.view.l3_offset;
  const uint8_t* l4 = flow.first.data() + flow.view.l4_offset;
  if (candidate.ipv4()) {
    const bool same = SameBytes(ip, candidate.ip(), 0, 2) &&  // TOS
                      SameBytes(ip, candidate.ip(), 6, 9);    // DF, TTL
    if (!same) return false;
    const auto step = static_cast<uint16_t>(candidate.id() - flow.last_id);
    if (flow.id_step ? step != *flow.id_step
                     : step != 1 && !(step == 0 && candidate.dont_fragment())) {
      return false;
    }
  } else {
    const bool same = SameBytes(ip, candidate.ip(), 0, 4) &&  // traffic class, flow label
                      SameBytes(ip, candidate.ip(), 7, 8);    // hop limit
    if (!same) return false;
  }
  if (!tcp) return true;
  return SameBytes(l4, candidate.l4(), 8, 12) &&   // ack
         SameBytes(l4, candidate.l4(), 14, 16) &&  // window
         SameBytes(l4, candidate.l4(), 18, 20) &&  // urgent pointer, though without URG
         SameBytes(l4, candidate.l4(), kTcpHeaderSize, flow.view.payload - flow.view.l4_offset);
}

void Coalescer::Append(Flow& flow, const Candidate& candidate) {
  if (flow.segments == 1) flow.id_step = static_cast<uint16_t>(candidate.id() - flow.last_id);
  flow.last_id = candidate.id();
  if (IsTcp(flow.view)) flow.flags |= candidate.flags();
  flow.next_sequence += static_cast<uint32_t>(candidate.payload.size());
  flow.payload_bytes += candidate.payload.size();
  ++flow.segments;
  flow.parts[flow.segments] = {const_cast<uint8_t*>(candidate.payload.data()),
                               candidate.payload.size()};
}

bool Coalescer::MustClose(const Flow& flow, const Candidate& last) {
  return last.closes() || last.payload.size() < flow.segment_size || flow.segments == kMaxSegments;
}

void Coalescer::Emit(Flow& flow, Sink sink) {
  flow.open = false;
  if (flow.segments == 1) {
    PassAsItIs(flow.first, sink);
    return;
  }

  const PacketView& view = flow.view;
  std::copy_n(flow.first.begin(), view.payload, flow.headers.begin());
  uint8_t* ip = flow.headers.data() + view.l3_offset;
  uint8_t* l4 = flow.headers.data() + view.l4_offset;
  const size_t length = view.payload - view.l4_offset + flow.payload_bytes;
  if (view.l3 == PacketView::L3::kIpv4) {
    StoreBe16(ip + 2, static_cast<uint16_t>(20 + length));
    StoreBe16(ip + 10, 0);
    StoreBe16(ip + 10, ChecksumFinish(ChecksumAdd({ip, 20})));
  } else {
    StoreBe16(ip + 4, static_cast<uint16_t>(length));
  }
  if (IsTcp(view)) {
    l4[13] = flow.flags;
  } else {
    StoreBe16(l4 + kUdpLength, static_cast<uint16_t>(length));
  }
  // CHECKSUM_PARTIAL: the receiver finishes the checksum if it needs it.
  const size_t checksum = IsTcp(view) ? kTcpChecksum : kUdpChecksum;
  StoreBe16(l4 + checksum, ChecksumFold(PseudoHeader(ip, view, static_cast<uint32_t>(length))));
  flow.parts[0] = {flow.headers.data(), view.payload};

  Offload offload;
  offload.gso = !IsTcp(view)                       ? Gso::kUdp
                : view.l3 == PacketView::L3::kIpv4 ? Gso::kTcp4
                                                   : Gso::kTcp6;
  offload.needs_checksum = true;
  offload.gso_size = flow.segment_size;
  offload.header_size = view.payload;
  offload.checksum_start = view.l4_offset;
  offload.checksum_offset = static_cast<uint16_t>(checksum);
  sink({.parts = {flow.parts.data(), flow.segments + 1},
        .size = view.payload + flow.payload_bytes,
        .offload = offload});
}

}  // namespace vxvde
