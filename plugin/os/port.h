// Ports as the agent holds them: a packet socket on the host end of a veth pair,
// or the descriptor of a tap. Both with the vnet header, so super-frames and
// unfinished checksums cross whole.

#ifndef VXVDE_PLUGIN_OS_PORT_H_
#define VXVDE_PLUGIN_OS_PORT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugin/base/ids.h"
#include "plugin/os/fd.h"
#include "plugin/os/io.h"

namespace vxvde {

// AF_PACKET on `interface` in the calling thread's namespace: frames that come in there, never
// those that we send. VLAN tags are part of the frame. Needs CAP_NET_RAW.
//
// Receive says Unavailable once when the link goes down, and works on when it is up again;
// NotFound when it is gone by then. A link that is taken down and then deleted may be heard of
// only the first time: NetlinkMonitor knows better. kPortOverrun is asked for after each full
// batch and every 64 others.
absl::StatusOr<std::unique_ptr<FrameIo>> OpenPacketPort(IfIndex interface);

// The same of a socket that another process has opened so, in whatever state it left it: what
// waits there is received, unless it `receives()` nothing. InvalidArgument: it is not such a socket
// (any more).
absl::StatusOr<std::unique_ptr<FrameIo>> AdoptPacketPort(UniqueFd fd, IfIndex interface);

// Takes a tap's descriptor, from OpenTap here or in another process. InvalidArgument when
// it is no tap with IFF_VNET_HDR. Receive says NotFound when the interface was deleted. What its
// queue lost is in the interface's tx_dropped, not in kPortOverrun.
absl::StatusOr<std::unique_ptr<FrameIo>> OpenTapPort(UniqueFd tap);

// Makes (or opens again, when persistent) the tap `name` in the calling
// thread's namespace: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, all offloads that the kernel has,
// non-blocking. AlreadyExists when `name` is another kind of interface or held by another process.
absl::StatusOr<UniqueFd> OpenTap(absl::string_view name, bool persistent);

// The name of its interface; empty: it is no tap's, or the interface was deleted.
std::string TapNameOf(const UniqueFd& tap);

// The namespace that its interface is in (TUNGETDEVNETNS, Linux 5.2; CAP_NET_ADMIN there).
absl::StatusOr<UniqueFd> NetNsOfTap(const UniqueFd& tap);

// What the kernel said instead of a frame when a tap was read. NotFound: the interface was deleted.
absl::Status TapReadError(int error);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_PORT_H_
