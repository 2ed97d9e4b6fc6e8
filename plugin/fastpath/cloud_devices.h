// CloudDevices: the interfaces of one cloud's kernel datapath, named after its unicast port P.
//
//   vxfP  a VXLAN device on the fast port. It makes the kernel aggregate the datagrams that come in
//         there (udp_gro_receive() requires a tunnel's socket) before from_uplink sees them, and
//         decapsulates the datagrams for relayed ports.
//   vxtP  the tap of punted frames
//   vxdP  the tap of punted datagrams
//
// All of them outlive the agent: the maps name their interface indexes, and the next agent goes on
// with both.

#ifndef VXVDE_PLUGIN_FASTPATH_CLOUD_DEVICES_H_
#define VXVDE_PLUGIN_FASTPATH_CLOUD_DEVICES_H_

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/os/fd.h"
#include "plugin/os/fd_store.h"
#include "plugin/os/netlink.h"

namespace vxvde {

class CloudDevices {
 public:
  // `netlink` and `store` outlive it. Without `store` (nullptr), nothing keeps the taps'
  // descriptors when the agent ends.
  CloudDevices(uint16_t unicast_port, Netlink* netlink, FdStore* store)
      : unicast_port_(unicast_port), netlink_(netlink), store_(store) {}

  // Both use a device of an earlier agent, or make one. Either may be called again after an error.
  absl::Status OpenTunnel();
  absl::Status OpenTaps();

  // The same as before when an agent starts again.
  uint16_t fast_port() const { return fast_port_; }
  // kNone: this kernel has no VXLAN, and a socket holds the fast port.
  IfIndex tunnel() const { return tunnel_; }
  IfIndex frames_tap() const { return frames_.index; }
  IfIndex datagrams_tap() const { return datagrams_.index; }
  std::array<IfIndex, 3> All() const { return {tunnel(), frames_tap(), datagrams_tap()}; }
  // Frames that an earlier agent had not read are still in the queue of the frames tap.
  bool queue_kept() const { return frames_.queue_kept; }

  // The taps' descriptors, once.
  UniqueFd TakeFrames() { return std::move(frames_.fd); }
  UniqueFd TakeDatagrams() { return std::move(datagrams_.fd); }
  // The descriptors that were not taken. Closing one removes its tap.
  std::vector<UniqueFd> Abandon();

 private:
  struct Tap {
    UniqueFd fd = {};
    KeptFd kept = {};
    bool queue_kept = false;
    IfIndex index = IfIndex::kNone;
  };
  absl::Status TryPort(const std::string& name, uint16_t port);
  absl::Status ReservePort(uint16_t port);
  absl::Status OpenTap(const std::string& name, Tap& tap);
  absl::StatusOr<UniqueFd> OpenFreshTap(const std::string& name);

  uint16_t unicast_port_;
  Netlink* netlink_;
  FdStore* store_;
  uint16_t fast_port_ = 0;
  IfIndex tunnel_ = IfIndex::kNone;
  UniqueFd reserved_;  // the socket that holds the fast port without VXLAN
  Tap frames_;
  Tap datagrams_;
};

// Deletes the devices of clouds, whole or half made, other than `kept`.
absl::Status RemoveCloudDevices(Netlink& netlink, const std::set<IfIndex>& kept);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_FASTPATH_CLOUD_DEVICES_H_
