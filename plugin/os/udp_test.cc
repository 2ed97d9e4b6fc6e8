#include "plugin/os/udp.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

struct Received {
  std::vector<std::string> datagrams;
  std::vector<Peer> from;
  size_t messages = 0;  // a run counts as one
  DropCounters drops;
};

std::string Pattern(size_t size, uint8_t seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(seed + i * 7 + i / 251);
  return bytes;
}

// Reads until `count` datagrams have arrived.
Received ReceiveDatagrams(DatagramIo& io, size_t count) {
  Received received;
  Buffers buffers(8);
  std::vector<InDatagram> batch;
  while (received.datagrams.size() < count) {
    pollfd ready = {io.fd(), POLLIN, 0};
    if (poll(&ready, 1, 5000) != 1) {
      ADD_FAILURE() << received.datagrams.size() << " of " << count << " datagrams came";
      return received;
    }
    const absl::Status status = io.Receive(buffers, batch, received.drops);
    EXPECT_TRUE(status.ok()) << status;
    for (const InDatagram& in : batch) {
      ++received.messages;
      const size_t step = in.segment_size == 0 ? in.bytes.size() + 1 : in.segment_size;
      for (size_t at = 0; at == 0 || at < in.bytes.size(); at += step) {
        const auto part = in.bytes.subspan(at, std::min(step, in.bytes.size() - at));
        received.datagrams.emplace_back(part.begin(), part.end());
        received.from.push_back(in.from);
      }
    }
  }
  return received;
}

bool NothingWaits(DatagramIo& io) {
  Buffers buffers(1);
  std::vector<InDatagram> batch;
  DropCounters drops;
  return io.Receive(buffers, batch, drops).ok() && batch.empty();
}

// A run of datagrams, each of which is a header and a part of the payload, as the switch sends
// them.
struct SendRun {
  SendRun(const Peer& to, size_t datagrams, size_t segment_size, size_t last_size) {
    for (size_t i = 0; i < datagrams; ++i) {
      const bool last = i + 1 == datagrams;
      expected.push_back(Pattern(last ? last_size : segment_size, static_cast<uint8_t>(i)));
    }
    for (std::string& bytes : expected) {
      parts.push_back({bytes.data(), 8});
      parts.push_back({bytes.data() + 8, bytes.size() - 8});
      out.size += bytes.size();
    }
    out.to = to;
    out.segment_size = static_cast<uint16_t>(segment_size);
    out.datagrams = static_cast<uint32_t>(datagrams);
    out.parts = parts;
  }
  SendRun(const SendRun&) = delete;

  std::vector<std::string> expected;
  std::vector<iovec> parts;
  OutDatagram out;
};

// Two nodes, a wire between them; once over IPv4 and once over IPv6.
class UdpTest : public ::testing::TestWithParam<bool> {
 protected:
  UdpTest() {
    ConnectVeth(a, "up0", b, "up0");
    a_up = a.SetUp("up0", v6() ? "2001:db8::1/64" : "192.0.2.1/24");
    b_up = b.SetUp("up0", v6() ? "2001:db8::2/64" : "192.0.2.2/24");
    a.WaitUntilRunning(a_up);
    b.WaitUntilRunning(b_up);
  }

  static bool v6() { return GetParam(); }
  static IpAddress Ip(const char* v4_text, const char* v6_text) {
    return ValueOrDie(IpAddress::Parse(v6() ? v6_text : v4_text));
  }
  IpAddress AddressOfA() const { return Ip("192.0.2.1", "2001:db8::1"); }
  IpAddress AddressOfB() const { return Ip("192.0.2.2", "2001:db8::2"); }
  IpAddress Group() const { return Ip("239.1.2.3", "ff05:56de::1:203"); }

  UdpOptions Options(IfIndex uplink) const {
    UdpOptions options;
    options.group = Group();
    options.group_port = 14789;
    options.uplink = uplink;
    return options;
  }
  static std::unique_ptr<DatagramIo> Unicast(const TestNetNs& ns, const UdpOptions& options) {
    std::unique_ptr<DatagramIo> io;
    ns.Run([&] { io = ValueOrDie(OpenUnicastSocket(options)); });
    return io;
  }
  static std::unique_ptr<DatagramIo> GroupSocket(const TestNetNs& ns, const UdpOptions& options) {
    std::unique_ptr<DatagramIo> io;
    ns.Run([&] { io = ValueOrDie(OpenGroupSocket(options)); });
    return io;
  }
  static void SendOne(DatagramIo& io, const Peer& to, std::string bytes, DropCounters& drops) {
    const iovec part = {bytes.data(), bytes.size()};
    OutDatagram out;
    out.to = to;
    out.size = bytes.size();
    out.parts = {&part, 1};
    io.Send({&out, 1}, drops);
  }
  // Sends `run` from `sender`, checks the received bytes, and returns the number of received
  // messages.
  size_t Transfer(DatagramIo& sender, DatagramIo& receiver, const SendRun& run) {
    DropCounters drops;
    sender.Send({&run.out, 1}, drops);
    EXPECT_EQ(drops.Total(), 0u);
    const Received received = ReceiveDatagrams(receiver, run.expected.size());
    EXPECT_EQ(received.datagrams, run.expected);
    EXPECT_EQ(received.drops.Total(), 0u);
    EXPECT_THAT(received.from, Each(Peer{AddressOfA(), sender.port()}));
    return received.messages;
  }

  TestNetNs a;
  TestNetNs b;
  IfIndex a_up = IfIndex::kNone;
  IfIndex b_up = IfIndex::kNone;
};

INSTANTIATE_TEST_SUITE_P(Underlay, UdpTest, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? "IPv6" : "IPv4"; });

TEST_P(UdpTest, ARunCrossesWholeAndIsOneMessage) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const SendRun run({AddressOfB(), receiver->port()}, 40, 1300, 777);
  EXPECT_EQ(Transfer(*sender, *receiver, run), 1u);
  EXPECT_TRUE(NothingWaits(*receiver));
}

TEST_P(UdpTest, ARunLongerThanOneSendGoesInSeveral) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const SendRun many({AddressOfB(), receiver->port()}, 150, 100, 50);
  EXPECT_EQ(Transfer(*sender, *receiver, many), 3u);  // 64 + 64 + 22
  const SendRun large({AddressOfB(), receiver->port()}, 60, 1450, 1450);
  EXPECT_EQ(Transfer(*sender, *receiver, large), 2u);  // 45 * 1450 B is the most
}

TEST_P(UdpTest, ARunAndOthersStayInOrder) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const Peer to = {AddressOfB(), receiver->port()};
  const SendRun run(to, 5, 200, 100);
  const SendRun one(to, 1, 300, 300);
  std::vector<OutDatagram> batch;
  std::vector<std::string> expected;
  for (int i = 0; i < 50; ++i) {  // more than one sendmmsg()
    for (const SendRun* r : {&one, &run}) {
      batch.push_back(r->out);
      expected.insert(expected.end(), r->expected.begin(), r->expected.end());
    }
  }
  DropCounters drops;
  sender->Send(batch, drops);
  EXPECT_EQ(drops.Total(), 0u);
  EXPECT_EQ(ReceiveDatagrams(*receiver, expected.size()).datagrams, expected);
}

TEST_P(UdpTest, DatagramsLongerThanTheUplinkGoAsFragments) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const SendRun run({AddressOfB(), receiver->port()}, 6, 1522, 900);
  EXPECT_EQ(Transfer(*sender, *receiver, run), 6u);
  const SendRun one({AddressOfB(), receiver->port()}, 1, 9000, 9000);
  EXPECT_EQ(Transfer(*sender, *receiver, one), 1u);
}

TEST_P(UdpTest, ARefusedRunGoesPieceByPieceAndTheNextWhole) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const SendRun run({AddressOfB(), receiver->port()}, 40, 1300, 777);
  // The MTU of this route is smaller than the uplink's.
  const std::string route = v6() ? "ip -6 route replace 2001:db8::2/128 dev up0 mtu "
                                 : "ip route replace 192.0.2.2/32 dev up0 mtu ";
  a.Shell(route + "1280");
  EXPECT_EQ(Transfer(*sender, *receiver, run), 40u);
  a.Shell(route + "1500");
  EXPECT_EQ(Transfer(*sender, *receiver, run), 1u);
}

TEST_P(UdpTest, AnUplinkWithoutChecksumsGetsItsRunsAllTheSame) {
  a.Shell("ethtool -K up0 tx off >/dev/null");
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const SendRun run({AddressOfB(), receiver->port()}, 40, 1300, 777);
  // Whole since Linux 6.11, else EIO and piece by piece.
  Transfer(*sender, *receiver, run);
  Transfer(*sender, *receiver, run);
}

TEST_P(UdpTest, ADeviceThatRefusesRunsIsNotAskedAgain) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const SendRun run({AddressOfB(), receiver->port()}, 40, 1300, 777);
  for (const int error : {EAGAIN, ENOBUFS, EPERM}) {
    DropCounters drops;
    RunWithFailing(SYS_sendmmsg, error, [&] { sender->Send({&run.out, 1}, drops); });
    EXPECT_EQ(drops[error == EPERM ? Drop::kSendFailed : Drop::kSocketFull], 40u);
    EXPECT_EQ(drops.Total(), 40u);
  }
  EXPECT_EQ(Transfer(*sender, *receiver, run), 1u);  // those errors concerned that send alone
  DropCounters drops;
  RunWithFailing(SYS_sendmmsg, EIO, [&] { sender->Send({&run.out, 1}, drops); });
  EXPECT_EQ(drops[Drop::kSendFailed], 40u);  // the pieces fail here too
  EXPECT_EQ(Transfer(*sender, *receiver, run), 40u);
}

TEST_P(UdpTest, WhatCannotBeSentIsCountedAndTheRestIsSent) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const Peer to = {AddressOfB(), receiver->port()};
  const Peer nowhere = {Ip("203.0.113.1", "2001:db8:dead::1"), 9};
  const SendRun good(to, 3, 100, 100);
  const SendRun no_route(nowhere, 7, 100, 100);
  const SendRun too_big(to, 1, 65530, 65530);
  const SendRun also_good(to, 1, 200, 200);
  const OutDatagram batch[] = {no_route.out, good.out, too_big.out, also_good.out};
  DropCounters drops;
  sender->Send(batch, drops);
  EXPECT_EQ(drops[Drop::kSendFailed], 7u);
  EXPECT_EQ(drops[Drop::kTooBig], 1u);
  EXPECT_EQ(drops.Total(), 8u);
  const Received received = ReceiveDatagrams(*receiver, 4);
  EXPECT_EQ(received.datagrams.back(), also_good.expected[0]);
}

TEST_P(UdpTest, WhatTheQueueCouldNotTakeIsCounted) {
  UdpOptions small = Options(b_up);
  small.receive_buffer = 4096;
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, small);
  const Peer to = {AddressOfB(), receiver->port()};
  DropCounters drops;
  // Sends one datagram first: the queue of an unresolved neighbour is short too.
  SendOne(*sender, to, "x", drops);
  ReceiveDatagrams(*receiver, 1);
  for (int i = 0; i < 100; ++i) SendOne(*sender, to, Pattern(1000, 1), drops);
  EXPECT_EQ(drops.Total(), 0u);
  Received first = ReceiveDatagrams(*receiver, 1);
  const size_t queued = first.datagrams.size();
  ASSERT_LT(queued, 100u);
  SendOne(*sender, to, "x", drops);
  const Received last = ReceiveDatagrams(*receiver, 1);
  EXPECT_EQ(queued + first.drops[Drop::kSocketOverrun] + last.drops[Drop::kSocketOverrun], 100u);
  SendOne(*sender, to, "y", drops);
  EXPECT_EQ(ReceiveDatagrams(*receiver, 1).drops.Total(), 0u);  // reported once
}

TEST_P(UdpTest, EmptyDatagramsArriveEmpty) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  DropCounters drops;
  SendOne(*sender, {AddressOfB(), receiver->port()}, "", drops);
  EXPECT_THAT(ReceiveDatagrams(*receiver, 1).datagrams, ElementsAre(""));
}

TEST_P(UdpTest, ATakenPortIsAlreadyExists) {
  const auto first = Unicast(a, Options(a_up));
  UdpOptions options = Options(a_up);
  options.port = first->port();
  ASSERT_NE(options.port, 0);
  a.Run([&] {
    const absl::Status status = OpenUnicastSocket(options).status();
    EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(absl::StrCat(options.port)));
  });
}

TEST_P(UdpTest, TheSourceIsTheBoundAddress) {
  a.Shell(v6() ? "ip addr add 2001:db8::99/64 dev up0 nodad" : "ip addr add 192.0.2.99/24 dev up0");
  UdpOptions options = Options(a_up);
  options.bind = Ip("192.0.2.99", "2001:db8::99");
  const auto sender = Unicast(a, options);
  const auto receiver = Unicast(b, Options(b_up));
  DropCounters drops;
  SendOne(*sender, {AddressOfB(), receiver->port()}, "hello", drops);
  EXPECT_THAT(ReceiveDatagrams(*receiver, 1).from,
              ElementsAre(Peer{*options.bind, sender->port()}));
}

TEST_P(UdpTest, TheGroupIsHeardByAllItsMembersTheSenderToo) {
  const auto sender = Unicast(a, Options(a_up));
  const auto own = GroupSocket(a, Options(a_up));
  const auto same_host = GroupSocket(b, Options(b_up));
  const auto other = GroupSocket(b, Options(b_up));  // a second member on that node
  EXPECT_EQ(own->port(), 14789);
  DropCounters drops;
  SendOne(*sender, {Group(), 14789}, "hello", drops);
  EXPECT_EQ(drops.Total(), 0u);
  for (DatagramIo* io : {own.get(), same_host.get(), other.get()}) {
    const Received received = ReceiveDatagrams(*io, 1);
    EXPECT_THAT(received.datagrams, ElementsAre("hello"));
    EXPECT_THAT(received.from, ElementsAre(Peer{AddressOfA(), sender->port()}));
  }
}

TEST_P(UdpTest, AGroupSocketHearsNoOtherGroup) {
  UdpOptions other_options = Options(b_up);
  other_options.group = Ip("239.1.2.4", "ff05:56de::1:204");
  const auto sender = Unicast(a, Options(a_up));
  const auto mine = GroupSocket(b, Options(b_up));
  const auto other = GroupSocket(b, other_options);
  DropCounters drops;
  SendOne(*sender, {other_options.group, 14789}, "for the other", drops);
  SendOne(*sender, {Group(), 14789}, "for me", drops);
  EXPECT_THAT(ReceiveDatagrams(*mine, 1).datagrams, ElementsAre("for me"));
  EXPECT_THAT(ReceiveDatagrams(*other, 1).datagrams, ElementsAre("for the other"));
  EXPECT_TRUE(NothingWaits(*mine));
  EXPECT_TRUE(NothingWaits(*other));
}

TEST_P(UdpTest, OnAHostWithTwoUplinksEachSocketKeepsToItsOwn) {
  ConnectVeth(a, "up1", b, "up1");
  const IfIndex a_up1 = a.SetUp("up1", v6() ? "2001:db8:1::1/64" : "198.51.100.1/24");
  const IfIndex b_up1 = b.SetUp("up1", v6() ? "2001:db8:1::2/64" : "198.51.100.2/24");
  a.WaitUntilRunning(a_up1);
  b.WaitUntilRunning(b_up1);
  const auto send0 = Unicast(a, Options(a_up));
  const auto send1 = Unicast(a, Options(a_up1));
  const auto hear0 = GroupSocket(b, Options(b_up));
  const auto hear1 = GroupSocket(b, Options(b_up1));
  DropCounters drops;
  SendOne(*send0, {Group(), 14789}, "zero", drops);
  SendOne(*send1, {Group(), 14789}, "one", drops);
  EXPECT_EQ(drops.Total(), 0u);
  const Received on0 = ReceiveDatagrams(*hear0, 1);
  const Received on1 = ReceiveDatagrams(*hear1, 1);
  EXPECT_THAT(on0.datagrams, ElementsAre("zero"));
  EXPECT_THAT(on1.datagrams, ElementsAre("one"));
  EXPECT_THAT(on1.from, ElementsAre(Peer{Ip("198.51.100.1", "2001:db8:1::1"), send1->port()}));
  EXPECT_TRUE(NothingWaits(*hear0));
  EXPECT_TRUE(NothingWaits(*hear1));
}

TEST_P(UdpTest, ASocketMovesToAnotherUplink) {
  ConnectVeth(a, "up1", b, "up1");
  const IfIndex a_up1 = a.SetUp("up1", v6() ? "2001:db8:1::1/64" : "198.51.100.1/24");
  const IfIndex b_up1 = b.SetUp("up1", v6() ? "2001:db8:1::2/64" : "198.51.100.2/24");
  a.WaitUntilRunning(a_up1);
  b.WaitUntilRunning(b_up1);
  const auto sender = Unicast(a, Options(a_up));
  const auto hear0 = GroupSocket(b, Options(b_up));
  const auto hear1 = GroupSocket(b, Options(b_up1));
  a.Shell("ip link del up0");
  const absl::Status moved = sender->SetUplink(a_up1, 1500);
  ASSERT_TRUE(moved.ok()) << moved;
  DropCounters drops;
  SendOne(*sender, {Group(), 14789}, "moved", drops);
  EXPECT_EQ(drops.Total(), 0u);
  const Received on1 = ReceiveDatagrams(*hear1, 1);
  EXPECT_THAT(on1.datagrams, ElementsAre("moved"));
  EXPECT_THAT(on1.from, ElementsAre(Peer{Ip("198.51.100.1", "2001:db8:1::1"), sender->port()}));
  EXPECT_TRUE(NothingWaits(*hear0));
  EXPECT_FALSE(sender->SetUplink(a_up, 1500).ok()) << "it is gone";
}

// A second path between the two nodes.
class UdpElsewhereTest : public UdpTest {
 protected:
  UdpElsewhereTest() {
    ConnectVeth(a, "up1", b, "up1");
    a_up1 = a.SetUp("up1", v6() ? "2001:db8:1::1/64" : "198.51.100.1/24");
    b_up1 = b.SetUp("up1", v6() ? "2001:db8:1::2/64" : "198.51.100.2/24");
    a.WaitUntilRunning(a_up1);
    b.WaitUntilRunning(b_up1);
  }
  static IpAddress OtherAddressOfB() { return Ip("198.51.100.2", "2001:db8:1::2"); }
  // Datagrams that the kernel has refused; waits for `count`.
  static bool Refused(const TestNetNs& ns, DatagramIo& io, uint64_t count, DropCounters& drops) {
    return WaitFor([&] {
      ns.Run([&] { io.CountLost(drops); });
      return drops[Drop::kNotFromHere] >= count;
    });
  }

  IfIndex a_up1 = IfIndex::kNone;
  IfIndex b_up1 = IfIndex::kNone;
};

INSTANTIATE_TEST_SUITE_P(Underlay, UdpElsewhereTest, ::testing::Values(false, true));

TEST_P(UdpElsewhereTest, OnlyTheUplinkAndLoopbackAreAdmitted) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  const auto local = Unicast(b, Options(b_up));
  DropCounters drops, lost;
  for (int i = 0; i < 3; ++i) SendOne(*sender, {OtherAddressOfB(), receiver->port()}, "no", drops);
  EXPECT_TRUE(Refused(b, *receiver, 3, lost));
  EXPECT_EQ(lost[Drop::kNotFromHere], 3u);
  EXPECT_EQ(lost.Total(), 3u);
  SendOne(*sender, {AddressOfB(), receiver->port()}, "uplink", drops);
  SendOne(*local, {AddressOfB(), receiver->port()}, "loopback", drops);
  const Received received = ReceiveDatagrams(*receiver, 2);
  EXPECT_THAT(received.datagrams, UnorderedElementsAre("uplink", "loopback"));
  EXPECT_EQ(received.drops.Total(), 0u) << "each is counted once";
  EXPECT_EQ(drops.Total(), 0u);
}

TEST_P(UdpElsewhereTest, TheFilterMovesWithTheUplink) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  b.Run([&] { EXPECT_EQ(receiver->SetUplink(b_up1, 1500), absl::OkStatus()); });
  DropCounters drops, lost;
  SendOne(*sender, {AddressOfB(), receiver->port()}, "before", drops);
  SendOne(*sender, {OtherAddressOfB(), receiver->port()}, "now", drops);
  EXPECT_THAT(ReceiveDatagrams(*receiver, 1).datagrams, ElementsAre("now"));
  EXPECT_EQ(drops.Total(), 0u);
}

TEST_P(UdpElsewhereTest, AnAdoptedSocketGetsTheFilter) {
  UdpOptions options = Options(IfIndex::kNone);
  const auto sender = Unicast(a, Options(a_up));
  const auto before = Unicast(b, options);
  options.port = before->port();
  options.uplink = b_up;
  std::unique_ptr<DatagramIo> receiver;
  b.Run([&] { receiver = ValueOrDie(AdoptUnicastSocket(UniqueFd(dup(before->fd())), options)); });
  DropCounters drops, lost;
  SendOne(*sender, {OtherAddressOfB(), receiver->port()}, "no", drops);
  EXPECT_TRUE(Refused(b, *receiver, 1, lost));
  EXPECT_TRUE(NothingWaits(*receiver));
}

TEST_P(UdpElsewhereTest, TheDeviceThatTheUplinkIsAPortOfIsAdmitted) {
  const auto sender = Unicast(a, Options(a_up));
  const auto receiver = Unicast(b, Options(b_up));
  b.Shell(
      absl::StrCat("ip link add br0 type bridge; ip link set br0 up; ip addr flush dev up0; "
                   "ip link set up0 master br0; ip addr add ",
                   v6() ? "2001:db8::2/64 nodad" : "192.0.2.2/24", " dev br0"));
  DropCounters drops, lost;
  Buffers buffers(8);
  std::vector<InDatagram> batch;
  EXPECT_TRUE(WaitFor([&] {
    SendOne(*sender, {AddressOfB(), receiver->port()}, "x", drops);
    b.Run([&] { EXPECT_EQ(receiver->Receive(buffers, batch, lost), absl::OkStatus()); });
    return !batch.empty();
  }));
  // A socket that is opened now applies it from the start.
  const auto late = Unicast(b, Options(b_up));
  SendOne(*sender, {AddressOfB(), late->port()}, "y", drops);
  EXPECT_THAT(ReceiveDatagrams(*late, 1).datagrams, ElementsAre("y"));
}

TEST_P(UdpTest, TheKernelChoosesTheUplinkWhenNobodyElseDoes) {
  a.Shell(v6() ? "ip -6 route add ff05::/16 dev up0 table local"
               : "ip route add 239.0.0.0/8 dev up0");
  b.Shell(v6() ? "ip -6 route add ff05::/16 dev up0 table local"
               : "ip route add 239.0.0.0/8 dev up0");
  const auto sender = Unicast(a, Options(IfIndex::kNone));
  const auto receiver = GroupSocket(b, Options(IfIndex::kNone));
  DropCounters drops;
  SendOne(*sender, {Group(), 14789}, "hello", drops);
  EXPECT_EQ(drops.Total(), 0u);
  EXPECT_THAT(ReceiveDatagrams(*receiver, 1).datagrams, ElementsAre("hello"));
}

TEST_P(UdpTest, TtlIsThatOfTheReference) {
  UdpOptions options = Options(a_up);
  options.ttl = 7;
  const auto io = Unicast(a, options);
  const int level = v6() ? IPPROTO_IPV6 : IPPROTO_IP;
  for (const int option :
       v6() ? std::vector{IPV6_MULTICAST_HOPS} : std::vector{IP_TTL, IP_MULTICAST_TTL}) {
    int value = 0;
    socklen_t size = sizeof(value);
    ASSERT_EQ(getsockopt(io->fd(), level, option, &value, &size), 0);
    EXPECT_EQ(value, 7);
  }
}

class UdpV4Test : public UdpTest {};
INSTANTIATE_TEST_SUITE_P(Underlay, UdpV4Test, ::testing::Values(false));

TEST_P(UdpV4Test, TooManyGroupsSaysWhatToDo) {
  a.Shell("echo 0 > /proc/sys/net/ipv4/igmp_max_memberships");
  a.Run([&] {
    const absl::Status status = OpenGroupSocket(Options(a_up)).status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("igmp_max_memberships"));
  });
}

TEST_P(UdpV4Test, NoInterfaceForTheGroupIsNotFound) {
  const TestNetNs lonely;
  lonely.Run([&] {
    EXPECT_TRUE(absl::IsNotFound(OpenGroupSocket(Options(IfIndex::kNone)).status()));
    EXPECT_TRUE(absl::IsNotFound(OpenGroupSocket(Options(IfIndex{4242})).status()));
  });
}

// //tests/datapath:underlay_test shows that the network sees the report.
TEST_P(UdpTest, AGroupIsLeftAndJoinedAnew) {
  const auto member = GroupSocket(b, Options(b_up));
  const auto sender = Unicast(a, Options(a_up));
  DropCounters drops;
  b.Run([&] {
    ASSERT_TRUE(member->Rejoin().ok());
    ASSERT_TRUE(member->Rejoin().ok());
  });
  SendOne(*sender, {Group(), 14789}, "again", drops);
  EXPECT_THAT(ReceiveDatagrams(*member, 1).datagrams, ElementsAre("again"));
  EXPECT_EQ(drops.Total(), 0u);
  EXPECT_TRUE(absl::IsUnimplemented(sender->Rejoin()));
}

class UdpV6Test : public UdpTest {};
INSTANTIATE_TEST_SUITE_P(Underlay, UdpV6Test, ::testing::Values(true));

TEST_P(UdpV6Test, LinkLocalPeersAndGroupsAreReachedThroughTheUplink) {
  a.Shell("ip addr add fe80::a/64 dev up0 nodad");
  b.Shell("ip addr add fe80::b/64 dev up0 nodad");
  UdpOptions options = Options(a_up);
  options.bind = ValueOrDie(IpAddress::Parse("fe80::a"));
  const auto sender = Unicast(a, options);
  const auto receiver = Unicast(b, Options(b_up));
  DropCounters drops;
  SendOne(*sender, {ValueOrDie(IpAddress::Parse("fe80::b")), receiver->port()}, "hello", drops);
  EXPECT_EQ(drops.Total(), 0u);
  EXPECT_THAT(ReceiveDatagrams(*receiver, 1).from,
              ElementsAre(Peer{*options.bind, sender->port()}));

  UdpOptions local_group = Options(b_up);
  local_group.group = ValueOrDie(IpAddress::Parse("ff02::1234"));
  const auto member = GroupSocket(b, local_group);
  SendOne(*sender, {local_group.group, 14789}, "all", drops);
  EXPECT_EQ(drops.Total(), 0u);
  EXPECT_THAT(ReceiveDatagrams(*member, 1).datagrams, ElementsAre("all"));
}

}  // namespace
}  // namespace vxvde
