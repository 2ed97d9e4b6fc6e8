// Sockets that this process inherits from another one: it reads the data that waited in them, and
// they work as if they had been opened here.

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "plugin/os/port.h"
#include "plugin/os/testing.h"
#include "plugin/os/udp.h"

namespace vxvde {
namespace {

// The descriptor as another process would get it: the same socket under another number.
UniqueFd Copy(int fd) { return UniqueFd(dup(fd)); }

std::string NextDatagram(DatagramIo& io) {
  Buffers buffers(1);
  std::vector<InDatagram> batch;
  DropCounters drops;
  pollfd ready = {io.fd(), POLLIN, 0};
  if (poll(&ready, 1, 5000) != 1 || !io.Receive(buffers, batch, drops).ok() || batch.empty()) {
    return "";
  }
  return {batch[0].bytes.begin(), batch[0].bytes.end()};
}

void Send(DatagramIo& io, const Peer& to, std::string text) {
  const iovec part = {text.data(), text.size()};
  OutDatagram out;
  out.to = to;
  out.size = text.size();
  out.parts = {&part, 1};
  DropCounters drops;
  io.Send({&out, 1}, drops);
}

class AdoptUdpTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ConnectVeth(node_, "eth0", fabric_, "eth0");
    fabric_.SetUp("eth0", "192.0.2.254/24");
    uplink_ = node_.SetUp("eth0", GetParam() ? "2001:db8::1/64" : "192.0.2.1/24");
    node_.Shell("ip link set lo up");
    node_.WaitUntilRunning(uplink_);
    options_ = {.group = GetParam() ? ValueOrDie(IpAddress::Parse("ff05::1234"))
                                    : IpAddress::V4(239, 1, 2, 3),
                .group_port = 14789,
                .bind = {},
                .port = 0,
                .uplink = uplink_};
    here_ = GetParam() ? ValueOrDie(IpAddress::Parse("2001:db8::1")) : IpAddress::V4(192, 0, 2, 1);
  }

  TestNetNs node_;
  TestNetNs fabric_;
  IfIndex uplink_;
  UdpOptions options_;
  IpAddress here_;
};

TEST_P(AdoptUdpTest, UnicastGoesOnWithWhatWaited) {
  node_.Run([&] {
    std::unique_ptr<DatagramIo> first = ValueOrDie(OpenUnicastSocket(options_));
    options_.port = first->port();
    UniqueFd kept = Copy(first->fd());
    first.reset();
    UdpOptions other = options_;
    other.port = 0;
    const std::unique_ptr<DatagramIo> far = ValueOrDie(OpenUnicastSocket(other));
    Send(*far, {here_, options_.port}, "while there was nobody");
    const std::unique_ptr<DatagramIo> second =
        ValueOrDie(AdoptUnicastSocket(std::move(kept), options_));
    EXPECT_EQ(second->port(), options_.port);
    EXPECT_EQ(NextDatagram(*second), "while there was nobody");
    Send(*second, {here_, far->port()}, "answer");
    EXPECT_EQ(NextDatagram(*far), "answer");
  });
}

TEST_P(AdoptUdpTest, GroupGoesOnAsAMember) {
  node_.Run([&] {
    std::unique_ptr<DatagramIo> first = ValueOrDie(OpenGroupSocket(options_));
    UniqueFd kept = Copy(first->fd());
    first.reset();
    const std::unique_ptr<DatagramIo> far = ValueOrDie(OpenUnicastSocket(options_));
    Send(*far, {options_.group, options_.group_port}, "one");
    const std::unique_ptr<DatagramIo> second =
        ValueOrDie(AdoptGroupSocket(std::move(kept), options_));
    EXPECT_EQ(NextDatagram(*second), "one");
    Send(*far, {options_.group, options_.group_port}, "two");
    EXPECT_EQ(NextDatagram(*second), "two");
  });
}

TEST_P(AdoptUdpTest, AnotherOneIsRefused) {
  node_.Run([&] {
    const std::unique_ptr<DatagramIo> first = ValueOrDie(OpenUnicastSocket(options_));
    UdpOptions other = options_;
    other.port = static_cast<uint16_t>(first->port() ^ 1);
    EXPECT_TRUE(absl::IsInvalidArgument(AdoptUnicastSocket(Copy(first->fd()), other).status()));
    other = options_;
    other.port = first->port();
    other.bind = here_;
    EXPECT_TRUE(absl::IsInvalidArgument(AdoptUnicastSocket(Copy(first->fd()), other).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(AdoptGroupSocket(Copy(first->fd()), options_).status()));
    EXPECT_FALSE(AdoptUnicastSocket(Copy(0), other).ok()) << "no socket at all";
  });
}

INSTANTIATE_TEST_SUITE_P(Families, AdoptUdpTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "v6" : "v4"; });

class AdoptPortTest : public testing::Test {
 protected:
  void SetUp() override {
    ConnectVeth(node_, "vx-1", pod_, "eth0");
    pod_.SetUp("eth0", "192.0.2.9/24");
    node_.Shell("ip link set vx-1 up");
    node_.Run([&] { end_ = ValueOrDie(node_.OpenNetlink().GetLink("vx-1")).index; });
    node_.WaitUntilRunning(end_);
  }
  // An ARP request of the pod.
  void PodSpeaks() const { pod_.Shell("ping -c 1 -W 0.01 192.0.2.1 >/dev/null || true"); }
  static bool Hears(FrameIo& io) {
    Buffers buffers(16);
    std::vector<Frame> batch;
    DropCounters drops;
    return io.Receive(buffers, batch, drops).ok() && !batch.empty();
  }

  TestNetNs node_;
  TestNetNs pod_;
  IfIndex end_;
};

TEST_F(AdoptPortTest, GoesOnWithWhatWaited) {
  node_.Run([&] {
    std::unique_ptr<FrameIo> first = ValueOrDie(OpenPacketPort(end_));
    UniqueFd kept = Copy(first->fd());
    first.reset();
    PodSpeaks();
    const std::unique_ptr<FrameIo> second = ValueOrDie(AdoptPacketPort(std::move(kept), end_));
    EXPECT_TRUE(second->receives());
    EXPECT_TRUE(Hears(*second));
  });
}

// The process may have ended between SetReceiving(false) and Reopen(false).
TEST_F(AdoptPortTest, OneThatWasStoppedReceivesAgain) {
  node_.Run([&] {
    std::unique_ptr<FrameIo> first = ValueOrDie(OpenPacketPort(end_));
    ASSERT_TRUE(first->SetReceiving(false).ok());
    const std::unique_ptr<FrameIo> second = ValueOrDie(AdoptPacketPort(Copy(first->fd()), end_));
    EXPECT_TRUE(second->receives());
    EXPECT_TRUE(WaitFor([&] {
      PodSpeaks();
      return Hears(*second);
    }));
  });
}

TEST_F(AdoptPortTest, OneThatWasDeafIsDeaf) {
  node_.Run([&] {
    std::unique_ptr<FrameIo> first = ValueOrDie(OpenPacketPort(end_));
    const UniqueFd before = ValueOrDie(first->Reopen(/*receives=*/false));
    EXPECT_FALSE(first->receives());
    const std::unique_ptr<FrameIo> second = ValueOrDie(AdoptPacketPort(Copy(first->fd()), end_));
    EXPECT_FALSE(second->receives());
    PodSpeaks();
    EXPECT_FALSE(Hears(*second));
    const UniqueFd deaf = ValueOrDie(second->Reopen(/*receives=*/true));
    EXPECT_TRUE(second->receives());
    EXPECT_TRUE(WaitFor([&] {
      PodSpeaks();
      return Hears(*second);
    }));
  });
}

TEST_F(AdoptPortTest, OneWhoseInterfaceIsGoneIsRefused) {
  node_.Run([&] {
    const std::unique_ptr<FrameIo> first = ValueOrDie(OpenPacketPort(end_));
    EXPECT_FALSE(AdoptPacketPort(Copy(first->fd()), IfIndex{1}).ok()) << "of another interface";
    EXPECT_FALSE(AdoptPacketPort(Copy(0), end_).ok()) << "no socket at all";
    node_.Shell("ip link del vx-1");
    EXPECT_FALSE(AdoptPacketPort(Copy(first->fd()), end_).ok());
  });
}

}  // namespace
}  // namespace vxvde
