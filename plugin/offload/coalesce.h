// Coalescer: joins consecutive TCP segments or UDP datagrams of one flow into one super-frame
// before they are written to a port (GRO in user space). Pure.
//
// Rules (Linux net/ipv4/tcp_offload.c and udp_offload.c are the models of behaviour):
//   R1  Same MACs, VLAN tags, IP addresses, ports, TOS and TTL; IPv4 without options or fragments,
//       with an id that counts up by one, or with DF and a constant id. TCP: same ack, window and
//       options; consecutive sequence numbers.
//   R2  All segments but the last have one size. The last may be shorter, and closes the
//       super-frame.
//   R3  No SYN, RST or URG. FIN or PSH closes the super-frame. CWR and ECE are not merged.
//   R4  The inner IPv4 header checksum and the TCP or UDP checksum are right. A frame with a wrong
//       one, or UDP without one, passes alone and untouched, and its receiver counts it.
//   R5  Within a flow, frames leave in the order in which they came.
//   R6  At most kMaxSegments and 65,535 bytes of IP packet.
// Frames of other kinds pass through at once, after the open flow that they belong to. A segment
// that remains alone passes as it came; merged segments lose their Ethernet padding.

#ifndef VXVDE_PLUGIN_OFFLOAD_COALESCE_H_
#define VXVDE_PLUGIN_OFFLOAD_COALESCE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/functional/function_ref.h"
#include "plugin/base/frame.h"
#include "plugin/wire/packet.h"

namespace vxvde {

class Coalescer {
 public:
  static constexpr size_t kMaxSegments = 64;  // parts of one OutFrame stay below kMaxParts
  static constexpr size_t kMaxFlows = 8;      // open at a time; a further one closes the oldest
  // Receives each finished frame. Its parts are valid only during the call.
  using Sink = absl::FunctionRef<void(const OutFrame&)>;

  Coalescer() = default;

  // `frame` is one whole Ethernet frame with finished checksums; its bytes must stay unchanged
  // until Flush(). Calls `sink` for frames that its arrival finishes.
  void Add(std::span<const uint8_t> frame, Sink sink);
  // Finishes all open flows, in the order in which they were opened.
  void Flush(Sink sink);
  // From now on UDP datagrams pass alone: the port accepts no super-frames of UDP.
  void LeaveUdpAlone() { udp_ = false; }

 private:
  // Ethernet with two tags, IPv6, TCP with options.
  static constexpr size_t kMaxHeaders = 22 + 40 + 60;

  struct Flow {
    bool open = false;
    uint64_t opened = 0;             // order of opening
    std::span<const uint8_t> first;  // the frame that opened the flow
    PacketView view;                 // of `first`; the same for all its segments
    uint8_t flags = 0;               // TCP: FIN and PSH of all segments
    uint16_t segment_size = 0;
    uint32_t next_sequence = 0;       // TCP
    uint16_t last_id = 0;             // IPv4
    std::optional<uint16_t> id_step;  // 0 or 1, known from the second segment on
    size_t payload_bytes = 0;
    size_t segments = 0;
    std::array<iovec, kMaxSegments + 1> parts;  // the first is for the headers
    std::array<uint8_t, kMaxHeaders> headers;   // of the super-frame
  };
  struct Candidate;

  Flow* FindFlow(std::span<const uint8_t> frame, const PacketView& view);
  Flow& TakeSlot(Sink sink);
  void Open(Flow& flow, const Candidate& candidate);
  static bool Fits(const Flow& flow, const Candidate& candidate);
  static void Append(Flow& flow, const Candidate& candidate);
  static bool MustClose(const Flow& flow, const Candidate& last);
  static void Emit(Flow& flow, Sink sink);

  bool udp_ = true;
  uint64_t clock_ = 0;
  std::array<Flow, kMaxFlows> flows_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OFFLOAD_COALESCE_H_
