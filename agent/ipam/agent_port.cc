#include "agent/ipam/agent_port.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

namespace vxvde {
namespace {

// Longer ones are not about addresses: ARP has 28 bytes, ND of hosts some options.
constexpr size_t kMostBytes = 512;

}  // namespace

absl::StatusOr<std::shared_ptr<AgentPort::Line>> AgentPort::Line::Open() {
  auto line = std::make_shared<Line>();
  line->ready_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!line->ready_) return ErrnoStatus(errno, "make an eventfd");
  return line;
}

void AgentPort::Line::Send(std::vector<uint8_t> frame) {
  waiting_.push_back(std::move(frame));
  const uint64_t one = 1;
  // EAGAIN: the counter is full, so it is readable anyway.
  (void)!write(ready_.get(), &one, sizeof(one));
}

absl::Status AgentPort::Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters&) {
  out.clear();
  while (!line_->waiting_.empty() && out.size() < buffers.count()) {
    const std::vector<uint8_t> frame = std::move(line_->waiting_.front());
    line_->waiting_.pop_front();
    const std::span<uint8_t> buffer = buffers[out.size()].first(frame.size());
    std::copy(frame.begin(), frame.end(), buffer.begin());
    out.push_back({.bytes = buffer, .offload = {}});
  }
  if (line_->waiting_.empty()) {
    uint64_t ignored = 0;
    (void)!read(line_->ready_.get(), &ignored, sizeof(ignored));
  }
  return absl::OkStatus();
}

Drop AgentPort::Send(const OutFrame& frame) {
  if (!line_->on_message || frame.size > kMostBytes) return Drop::kNone;
  std::array<uint8_t, kMostBytes> bytes;
  size_t size = 0;
  for (const iovec& part : frame.parts) {
    std::memcpy(bytes.data() + size, part.iov_base, part.iov_len);
    size += part.iov_len;
  }
  Neighbour message;
  if (ParseNeighbour(std::span(bytes).first(size), !frame.offload.needs_checksum, message)) {
    line_->on_message(message);
  }
  return Drop::kNone;
}

}  // namespace vxvde
