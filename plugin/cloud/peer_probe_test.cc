#include "plugin/cloud/peer_probe.h"

#include <gtest/gtest.h>

#include <chrono>

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;

constexpr Instant kStart{1'000'000s};
constexpr uint16_t kFastPort = 5000;

class PeerProbeTest : public testing::Test {
 protected:
  // A Hello of an agent that returns nonces, unless it is `old`.
  static Hello From(uint16_t fast_port = kFastPort, bool old = false) {
    return {.source = MacAddress({0x02, 0, 0, 0, 0, 0xa1}),
            .fast_port = fast_port,
            .repeated = true,
            .returns_nonce = !old};
  }
  static Hello Answer(uint64_t nonce, bool old = false) {
    Hello hello = From(kFastPort, old);
    hello.heard = true;
    hello.nonce = nonce;
    return hello;
  }
  PeerProbe::Reaction On(const Hello& hello, Instant now, bool at_fast_port = false) {
    return probe_.OnHello(&peer_, hello, at_fast_port, now);
  }

  uint64_t last_ = 0;
  PeerProbe probe_{/*has_fast_path=*/true, [this] { return ++last_; }};
  PeerProbe::State peer_;
};

TEST_F(PeerProbeTest, AFastPortIsUsableOnceItsTrialWasAnswered) {
  const PeerProbe::Reaction first = On(From(), kStart);
  ASSERT_TRUE(first.trial.has_value());
  EXPECT_EQ(first.trial->fast_port, kFastPort);
  EXPECT_NE(first.trial->nonce, 0u);
  EXPECT_FALSE(peer_.usable());
  On(Answer(first.trial->nonce), kStart);
  EXPECT_TRUE(peer_.usable());
  EXPECT_EQ(peer_.fast_port(), kFastPort);
}

TEST_F(PeerProbeTest, AHostThatDidNotReceiveTheTrialCannotAnswerIt) {
  const uint64_t nonce = On(From(), kStart).trial->nonce;
  for (const uint64_t guess : {uint64_t{0}, nonce - 1, nonce + 1, ~nonce}) {
    On(Answer(guess), kStart);
    EXPECT_FALSE(peer_.usable()) << guess;
  }
  // Nor by pretending to be an old agent: the peer has announced that it returns nonces.
  On(Answer(0, /*old=*/true), kStart);
  EXPECT_FALSE(peer_.usable());
  On(Answer(nonce, /*old=*/true), kStart);
  EXPECT_TRUE(peer_.usable()) << "the nonce is what counts";
}

TEST_F(PeerProbeTest, ANonceCountsOnce) {
  const uint64_t first = On(From(), kStart).trial->nonce;
  On(Answer(first), kStart);
  ASSERT_TRUE(peer_.usable());
  const auto second = On(From(), kStart + PeerProbe::kTryPeriod).trial;
  ASSERT_TRUE(second.has_value());
  EXPECT_NE(second->nonce, first);
  On(Answer(first), kStart + PeerProbe::kTryPeriod);
  probe_.Tick(peer_, kStart + PeerProbe::kHelloLife);
  EXPECT_FALSE(peer_.usable()) << "the second trial was never answered";
}

TEST_F(PeerProbeTest, ATrialIsRepeatedWithItsNonceAFewTimes) {
  const uint64_t nonce = On(From(), kStart).trial->nonce;
  Instant now = kStart;
  for (int i = 1; i < PeerProbe::kMaxTries; ++i) {
    EXPECT_FALSE(probe_.Tick(peer_, now).has_value()) << "a second apart";
    now += PeerProbe::kTryAgain;
    const auto trial = probe_.Tick(peer_, now);
    ASSERT_TRUE(trial.has_value());
    EXPECT_EQ(trial->nonce, nonce);
  }
  EXPECT_FALSE(probe_.Tick(peer_, now + 10s).has_value()) << "until its next Hello";
  EXPECT_FALSE(On(From(), now + 14s).trial.has_value());
  EXPECT_TRUE(On(From(), now + 15s).trial.has_value());
  EXPECT_FALSE(peer_.usable());
}

TEST_F(PeerProbeTest, AnOldAgentIsBelievedWhenItWasTried) {
  On(Answer(0, /*old=*/true), kStart);  // its first Hello; a trial follows
  EXPECT_FALSE(peer_.usable());
  On(Answer(0, /*old=*/true), kStart);
  EXPECT_TRUE(peer_.usable());
  // An answer to nothing does not prolong that.
  On(Answer(0, /*old=*/true), kStart + 14s);
  On(From(kFastPort, /*old=*/true), kStart + 100s);
  probe_.Tick(peer_, kStart + PeerProbe::kHelloLife);
  EXPECT_FALSE(peer_.usable());
}

TEST_F(PeerProbeTest, AnOldAgentThatIsReplacedIsHeldToItsNonces) {
  On(From(kFastPort, /*old=*/true), kStart);
  On(Answer(0, /*old=*/true), kStart);
  ASSERT_TRUE(peer_.usable());
  const auto trial = On(From(), kStart + 1s).trial;
  EXPECT_FALSE(peer_.usable()) << "the answer may have been forged";
  ASSERT_TRUE(trial.has_value()) << "at once";
  On(Answer(0, /*old=*/true), kStart + 1s);
  EXPECT_FALSE(peer_.usable());
  On(Answer(trial->nonce), kStart + 1s);
  EXPECT_TRUE(peer_.usable());
}

TEST_F(PeerProbeTest, AnotherFastPortIsTriedAnew) {
  const uint64_t nonce = On(From(), kStart).trial->nonce;
  On(Answer(nonce), kStart);
  const auto trial = On(From(kFastPort + 1), kStart).trial;
  ASSERT_TRUE(trial.has_value());
  EXPECT_EQ(trial->fast_port, kFastPort + 1);
  EXPECT_FALSE(peer_.usable());
  On(From(0), kStart);
  EXPECT_FALSE(peer_.usable());
  EXPECT_FALSE(probe_.Tick(peer_, kStart + 5s).has_value());
}

TEST_F(PeerProbeTest, AHelloAndAnAnswerAreForgottenInTime) {
  On(From(), kStart);
  On(Answer(last_), kStart);
  probe_.Tick(peer_, kStart + PeerProbe::kHelloLife - 1s);
  EXPECT_TRUE(peer_.usable());
  On(From(), kStart + PeerProbe::kHelloLife - 1s);
  probe_.Tick(peer_, kStart + PeerProbe::kHelloLife);
  EXPECT_FALSE(peer_.usable()) << "of the answer";
  EXPECT_EQ(peer_.fast_port(), kFastPort);
  probe_.Tick(peer_, kStart + 2 * PeerProbe::kHelloLife);
  EXPECT_EQ(peer_.fast_port(), 0) << "of the Hello";
}

TEST_F(PeerProbeTest, AnAnswerReturnsTheNonceOfTheTrial) {
  Hello trial = From(0);
  trial.nonce = 0x1234;
  const auto reaction = On(trial, kStart, /*at_fast_port=*/true);
  ASSERT_TRUE(reaction.answer.has_value());
  EXPECT_TRUE(reaction.answer->heard);
  EXPECT_EQ(reaction.answer->nonce, 0x1234u);
  Hello elsewhere = trial;
  elsewhere.answer_wanted = true;
  const auto other = On(elsewhere, kStart);
  ASSERT_TRUE(other.answer.has_value());
  EXPECT_FALSE(other.answer->heard);
  EXPECT_EQ(other.answer->nonce, 0u) << "it did not arrive where it was to be proven";
}

TEST_F(PeerProbeTest, AnswersEndEachOther) {
  EXPECT_TRUE(On(From(), kStart).answer.has_value()) << "news";
  EXPECT_FALSE(On(From(), kStart).answer.has_value());
  EXPECT_FALSE(On(Answer(last_), kStart).answer.has_value());
  PeerProbe::State another;
  probe_.SetFastPath(false);
  for (int i = 0; i < 2; ++i) {
    const auto told = probe_.OnHello(&another, From(), false, kStart);
    EXPECT_TRUE(told.answer.has_value()) << "it must be told, each time";
    EXPECT_FALSE(told.trial.has_value());
  }
  EXPECT_FALSE(probe_.OnHello(&another, From(0), false, kStart).answer.has_value());
}

TEST_F(PeerProbeTest, APeerThatIsNotCountedIsAnsweredAndNeverTried) {
  Hello hello = From();
  hello.answer_wanted = true;
  const auto reaction = probe_.OnHello(nullptr, hello, false, kStart);
  EXPECT_TRUE(reaction.answer.has_value());
  EXPECT_FALSE(reaction.trial.has_value());
}

TEST_F(PeerProbeTest, WhatAnEarlierAgentUsedIsUsableAtOnceAndNotForever) {
  probe_.Inherit(peer_, kFastPort, kStart);
  EXPECT_TRUE(peer_.usable());
  const auto trial = On(From(), kStart + 1s).trial;
  EXPECT_TRUE(peer_.usable()) << "that agent had its answer";
  EXPECT_TRUE(trial.has_value());
  probe_.Tick(peer_, kStart + PeerProbe::kHelloLife);
  EXPECT_FALSE(peer_.usable());
}

TEST_F(PeerProbeTest, HellosAreLimited) {
  int admitted = 0;
  for (int i = 0; i < 1000; ++i) admitted += probe_.Admit(&peer_, kStart) ? 1 : 0;
  EXPECT_EQ(admitted, 64);
  int strangers = 0;
  for (int i = 0; i < 5000; ++i) {
    PeerProbe::State stranger;
    strangers += probe_.Admit(&stranger, kStart) ? 1 : 0;
  }
  EXPECT_EQ(admitted + strangers, 1000);
  PeerProbe::State used;
  probe_.Inherit(used, kFastPort, kStart);
  EXPECT_TRUE(probe_.Admit(&used, kStart)) << "strangers cannot crowd it out";
}

}  // namespace
}  // namespace vxvde
