#include "plugin/os/port.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/offload/testing/packets.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::ElementsAreArray;

std::unique_ptr<FrameIo> OpenPacket(const TestNetNs& ns, const std::string& link) {
  std::unique_ptr<FrameIo> io;
  ns.Run(
      [&] { io = ValueOrDie(OpenPacketPort(ValueOrDie(ns.OpenNetlink().GetLink(link)).index)); });
  return io;
}

UniqueFd MakeTap(const TestNetNs& ns, const std::string& name, bool persistent = false) {
  UniqueFd tap;
  ns.Run([&] { tap = ValueOrDie(OpenTap(name, persistent)); });
  return tap;
}

bool Readable(const FrameIo& io, int timeout_ms = 5000) {
  pollfd ready = {io.fd(), POLLIN, 0};
  return poll(&ready, 1, timeout_ms) == 1;
}

Drop Write(FrameIo& io, std::vector<uint8_t> bytes, const Offload& offload = {}) {
  const iovec part = {bytes.data(), bytes.size()};
  OutFrame frame;
  frame.parts = {&part, 1};
  frame.size = bytes.size();
  frame.offload = offload;
  return io.Send(frame);
}

// The experimental EtherType of IEEE 802; only the tests send it.
std::vector<uint8_t> PlainFrame(size_t size) {
  std::vector<uint8_t> frame(size, 0x5a);
  const uint8_t header[] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 7, 0x88, 0xb5};
  std::copy(std::begin(header), std::end(header), frame.begin());
  return frame;
}

uint16_t EtherType(const Frame& frame) {
  return static_cast<uint16_t>(frame.bytes[12] << 8 | frame.bytes[13]);
}

// The next frame of `io` that `wanted` accepts; the kernel sends others on new links (MLD, RS).
std::optional<Frame> Next(FrameIo& io, Buffers& one, absl::FunctionRef<bool(const Frame&)> wanted,
                          DropCounters& drops) {
  std::vector<Frame> batch;
  while (Readable(io)) {
    const absl::Status status = io.Receive(one, batch, drops);
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) return std::nullopt;
    if (!batch.empty() && wanted(batch[0])) return batch[0];
  }
  return std::nullopt;
}

// One pod on a veth pair, seen from both ends.
class PacketPortTest : public ::testing::Test {
 protected:
  PacketPortTest() {
    ConnectVeth(host, "vx0", pod, "eth0");
    host_index = host.SetUp("vx0", "192.0.2.1/24");
    pod.WaitUntilRunning(pod.SetUp("eth0", "192.0.2.2/24"));
    host.WaitUntilRunning(host_index);
  }

  // The only error among the waiting messages; all frames after it are discarded.
  absl::Status DrainedStatus(FrameIo& io) {
    absl::Status error;
    while (true) {
      const absl::Status status = io.Receive(one, batch, drops);
      if (status.ok() && batch.empty()) return error;
      EXPECT_TRUE(status.ok() || error.ok()) << status;  // each error is reported once
      if (!status.ok()) error = status;
    }
  }

  TestNetNs host;
  TestNetNs pod;
  IfIndex host_index = IfIndex::kNone;
  Buffers one{1};
  std::vector<Frame> batch;
  DropCounters drops;
};

bool IsOurs(const Frame& frame) { return EtherType(frame) == 0x88b5; }

TEST_F(PacketPortTest, FramesCrossAsTheyAreAndOwnOnesAreNotHeard) {
  const auto host_io = OpenPacket(host, "vx0");
  const auto pod_io = OpenPacket(pod, "eth0");
  const std::vector<uint8_t> down = PlainFrame(1514);
  const std::vector<uint8_t> up = PlainFrame(64);
  EXPECT_EQ(Write(*host_io, down), Drop::kNone);
  std::optional<Frame> frame = Next(*pod_io, one, IsOurs, drops);
  ASSERT_TRUE(frame);
  EXPECT_THAT(frame->bytes, ElementsAreArray(down));
  EXPECT_EQ(frame->offload.gso, Gso::kNone);
  EXPECT_FALSE(frame->offload.needs_checksum);
  EXPECT_EQ(Write(*pod_io, up), Drop::kNone);
  frame = Next(*host_io, one, IsOurs, drops);
  ASSERT_TRUE(frame);
  EXPECT_THAT(frame->bytes, ElementsAreArray(up));  // and not `down`
}

TEST_F(PacketPortTest, PartsBecomeOneFrame) {
  const auto host_io = OpenPacket(host, "vx0");
  const auto pod_io = OpenPacket(pod, "eth0");
  std::vector<uint8_t> bytes = PlainFrame(OutFrame::kMaxParts * 11);
  std::vector<iovec> parts;
  for (size_t at = 0; at < bytes.size(); at += 11) parts.push_back({&bytes[at], 11});
  OutFrame out;
  out.parts = parts;
  out.size = bytes.size();
  EXPECT_EQ(host_io->Send(out), Drop::kNone);
  const std::optional<Frame> frame = Next(*pod_io, one, IsOurs, drops);
  ASSERT_TRUE(frame);
  EXPECT_THAT(frame->bytes, ElementsAreArray(bytes));
}

// IPv4 and UDP behind a VLAN tag; the checksum field holds the sum of the pseudo header
// (192.0.2.2 -> 192.0.2.1, 17, length 12), as CHECKSUM_PARTIAL wants it.
TEST_F(PacketPortTest, VlanTagsAndTheOffsetsBehindThemAreKept) {
  const std::vector<uint8_t> tagged = {255,  255,  255,  255,  255,  255,  2,    0,    0,   0,
                                       0,    7,    0x81, 0x00, 0x60, 0x07, 0x08, 0x00,  //
                                       0x45, 0,    0,    32,   0,    1,    0,    0,    64,  17,
                                       0xf6, 0xc9, 192,  0,    2,    2,    192,  0,    2,   1,  //
                                       0x30, 0x39, 0x30, 0x3a, 0,    12,   0x84, 0x20, 'v', 'l',
                                       'a',  'n'};
  Offload offload;
  offload.needs_checksum = true;
  offload.checksum_start = 18 + 20;
  offload.checksum_offset = 6;
  const auto host_io = OpenPacket(host, "vx0");
  const auto pod_io = OpenPacket(pod, "eth0");
  EXPECT_EQ(Write(*pod_io, tagged, offload), Drop::kNone);
  const auto is_tagged = [](const Frame& frame) { return EtherType(frame) == 0x8100; };
  const std::optional<Frame> frame = Next(*host_io, one, is_tagged, drops);
  ASSERT_TRUE(frame);
  EXPECT_THAT(frame->bytes, ElementsAreArray(tagged));
  EXPECT_TRUE(frame->offload.needs_checksum);
  EXPECT_EQ(frame->offload.checksum_start, 38);
  EXPECT_EQ(frame->offload.checksum_offset, 6);
}

TEST_F(PacketPortTest, WhatThePodCannotTakeIsTooBig) {
  const auto host_io = OpenPacket(host, "vx0");
  EXPECT_EQ(Write(*host_io, PlainFrame(2000)), Drop::kTooBigForPort);
}

TEST_F(PacketPortTest, OffloadsThatDoNotFitTheFrameAreRefused) {
  const auto host_io = OpenPacket(host, "vx0");
  Offload offload;
  offload.needs_checksum = true;
  offload.checksum_start = 5000;
  EXPECT_EQ(Write(*host_io, PlainFrame(64), offload), Drop::kBadOffload);
}

TEST_F(PacketPortTest, ALinkThatIsDownSaysSoOnceAndWorksWhenItIsUpAgain) {
  const auto host_io = OpenPacket(host, "vx0");
  host.Shell("ip link set vx0 down");
  ASSERT_TRUE(Readable(*host_io));
  const absl::Status status = DrainedStatus(*host_io);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_FALSE(Readable(*host_io, 0));  // an event loop does not spin
  EXPECT_EQ(Write(*host_io, PlainFrame(64)), Drop::kPortDown);

  host.Shell("ip link set vx0 up");
  const auto pod_io = OpenPacket(pod, "eth0");
  pod.WaitUntilRunning(ValueOrDie(pod.OpenNetlink().GetLink("eth0")).index);
  EXPECT_EQ(Write(*pod_io, PlainFrame(64)), Drop::kNone);
  EXPECT_TRUE(Next(*host_io, one, IsOurs, drops));
}

TEST_F(PacketPortTest, APortThatDoesNotReceiveGivesWhatWaitsAndNothingMore) {
  const auto host_io = OpenPacket(host, "vx0");
  const auto pod_io = OpenPacket(pod, "eth0");
  EXPECT_TRUE(host_io->SetReceiving(true).ok());  // as before
  EXPECT_EQ(Write(*pod_io, PlainFrame(64)), Drop::kNone);
  EXPECT_TRUE(host_io->SetReceiving(false).ok());
  EXPECT_EQ(Write(*pod_io, PlainFrame(100)), Drop::kNone);
  const std::optional<Frame> waited = Next(*host_io, one, IsOurs, drops);
  ASSERT_TRUE(waited);
  EXPECT_EQ(waited->bytes.size(), 64u);

  // Sending still works. Its arrival shows that the frame of 100 has passed without being received.
  EXPECT_EQ(Write(*host_io, PlainFrame(120)), Drop::kNone);
  ASSERT_TRUE(Next(*pod_io, one, IsOurs, drops));
  while (Readable(*host_io, 0)) {
    ASSERT_TRUE(host_io->Receive(one, batch, drops).ok());
    for (const Frame& frame : batch) EXPECT_FALSE(IsOurs(frame));
  }
  EXPECT_EQ(drops[Drop::kPortOverrun], 0u) << "what is not wanted is not lost";

  EXPECT_TRUE(host_io->SetReceiving(true).ok());
  EXPECT_EQ(Write(*pod_io, PlainFrame(140)), Drop::kNone);
  const std::optional<Frame> after = Next(*host_io, one, IsOurs, drops);
  ASSERT_TRUE(after);
  EXPECT_EQ(after->bytes.size(), 140u);
}

TEST_F(PacketPortTest, APortThatIsReopenedReceivesOrNot) {
  const auto host_io = OpenPacket(host, "vx0");
  const auto pod_io = OpenPacket(pod, "eth0");
  for (int i = 0; i < 2; ++i) {
    host.Run([&] { EXPECT_TRUE(host_io->Reopen(false).ok()); });
    EXPECT_EQ(Write(*pod_io, PlainFrame(100)), Drop::kNone);
    EXPECT_EQ(Write(*host_io, PlainFrame(120)), Drop::kNone);
    ASSERT_TRUE(Next(*pod_io, one, IsOurs, drops))
        << "sending goes on, and the frame of 100 came by";
    EXPECT_FALSE(Readable(*host_io, 0));
    packets::Spec spec;
    spec.payload = packets::Payload(20'000);
    Offload offload;
    const packets::Bytes super = packets::BuildSuper(spec, 1000, offload);
    EXPECT_EQ(Write(*host_io, super, offload), Drop::kNone);
    const std::optional<Frame> whole = Next(
        *pod_io, one, [](const Frame& f) { return f.offload.gso == Gso::kTcp4; }, drops);
    ASSERT_TRUE(whole) << "the kernel knows what it is";
    EXPECT_EQ(whole->bytes.size(), super.size());
    host.Run([&] { EXPECT_TRUE(host_io->Reopen(true).ok()); });
    EXPECT_EQ(Write(*pod_io, PlainFrame(140)), Drop::kNone);
    const std::optional<Frame> after = Next(*host_io, one, IsOurs, drops);
    ASSERT_TRUE(after);
    EXPECT_EQ(after->bytes.size(), 140u);
  }
}

class DeafPortTest : public PacketPortTest, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Reopened, DeafPortTest, testing::Bool());

TEST_P(DeafPortTest, APortThatDoesNotReceiveStillHearsOfItsLink) {
  const auto host_io = OpenPacket(host, "vx0");
  if (GetParam()) {
    host.Run([&] { ASSERT_TRUE(host_io->Reopen(false).ok()); });
  } else {
    ASSERT_TRUE(host_io->SetReceiving(false).ok());
  }
  host.Shell("ip link set vx0 down");
  ASSERT_TRUE(Readable(*host_io));
  EXPECT_TRUE(absl::IsUnavailable(DrainedStatus(*host_io)));
  ASSERT_EQ(host.OpenNetlink().DeleteLink(host_index), absl::OkStatus());
  const auto gone = DrainedStatus(*host_io);
  EXPECT_TRUE(gone.ok() || absl::IsNotFound(gone)) << gone;  // as port.h says
  EXPECT_EQ(Write(*host_io, PlainFrame(64)), Drop::kPortDown);
}

TEST(TapPort, AlwaysReceives) {
  const TestNetNs ns;
  const auto tap = ValueOrDie(OpenTapPort(MakeTap(ns, "tap0")));
  EXPECT_TRUE(absl::IsUnimplemented(tap->SetReceiving(false)));
}

TEST_F(PacketPortTest, ALinkThatIsGoneIsNotFound) {
  const auto host_io = OpenPacket(host, "vx0");
  ASSERT_EQ(host.OpenNetlink().DeleteLink(host_index), absl::OkStatus());
  ASSERT_TRUE(Readable(*host_io));
  const absl::Status status = DrainedStatus(*host_io);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_FALSE(Readable(*host_io, 0));
  EXPECT_EQ(Write(*host_io, PlainFrame(64)), Drop::kPortDown);
}

TEST_F(PacketPortTest, NoSuchLinkIsNotFound) {
  host.Run([&] {
    EXPECT_TRUE(absl::IsNotFound(OpenPacketPort(IfIndex{4242}).status()));
    EXPECT_TRUE(absl::IsNotFound(OpenPacketPort(IfIndex::kNone).status()));
  });
}

TEST_F(PacketPortTest, WhatTheQueueCouldNotTakeIsCounted) {
  const auto host_io = OpenPacket(host, "vx0");
  const auto pod_io = OpenPacket(pod, "eth0");
  const int small = 4096;
  ASSERT_EQ(setsockopt(host_io->fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
  while (Readable(*host_io, 0)) ASSERT_TRUE(host_io->Receive(one, batch, drops).ok());
  DropCounters before = drops;
  for (int i = 0; i < 200; ++i) EXPECT_EQ(Write(*pod_io, PlainFrame(1000)), Drop::kNone);
  uint64_t received = 0;
  ASSERT_TRUE(WaitFor([&] {
    EXPECT_TRUE(host_io->Receive(one, batch, drops).ok());
    if (!batch.empty() && IsOurs(batch[0])) ++received;
    // At least: frames that the kernel sends meanwhile may be lost as well.
    return received + drops[Drop::kPortOverrun] - before[Drop::kPortOverrun] >= 200;
  }));
  EXPECT_LT(received, 200u);
}

TEST_F(PacketPortTest, ASuperFrameThatCannotBeToldIsCountedAndTheRestIsRead) {
  const auto host_io = OpenPacket(host, "vx0");
  const auto pod_io = OpenPacket(pod, "eth0");
  RunWithFailing(SYS_recvmmsg, EINVAL, [&] {
    EXPECT_TRUE(host_io->Receive(one, batch, drops).ok());
    EXPECT_TRUE(batch.empty());
  });
  EXPECT_EQ(drops[Drop::kUnsupportedOffload], 1u);
  EXPECT_EQ(Write(*pod_io, PlainFrame(64)), Drop::kNone);
  EXPECT_TRUE(Next(*host_io, one, IsOurs, drops));
}

// A run of datagrams that an application in the pod sent at once, such as QUIC.
void SendUdpRun(const TestNetNs& pod, const char* to) {
  pod.Run([&] {
    const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const int segment_size = 1000;
    ASSERT_EQ(setsockopt(fd.get(), IPPROTO_UDP, UDP_SEGMENT, &segment_size, sizeof(int)), 0);
    sockaddr_storage name;
    const socklen_t size = ToSockaddr(ValueOrDie(IpAddress::Parse(to)), 9, 0, name);
    const std::vector<uint8_t> bytes(10500, 1);
    ASSERT_EQ(
        sendto(fd.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&name), size),
        10500);
  });
}

void ExpectUdpRun(FrameIo& io) {
  Buffers one(1);
  DropCounters drops;
  const std::optional<Frame> frame = Next(
      io, one, [](const Frame& f) { return f.offload.gso != Gso::kNone; }, drops);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->offload.gso, Gso::kUdp);
  EXPECT_EQ(frame->offload.gso_size, 1000);
  EXPECT_EQ(frame->bytes.size(), 14u + 20 + 8 + 10500);
}

TEST_F(PacketPortTest, UdpRunsOfThePodStayWhole) {
  const auto host_io = OpenPacket(host, "vx0");
  SendUdpRun(pod, "192.0.2.1");
  ExpectUdpRun(*host_io);
}

TEST(TapPort, UdpRunsOfThePodStayWhole) {
  const TestNetNs pod;
  UniqueFd tap = MakeTap(pod, "eth0");
  pod.SetUp("eth0", "192.0.2.2/24");
  pod.Shell("ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev eth0");
  const auto io = ValueOrDie(OpenTapPort(std::move(tap)));
  SendUdpRun(pod, "192.0.2.1");
  ExpectUdpRun(*io);
}

TEST(TapPort, ADownOrDeletedInterfaceIsSaid) {
  const TestNetNs pod;
  const auto io = ValueOrDie(OpenTapPort(MakeTap(pod, "eth0", true)));
  Buffers one(1);
  std::vector<Frame> batch;
  DropCounters drops;
  EXPECT_TRUE(io->Receive(one, batch, drops).ok());  // down: no frame waits
  EXPECT_EQ(Write(*io, PlainFrame(64)), Drop::kPortDown);
  pod.Shell("ip link set eth0 up");
  EXPECT_EQ(Write(*io, PlainFrame(64)), Drop::kNone);
  Offload offload;
  offload.needs_checksum = true;
  offload.checksum_start = 5000;
  EXPECT_EQ(Write(*io, PlainFrame(64), offload), Drop::kBadOffload);
  pod.Shell("ip link del eth0");
  EXPECT_TRUE(absl::IsNotFound(io->Receive(one, batch, drops)));
  EXPECT_EQ(Write(*io, PlainFrame(64)), Drop::kPortDown);
}

TEST(OpenTap, ATakenNameIsAlreadyExists) {
  const TestNetNs ns;
  const UniqueFd held = MakeTap(ns, "tap0");
  ConnectVeth(ns, "veth0", ns, "veth1");
  ns.Run([] {
    for (const char* name : {"tap0", "veth0"}) {
      for (const bool persistent : {false, true}) {
        EXPECT_TRUE(absl::IsAlreadyExists(OpenTap(name, persistent).status())) << name;
      }
    }
    EXPECT_TRUE(absl::IsInvalidArgument(OpenTap("sixteen-letters-", false).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(OpenTap("", false).status()));
  });
}

TEST(OpenTap, APersistentTapIsOpenedAgainAndAnotherDiesWithItsDescriptor) {
  const TestNetNs ns;
  Netlink netlink = ns.OpenNetlink();
  MakeTap(ns, "brief0");
  EXPECT_TRUE(absl::IsNotFound(netlink.GetLink("brief0").status()));
  MakeTap(ns, "tap0", true);
  const IfIndex index = ValueOrDie(netlink.GetLink("tap0")).index;
  const UniqueFd again = MakeTap(ns, "tap0", true);
  EXPECT_EQ(ValueOrDie(netlink.GetLink("tap0")).index, index);
  EXPECT_EQ(fcntl(again.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  EXPECT_EQ(fcntl(again.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(OpenTapPort, TakesATapAsAnotherProgramLeftIt) {
  const TestNetNs ns;
  UniqueFd tap = MakeTap(ns, "tap0", true);
  const int large_header = 12;  // as QEMU sets it
  ASSERT_EQ(ioctl(tap.get(), TUNSETVNETHDRSZ, &large_header), 0);
  ASSERT_EQ(fcntl(tap.get(), F_SETFL, 0), 0);  // blocking
  ns.Shell("ip link set tap0 up");
  const auto io = ValueOrDie(OpenTapPort(std::move(tap)));
  EXPECT_EQ(fcntl(io->fd(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  int header = 0;
  ASSERT_EQ(ioctl(io->fd(), TUNGETVNETHDRSZ, &header), 0);
  EXPECT_EQ(header, 10);
}

TEST(OpenTapPort, RefusesWhatIsNoTap) {
  EXPECT_TRUE(absl::IsInvalidArgument(
      OpenTapPort(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC))).status()));
  const TestNetNs ns;
  ns.Run([] {
    for (const int flags : {IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, IFF_TAP | IFF_NO_PI}) {
      UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
      ifreq request = {};
      request.ifr_flags = static_cast<short>(flags);
      ASSERT_EQ(ioctl(fd.get(), TUNSETIFF, &request), 0);
      EXPECT_TRUE(absl::IsInvalidArgument(OpenTapPort(std::move(fd)).status())) << flags;
    }
  });
}

}  // namespace
}  // namespace vxvde
