// The two sockets of a vxvde member (docs/PROTOCOL.md): the group socket only receives; the unicast
// socket sends everything and receives the datagrams for this member alone.
//
// With an uplink, a filter in the kernel admits to both sockets only datagrams that arrived by the
// uplink, by the device of which the uplink is a port, or by loopback, which connects the members
// on this host. A datagram by any other interface, such as a node's own port in a cloud, never
// takes a place in the queue. It is counted as kNotFromHere. SetUplink() replaces the filter in one
// step.

#ifndef VXVDE_PLUGIN_OS_UDP_H_
#define VXVDE_PLUGIN_OS_UDP_H_

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/os/fd.h"
#include "plugin/os/io.h"

namespace vxvde {

struct UdpOptions {
  IpAddress group;  // its family is that of the socket
  uint16_t group_port = 0;
  std::optional<IpAddress> bind;  // unicast: address to send from
  uint16_t port = 0;              // unicast: 0 = the kernel chooses
  IfIndex uplink = IfIndex::kNone;
  int uplink_mtu = 1500;   // longer datagrams are sent without UDP_SEGMENT, as IP fragments
  int ttl = 1;             // of IPv4 datagrams, and of IPv6 ones to the group
  int receive_buffer = 0;  // bytes; 0 = 8 MiB (or what the kernel allows)
};

// Bound to group:group_port with SO_REUSEADDR, joined on the uplink. The message of
// ResourceExhausted contains the remedy for net.ipv4.igmp_max_memberships.
absl::StatusOr<std::unique_ptr<DatagramIo>> OpenGroupSocket(const UdpOptions& options);

// Bound to bind:port, not shared: AlreadyExists if the port is in use. Fragments rather than fails
// (IP_PMTUDISC_DONT), and loops multicast back. Uses UDP_GRO and UDP_SEGMENT where the kernel has
// them. A run that is refused is sent datagram by datagram: after EIO, EOPNOTSUPP or ENOPROTOOPT
// (the device cannot do it) so are all later runs, after EINVAL or EMSGSIZE (this route's MTU is
// smaller than the uplink's) only this one.
absl::StatusOr<std::unique_ptr<DatagramIo>> OpenUnicastSocket(const UdpOptions& options);

// Adopts such a socket of another process, with all datagrams that wait there. InvalidArgument: it
// is not bound as the options require.
absl::StatusOr<std::unique_ptr<DatagramIo>> AdoptGroupSocket(UniqueFd fd,
                                                             const UdpOptions& options);
absl::StatusOr<std::unique_ptr<DatagramIo>> AdoptUnicastSocket(UniqueFd fd,
                                                               const UdpOptions& options);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_UDP_H_
