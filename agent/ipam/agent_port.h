// AgentPort: a port of the switch behind which there is no pod but the agent itself. What the
// cloud sends there and is about addresses goes to a handler; all else is let go.

#ifndef VXVDE_AGENT_IPAM_AGENT_PORT_H_
#define VXVDE_AGENT_IPAM_AGENT_PORT_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugin/os/fd.h"
#include "plugin/os/io.h"
#include "plugin/wire/neighbour.h"

namespace vxvde {

class AgentPort final : public FrameIo {
 public:
  // What both ends share: the switch's port, and the agent, who says what is to be sent.
  class Line {
   public:
    static absl::StatusOr<std::shared_ptr<Line>> Open();
    void Send(std::vector<uint8_t> frame);
    // Called in the middle of the switch's work: it must not change the switch. Empty: nobody
    // listens any more.
    std::function<void(const Neighbour& message)> on_message;

   private:
    friend class AgentPort;
    UniqueFd ready_;  // an eventfd: readable while something waits
    std::deque<std::vector<uint8_t>> waiting_;
  };

  explicit AgentPort(std::shared_ptr<Line> line) : line_(std::move(line)) {}
  int fd() const override { return line_->ready_.get(); }
  absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) override;
  Drop Send(const OutFrame& frame) override;

 private:
  std::shared_ptr<Line> line_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_AGENT_PORT_H_
