// The only door into the switch core. A Switch holds the clouds of one node and
// belongs to the thread of its EventLoop; nothing here is thread-safe.
//
// A cloud is joined with its first port's plan and left by Leave(): joining and leaving, and
// which port number each cloud keeps, are the owner's decisions.

#ifndef VXVDE_PLUGIN_SWITCH_H_
#define VXVDE_PLUGIN_SWITCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/cloud_key.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/cloud/types.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/io.h"
#include "plugin/os/udp.h"

namespace vxvde {

// How sockets are made; tests put their own in.
struct SwitchSockets {
  using Factory = std::function<absl::StatusOr<std::unique_ptr<DatagramIo>>(const UdpOptions&)>;
  Factory group = OpenGroupSocket;
  Factory unicast = OpenUnicastSocket;
};

class Switch {
 public:
  using Listener = std::function<void(const SwitchEvent&)>;

  // `fast` outlives the switch; nullptr: no cloud has a fast path.
  explicit Switch(EventLoop* loop, SwitchSockets sockets = {}, FastPath* fast = nullptr);
  ~Switch();  // says nothing on the wire

  // Told of every event, in the turn in which it happens. It must not change the switch,
  // but for kPortFailed, which comes in a turn of its own.
  void SetListener(Listener listener);

  // Addresses of this node: a datagram from one of them and from a cloud's own port is our echo.
  void SetLocalAddresses(std::vector<IpAddress> addresses);

  // AlreadyExists: the cloud is joined already, or the unicast port is taken (the message says
  // which). FailedPrecondition: datapath kernel was asked for and cannot be.
  absl::Status Join(const CloudOptions& options);
  bool IsJoined(const CloudKey& cloud) const;
  // The cloud is joined and has a kernel datapath.
  bool IsFast(const CloudKey& cloud) const { return FastPort(cloud) != 0; }
  // The UDP port of its kernel datapath; 0: it has none, or is not joined.
  uint16_t FastPort(const CloudKey& cloud) const;
  // Joins the group on another uplink and sends from there. Ports, stations and the unicast port
  // stay. An error leaves it where it was.
  absl::Status Move(const CloudKey& cloud, IfIndex uplink, const std::string& name, int mtu);
  // How much may be flooded from now on. Nothing happens when the cloud is not joined.
  void SetStorm(const CloudKey& cloud, const StormLimits& limits);
  // As CloudOptions::snooping says it for clouds that are joined later. Nothing for one that is not
  // joined.
  void SetSnooping(const CloudKey& cloud, bool on);
  // Sends the leave datagram to the group and forgets the cloud. Its ports must be removed before.
  void Leave(const CloudKey& cloud);

  // AlreadyExists when the MAC is another port's. Frames flow when it returns.
  absl::StatusOr<PortId> AddPort(const CloudKey& cloud, const PortOptions& options,
                                 std::unique_ptr<FrameIo> io);
  absl::Status RemovePort(const CloudKey& cloud, PortId port);
  // The same, for whoever wants to close the port's interface elsewhere: that may take the kernel
  // some 10 ms (packet_release() in net/packet/af_packet.c waits for RCU).
  absl::StatusOr<std::unique_ptr<FrameIo>> TakePort(const CloudKey& cloud, PortId port);
  // What it may send from now on; stations behind it are learned anew.
  absl::Status SetGuard(const CloudKey& cloud, PortId port, PortGuard guard);

  // Sends `frame` (whole, plain) as if the pod of `port` had sent it: gratuitous ARP and the like.
  absl::Status Inject(const CloudKey& cloud, PortId port, std::span<const uint8_t> frame);
  // The same to other members alone: ports of this node know it already.
  absl::Status InjectToGroup(const CloudKey& cloud, PortId port, std::span<const uint8_t> frame);

  // Reads all that the cloud's sockets and ports have received by now, and forwards it. Without it
  // that happens turn by turn of the loop, in batches. Not in answer to an event or a frame.
  absl::Status ReadNow(const CloudKey& cloud);

  // Of stations only how many.
  SwitchSnapshot Snapshot() const;
  // The first `limit` stations of a cloud by MAC, of those behind `after`; empty when it is not
  // joined. With 200,000 stations a page of 1000 holds the loop for some milliseconds.
  std::vector<StationSnapshot> Stations(const CloudKey& cloud,
                                        const std::optional<MacAddress>& after, size_t limit) const;

  // NotFound: no such cloud. An unknown `source` is
  // assumed behind a port of its own.
  absl::StatusOr<Explanation> Explain(const CloudKey& cloud, const MacAddress& source,
                                      const MacAddress& destination) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_SWITCH_H_
