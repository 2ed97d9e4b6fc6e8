// AgentPort: a port of the switch behind which there is no pod but the agent itself. What the
// cloud sends there and is about addresses goes to a handler; all else is let go.

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
  // Called in the middle of the switch's work: it must not change the switch. Empty: nobody
  // listens any more.
  struct Listener {
    std::function<void(const Neighbour& message)> on_message;
  };
  static absl::StatusOr<std::unique_ptr<AgentPort>> Open(std::shared_ptr<Listener> listener);

  int fd() const override { return never_.get(); }
  // Nothing: what the agent says is injected.
  absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) override;
  Drop Send(const OutFrame& frame) override;

 private:
  AgentPort(UniqueFd never, std::shared_ptr<Listener> listener)
      : never_(std::move(never)), listener_(std::move(listener)) {}

  UniqueFd never_;  // readable, that is
  std::shared_ptr<Listener> listener_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_AGENT_PORT_H_
