// A vnet header and a frame, as a hostile pod could write them. An accepted frame must come out as
// segments of the right sizes with right checksums.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "plugin/base/vnet.h"
#include "plugin/offload/segment.h"
#include "plugin/offload/testing/packets.h"

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vxvde;

  if (size < kVnetHeaderSize) return 0;
  VnetHeader header;
  std::memcpy(&header, data, kVnetHeaderSize);
  std::vector<uint8_t> bytes(data + kVnetHeaderSize, data + size);
  Frame frame{bytes, {}};
  const bool checked = FromVnet(header, bytes, frame.offload) == Drop::kNone;
  if (!checked) {  // Split must be safe without FromVnet as well
    frame.offload.gso = static_cast<Gso>(header.gso_type % 4);
    frame.offload.needs_checksum = (header.flags & 1) != 0;
    frame.offload.gso_size = header.gso_size;
    frame.offload.checksum_start = header.csum_start;
    frame.offload.checksum_offset = header.csum_offset;
  }
  const Offload offload = frame.offload;

  const std::vector<uint8_t> prefix(8, 0xaa);
  Segmenter segmenter(prefix);
  std::vector<Segment> segments;
  const Drop drop = segmenter.Split(frame, segments);
  Require(SegmentCount(offload, bytes.size()) >= 1, "a frame counts");
  if (drop != Drop::kNone) {
    Require(segments.empty(), "nothing was appended");
    return 0;
  }
  Require(!segments.empty(), "at least one segment");

  const uint8_t* expected = segments[0].payload.data();
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    Require(segment.size() <= 65507, "fits in a datagram");
    Require(std::memcmp(segment.headers.data(), prefix.data(), prefix.size()) == 0, "prefix");
    Require(segment.payload.data() == expected, "payload in a row");
    expected += segment.payload.size();
    if (offload.gso == Gso::kNone) continue;

    Require(segment.payload.size() <= offload.gso_size, "segment size");
    Require(i + 1 == segments.size() || segment.payload.size() == offload.gso_size, "full size");
    std::vector<uint8_t> whole(segment.headers.begin() + prefix.size(), segment.headers.end());
    whole.insert(whole.end(), segment.payload.begin(), segment.payload.end());
    const std::string wrong = packets::WhatIsWrong(whole);
    Require(wrong.empty(), wrong.c_str());
  }
  Require(expected == bytes.data() + bytes.size(), "all of the payload");
  if (offload.gso == Gso::kNone) Require(segments.size() == 1, "one segment");
  return 0;
}
