// Egress: sends for one cloud, from the unicast socket and with the cloud's header: frames of
// ports, cut into segments, and frames of the agent itself.

#ifndef VXVDE_PLUGIN_CLOUD_EGRESS_H_
#define VXVDE_PLUGIN_CLOUD_EGRESS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "plugin/base/drop.h"
#include "plugin/base/frame.h"
#include "plugin/base/ids.h"
#include "plugin/cloud/tx_batch.h"
#include "plugin/offload/segment.h"
#include "plugin/os/io.h"
#include "plugin/wire/header.h"

namespace vxvde {

class Egress {
 public:
  // `drops` outlives it and counts the datagrams that could not be sent.
  Egress(std::unique_ptr<DatagramIo> socket, const Peer& group, Vni vni, DropCounters* drops)
      : socket_(std::move(socket)),
        group_(group),
        header_(EncodeHeader(vni)),
        segmenter_(header_),
        drops_(drops) {}

  DatagramIo& socket() const { return *socket_; }
  const Peer& group() const { return group_; }

  // Adds the segments of `frame`, which must stay as it is until Flush. `counters` may be null.
  Drop Add(const Peer& to, Frame& frame, FlowCounters* counters) {
    segments_.clear();
    if (const Drop drop = segmenter_.Split(frame, segments_); drop != Drop::kNone) return drop;
    for (const Segment& segment : segments_) {
      batch_.Add(to, segment.headers, segment.payload);
      if (counters == nullptr) continue;
      ++counters->frames;
      counters->bytes += segment.size() - kVxvdeHeaderSize;
    }
    return Drop::kNone;
  }
  // Sends a whole frame of the agent at once; an empty one is a leave.
  void Send(const Peer& to, std::span<const uint8_t> frame) {
    batch_.Add(to, header_, frame);
    Flush();
  }
  // Sends all added frames.
  void Flush() {
    batch_.Flush(*socket_, *drops_);
    segmenter_.Clear();
  }

 private:
  std::unique_ptr<DatagramIo> socket_;
  const Peer group_;
  const VxvdeHeader header_;
  Segmenter segmenter_;
  TxBatch batch_;
  DropCounters* drops_;
  std::vector<Segment> segments_;  // kept to reuse its memory
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_EGRESS_H_
