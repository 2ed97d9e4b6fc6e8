#include "plugin/os/nftables.h"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

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

// libnftables calls exit() if it cannot open a socket.
TEST(Nftables, ALibraryThatGivesUpIsAnError) {
  const TestNetNs netns;
  netns.Run([&] {
    rlimit limit = {};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const int next = dup(0);
    close(next);
    rlimit low = limit;
    low.rlim_cur = static_cast<rlim_t>(next) + 2;  // enough for a pipe only
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    const absl::Status status = RunNft(kRules);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_EQ(RunNft(kRules), absl::OkStatus());
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
