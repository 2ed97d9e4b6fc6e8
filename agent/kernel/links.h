// Links: the kernel operations that attachments need, as plain functions. main() fills it
// with plugin/os; tests supply their own and fail each in turn.

#ifndef VXVDE_AGENT_KERNEL_LINKS_H_
#define VXVDE_AGENT_KERNEL_LINKS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/os/fd.h"
#include "plugin/os/fd_store.h"
#include "plugin/os/io.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// A port that the switch has released.
struct ClosingPort {
  std::unique_ptr<FrameIo> io;
  // The interface to delete with it: the veth pair with this host end, or the tap that `io` is.
  bool with_link = false;
  IfIndex host_end = IfIndex::kNone;
};

// The namespace of a tap.
struct TapNetNs {
  int number = -1;  // its number in the agent's namespace; -1: unknown
  std::string id;   // IdOfNetNs, if the path leads there as far as the agent can see; else empty
};

struct Links {
  // Looks in the agent's own namespace. NotFound if it is missing.
  std::function<absl::StatusOr<LinkInfo>(const std::string& name)> by_name;
  std::function<absl::StatusOr<LinkInfo>(IfIndex index)> by_index;
  std::function<absl::StatusOr<RouteAnswer>(const IpAddress& destination)> route;

  // The host end of a veth pair as a port.
  std::function<absl::StatusOr<std::unique_ptr<FrameIo>>(IfIndex index)> packet_port;
  // A tap's descriptor as the port of the attachment `id`.
  std::function<absl::StatusOr<std::unique_ptr<FrameIo>>(const std::string& id, UniqueFd tap)>
      tap_port;
  // Reopens the persistent tap `ifname` in the namespace at the path `netns`. NotFound if the
  // namespace or the tap is gone, or if the interface of that name belongs to something else
  // (another `alias`). `watched`: the path need not prove that the namespace lives, if the tap was
  // kept.
  std::function<absl::StatusOr<UniqueFd>(const std::string& netns, const std::string& ifname,
                                         const std::string& alias, bool watched)>
      reopen_tap;
  std::function<TapNetNs(const UniqueFd& tap, const std::string& netns)> netns_of_tap =
      [](const UniqueFd&, const std::string&) { return TapNetNs(); };

  // Closes the port soon on a background thread (close_port.h). Deleting its interface as well
  // saves the following DEL from waiting; a caller that depends on the deletion deletes the
  // interface itself.
  std::function<void(ClosingPort)> close_later = [](const ClosingPort&) {};
};

// The kernel of the calling thread's network namespace. Ports are kept in `store`, which outlives
// them, and are adopted from it.
absl::StatusOr<Links> KernelLinks(FdStore* store);

}  // namespace vxvde

#endif  // VXVDE_AGENT_KERNEL_LINKS_H_
