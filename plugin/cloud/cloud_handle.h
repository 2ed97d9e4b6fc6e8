// CloudHandle: control of a joined cloud, for users of the switch.

#ifndef VXVDE_PLUGIN_CLOUD_CLOUD_HANDLE_H_
#define VXVDE_PLUGIN_CLOUD_CLOUD_HANDLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/cloud/options.h"
#include "plugin/cloud/snapshot.h"
#include "plugin/os/io.h"

namespace vxvde {

// Belongs to the thread of the switch's EventLoop. Valid until the cloud is left.
class CloudHandle {
 public:
  // AlreadyExists: another port has the MAC. Frames flow when it returns.
  virtual absl::StatusOr<PortId> AddPort(const PortOptions& options,
                                         std::unique_ptr<FrameIo> io) = 0;
  // Removes the port and returns its interface. Closing that may take the kernel some 10 ms
  // (packet_release() in net/packet/af_packet.c waits for RCU). NotFound names the port.
  virtual absl::StatusOr<std::unique_ptr<FrameIo>> TakePort(PortId port) = 0;
  // Sets the frames that the port may send, and forgets the stations learned there.
  virtual absl::Status SetGuard(PortId port, PortGuard guard) = 0;
  // Sends `frame` (whole, plain) as if the pod of `port` had sent it, for example a gratuitous ARP.
  virtual absl::Status Inject(PortId port, std::span<const uint8_t> frame) = 0;
  // The same to other members only, for announcements that the ports of this node already know.
  virtual absl::Status InjectToGroup(PortId port, std::span<const uint8_t> frame) = 0;

  virtual void SetStorm(const StormLimits& limits) = 0;
  virtual void SetSnooping(bool on) = 0;
  // Reads and forwards all frames that the cloud's sockets and ports have received, which otherwise
  // takes several turns of the loop. Must not be called from the handler of an event or a frame.
  virtual void ReadNow() = 0;

  // The UDP port of its kernel datapath; 0: it has none.
  virtual uint16_t FastPort() const = 0;
  bool IsOffloaded() const { return FastPort() != 0; }
  // Without stations.
  virtual CloudSnapshot Snapshot() const = 0;
  // The first `limit` by MAC after `after`. With 200,000 stations a page of 1000 holds the loop for
  // some milliseconds.
  virtual std::vector<StationSnapshot> Stations(const std::optional<MacAddress>& after,
                                                size_t limit) const = 0;
  // An unknown `source` is assumed behind a port of its own.
  virtual Explanation Explain(const MacAddress& source, const MacAddress& destination) const = 0;

 protected:
  ~CloudHandle() = default;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_CLOUD_HANDLE_H_
