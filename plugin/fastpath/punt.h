// The taps to which the programs punt, as a cloud reads them. fastpath.h and fastpath.bpf.c define
// the taps. The code here trusts no byte that it reads.

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

// Frames from ports, each with one 802.1ad tag in front whose TCI is the port's slot; and frames to
// relayed ports, with an 802.1Q tag.
class FramesTap final : public PuntIo {
 public:
  // `port_at` returns the port in a slot, or kNone. `read` is called for each frame from a port
  // that has left the queue; `group`: it is for a group address.
  FramesTap(
      UniqueFd tap, std::function<PortId(uint16_t slot)> port_at,
      std::function<void(uint16_t slot, bool group)> read = [](uint16_t, bool) {})
      : tap_(std::move(tap)), port_at_(std::move(port_at)), read_(std::move(read)) {}

  int fd() const override { return tap_.get(); }
  absl::Status Receive(Buffers& buffers, std::vector<PuntedFrame>& out,
                       DropCounters& drops) override;
  // Sends to the program behind the tap, as a frame from the port in `slot`.
  Drop Send(uint16_t slot, const OutFrame& frame);
  UniqueFd Release() && { return std::move(tap_); }

 private:
  UniqueFd tap_;
  std::function<PortId(uint16_t slot)> port_at_;
  std::function<void(uint16_t slot, bool group)> read_;
};

// Packets to a fast port, whole from the Ethernet header on.
class DatagramsTap final : public DatagramIo {
 public:
  DatagramsTap(UniqueFd tap, uint16_t fast_port) : tap_(std::move(tap)), fast_port_(fast_port) {}

  int fd() const override { return tap_.get(); }
  uint16_t port() const override { return fast_port_; }
  absl::Status SetUplink(IfIndex, int) override {
    return absl::OkStatus();
  }  // the programs handle that
  absl::Status Receive(Buffers& buffers, std::vector<InDatagram>& out,
                       DropCounters& drops) override;
  // A tap of punted datagrams cannot send: counts all of them as kSendFailed.
  void Send(std::span<const OutDatagram> batch, DropCounters& drops) override;
  UniqueFd Release() && { return std::move(tap_); }

 private:
  UniqueFd tap_;
  uint16_t fast_port_;
};

// Finds the UDP datagram to `fast_port` in `packet`, an Ethernet frame. kNone: `out` is filled in.
// kBadOffload: there is none, or a length or checksum is wrong. Safe on any input.
Drop ParseDatagram(std::span<uint8_t> packet, uint16_t fast_port, InDatagram& out);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_PUNT_H_
