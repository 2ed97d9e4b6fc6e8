// Segmenter: cuts a super-frame into the frames that it stands for, each with its own headers and
// finished checksums; finishes the checksum of a plain frame. Pure.
//
// It never copies payload: a segment is (own headers, slice of the original). Of a plain frame it
// copies nothing: `headers` is the prefix alone, and `payload` the whole frame.

#ifndef VXVDE_PLUGIN_OFFLOAD_SEGMENT_H_
#define VXVDE_PLUGIN_OFFLOAD_SEGMENT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "plugin/base/drop.h"
#include "plugin/base/frame.h"

namespace vxvde {

// The smallest gso_size of a TCP super-frame, as in the kernel (TCP_MIN_GSO_SIZE).
inline constexpr uint16_t kMinTcpSegment = 8;

struct Segment {
  std::span<const uint8_t> headers;  // the prefix, then the segment's own headers
  std::span<const uint8_t> payload;  // may be empty
  size_t size() const { return headers.size() + payload.size(); }
};

class Segmenter {
 public:
  // Copies `prefix`, at most 1 KiB (the 8 bytes of vxvde), to the front of every segment.
  explicit Segmenter(std::span<const uint8_t> prefix);

  // Appends the segments of `frame` to `out`. A super-frame's segments carry: IPv4
  // total length, id counting up and header checksum, or IPv6 payload length; TCP sequence number,
  // flags (FIN and PSH on the last, CWR on the first when ecn), or UDP length; finished transport
  // checksum (RFC 9293, RFC 768: a UDP sum of 0 is sent as 0xffff). A plain frame gives one
  // segment; needs_checksum is finished in place in frame.bytes.
  //
  // Segments point into `frame.bytes` and into memory of this object: valid until
  // Clear(). Anything but kNone leaves `out` as it was: kBadOffload when headers and marks
  // contradict each other, kUnsupportedOffload for IPv6 with extension headers, kTooBig when one
  // segment exceeds a UDP datagram. Safe on any frame, checked by FromVnet or not.
  Drop Split(Frame& frame, std::vector<Segment>& out);

  // Forgets all segments, and keeps the memory.
  void Clear();

 private:
  Drop Plain(Frame& frame, std::vector<Segment>& out);
  std::span<uint8_t> Allocate(size_t size);

  std::vector<uint8_t> prefix_;
  // Blocks never move while segments point into them.
  static constexpr size_t kBlockSize = 64 * 1024;
  std::vector<std::vector<uint8_t>> blocks_;
  size_t block_ = 0;
  size_t used_ = 0;
};

// Finishes the checksum that `offload` asks for, in place, and clears the mark.
// `offload` was checked against `bytes` (FromVnet).
void FinishChecksum(std::span<uint8_t> bytes, Offload& offload);

// The number of frames that a frame of `size` bytes with `offload` stands for; 1 without GSO. For
// statistics: without header_size it assumes the usual TCP options.
uint32_t SegmentCount(const Offload& offload, size_t size);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OFFLOAD_SEGMENT_H_
