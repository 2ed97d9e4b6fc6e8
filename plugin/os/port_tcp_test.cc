// A pod's TCP through two ports, of each kind in each place: what is read from the one is written
// to the other as it is, and the super-frames stay whole.

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/port.h"
#include "plugin/os/testing.h"
#include "plugin/os/udp.h"

namespace vxvde {
namespace {

// Two ports of a switch that knows only these two. Runs on a thread of its own.
class Wire {
 public:
  Wire(std::unique_ptr<FrameIo> a, std::unique_ptr<FrameIo> b)
      : loop_(ValueOrDie(EventLoop::Create())), ends_{std::move(a), std::move(b)} {
    for (size_t i = 0; i < 2; ++i) {
      const absl::Status status =
          loop_->Watch(ends_[i]->fd(), EPOLLIN, [this, i](uint32_t) { Relay(i); });
      EXPECT_TRUE(status.ok()) << status;
    }
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~Wire() { Stop(); }
  void Stop() {
    loop_->Stop();
    if (thread_.joinable()) thread_.join();
  }
  // After Stop.
  size_t largest() const { return largest_; }
  const DropCounters& drops() const { return drops_; }

 private:
  void Relay(size_t from) {
    const absl::Status status = ends_[from]->Receive(buffers_, batch_, drops_);
    EXPECT_TRUE(status.ok()) << status;
    for (const Frame& frame : batch_) {
      largest_ = std::max(largest_, frame.bytes.size());
      const iovec part = {frame.bytes.data(), frame.bytes.size()};
      OutFrame out;
      out.parts = {&part, 1};
      out.size = frame.bytes.size();
      out.offload = frame.offload;
      drops_.Add(ends_[1 - from]->Send(out));
    }
  }

  std::unique_ptr<EventLoop> loop_;
  std::array<std::unique_ptr<FrameIo>, 2> ends_;
  Buffers buffers_{64};
  std::vector<Frame> batch_;
  DropCounters drops_;
  size_t largest_ = 0;
  std::thread thread_;
};

UniqueFd Stream(const IpAddress& ip) {
  return UniqueFd(socket(ip.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
}

uint64_t Hash(uint64_t hash, std::span<const uint8_t> bytes) {  // FNV-1a
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

// Sends `total` bytes from `client` to `server`; true when they arrived as they were.
bool TransferTcp(const TestNetNs& client, const TestNetNs& server, const IpAddress& server_ip,
                 size_t total) {
  sockaddr_storage name;
  const socklen_t size = ToSockaddr(server_ip, 5001, 0, name);
  UniqueFd listener;
  server.Run([&] {
    listener = Stream(server_ip);
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&name), size), 0);
    ASSERT_EQ(listen(listener.get(), 1), 0);
  });
  uint64_t received_hash = 0;
  size_t received = 0;
  std::thread reader([&] {
    const UniqueFd peer(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::vector<uint8_t> buffer(1 << 20);
    ssize_t n;
    while ((n = read(peer.get(), buffer.data(), buffer.size())) > 0) {
      received += static_cast<size_t>(n);
      received_hash = Hash(received_hash, {buffer.data(), static_cast<size_t>(n)});
    }
  });
  uint64_t sent_hash = 0;
  client.Run([&] {
    const UniqueFd fd = Stream(server_ip);
    const timeval timeout = {20, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&name), size) != 0) {
      ADD_FAILURE() << "connect: " << strerror(errno);
      shutdown(listener.get(), SHUT_RDWR);  // wakes accept()
      return;
    }
    std::vector<uint8_t> buffer(1 << 20);
    for (size_t sent = 0; sent < total; sent += buffer.size()) {
      for (size_t i = 0; i < buffer.size(); ++i) {
        buffer[i] = static_cast<uint8_t>((sent >> 20) + i * 7 + i / 251);
      }
      sent_hash = Hash(sent_hash, buffer);
      for (size_t at = 0; at < buffer.size();) {
        const ssize_t n = write(fd.get(), &buffer[at], buffer.size() - at);
        if (n < 0) {
          ADD_FAILURE() << "write: " << strerror(errno);
          return;
        }
        at += static_cast<size_t>(n);
      }
    }
  });
  reader.join();
  return received == total && received_hash == sent_hash;
}

// (kind of the client's port, kind of the server's port, IPv6?)
class TcpTest : public ::testing::TestWithParam<std::tuple<std::string, std::string, bool>> {
 protected:
  // A pod on a port of `kind`, with its address.
  std::unique_ptr<FrameIo> Attach(const std::string& kind, const TestNetNs& pod, int number) {
    const std::string prefix = absl::StrCat(std::get<2>(GetParam()) ? "2001:db8::" : "192.0.2.",
                                            number, std::get<2>(GetParam()) ? "/64" : "/24");
    if (kind == "tap") {
      UniqueFd tap;
      pod.Run([&] { tap = ValueOrDie(OpenTap("eth0", /*persistent=*/false)); });
      pod.SetUp("eth0", prefix);
      return ValueOrDie(OpenTapPort(std::move(tap)));
    }
    const std::string name = absl::StrCat("vx", number);
    ConnectVeth(host, name, pod, "eth0");
    host.Shell("ip link set " + name + " up");
    pod.WaitUntilRunning(pod.SetUp("eth0", prefix));
    const IfIndex index = ValueOrDie(host.OpenNetlink().GetLink(name)).index;
    host.WaitUntilRunning(index);
    std::unique_ptr<FrameIo> io;
    host.Run([&] { io = ValueOrDie(OpenPacketPort(index)); });
    return io;
  }

  TestNetNs host;
  TestNetNs client;
  TestNetNs server;
};

INSTANTIATE_TEST_SUITE_P(Ports, TcpTest,
                         ::testing::Combine(::testing::Values("veth", "tap"),
                                            ::testing::Values("veth", "tap"), ::testing::Bool()),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "To" + std::get<1>(info.param) +
                                  (std::get<2>(info.param) ? "V6" : "V4");
                         });

TEST_P(TcpTest, SuperFramesCrossInOnePieceWithGoodChecksums) {
  const auto& [client_kind, server_kind, v6] = GetParam();
  std::unique_ptr<FrameIo> a = Attach(client_kind, client, 1);
  std::unique_ptr<FrameIo> b = Attach(server_kind, server, 2);
  Wire wire(std::move(a), std::move(b));
  EXPECT_TRUE(TransferTcp(client, server,
                          ValueOrDie(IpAddress::Parse(v6 ? "2001:db8::2" : "192.0.2.2")),
                          size_t{32} << 20));
  wire.Stop();
  EXPECT_GT(wire.largest(), 60000u);
  EXPECT_EQ(wire.drops()[Drop::kBadOffload], 0u);
  EXPECT_EQ(wire.drops()[Drop::kUnsupportedOffload], 0u);
  EXPECT_EQ(wire.drops()[Drop::kTooBigForPort], 0u);
  // Far fewer segments than of 1460 bytes: those that arrived were super-frames as well.
  EXPECT_LT(server.Snmp("Ip", "InDelivers") + server.Snmp("Tcp", "InSegs"), 10000u);
  for (const TestNetNs* ns : {&client, &server}) {
    EXPECT_EQ(ns->Snmp("Tcp", "InCsumErrors"), 0u);
  }
}

}  // namespace
}  // namespace vxvde
