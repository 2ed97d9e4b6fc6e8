// CloudPort: one port of a cloud, with its interface and counters.

#ifndef VXVDE_PLUGIN_CLOUD_CLOUD_PORT_H_
#define VXVDE_PLUGIN_CLOUD_CLOUD_PORT_H_

#include <cstdint>
#include <memory>
#include <span>

#include "plugin/base/drop.h"
#include "plugin/base/frame.h"
#include "plugin/base/ids.h"
#include "plugin/base/time.h"
#include "plugin/cloud/flood_control.h"
#include "plugin/cloud/kernel_offload.h"
#include "plugin/cloud/options.h"
#include "plugin/offload/coalesce.h"
#include "plugin/offload/segment.h"
#include "plugin/os/io.h"

namespace vxvde {

inline void Count(FlowCounters& counters, uint64_t frames, uint64_t bytes) {
  counters.frames += frames;
  counters.bytes += bytes;
}

struct CloudPort {
  PortId id = PortId::kNone;
  PortOptions options = {};
  std::unique_ptr<FrameIo> io = nullptr;
  bool failed = false;  // was reported as kPortFailed; not watched
  PortOffload offload = PortOffload::kNone;
  FlowCounters from_pod = {};
  FlowCounters to_pod = {};
  DropCounters drops = {};
  Instant added = {};
  FloodControl::PortState flood = {};

  // Writes `frame`, a super-frame or a plain one, to the pod.
  void Deliver(const OutFrame& frame) {
    const uint32_t count = SegmentCount(frame.offload, frame.size);
    const Drop drop = io->Send(frame);
    if (drop == Drop::kNone) {
      Count(to_pod, count, frame.size);
      return;
    }
    // Kernels before 6.2 refuse UDP super-frames (virtio_net_hdr_to_skb()): one is lost.
    if (drop == Drop::kBadOffload && frame.offload.gso == Gso::kUdp) coalescer_.LeaveUdpAlone();
    drops.Add(drop, count);
  }
  // The same for a frame of a member, which may be held for the next ones of its flow, until
  // Flush().
  void DeliverSegment(std::span<const uint8_t> frame) {
    coalescing_ = true;
    coalescer_.Add(frame, [this](const OutFrame& out) { Deliver(out); });
  }
  void Flush() {
    if (!coalescing_) return;
    coalescing_ = false;
    coalescer_.Flush([this](const OutFrame& out) { Deliver(out); });
  }

 private:
  Coalescer coalescer_;
  bool coalescing_ = false;  // has frames of this turn in its coalescer
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_CLOUD_PORT_H_
