// Ports as the agent holds them: a packet socket on the host end of a veth pair, or the descriptor
// of a tap. Both use the vnet header, so super-frames and incomplete checksums pass unchanged.

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

// AF_PACKET on `interface` in the calling thread's namespace: receives the frames that arrive
// there, never those that this process sends. VLAN tags are part of the frame. Requires
// CAP_NET_RAW.
//
// Receive returns Unavailable once when the link goes down, and works again when it is up; NotFound
// if the link is gone by then. If a link is taken down and then deleted, only the former may be
// reported: NetlinkMonitor reports both. kPortOverrun is read after each full batch and after every
// 64 others.
absl::StatusOr<std::unique_ptr<FrameIo>> OpenPacketPort(IfIndex interface);

// Adopts such a socket of another process, in whatever state: waiting frames are received, unless
// it `receives()` nothing. InvalidArgument: it is not such a socket (any more).
absl::StatusOr<std::unique_ptr<FrameIo>> AdoptPacketPort(UniqueFd fd, IfIndex interface);

// Takes a tap's descriptor, from OpenTap here or in another process. InvalidArgument if it is not a
// tap with IFF_VNET_HDR. Receive returns NotFound if the interface was deleted. Frames that its
// queue lost are counted in the interface's tx_dropped, not in kPortOverrun.
absl::StatusOr<std::unique_ptr<FrameIo>> OpenTapPort(UniqueFd tap);

// Creates (or reopens, if persistent) the tap `name` in the calling thread's namespace: IFF_TAP |
// IFF_NO_PI | IFF_VNET_HDR, all offloads that the kernel has, non-blocking. AlreadyExists if `name`
// is another kind of interface or held by another process.
absl::StatusOr<UniqueFd> OpenTap(absl::string_view name, bool persistent);

// The name of its interface; empty: not a tap, or the interface was deleted.
std::string TapNameOf(const UniqueFd& tap);

// The namespace of its interface (TUNGETDEVNETNS, Linux 5.2; CAP_NET_ADMIN there).
absl::StatusOr<UniqueFd> NetNsOfTap(const UniqueFd& tap);

// The error of reading a tap. NotFound: the interface was deleted.
absl::Status TapReadError(int error);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_PORT_H_
