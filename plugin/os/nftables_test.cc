#include "plugin/os/nftables.h"

#include <poll.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kTable[] = "inet nft_test";
constexpr char kRules[] =
    "table inet nft_test { chain c { type nat hook postrouting priority srcnat; "
    "oifname \"x0\" counter masquerade; }; }";

bool Waits(const NftMonitor& monitor) {
  pollfd waiting = {.fd = monitor.fd(), .events = POLLIN, .revents = 0};
  return poll(&waiting, 1, 0) == 1;
}

TEST(Nftables, ATableIsMadeReadAndRemoved) {
  const TestNetNs netns;
  netns.Run([&] {
    EXPECT_THAT(ValueOrDie(ListNftTable(kTable)), IsEmpty());
    ASSERT_EQ(RunNft(kRules), absl::OkStatus());
    EXPECT_THAT(ValueOrDie(ListNftTable(kTable)), HasSubstr("masquerade"));
    EXPECT_THAT(ValueOrDie(ListNftTable(kTable)), Not(HasSubstr("packets"))) << "stateless";
    ASSERT_EQ(RunNft("delete table inet nft_test"), absl::OkStatus());
    EXPECT_THAT(ValueOrDie(ListNftTable(kTable)), IsEmpty());
  });
}

TEST(Nftables, OneMistakeMeansThatNothingIsDone) {
  const TestNetNs netns;
  netns.Run([&] {
    const absl::Status status =
        RunNft("add table inet nft_test\nadd rule inet nft_test nosuch drop\n");
    EXPECT_THAT(std::string(status.message()), HasSubstr("No such file"));
    EXPECT_THAT(ValueOrDie(ListNftTable(kTable)), IsEmpty());
    EXPECT_THAT(std::string(RunNft("nonsense").message()), HasSubstr("syntax error"));
  });
}

TEST(Nftables, WhatOthersChangeIsTold) {
  const TestNetNs netns;
  netns.Run([&] {
    NftMonitor monitor = ValueOrDie(NftMonitor::Open());
    EXPECT_FALSE(Waits(monitor));
    netns.Shell("nft add table ip theirs");
    EXPECT_TRUE(Waits(monitor));
    monitor.Drain();
    EXPECT_FALSE(Waits(monitor));
    netns.Shell("nft flush ruleset");
    EXPECT_TRUE(Waits(monitor));
  });
}

}  // namespace
}  // namespace vxvde
