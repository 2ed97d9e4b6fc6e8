#include "agent/kernel/kept_io.h"

#include <chrono>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

class KeptPort final : public FrameIo {
 public:
  KeptPort(FdStore* store, std::string name, std::unique_ptr<FrameIo> port)
      : store_(store),
        name_(std::move(name)),
        port_(std::move(port)),
        kept_(store_, name_, port_->fd()) {}

  int fd() const override { return port_->fd(); }
  absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) override {
    return port_->Receive(buffers, out, drops);
  }
  bool receives() const override { return port_->receives(); }
  absl::Status SetReceiving(bool on) override { return port_->SetReceiving(on); }
  absl::StatusOr<UniqueFd> Reopen(bool receives) override {
    ASSIGN_OR_RETURN(UniqueFd before, port_->Reopen(receives));
    kept_ = KeptFd(store_, name_, port_->fd());
    return before;
  }
  Drop Send(const OutFrame& frame) override { return port_->Send(frame); }

 private:
  FdStore* store_;
  const std::string name_;
  std::unique_ptr<FrameIo> port_;
  KeptFd kept_;  // dropped before it is closed
};

class KeptSocket final : public DatagramIo {
 public:
  KeptSocket(FdStore* store, const std::string& name, std::unique_ptr<DatagramIo> socket)
      : socket_(std::move(socket)), kept_(store, name, socket_->fd()) {}

  int fd() const override { return socket_->fd(); }
  uint16_t port() const override { return socket_->port(); }
  absl::Status SetUplink(IfIndex uplink, int mtu) override {
    return socket_->SetUplink(uplink, mtu);
  }
  absl::Status Rejoin() override { return socket_->Rejoin(); }
  void CountLost(DropCounters& drops) override { socket_->CountLost(drops); }
  absl::Status Receive(Buffers& buffers, std::vector<InDatagram>& out,
                       DropCounters& drops) override {
    return socket_->Receive(buffers, out, drops);
  }
  void Send(std::span<const OutDatagram> batch, DropCounters& drops) override {
    socket_->Send(batch, drops);
  }

 private:
  std::unique_ptr<DatagramIo> socket_;
  KeptFd kept_;
};

using Open = absl::StatusOr<std::unique_ptr<DatagramIo>> (*)(const UdpOptions&);
using Adopt = absl::StatusOr<std::unique_ptr<DatagramIo>> (*)(UniqueFd, const UdpOptions&);

// How long the UDP port of a kept socket may stay in use after the socket was dropped.
constexpr std::chrono::milliseconds kForgetting{500};

// A kept socket may no longer be the wanted one, for example if another address is configured now.
absl::StatusOr<std::unique_ptr<DatagramIo>> OpenKept(FdStore* store, const std::string& name,
                                                     const UdpOptions& options, Adopt adopt,
                                                     Open open) {
  std::unique_ptr<DatagramIo> socket;
  std::chrono::steady_clock::time_point deadline;
  if (UniqueFd fd = store->Take(name)) {
    absl::StatusOr<std::unique_ptr<DatagramIo>> adopted =
        AdoptKept(std::move(fd), [&](UniqueFd one) { return adopt(std::move(one), options); });
    if (adopted.ok()) {
      socket = *std::move(adopted);
    } else {
      store->Forget(name);
      deadline = std::chrono::steady_clock::now() + kForgetting;
    }
  }
  while (socket == nullptr) {
    absl::StatusOr<std::unique_ptr<DatagramIo>> opened = open(options);
    if (opened.ok()) {
      socket = *std::move(opened);
    } else if (absl::IsAlreadyExists(opened.status()) &&
               std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else {
      return opened.status();
    }
  }
  return std::make_unique<KeptSocket>(store, name, std::move(socket));
}

}  // namespace

std::unique_ptr<FrameIo> KeepPort(FdStore* store, const std::string& name,
                                  std::unique_ptr<FrameIo> port) {
  return std::make_unique<KeptPort>(store, name, std::move(port));
}

// Named by the unicast port, which no two clouds of a node share, and by the uplink on which the
// group was joined.
absl::StatusOr<std::unique_ptr<DatagramIo>> OpenKeptGroupSocket(FdStore* store,
                                                                const UdpOptions& options) {
  const std::string name =
      absl::StrCat("group-", options.port, "-", static_cast<uint32_t>(options.uplink));
  return OpenKept(store, name, options, AdoptGroupSocket, OpenGroupSocket);
}

absl::StatusOr<std::unique_ptr<DatagramIo>> OpenKeptUnicastSocket(FdStore* store,
                                                                  const UdpOptions& options) {
  const std::string name = absl::StrCat("unicast-", options.port);
  return OpenKept(store, name, options, AdoptUnicastSocket, OpenUnicastSocket);
}

}  // namespace vxvde
