// Sockets and ports without a kernel, for tests. The event loop reads the frames that a test pushes
// in, and the fakes record the frames that the switch writes.

#ifndef VXVDE_PLUGIN_CLOUD_TESTING_FAKES_H_
#define VXVDE_PLUGIN_CLOUD_TESTING_FAKES_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "plugin/os/fd.h"
#include "plugin/os/io.h"

namespace vxvde {

using Bytes = std::vector<uint8_t>;

inline Bytes Gather(std::span<const iovec> parts) {
  Bytes out;
  for (const iovec& part : parts) {
    const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
    out.insert(out.end(), bytes, bytes + part.iov_len);
  }
  return out;
}

// A descriptor that is readable while a queue is not empty.
class ReadyFd {
 public:
  int fd() const { return fd_.get(); }
  void Set(bool ready) {
    uint64_t value = 1;
    if (ready) {
      (void)!write(fd_.get(), &value, sizeof(value));
    } else {
      (void)!read(fd_.get(), &value, sizeof(value));
    }
  }
  UniqueFd Release() && { return std::move(fd_); }

 private:
  UniqueFd fd_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

class FakeSocket : public DatagramIo {
 public:
  struct In {
    Bytes bytes;
    Peer from;
    uint16_t segment_size = 0;
  };
  struct Out {
    Bytes bytes;
    Peer to;
    uint16_t segment_size;
    uint32_t datagrams;
  };
  // Outlives the socket, which the switch owns.
  struct State {
    uint16_t port = 0;
    std::deque<In> in;
    std::vector<Out> out;
    IfIndex uplink = IfIndex::kNone;  // the last SetUplink
    absl::Status no_uplink;           // the result of SetUplink
    int joins = 0;                    // Rejoin calls
    ReadyFd ready;
    void Push(In datagram) {
      in.push_back(std::move(datagram));
      ready.Set(true);
    }
  };

  explicit FakeSocket(std::shared_ptr<State> state) : state_(std::move(state)) {}
  int fd() const override { return state_->ready.fd(); }
  uint16_t port() const override { return state_->port; }
  absl::Status SetUplink(IfIndex uplink, int) override {
    if (state_->no_uplink.ok()) state_->uplink = uplink;
    return state_->no_uplink;
  }
  absl::Status Rejoin() override {
    ++state_->joins;
    return absl::OkStatus();
  }
  absl::Status Receive(Buffers& buffers, std::vector<InDatagram>& out, DropCounters&) override {
    out.clear();
    while (!state_->in.empty() && out.size() < buffers.count()) {
      const In datagram = std::move(state_->in.front());
      state_->in.pop_front();
      const std::span<uint8_t> buffer = buffers[out.size()].first(datagram.bytes.size());
      std::copy(datagram.bytes.begin(), datagram.bytes.end(), buffer.begin());
      out.push_back({buffer, datagram.from, datagram.segment_size});
    }
    if (state_->in.empty()) state_->ready.Set(false);
    return absl::OkStatus();
  }
  void Send(std::span<const OutDatagram> batch, DropCounters&) override {
    for (const OutDatagram& out : batch) {
      state_->out.push_back({Gather(out.parts), out.to, out.segment_size, out.datagrams});
    }
  }

 private:
  std::shared_ptr<State> state_;
};

class FakePort : public FrameIo {
 public:
  struct Item {
    Bytes bytes;
    Offload offload = {};
  };
  struct State {
    std::deque<Item> in;
    std::vector<Item> out;
    absl::Status broken;        // the result of Receive, once it is not OK
    Drop refuse = Drop::kNone;  // the result of Send
    bool receiving = true;      // the last SetReceiving; if false, pushed frames are lost
    absl::Status no_switch;     // the result of SetReceiving
    bool reopens = true;        // Reopen succeeds
    ReadyFd ready;
    void Push(Item frame) {
      if (!receiving) return;
      in.push_back(std::move(frame));
      ready.Set(true);
    }
    void Break(absl::Status status) {
      broken = std::move(status);
      ready.Set(true);
    }
  };

  explicit FakePort(std::shared_ptr<State> state) : state_(std::move(state)) {}
  int fd() const override { return state_->ready.fd(); }
  absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters&) override {
    out.clear();
    if (!state_->broken.ok()) return state_->broken;
    while (!state_->in.empty() && out.size() < buffers.count()) {
      const Item frame = std::move(state_->in.front());
      state_->in.pop_front();
      const std::span<uint8_t> buffer = buffers[out.size()].first(frame.bytes.size());
      std::copy(frame.bytes.begin(), frame.bytes.end(), buffer.begin());
      out.push_back({buffer, frame.offload});
    }
    if (state_->in.empty()) state_->ready.Set(false);
    return absl::OkStatus();
  }
  absl::Status SetReceiving(bool on) override {
    if (state_->no_switch.ok()) state_->receiving = on;
    return state_->no_switch;
  }
  absl::StatusOr<UniqueFd> Reopen(bool receives) override {
    if (!state_->reopens) return absl::UnimplementedError("cannot");
    state_->receiving = receives;
    ReadyFd before = std::exchange(state_->ready, ReadyFd());
    state_->ready.Set(!state_->in.empty());
    return std::move(before).Release();
  }
  Drop Send(const OutFrame& frame) override {
    if (state_->refuse != Drop::kNone) return state_->refuse;
    state_->out.push_back({Gather(frame.parts), frame.offload});
    return Drop::kNone;
  }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_TESTING_FAKES_H_
