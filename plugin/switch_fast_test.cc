// A switch with a fast path: which clouds join it, and what the switch passes on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "plugin/cloud/testing/fake_fastpath.h"
#include "plugin/switch_fixture.h"

namespace vxvde {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class FastSwitchTest : public SwitchTest {
 protected:
  void SetUp() override {
    SwitchTest::SetUp();
    On([&] {
      switch_->Leave(key());
      switch_ = std::make_unique<Switch>(
          loop_.get(),
          SwitchSockets{
              .group = [this](const UdpOptions&) { return std::make_unique<FakeSocket>(group_); },
              .unicast =
                  [this](const UdpOptions&) { return std::make_unique<FakeSocket>(unicast_); }},
          &path_);
      options_.uplink = IfIndex{2};
      options_.config.ttl = 3;
      options_.config.bind = kSelf;
      unicast_->out.clear();
    });
  }
  void TearDown() override {
    SwitchTest::TearDown();
    EXPECT_FALSE(path_.cloud->alive);
  }
  absl::Status Join(Datapath datapath) {
    absl::Status status;
    options_.datapath = datapath;
    On([&] { status = switch_->Join(options_); });
    return status;
  }

  FakeFastPath path_;
};

TEST_F(FastSwitchTest, ACloudJoinsTheFastPathAsItself) {
  for (const Datapath datapath : {Datapath::kAuto, Datapath::kKernel}) {
    ASSERT_TRUE(Join(datapath).ok());
    EXPECT_TRUE(path_.cloud->alive);
    ASSERT_THAT(path_.joined, SizeIs(1));
    EXPECT_EQ(path_.joined[0].group, kGroup.address);
    EXPECT_EQ(path_.joined[0].vni, *Vni::Make(42));
    EXPECT_EQ(path_.joined[0].unicast_port, kOurPort);
    EXPECT_EQ(path_.joined[0].uplink, IfIndex{2});
    EXPECT_EQ(path_.joined[0].ttl, 3);
    EXPECT_EQ(path_.joined[0].bind, kSelf);
    EXPECT_EQ(Snapshot().fast_port, 51105);
    On([&] { EXPECT_TRUE(cloud()->IsOffloaded()); });
    EXPECT_EQ(Snapshot().why_not_fast, "");
    On([&] { switch_->Leave(key()); });
    EXPECT_FALSE(path_.cloud->alive);
    path_.joined.clear();
  }
}

TEST_F(FastSwitchTest, WhoWantsUserSpaceGetsIt) {
  On([&] { EXPECT_TRUE(absl::IsNotFound(switch_->Find(key()).status())); });
  ASSERT_TRUE(Join(Datapath::kUser).ok());
  On([&] { EXPECT_FALSE(cloud()->IsOffloaded()); });
  EXPECT_THAT(path_.joined, IsEmpty());
  EXPECT_EQ(Snapshot().fast_port, 0);
  EXPECT_EQ(Snapshot().why_not_fast, "");
}

TEST_F(FastSwitchTest, WhereTheKernelCannotAutoGoesOnAndSaysWhy) {
  path_.refuse = absl::FailedPreconditionError("no tc programs on wg0");
  ASSERT_TRUE(Join(Datapath::kAuto).ok());
  EXPECT_EQ(Snapshot().fast_port, 0);
  EXPECT_EQ(Snapshot().why_not_fast, "no tc programs on wg0");
}

TEST_F(FastSwitchTest, WhereTheKernelCannotWhoInsistsIsRefused) {
  path_.refuse = absl::FailedPreconditionError("no tc programs on wg0");
  const absl::Status refused = Join(Datapath::kKernel);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("no tc programs on wg0"));
  On([&] { EXPECT_FALSE(switch_->IsJoined(key())); });
}

TEST_F(SwitchTest, WithoutAFastPathAutoGoesOnAndWhoInsistsIsRefused) {
  EXPECT_EQ(Snapshot().why_not_fast, "") << "it was to have none";
  On([&] {
    switch_->Leave(key());
    options_.datapath = Datapath::kKernel;
    const absl::Status refused = switch_->Join(options_);
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("datapath"));
    EXPECT_FALSE(switch_->IsJoined(key()));
  });
}

TEST_F(FastSwitchTest, LocalAddressesArePassedOn) {
  On([&] { switch_->SetLocalAddresses({kSelf}); });
  EXPECT_THAT(path_.local, ElementsAre(kSelf));
}

// By the loop alone: its timer, and both descriptors.
TEST_F(FastSwitchTest, TheLoopReadsAndTicksTheFastPath) {
  ASSERT_TRUE(Join(Datapath::kAuto).ok());
  PortId id = PortId::kNone;
  On([&] {
    auto added = cloud()->AddPort({.name = "a", .mac = kPodA, .host_end = IfIndex{12}},
                                  std::make_unique<FakePort>(a_));
    ASSERT_TRUE(added.ok()) << added.status();
    id = *added;
  });
  const Instant deadline = Clock::now() + 20s;
  while (!Snapshot().ports[0].fast && Clock::now() < deadline) std::this_thread::yield();
  On([&] {
    ASSERT_THAT(path_.cloud->ports, SizeIs(1));
    path_.cloud->Punt(id, {MakeFrame(kFar, kPodA)});
    path_.cloud->datagrams->Push({Wrap(MakeFrame(kPodA, kNested)), kPeer});
  });
  On([] {});
  On([&] {
    ASSERT_THAT(unicast_->out, SizeIs(1));
    EXPECT_EQ(unicast_->out[0].bytes, Wrap(MakeFrame(kFar, kPodA)));
    EXPECT_THAT(Frames(*a_), ElementsAre(MakeFrame(kPodA, kNested)));
  });
}

}  // namespace
}  // namespace vxvde
