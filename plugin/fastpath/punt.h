// The taps to which the programs punt, as what a cloud reads from. Device and meaning: fastpath.h,
// fastpath.bpf.c. Here only bytes are read; what was read is checked like anything from outside.

#ifndef VXVDE_PLUGIN_FASTPATH_PUNT_H_
#define VXVDE_PLUGIN_FASTPATH_PUNT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "plugin/base/ids.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/os/fd.h"
#include "plugin/os/io.h"

namespace vxvde {

// Frames of pods, each with one 802.1ad tag in front whose TCI is the slot of its port; and frames
// for relayed ports, with an 802.1Q tag.
class FramesTap final : public PuntIo {
 public:
  // `port_at`: which port has that slot; kNone: none (any more). `read`: is told of each frame of
  // a port that has left the queue, and whether it was for a group.
  FramesTap(
      UniqueFd tap, std::function<PortId(uint16_t slot)> port_at,
      std::function<void(uint16_t slot, bool group)> read = [](uint16_t, bool) {})
      : tap_(std::move(tap)), port_at_(std::move(port_at)), read_(std::move(read)) {}

  int fd() const override { return tap_.get(); }
  absl::Status Receive(Buffers& buffers, std::vector<PuntedFrame>& out,
                       DropCounters& drops) override;
  // To the program behind the tap, as a frame of the port at `slot`.
  Drop Send(uint16_t slot, const OutFrame& frame);
  UniqueFd Release() && { return std::move(tap_); }

 private:
  UniqueFd tap_;
  std::function<PortId(uint16_t slot)> port_at_;
  std::function<void(uint16_t slot, bool group)> read_;
};

// Whole packets to a fast port, from the Ethernet header on.
class DatagramsTap final : public DatagramIo {
 public:
  DatagramsTap(UniqueFd tap, uint16_t fast_port) : tap_(std::move(tap)), fast_port_(fast_port) {}

  int fd() const override { return tap_.get(); }
  uint16_t port() const override { return fast_port_; }
  absl::Status SetUplink(IfIndex, int) override { return absl::OkStatus(); }  // has none
  absl::Status Receive(Buffers& buffers, std::vector<InDatagram>& out,
                       DropCounters& drops) override;
  // Nothing is ever sent from here: all is kSendFailed.
  void Send(std::span<const OutDatagram> batch, DropCounters& drops) override;
  UniqueFd Release() && { return std::move(tap_); }

 private:
  UniqueFd tap_;
  uint16_t fast_port_;
};

// The UDP datagram to `fast_port` in `packet`, an Ethernet frame. kNone: `out` was filled in.
// kBadOffload: it is none, or lengths or checksums do not fit. Safe on any input.
Drop ParseDatagram(std::span<uint8_t> packet, uint16_t fast_port, InDatagram& out);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_PUNT_H_
