// Sends a sequence of frames through the Coalescer, and the merged ones through the Segmenter. The
// output must be the input, in the order of each flow. Two things may differ: Ethernet padding, and
// under DF the IPv4 id.
//
// Two bytes, big endian, precede each frame: its length, and in the highest bit whether its
// checksums are corrected first, because no mutation would find correct ones.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "plugin/offload/coalesce.h"
#include "plugin/offload/segment.h"
#include "plugin/wire/checksum.h"
#include "plugin/wire/packet.h"

namespace {

using namespace vxvde;
using Bytes = std::vector<uint8_t>;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

// Equal for frames of one TCP or UDP flow, and of one kind otherwise.
std::string FlowKey(const Bytes& frame) {
  PacketView view;
  if (!ParsePacket(frame, view) || view.l4 == PacketView::L4::kOther) return {};
  const bool ipv4 = view.l3 == PacketView::L3::kIpv4;
  std::string key(view.l4 == PacketView::L4::kTcp ? "t" : "u");
  key.append(frame.begin(), frame.begin() + view.l3_offset);
  key.append(frame.begin() + view.l3_offset + (ipv4 ? 12 : 8),
             frame.begin() + view.l3_offset + (ipv4 ? 20 : 40));
  key.append(frame.begin() + view.l4_offset, frame.begin() + view.l4_offset + 4);
  return key;
}

size_t ChecksumOffset(const PacketView& view) { return view.l4 == PacketView::L4::kTcp ? 16 : 6; }

void MakeChecksumsRight(Bytes& frame) {
  PacketView view;
  if (!ParsePacket(frame, view) || view.l4 == PacketView::L4::kOther) return;
  const size_t end = view.l3_offset + size_t{view.ip_length};
  if (end < view.payload || end > frame.size()) return;
  const bool ipv4 = view.l3 == PacketView::L3::kIpv4;
  uint8_t* ip = frame.data() + view.l3_offset;
  uint8_t* l4 = frame.data() + view.l4_offset;
  uint8_t* stop = frame.data() + end;
  if (ipv4) {
    StoreBe16(ip + 10, 0);
    StoreBe16(ip + 10, ChecksumFinish(ChecksumAdd({ip, l4})));
  }
  const size_t address = ipv4 ? 4 : 16;
  const uint8_t* source = ip + (ipv4 ? 12 : 8);
  const uint8_t protocol = view.l4 == PacketView::L4::kTcp ? kProtocolTcp : kProtocolUdp;
  const uint64_t pseudo = PseudoHeaderSum({source, address}, {source + address, address}, protocol,
                                          static_cast<uint32_t>(stop - l4));
  uint8_t* checksum = l4 + ChecksumOffset(view);
  StoreBe16(checksum, 0);
  const uint16_t sum = ChecksumFinish(ChecksumAdd({l4, stop}, pseudo));
  StoreBe16(checksum, sum == 0 ? 0xffff : sum);  // 0 would mean no checksum in UDP
}

// A merged frame without the fields that may change.
Bytes Normal(Bytes frame) {
  PacketView view;
  Require(ParsePacket(frame, view) && view.l4 != PacketView::L4::kOther,
          "merged frames are TCP or UDP");
  frame.resize(view.l3_offset + view.ip_length);
  if (view.l3 == PacketView::L3::kIpv4) {
    uint8_t* ip = frame.data() + view.l3_offset;
    StoreBe16(ip + 10, 0);  // verified before merging; depends on the id
    if ((ip[6] & 0x40) != 0) StoreBe16(ip + 4, 0);
  }
  // 0 and 0xffff are the same sum.
  uint8_t* checksum = frame.data() + view.l4_offset + ChecksumOffset(view);
  if (LoadBe16(checksum) == 0xffff) StoreBe16(checksum, 0);
  return frame;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::deque<Bytes> frames;  // live until Flush()
  std::map<std::string, std::deque<Bytes>> waiting;
  Coalescer coalescer;
  Segmenter segmenter({});

  const auto take = [&](const OutFrame& out) {
    Require(out.parts.size() <= OutFrame::kMaxParts, "number of parts");
    Bytes bytes;
    for (const iovec& part : out.parts) {
      Require(part.iov_len != 0, "no empty part");
      const auto* from = static_cast<const uint8_t*>(part.iov_base);
      bytes.insert(bytes.end(), from, from + part.iov_len);
    }
    Require(bytes.size() == out.size, "size");

    Frame frame{bytes, out.offload};
    const bool merged = out.offload.gso != Gso::kNone;
    std::vector<Segment> segments;
    Require(segmenter.Split(frame, segments) == Drop::kNone, "can be split");
    Require(merged == (segments.size() > 1), "a super-frame is more than one");
    Require(SegmentCount(out.offload, out.size) == segments.size(), "count");
    for (const Segment& segment : segments) {
      Bytes got(segment.headers.begin(), segment.headers.end());
      got.insert(got.end(), segment.payload.begin(), segment.payload.end());
      std::deque<Bytes>& flow = waiting[FlowKey(got)];
      Require(!flow.empty(), "came in before it went out");
      const Bytes want = flow.front();
      flow.pop_front();
      Require(merged ? Normal(got) == Normal(want) : got == want, "what went in");
    }
    segmenter.Clear();
  };

  while (size >= 2) {
    const bool repair = (data[0] & 0x80) != 0;
    const size_t length = std::min<size_t>(LoadBe16(data) & 0x7fff, size - 2);
    data += 2;
    size -= 2;
    if (length == 0) continue;
    frames.emplace_back(data, data + length);
    if (repair) MakeChecksumsRight(frames.back());
    data += length;
    size -= length;
    waiting[FlowKey(frames.back())].push_back(frames.back());
    coalescer.Add(frames.back(), take);
    Require(waiting[""].empty(), "other frames pass at once");
  }
  coalescer.Flush(take);
  for (const auto& [key, flow] : waiting) Require(flow.empty(), "all came out");
  return 0;
}
