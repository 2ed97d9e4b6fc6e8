// Coalescer: consecutive TCP segments of one flow become one super-frame again
// before they are written to a port (GRO in user space). Pure.
//
// Rules (Linux net/ipv4/tcp_offload.c is the model of behaviour):
//   R1  Same MACs, VLAN tags, IP addresses, ports, TOS, TTL, ack, window and TCP
//       options; sequence numbers in a row; IPv4 without options or fragments.
//   R2  All segments of one size but the last, which may be shorter and closes.
//   R3  No SYN, RST or URG; FIN or PSH closes; CWR and ECE are not merged.
//   R4  The inner IPv4 header checksum and TCP checksum were found right: a frame
//       that is wrong passes alone and untouched, its receiver will count it.
//   R5  Within a flow, frames leave in the order in which they came.
//   R6  At most kMaxSegments and 65,535 bytes of IP packet.
// Frames of other kinds pass through at once, after the open flow that they belong to.

#ifndef VXVDE_PLUGIN_OFFLOAD_COALESCE_H_
#define VXVDE_PLUGIN_OFFLOAD_COALESCE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "plugin/base/frame.h"

namespace vxvde {

class Coalescer {
 public:
  static constexpr size_t kMaxSegments = 64;  // parts of one OutFrame stay below kMaxParts
  static constexpr size_t kMaxFlows = 8;      // open at a time; the oldest is closed for a new one
  // Gets each finished frame. Its parts are valid during the call only.
  using Sink = absl::FunctionRef<void(const OutFrame&)>;

  Coalescer() = default;

  // `frame` is one whole Ethernet frame with finished checksums; its bytes must live and stay
  // as they are until Flush(). Calls `sink` for what is finished by its arrival.
  void Add(std::span<const uint8_t> frame, Sink sink);
  // Hands out all that is open, in the order in which the flows were opened.
  void Flush(Sink sink);

 private:
  struct Flow {
    bool open = false;
    uint64_t opened = 0;  // for R5 across flows: age
    std::span<const uint8_t> first;  // the frame that opened the flow
    uint16_t l3_offset = 0;
    uint16_t l4_offset = 0;
    uint16_t payload = 0;     // offset of the TCP payload in each frame
    bool ipv6 = false;
    bool push = false;        // FIN/PSH flags gathered
    uint8_t flags = 0;
    uint16_t segment_size = 0;
    uint32_t next_sequence = 0;
    size_t payload_bytes = 0;
    size_t segments = 0;
    std::array<iovec, kMaxSegments> payloads;
  };
  void Emit(Flow& flow, Sink sink);

  uint64_t clock_ = 0;
  std::array<Flow, kMaxFlows> flows_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OFFLOAD_COALESCE_H_
