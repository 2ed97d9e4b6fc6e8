// Ports and sockets of the switch whose descriptors are kept while they live, and taken from there
// if the agent before this one had them kept.

#ifndef VXVDE_AGENT_KERNEL_KEPT_IO_H_
#define VXVDE_AGENT_KERNEL_KEPT_IO_H_

#include <fcntl.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "plugin/os/fd.h"
#include "plugin/os/fd_store.h"
#include "plugin/os/io.h"
#include "plugin/os/udp.h"

namespace vxvde {

// `port`, kept under `name`, also when it is reopened.
std::unique_ptr<FrameIo> KeepPort(FdStore* store, const std::string& name,
                                  std::unique_ptr<FrameIo> port);

// adopt(fd). What waits in a descriptor that was kept goes with it, so that an error is asked for
// once more (docs/decisions/0020).
template <typename Adopt>
auto AdoptKept(UniqueFd fd, const Adopt& adopt) {
  UniqueFd again(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  auto adopted = adopt(std::move(fd));
  if (!adopted.ok() && again) adopted = adopt(std::move(again));
  return adopted;
}

// As OpenGroupSocket and OpenUnicastSocket (plugin/os/udp.h).
absl::StatusOr<std::unique_ptr<DatagramIo>> OpenKeptGroupSocket(FdStore* store,
                                                                const UdpOptions& options);
absl::StatusOr<std::unique_ptr<DatagramIo>> OpenKeptUnicastSocket(FdStore* store,
                                                                  const UdpOptions& options);

}  // namespace vxvde

#endif  // VXVDE_AGENT_KERNEL_KEPT_IO_H_
