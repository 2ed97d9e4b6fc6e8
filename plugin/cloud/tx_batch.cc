#include "plugin/cloud/tx_batch.h"

namespace vxvde {

void TxBatch::Add(const Peer& to, std::span<const uint8_t> head, std::span<const uint8_t> body) {
  const size_t size = head.size() + body.size();
  const bool joins = !runs_.empty() && !runs_.back().closed && runs_.back().to == to &&
                     size <= runs_.back().segment_size &&
                     runs_.back().datagrams < kMaxRunDatagrams &&
                     runs_.back().size + size <= kMaxRunBytes;
  if (joins) {
    Run& run = runs_.back();
    run.size += size;
    ++run.datagrams;
    run.closed = size < run.segment_size;
  } else {
    // A datagram too large for uint16_t is never joined, so its segment_size is never read.
    runs_.push_back({.to = to,
                     .first_part = parts_.size(),
                     .size = size,
                     .segment_size = static_cast<uint16_t>(size),
                     .datagrams = 1,
                     .closed = to.address.IsMulticast() || size > kMaxRunBytes});
  }
  // The kernel only reads what is sent.
  parts_.push_back({const_cast<uint8_t*>(head.data()), head.size()});
  if (!body.empty()) parts_.push_back({const_cast<uint8_t*>(body.data()), body.size()});
}

void TxBatch::Flush(DatagramIo& io, DropCounters& drops) {
  if (runs_.empty()) return;
  out_.clear();
  for (size_t i = 0; i < runs_.size(); ++i) {
    const Run& run = runs_[i];
    const size_t end = i + 1 < runs_.size() ? runs_[i + 1].first_part : parts_.size();
    out_.push_back({.to = run.to,
                    .segment_size = run.datagrams > 1 ? run.segment_size : uint16_t{0},
                    .datagrams = run.datagrams,
                    .size = run.size,
                    .parts = std::span(parts_).subspan(run.first_part, end - run.first_part)});
  }
  io.Send(out_, drops);
  parts_.clear();
  runs_.clear();
}

}  // namespace vxvde
