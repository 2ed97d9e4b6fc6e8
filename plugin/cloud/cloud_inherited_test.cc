// Tests of a cloud that takes over the state that an earlier agent left in the fast path.

#include <algorithm>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/cloud/testing/cloud_fixture.h"

namespace vxvde {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class CloudInheritedTest : public CloudTest {
 protected:
  void SetUp() override {
    CloudTest::SetUp();
    fast().inherited_peers = {{.peer = kPeer, .fast_port = 5000}};
    fast().inherited_ports = {kHostEnd};
  }
  const StationSnapshot* Station(const MacAddress& mac) {
    snapshot_ = Snapshot();
    const auto found = std::find_if(snapshot_.stations.begin(), snapshot_.stations.end(),
                                    [&](const StationSnapshot& one) { return one.mac == mac; });
    return found != snapshot_.stations.end() ? &*found : nullptr;
  }

  CloudSnapshot snapshot_;
};

TEST_F(CloudInheritedTest, PeersAndTheirStationsAreKnownAtOnce) {
  fast().inherited_stations[kPeer] = {{.mac = kFar, .seen = now() - 100s},
                                      {.mac = kFar2, .seen = now() - options_.config.expiry}};
  Start();
  EXPECT_EQ(fast().peers, (std::map<Peer, uint16_t>{{kPeer, 5000}}));
  const StationSnapshot* far = Station(kFar);
  ASSERT_NE(far, nullptr);
  EXPECT_EQ(far->where, Location(kPeer));
  EXPECT_EQ(far->idle, 100s) << "as old as it was";
  EXPECT_EQ(fast().stations.at(kFar).seen, now() - 100s);
  EXPECT_EQ(Station(kFar2), nullptr) << "it has expired meanwhile";
  ASSERT_EQ(snapshot_.peers.size(), 1u);
  EXPECT_EQ(snapshot_.peers[0].fast_port, 5000);
  // I4 holds from the first frame on.
  const auto pod = AddPort(kA, kPodA);
  TakeSent();
  Punt(kA, MakeFrame(kFar, kPodA));
  const auto sent = TakeSent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].first, kPeer) << "and not the group";
}

TEST_F(CloudInheritedTest, APeerThatSaysNothingMoreIsSlowInTime) {
  Start();
  cloud().Tick(now() + PeerProbe::kHelloLife - 1s);
  EXPECT_FALSE(fast().peers.empty());
  cloud().Tick(now() + PeerProbe::kHelloLife);
  EXPECT_TRUE(fast().peers.empty());
}

TEST_F(CloudInheritedTest, APeerToWhomThereIsNoWayIsAnOrdinaryOne) {
  fast().no_peer = absl::FailedPreconditionError("no route");
  fast().inherited_stations[kPeer] = {{.mac = kFar, .seen = now()}};
  Start();
  EXPECT_TRUE(fast().peers.empty());
  EXPECT_EQ(Station(kFar), nullptr);
}

TEST_F(CloudInheritedTest, APortIsFastAtOnce) {
  fast().inherited_stations[kA] = {{.mac = kPodA, .seen = now()},
                                   {.mac = kNested, .seen = now() - 5s}};
  Start();
  auto pod = std::make_shared<FakePort::State>();
  // The programs have already forwarded this frame.
  pod->Push({MakeFrame(kFar, kPodA)});
  ASSERT_TRUE(AddPort(kA, PortOptions{.name = "a", .mac = kPodA, .host_end = kHostEnd},
                      std::make_unique<FakePort>(pod))
                  .ok());
  EXPECT_TRUE(fast().ports.contains(kA));
  EXPECT_FALSE(pod->receiving);
  cloud().ReadNow();
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_THAT(Copied(), UnorderedElementsAre(kPodA, kNested));
  EXPECT_EQ(fast().stations.at(kPodA).where, Location(kA));
  EXPECT_EQ(Station(kNested)->idle, 5s);
  EXPECT_TRUE(Station(kPodA)->is_static);
  EXPECT_TRUE(snapshot_.ports.at(0).fast);
  // The port can be removed like any other.
  ASSERT_TRUE(cloud().TakePort(kA).ok());
  EXPECT_FALSE(fast().ports.contains(kA));
}

TEST_F(CloudInheritedTest, ATapIsCarriedAtOnce) {
  fast().inherited_taps = {kPodA};
  Start();
  const auto tap = AddPort(kA, kPodA, IfIndex::kNone);
  EXPECT_TRUE(fast().ports.contains(kA));
  EXPECT_TRUE(tap->receiving) << "the cloud reads it itself";
  cloud().Tick(now() + 1s);
  EXPECT_TRUE(fast().ports.contains(kA)) << "that its frames come through is believed for a while";
}

TEST_F(CloudInheritedTest, AStationThatMayNotBeThereAnyMoreIsForgotten) {
  fast().inherited_stations[kA] = {{.mac = kNested, .seen = now()}};
  Start();
  ASSERT_TRUE(
      AddPort(kA,
              PortOptions{.name = "a", .mac = kPodA, .host_end = kHostEnd, .guard = {.on = true}},
              std::make_unique<FakePort>(std::make_shared<FakePort::State>()))
          .ok());
  EXPECT_EQ(Station(kNested), nullptr);
}

TEST_F(CloudInheritedTest, OneThatCannotBeFastAnyMoreIsRead) {
  fast().no_port = absl::FailedPreconditionError("an ingress qdisc");
  Start();
  const auto pod = AddPort(kA, kPodA);
  EXPECT_TRUE(pod->receiving);
  FromPod(pod, MakeFrame(kFar, kPodA));
  EXPECT_EQ(TakeSent().size(), 1u);
}

TEST_F(CloudInheritedTest, OneWhoseSocketCannotBeStoppedIsRead) {
  Start();
  auto pod = std::make_shared<FakePort::State>();
  pod->no_switch = absl::UnimplementedError("cannot");
  ASSERT_TRUE(AddPort(kA, PortOptions{.name = "a", .mac = kPodA, .host_end = kHostEnd},
                      std::make_unique<FakePort>(pod))
                  .ok());
  EXPECT_FALSE(fast().ports.contains(kA)) << "I5";
  FromPod(pod, MakeFrame(kFar, kPodA));
  EXPECT_EQ(TakeSent().size(), 1u);
}

TEST_F(CloudInheritedTest, ARefusedPortLeavesNothing) {
  Start();
  AddPort(kB, kPodA, IfIndex{99});
  auto pod = std::make_shared<FakePort::State>();
  EXPECT_TRUE(absl::IsAlreadyExists(
      AddPort(kA, PortOptions{.name = "a", .mac = kPodA, .host_end = kHostEnd},
              std::make_unique<FakePort>(pod))));
  EXPECT_FALSE(fast().ports.contains(kA));
}

}  // namespace
}  // namespace vxvde
