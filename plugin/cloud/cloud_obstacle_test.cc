// Tests of another program that runs before those of the kernel datapath: the cloud then forwards
// the frames itself. Frames of a port that the programs refuse count as its storm.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin/cloud/testing/cloud_fixture.h"

namespace vxvde {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Field;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(CloudTest, WithAnObstacleAtAHostEndTheCloudServesThePort) {
  Start();
  const auto a = AddFastPort(kA, kPodA);
  const auto b = AddFastPort(kB, kPodB);
  EXPECT_FALSE(a->receiving);
  fast().Punt(kA, {MakeFrame(kPodB, kPodA)});
  fast().obstacles[kA] = "tcx program 7";
  fast().not_now = absl::UnavailableError("tcx program 7");
  cloud().Tick(now() + 2s);
  EXPECT_THAT(b->out, SizeIs(1)) << "punted frames are not lost";
  EXPECT_TRUE(a->receiving);
  EXPECT_FALSE(fast().ports.contains(kA));
  EXPECT_TRUE(fast().ports.contains(kB));
  EXPECT_EQ(Snapshot().ports[0].why_not_fast, "tcx program 7");
  FromPod(a, MakeFrame(kPodB, kPodA));
  EXPECT_THAT(b->out, SizeIs(2));

  fast().obstacles.clear();
  cloud().Tick(now() + 8s);
  EXPECT_FALSE(fast().ports.contains(kA)) << "it is asked again, and still there";
  fast().not_now = absl::OkStatus();
  cloud().Tick(now() + 9s);
  EXPECT_FALSE(fast().ports.contains(kA)) << "not asked each second";
  cloud().Tick(now() + 14s);
  EXPECT_TRUE(fast().ports.contains(kA));
  EXPECT_EQ(Snapshot().ports[0].why_not_fast, "");
}

TEST_F(CloudTest, APortWithAnObstacleIsNotTouched) {
  Start();
  fast().not_now = absl::UnavailableError("the bpf filter of priority 1");
  const auto a = AddPort(kA, kPodA);
  cloud().Tick(now() + 1s);
  EXPECT_EQ(fast().port_attempts, 0);
  EXPECT_TRUE(a->receiving);
  EXPECT_EQ(Snapshot().ports[0].why_not_fast, "the bpf filter of priority 1");
  fast().not_now = absl::OkStatus();
  cloud().Tick(now() + 10s);
  EXPECT_TRUE(fast().ports.contains(kA));
}

TEST_F(CloudTest, WithAnObstacleAtTheUplinkTheCloudServesAllAndAnnouncesIt) {
  Start();
  const auto a = AddFastPort(kA, kPodA);
  Hello();
  FromPeer(MakeFrame(kPodA, kFar));
  ASSERT_THAT(fast().peers, SizeIs(1));
  TakeSent();
  fast().obstacle = "tcx program 7 at eth0";
  cloud().Tick(now() + 2s);
  EXPECT_THAT(fast().ports, IsEmpty());
  EXPECT_THAT(fast().peers, IsEmpty());
  EXPECT_TRUE(a->receiving);
  EXPECT_EQ(cloud().FastPort(), 0);
  EXPECT_EQ(Snapshot().fast_port, 0);
  EXPECT_EQ(Snapshot().why_not_fast, "tcx program 7 at eth0");
  auto sent = TakeSent();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent.back().first, kGroup) << "Hello";
  EXPECT_THAT((std::vector<int>{sent.back().second[8 + 22], sent.back().second[8 + 23]}),
              ElementsAre(0, 0))
      << "there is no fast port";
  FromPod(a, MakeFrame(kFar, kPodA));
  EXPECT_THAT(TakeSent(), SizeIs(1)) << "by the cloud";
  Hello();
  EXPECT_THAT(fast().peers, IsEmpty());

  fast().obstacle.clear();
  cloud().Tick(now() + 3s);
  EXPECT_THAT(fast().ports, SizeIs(1));
  EXPECT_THAT(fast().peers, SizeIs(1));
  EXPECT_EQ(Snapshot().why_not_fast, "");
  sent = TakeSent();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(sent.back().first, kGroup);
  EXPECT_EQ(sent.back().second[8 + 22], kOurFastPort >> 8);
}

TEST_F(CloudTest, FramesThatTheProgramsRefuseAreAStormOfTheirPort) {
  options_.storm.port = 500;
  Start();
  EXPECT_EQ(fast().flood_limit, 500u);
  AddFastPort(kA, kPodA);
  const auto storms = [&] { return Snapshot().ports[0].drops[Drop::kStorm]; };
  fast().port_counters[kA].refused = 3;
  EXPECT_EQ(storms(), 3u);
  cloud().Tick(now() + 2s);
  fast().port_counters[kA].refused = 5;
  EXPECT_EQ(storms(), 5u);
  EXPECT_THAT(node_.events, Contains(Field(&SwitchEvent::kind, SwitchEvent::Kind::kStorm)));
  fast().obstacle = "something";
  cloud().Tick(now() + 3s);
  EXPECT_EQ(storms(), 5u) << "slow, with what was counted";
  cloud().SetStorm({.port = 0});
  EXPECT_EQ(fast().flood_limit, 0u);
}

}  // namespace
}  // namespace vxvde
