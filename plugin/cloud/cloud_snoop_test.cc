// Tests of the cloud's part in snooping. plugin/snoop tests the memberships of ports.

#include <gmock/gmock.h>

#include "plugin/cloud/testing/cloud_fixture.h"

namespace vxvde {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

// A UDP frame to 233.252.0.1, with the headers that a switch reads.
Bytes Stream(const MacAddress& from, size_t size = 100) {
  Bytes frame = MakeFrame(MacAddress({0x01, 0, 0x5e, 0x7c, 0, 0x01}), from, size);
  frame[12] = 0x08;
  frame[13] = 0x00;
  frame[14] = 0x45;
  frame[23] = 17;
  const Bytes addresses = {192, 0, 2, 7, 233, 252, 0, 1};
  std::copy(addresses.begin(), addresses.end(), frame.begin() + 26);
  return frame;
}

// An IGMPv3 report of 192.0.2.7: to 233.252.0.1, all sources. Written by hand from RFC 3376.
Bytes Join(const MacAddress& from) {
  Bytes frame = MakeFrame(MacAddress({0x01, 0, 0x5e, 0, 0, 0x16}), from, 14);
  frame[12] = 0x08;
  frame[13] = 0x00;
  const Bytes rest = {0x45, 0, 0, 36, 0,   0, 0, 0,    1,    2,   0x17, 0xbb,
                      192,  0, 2, 7,  224, 0, 0, 0x16, 0x22, 0,   0xf0, 0x00,
                      0,    0, 0, 1,  4,   0, 0, 0,    233,  252, 0,    1};
  frame.insert(frame.end(), rest.begin(), rest.end());
  return frame;
}

bool IsQuery(const Bytes& frame) {
  return frame.size() > 62 ? frame[62] == 130 : frame.size() > 38 && frame[38] == 0x11;
}

class CloudSnoopTest : public CloudTest {
 protected:
  // Adds three ports, of which B becomes fast.
  void Begin(bool snooping = true) {
    options_.snooping = snooping;
    Start();
    a_ = AddPort(kA, kPodA, IfIndex::kNone);
    b_ = AddPort(kB, kPodB);
    c_ = AddPort(PortId{3}, kNested, IfIndex::kNone);
  }
  // Lets time pass until all ports were queried and could answer.
  void Settle() {
    for (int second = 1; second <= 8; ++second) cloud().Tick(now() + second * 1s);
    for (const auto& port : {a_, b_, c_}) port->out.clear();
    node_.unicast->out.clear();
  }
  static std::vector<Bytes> Frames(const std::shared_ptr<FakePort::State>& port) {
    std::vector<Bytes> out;
    for (const auto& item : port->out) out.push_back(item.bytes);
    port->out.clear();
    return out;
  }

  std::shared_ptr<FakePort::State> a_, b_, c_;
};

TEST_F(CloudSnoopTest, EachPortIsAskedTwiceAndNobodyElse) {
  Begin();
  const size_t before = node_.unicast->out.size();
  for (int second = 1; second <= 8; ++second) cloud().Tick(now() + second * 1s);
  for (const auto& port : {a_, b_, c_}) {
    const std::vector<Bytes> frames = Frames(port);
    ASSERT_THAT(frames, SizeIs(4));
    for (const Bytes& frame : frames) {
      EXPECT_TRUE(IsQuery(frame));
      EXPECT_EQ(SourceMac(frame), kAgent);
    }
  }
  EXPECT_EQ(node_.unicast->out.size(), before);
}

TEST_F(CloudSnoopTest, AnAgentThatHearsNoQuerierAsksAllMembersAndItsPorts) {
  Begin();
  Settle();
  // Its jitter is 160 ms (kAgent).
  cloud().Tick(now() + 131s);
  std::vector<Bytes> queries;
  for (const auto& [to, datagram] : TakeSent()) {
    const Bytes frame(datagram.begin() + 8, datagram.end());
    if (!IsQuery(frame)) continue;  // Hello
    EXPECT_EQ(to, kGroup);
    queries.push_back(frame);
  }
  EXPECT_THAT(queries, SizeIs(2)) << "IGMP and MLD";
  for (const auto& port : {a_, b_, c_}) EXPECT_EQ(Frames(port), queries);
}

TEST_F(CloudSnoopTest, AStreamReachesWhoWantsItFromPeersPortsAndTheFastPath) {
  Begin();
  Settle();
  FromPeer(Stream(kFar));
  for (const auto& port : {a_, b_, c_}) {
    EXPECT_THAT(Frames(port), SizeIs(1)) << "nobody has said a word of it";
  }

  FromPod(a_, Join(kPodA));
  EXPECT_THAT(Frames(b_), IsEmpty()) << "the report is for routers";
  EXPECT_THAT(Frames(c_), IsEmpty());
  EXPECT_THAT(TakeSent(), SizeIs(1)) << "and goes to all members: where those are is not known";
  FromPeer(Stream(kFar));
  EXPECT_THAT(Frames(a_), SizeIs(1));
  EXPECT_THAT(Frames(b_), IsEmpty());
  EXPECT_THAT(Frames(c_), IsEmpty());

  FromPod(c_, Stream(kNested));
  EXPECT_THAT(Frames(a_), SizeIs(1));
  EXPECT_THAT(Frames(b_), IsEmpty());
  EXPECT_THAT(TakeSent(), SizeIs(1)) << "members hear all";

  ASSERT_TRUE(fast().ports.contains(kB));
  Punt(kB, Stream(kPodB));
  EXPECT_THAT(Frames(a_), SizeIs(1));
  EXPECT_THAT(Frames(c_), IsEmpty());
  EXPECT_THAT(TakeSent(), SizeIs(1));

  const CloudSnapshot snapshot = cloud().Snapshot();
  ASSERT_TRUE(snapshot.snooping.has_value());
  const auto says_so = testing::Contains(testing::HasSubstr("vxvdectl groups"));
  const MacAddress group = *MacAddress::Parse("01:00:5e:01:02:03");
  EXPECT_THAT(cloud().Explain(kPodA, group).reasons, says_so);
  EXPECT_THAT(cloud().Explain(kPodA, MacAddress::Broadcast()).reasons, testing::Not(says_so));
  EXPECT_EQ(snapshot.snooping->groups.size(), 1u);
  EXPECT_EQ(snapshot.snooping->withheld, 6u);
}

TEST_F(CloudSnoopTest, UnknownStationsAndBroadcastsGoToAllAsEver) {
  Begin();
  Settle();
  FromPod(a_, Join(kPodA));
  for (const auto& port : {a_, b_, c_}) Frames(port);
  FromPeer(MakeFrame(MacAddress::Broadcast(), kFar));
  FromPeer(MakeFrame(kFar2, kFar));
  for (const auto& port : {a_, b_, c_}) EXPECT_THAT(Frames(port), SizeIs(2));
}

TEST_F(CloudSnoopTest, SwitchedOffEverythingGoesToAllAndNobodyIsAsked) {
  Begin(/*snooping=*/false);
  Settle();
  FromPod(a_, Join(kPodA));
  for (const auto& port : {a_, b_, c_}) Frames(port);
  FromPeer(Stream(kFar));
  for (const auto& port : {a_, b_, c_}) EXPECT_THAT(Frames(port), SizeIs(1));
  EXPECT_FALSE(cloud().Snapshot().snooping.has_value());

  cloud().SetSnooping(true);
  cloud().Tick(now() + 10s);
  EXPECT_THAT(Frames(b_), SizeIs(2)) << "questions";
  cloud().SetSnooping(false);
  cloud().Tick(now() + 20s);
  EXPECT_THAT(Frames(b_), IsEmpty());
}

}  // namespace
}  // namespace vxvde
