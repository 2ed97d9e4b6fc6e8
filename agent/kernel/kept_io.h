// Ports and sockets of the switch whose descriptors are kept while they exist, and are adopted from
// the store if the preceding agent kept them.

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

// `port`, whose descriptor is kept under `name`, also after it is reopened.
std::unique_ptr<FrameIo> KeepPort(FdStore* store, const std::string& name,
                                  std::unique_ptr<FrameIo> port);

// adopt(fd). Losing a kept descriptor loses the frames that wait in it, so the adoption is retried
// once after an error (docs/decisions/0020).
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
