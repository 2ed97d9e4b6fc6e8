// AgentPort: a port of the switch with the agent itself behind it instead of a pod. It passes
// frames about addresses to a listener and ignores all others.

#ifndef VXVDE_AGENT_IPAM_AGENT_PORT_H_
#define VXVDE_AGENT_IPAM_AGENT_PORT_H_

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/os/fd.h"
#include "plugin/os/io.h"
#include "plugin/wire/neighbour.h"

namespace vxvde {

class AgentPort final : public FrameIo {
 public:
  // Called while the switch delivers a frame, so it must not change the switch. Empty: the port
  // ignores all frames.
  struct Listener {
    std::function<void(const Neighbour& message)> on_message;
  };
  static absl::StatusOr<std::unique_ptr<AgentPort>> Open(std::shared_ptr<Listener> listener);

  int fd() const override { return never_.get(); }
  // Returns no frames: the agent injects its own (Switch::Inject).
  absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) override;
  Drop Send(const OutFrame& frame) override;

 private:
  AgentPort(UniqueFd never, std::shared_ptr<Listener> listener)
      : never_(std::move(never)), listener_(std::move(listener)) {}

  UniqueFd never_;  // never readable
  std::shared_ptr<Listener> listener_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_AGENT_PORT_H_
