// What the switch reads from and writes to: narrow interfaces, so that the
// switch can be tested without a kernel. udp.h and port.h implement them.

#ifndef VXVDE_PLUGIN_OS_IO_H_
#define VXVDE_PLUGIN_OS_IO_H_

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/drop.h"
#include "plugin/base/frame.h"
#include "plugin/base/ids.h"
#include "plugin/os/fd.h"

namespace vxvde {

// Buffers of kMaxFrameSize that one event loop reads all its batches into: what
// was received is valid until the next Receive with the same buffers.
class Buffers {
 public:
  explicit Buffers(size_t count)
      : count_(count), memory_(std::make_unique_for_overwrite<uint8_t[]>(count * kMaxFrameSize)) {}
  size_t count() const { return count_; }
  std::span<uint8_t> operator[](size_t i) {
    return {memory_.get() + i * kMaxFrameSize, kMaxFrameSize};
  }

 private:
  size_t count_;
  std::unique_ptr<uint8_t[]> memory_;
};

// How much to read at once. A batch of frames is as long as the buffers allow; one of super-frames
// is short, so that what was read is still in the CPU's cache when it is written.
class BatchSize {
 public:
  static constexpr size_t kBytes = 192 * 1024;

  // Messages to read next, at most `most`.
  size_t Next(size_t most) const {
    return average_ == 0 ? most : std::clamp<size_t>(kBytes / average_, 1, most);
  }
  void Read(size_t messages, size_t bytes) {
    if (messages != 0) average_ = bytes / messages;
  }

 private:
  size_t average_ = 0;  // bytes of a message, in the last batch
};

struct InDatagram {
  std::span<uint8_t> bytes;
  Peer from;
  // Not 0: `bytes` is a run of datagrams of this size from one sender, the
  // last of which may be shorter (UDP_GRO, Linux net/ipv4/udp_offload.c).
  uint16_t segment_size = 0;
};

struct OutDatagram {
  Peer to;
  // Not 0: a run of datagrams of this size, the last may be shorter. No part
  // crosses a boundary between two datagrams.
  uint16_t segment_size = 0;
  uint32_t datagrams = 1;
  size_t size = 0;  // sum of all parts
  std::span<const iovec> parts;
};

// One UDP socket.
class DatagramIo {
 public:
  virtual ~DatagramIo() = default;
  virtual int fd() const = 0;
  virtual uint16_t port() const = 0;  // that it is bound to
  // From now on group datagrams leave from `uplink`, and link-local peers are there. Memberships
  // stay as they are.
  virtual absl::Status SetUplink(IfIndex uplink, int mtu) = 0;
  // Leaves the group and joins it again, so that the network hears of it anew. Unimplemented: the
  // socket is no group's.
  virtual absl::Status Rejoin() { return absl::UnimplementedError("not a group's socket"); }
  // Replaces `out` by a batch; empty when nothing waits. What had to be thrown away (kTruncated)
  // and what CountLost() counts is added to `drops`.
  virtual absl::Status Receive(Buffers& buffers, std::vector<InDatagram>& out,
                               DropCounters& drops) = 0;
  // Adds to `drops` what the kernel threw away since the last call: kNotFromHere, kSocketOverrun.
  // For a socket that nothing arrives at, which is not read.
  virtual void CountLost(DropCounters& /*drops*/) {}
  // Sends all of `batch` in order, or counts why not: kSocketFull, kTooBig, kSendFailed, once for
  // each datagram of a run. A run may be longer than the kernel takes at once: it goes in several
  // sends.
  virtual void Send(std::span<const OutDatagram> batch, DropCounters& drops) = 0;
};

// The host side of one port.
class FrameIo {
 public:
  virtual ~FrameIo() = default;
  virtual int fd() const = 0;
  // Replaces `out` by a batch of frames from the pod; empty when nothing waits.
  // kShortFrame, kBadOffload, kUnsupportedOffload, kTruncated and kPortOverrun are added to
  // `drops`. NotFound or Unavailable: the interface is gone or down.
  virtual absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) = 0;
  // False after Reopen(false), and of a port that was kept as such.
  virtual bool receives() const { return true; }
  // Off: nothing more comes to the queue, so that Receive gives what waits there and then nothing;
  // Send and the errors of Receive go on. Unimplemented: this kind of port cannot.
  virtual absl::Status SetReceiving(bool on) {
    return absl::UnimplementedError(on ? "always receives" : "cannot stop receiving");
  }
  // Goes on with another descriptor, whatever fd() was: one that receives all, or one that receives
  // nothing and, other than after SetReceiving(false), costs the interface's frames nothing. What
  // it gives back is to be closed, which may take the kernel some 10 ms. Unimplemented: this kind
  // of port cannot. An error leaves it as it was.
  virtual absl::StatusOr<UniqueFd> Reopen(bool receives) {
    return absl::UnimplementedError(receives ? "always receives" : "cannot stop receiving");
  }
  // Writes one frame towards the pod: kNone, kPortFull, kPortDown, kTooBigForPort, or kBadOffload
  // when the kernel finds that the offload does not fit the frame.
  virtual Drop Send(const OutFrame& frame) = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_IO_H_
