#include "agent/ipam/prober.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Instant kStart = Instant{} + std::chrono::seconds(1000);
const IpAddress kAddress = IpAddress::V4(192, 0, 2, 1);
const MacAddress kMe({0x02, 0, 0x5e, 0xa0, 0, 1});
const MacAddress kAgent({0x02, 0, 0x5e, 0xa0, 0, 2});

class ProberTest : public testing::Test {
 protected:
  struct Sent {
    AgentMark::Kind kind;
    MacAddress to;
    friend bool operator==(const Sent&, const Sent&) = default;
  };
  std::vector<Sent> Take() {
    std::vector<Sent> sent;
    for (const std::vector<uint8_t>& frame : outbox_.Take()) {
      Neighbour message;
      EXPECT_TRUE(ParseNeighbour(frame, true, message));
      EXPECT_EQ(message.kind, Neighbour::Kind::kProbe);
      EXPECT_EQ(message.address, kAddress);
      sent.push_back({message.mark->kind, DestinationMac(frame)});
    }
    return sent;
  }
  // Advances to the next time at which there is something to do.
  bool Advance() {
    now_ = *prober_.NextTime();
    return prober_.Advance(now_, kAddress);
  }
  void HearAgent() {
    agents_.OnAgentSeen(now_, kAgent, {.kind = AgentMark::Kind::kBeat, .beat = 1});
  }

  Instant now_ = kStart;
  Jitter jitter_{1};
  AgentTable agents_;
  Outbox outbox_{kMe, &agents_};
  Prober prober_{&jitter_, &agents_, &outbox_};
};

TEST_F(ProberTest, ThreeProbesAndSilenceMeanFree) {
  const Sent probe = {AgentMark::Kind::kClaim, MacAddress::Broadcast()};
  prober_.Start(now_, kAddress, {.lease = "a"});
  EXPECT_THAT(Take(), ElementsAre(probe));
  EXPECT_FALSE(prober_.WouldDecide(now_));
  for (int i = 1; i < Prober::kProbes; ++i) {
    const Instant before = now_;
    EXPECT_FALSE(Advance());
    EXPECT_GE(now_ - before, Prober::kProbeInterval * 3 / 4);
    EXPECT_LE(now_ - before, Prober::kProbeInterval * 5 / 4);
    EXPECT_THAT(Take(), ElementsAre(probe));
  }
  EXPECT_THAT(prober_.Due(now_), IsEmpty());
  const Instant end = *prober_.NextTime();
  EXPECT_FALSE(prober_.WouldDecide(end - 1ms));
  EXPECT_TRUE(prober_.WouldDecide(end));
  EXPECT_THAT(prober_.Due(end), ElementsAre(kAddress));
  EXPECT_TRUE(Advance());
  EXPECT_THAT(Take(), IsEmpty());
  EXPECT_EQ(prober_.End(kAddress).lease, "a");
  EXPECT_FALSE(prober_.NextTime());
}

TEST_F(ProberTest, AnAgentThatSaidFreeIsNotWaitedFor) {
  HearAgent();
  prober_.Start(now_, kAddress, {});
  prober_.OnFree(kAddress, kAgent);
  for (int i = 1; i < Prober::kProbes; ++i) EXPECT_FALSE(Advance());
  EXPECT_TRUE(Advance());
}

TEST_F(ProberTest, ASilentAgentIsAskedAgainForALimitedTime) {
  HearAgent();
  prober_.Start(now_, kAddress, {.lease = "a", .slot = 0, .need = true});
  for (int i = 1; i < Prober::kProbes; ++i) EXPECT_FALSE(Advance());
  Take();
  while (!Advance()) {
    EXPECT_LT(now_ - kStart, Prober::kPatience);
    EXPECT_THAT(Take(), ElementsAre(Sent{AgentMark::Kind::kNeed, kAgent}));
  }
  EXPECT_GE(now_ - kStart, Prober::kPatience);
  EXPECT_LT(now_ - kStart, Prober::kPatience + Prober::kAskInterval);
}

TEST_F(ProberTest, AnAgentKnownToOthersAloneIsWaitedFor) {
  agents_.OnAgentSeen(now_, kAgent, {.kind = AgentMark::Kind::kBeat, .beat = 1, .agents = 3});
  prober_.Start(now_, kAddress, {});
  prober_.OnFree(kAddress, kAgent);
  for (int i = 1; i < Prober::kProbes; ++i) EXPECT_FALSE(Advance());
  EXPECT_FALSE(Advance()) << "2 of 3 agents are known";
}

TEST_F(ProberTest, EndIfEndsWhatItSelects) {
  const IpAddress other = IpAddress::V4(192, 0, 2, 2);
  prober_.Start(now_, kAddress, {.lease = "a"});
  prober_.Start(now_, other, {});
  EXPECT_EQ(prober_.CountSpare(*IpPrefix::Parse("192.0.2.0/24")), 1u);
  prober_.EndIf(
      [](const IpAddress&, const Prober::Purpose& purpose) { return purpose.lease == "a"; });
  EXPECT_FALSE(prober_.Contains(kAddress));
  EXPECT_FALSE(prober_.Advance(now_ + 1s, kAddress));
  ASSERT_NE(prober_.Find(other), nullptr);
  EXPECT_TRUE(prober_.Find(other)->spare());
}

}  // namespace
}  // namespace vxvde
