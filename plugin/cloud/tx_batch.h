// TxBatch: the datagrams that one turn sends through one socket. It joins runs of equal-size
// datagrams to one peer, so that each run leaves as one UDP_SEGMENT send.
//
// Invariants:
//   I1  Datagrams to one peer leave in the order in which they were added.
//   I2  A run has one size; only its last datagram may be shorter.
//   I3  Group datagrams are never joined: many members, many kinds of receivers.

#ifndef VXVDE_PLUGIN_CLOUD_TX_BATCH_H_
#define VXVDE_PLUGIN_CLOUD_TX_BATCH_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "plugin/base/drop.h"
#include "plugin/base/ids.h"
#include "plugin/os/io.h"

namespace vxvde {

class TxBatch {
 public:
  static constexpr uint32_t kMaxRunDatagrams = 64;  // UDP_MAX_SEGMENTS, Linux include/linux/udp.h
  static constexpr size_t kMaxRunBytes = 65'000;    // below what one UDP/IPv6 datagram may carry

  // One datagram to `to`: `head`, then `body`, which may be empty. Both must live until Flush.
  void Add(const Peer& to, std::span<const uint8_t> head, std::span<const uint8_t> body);

  // Sends all through `io`, and counts failed datagrams in `drops`.
  void Flush(DatagramIo& io, DropCounters& drops);

  bool empty() const { return runs_.empty(); }

 private:
  struct Run {
    Peer to;
    size_t first_part;
    size_t size;            // of all datagrams
    uint16_t segment_size;  // of each datagram but the last
    uint32_t datagrams;
    bool closed;  // a shorter datagram ended it, or it must stay alone
  };

  std::vector<iovec> parts_;
  std::vector<Run> runs_;
  std::vector<OutDatagram> out_;  // kept to reuse its memory
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_TX_BATCH_H_
