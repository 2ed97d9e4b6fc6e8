#include "agent/model/mtu.h"

#include <algorithm>
#include <string>

#include "agent/base/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::HasSubstr;

const IpAddress kGroup4 = IpAddress::V4(239, 1, 2, 3);
const IpAddress kGroup6 = *IpAddress::Parse("ff05::1");

TEST(PodMtu, DefaultsToWhatTheUplinkCarries) {
  EXPECT_EQ(*PodMtu(0, 0, 1500, kGroup4), 1450);
  EXPECT_EQ(*PodMtu(0, 0, 1500, kGroup6), 1430);
  EXPECT_EQ(*PodMtu(0, 0, 9000, kGroup4), 8950);
  EXPECT_EQ(*PodMtu(0, 0, 65536, kGroup4), 65485);  // loopback: one UDP datagram is the limit
}

TEST(PodMtu, RequestBeforeCloudBeforeUplink) {
  EXPECT_EQ(*PodMtu(1400, 1300, 1500, kGroup4), 1400);
  EXPECT_EQ(*PodMtu(0, 1300, 1500, kGroup4), 1300);
  EXPECT_EQ(*PodMtu(1500, 0, 1500, kGroup4), 1500);  // as real members: outer fragments
}

TEST(PodMtu, RefusesWhatIsImpossible) {
  for (const uint32_t mtu : {1u, 67u, 65486u, 0xffffffffu}) {
    const Refusal refusal = RefusalOf(PodMtu(mtu, 0, 1500, kGroup4).status());
    EXPECT_EQ(refusal.code, static_cast<uint32_t>(AttachError::kMtuImpossible)) << mtu;
    EXPECT_THAT(refusal.message, HasSubstr(std::to_string(mtu)));
  }
  EXPECT_FALSE(PodMtu(0, 0, 100, kGroup4).ok());  // would leave 50
  EXPECT_TRUE(PodMtu(68, 0, 1500, kGroup4).ok());
  EXPECT_TRUE(PodMtu(65485, 0, 1500, kGroup4).ok());
}

// The kernel's own computation: it subtracts MAX_TCP_HEADER (at most 320) + 1 for the largest
// payload (Linux net/core/sock.c, sk_dst_gso_max_size), and cuts that into segments of one MSS.
TEST(GsoMaxSize, OneSuperFrameFitsOneSend) {
  for (int mtu = kMinPodMtu; mtu <= kMaxPodMtu; ++mtu) {
    const uint32_t size = GsoMaxSize(mtu, /*fast=*/false);
    ASSERT_GT(size, 321u) << mtu;                 // the kernel accepts nothing below that
    for (const int headers : {40, 52, 60, 72}) {  // IPv4, IPv6; without and with timestamps
      const int mss = mtu - headers;
      if (mss < 16) continue;
      // At least one segment, whatever the limit.
      const int payload = std::max(static_cast<int>(size) - 321, mss);
      const int segments = (payload + mss - 1) / mss;
      ASSERT_LE(segments, 64) << mtu << " " << headers;
      ASSERT_LE(segments * (mtu + 22), 65507) << mtu << " " << headers;
    }
  }
}

TEST(GsoMaxSize, WastesLittle) {
  EXPECT_GT(GsoMaxSize(1450, false), 58000u);
  EXPECT_GT(GsoMaxSize(8950, false), 58000u);
  EXPECT_EQ(GsoMaxSize(1450, /*fast=*/true), 0u) << "the kernel's own";
}

}  // namespace
}  // namespace vxvde
