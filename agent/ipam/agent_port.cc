#include "agent/ipam/agent_port.h"

#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "plugin/wire/dhcp.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

// Longer frames are not about addresses: ARP has 28 bytes, ND of hosts has a few options, and a
// DHCP answer rarely exceeds the 576 bytes that RFC 2131 requires each client to accept.
constexpr size_t kMaxBytes = 1024;

}  // namespace

absl::StatusOr<std::unique_ptr<AgentPort>> AgentPort::Open(std::shared_ptr<Listener> listener) {
  UniqueFd never(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!never) return ErrnoStatus(errno, "make an eventfd");
  return std::unique_ptr<AgentPort>(new AgentPort(std::move(never), std::move(listener)));
}

absl::Status AgentPort::Receive(Buffers&, std::vector<Frame>& out, DropCounters&) {
  out.clear();
  return absl::OkStatus();
}

Drop AgentPort::Send(const OutFrame& frame) {
  if (!listener_->on_message || frame.size > kMaxBytes) return Drop::kNone;
  std::array<uint8_t, kMaxBytes> bytes;
  size_t size = 0;
  for (const iovec& part : frame.parts) {
    std::memcpy(bytes.data() + size, part.iov_base, part.iov_len);
    size += part.iov_len;
  }
  Neighbour message;
  if (ParseNeighbour(std::span(bytes).first(size), !frame.offload.needs_checksum, message)) {
    listener_->on_message(message);
    return Drop::kNone;
  }
  // The client is about to use the address, which counts as its own announcement.
  DhcpAck ack;
  if (ParseDhcpAck(std::span(bytes).first(size), !frame.offload.needs_checksum, ack)) {
    message.kind = Neighbour::Kind::kHas;
    message.address = ack.address;
    message.mac = ack.client;
    message.source = SourceMac(bytes);
    listener_->on_message(message);
  }
  return Drop::kNone;
}

}  // namespace vxvde
