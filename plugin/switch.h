// Switch: the clouds of one node, and the only entry to plugin/cloud. It belongs to the thread of
// its EventLoop; nothing here is thread-safe. A joined cloud is a CloudHandle.
//
// The owner decides when to join and leave a cloud, and which port number each cloud keeps.

#ifndef VXVDE_PLUGIN_SWITCH_H_
#define VXVDE_PLUGIN_SWITCH_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/base/cloud_key.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/cloud/cloud_handle.h"
#include "plugin/cloud/options.h"
#include "plugin/cloud/snapshot.h"
#include "plugin/fastpath/fastpath.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/io.h"
#include "plugin/os/udp.h"

namespace vxvde {

// Make sockets; tests replace them.
struct SwitchSockets {
  using Factory = std::function<absl::StatusOr<std::unique_ptr<DatagramIo>>(const UdpOptions&)>;
  Factory group = OpenGroupSocket;
  Factory unicast = OpenUnicastSocket;
};

class Switch {
 public:
  using Listener = std::function<void(const SwitchEvent&)>;

  // `fast` outlives the switch; nullptr: no cloud has a kernel datapath.
  explicit Switch(EventLoop* loop, SwitchSockets sockets = {}, FastPath* fast = nullptr);
  ~Switch();  // sends nothing

  // Receives every event, in the turn in which it happens. It must not change the switch, except
  // for kPortFailed, which comes in a turn of its own.
  void SetListener(Listener listener);

  // Addresses of this node: a datagram from one of them and from a port of the cloud is an echo.
  void SetLocalAddresses(std::vector<IpAddress> addresses);

  // AlreadyExists: the cloud is already joined, or the unicast port is in use (the message names
  // it). FailedPrecondition: `datapath: kernel` is required and impossible.
  absl::Status Join(const CloudOptions& options);
  bool IsJoined(const CloudKey& cloud) const;
  // NotFound: the cloud is not joined. Valid until Leave(cloud).
  absl::StatusOr<CloudHandle*> Find(const CloudKey& cloud) const;
  // Joins the group on another uplink and sends from there. Ports, stations and the unicast port
  // stay. An error leaves the cloud on its present uplink.
  absl::Status Move(const CloudKey& cloud, IfIndex uplink, const std::string& name, int mtu);
  // Sends the leave datagram to the group and forgets the cloud. Its ports must be removed first.
  void Leave(const CloudKey& cloud);

  // Contains the number of stations, not the stations.
  SwitchSnapshot Snapshot() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_SWITCH_H_
