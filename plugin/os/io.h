// The sockets and ports of the switch as narrow interfaces, so that the switch can be tested
// without a kernel. udp.h and port.h implement them.

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

// Buffers of kMaxFrameSize into which one event loop reads all its batches. Received data is valid
// until the next Receive with the same buffers.
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

// Chooses how much to read at once. A batch of frames is as long as the buffers allow; a batch of
// super-frames is short, so that its data is still in the CPU's cache when it is written.
class BatchSize {
 public:
  static constexpr size_t kBytes = 192 * 1024;

  // The number of messages to read next, at most `most`.
  size_t Next(size_t most) const {
    return average_ == 0 ? most : std::clamp<size_t>(kBytes / average_, 1, most);
  }
  void Read(size_t messages, size_t bytes) {
    if (messages != 0) average_ = bytes / messages;
  }

 private:
  size_t average_ = 0;  // bytes of a message in the last batch
};

struct InDatagram {
  std::span<uint8_t> bytes;
  Peer from;
  // If not 0: `bytes` is a run of datagrams of this size from one sender, of which the last may be
  // shorter (UDP_GRO, Linux net/ipv4/udp_offload.c).
  uint16_t segment_size = 0;
};

struct OutDatagram {
  Peer to;
  // If not 0: a run of datagrams of this size, of which the last may be shorter. No part crosses a
  // boundary between two datagrams.
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
  virtual uint16_t port() const = 0;  // to which it is bound
  // From now on group datagrams leave through `uplink`, which is also the interface of link-local
  // peers. Memberships do not change.
  virtual absl::Status SetUplink(IfIndex uplink, int mtu) = 0;
  // Leaves the group and joins it again, so that the network sees a new report. Unimplemented: not
  // the socket of a group.
  virtual absl::Status Rejoin() { return absl::UnimplementedError("not a group's socket"); }
  // Replaces `out` by a batch; empty if nothing waits. Adds discarded datagrams (kTruncated) and
  // the counts of CountLost() to `drops`.
  virtual absl::Status Receive(Buffers& buffers, std::vector<InDatagram>& out,
                               DropCounters& drops) = 0;
  // Adds the datagrams that the kernel discarded since the last call to `drops`: kNotFromHere,
  // kSocketOverrun. For a socket that is not read because nothing arrives there.
  virtual void CountLost(DropCounters& /*drops*/) {}
  // Sends all of `batch` in order, or counts the reason: kSocketFull, kTooBig, kSendFailed, once
  // for each datagram of a run. A run may be longer than the kernel accepts at once: it is sent in
  // several calls.
  virtual void Send(std::span<const OutDatagram> batch, DropCounters& drops) = 0;
};

// The host side of one port.
class FrameIo {
 public:
  virtual ~FrameIo() = default;
  virtual int fd() const = 0;
  // Replaces `out` by a batch of frames from the pod; empty if nothing waits. Adds kShortFrame,
  // kBadOffload, kUnsupportedOffload, kTruncated and kPortOverrun to `drops`. NotFound or
  // Unavailable: the interface is gone or down.
  virtual absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) = 0;
  // False after Reopen(false), and for a port that was kept in that state.
  virtual bool receives() const { return true; }
  // Off: no further frames enter the queue, so Receive returns the waiting ones and then none; Send
  // and the errors of Receive continue to work. Unimplemented by this kind of port.
  virtual absl::Status SetReceiving(bool on) {
    return absl::UnimplementedError(on ? "always receives" : "cannot stop receiving");
  }
  // Continues with another descriptor, whatever the state of fd(): one that receives all frames, or
  // one that receives none and, unlike after SetReceiving(false), adds no cost to the interface's
  // frames. The caller closes the returned descriptor, which may take the kernel some 10 ms.
  // Unimplemented by this kind of port. After an error the port is unchanged.
  virtual absl::StatusOr<UniqueFd> Reopen(bool receives) {
    return absl::UnimplementedError(receives ? "always receives" : "cannot stop receiving");
  }
  // Writes one frame towards the pod. Returns kNone, kPortFull, kPortDown, kTooBigForPort, or
  // kBadOffload if the kernel finds that the offload does not fit the frame.
  virtual Drop Send(const OutFrame& frame) = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_IO_H_
