// Tests the wall in the kernel, around a veth pair between a node and a pod.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "agent/node_port/host_end_wall.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

constexpr char kHostEnd[] = "vx40cuhhrn1i6dk";

class HostEndWallTest : public testing::Test {
 protected:
  explicit HostEndWallTest(uint32_t group = kHostEndGroup) {
    VethSpec spec;
    spec.here = {.name = kHostEnd, .alias = "vxvde:40cuhhrn1i6dk", .mac = {}, .group = group};
    spec.there = {.name = "eth0", .alias = "", .mac = {}};
    spec.there_netns = pod_.fd().get();
    EXPECT_EQ(node_.OpenNetlink().CreateVeth(spec), absl::OkStatus());
    node_.Shell(
        "echo 1 > /proc/sys/net/ipv4/ip_forward; "
        "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; "
        "ip link set vx40cuhhrn1i6dk addrgenmode none; ip addr add 192.0.2.1/24 dev "
        "vx40cuhhrn1i6dk; "
        "ip addr add 2001:db8::1/64 dev vx40cuhhrn1i6dk nodad; ip link set vx40cuhhrn1i6dk up");
    pod_.Shell(
        "ip link set eth0 addrgenmode none; ip addr add 192.0.2.2/24 dev eth0; "
        "ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up");
  }

  LinkInfo HostEnd() { return ValueOrDie(node_.OpenNetlink().GetLink(kHostEnd)); }
  // Returns whether the pod gets an answer from `address` of the node: by ARP or neighbour
  // discovery, and then from the address itself.
  bool Answered(const std::string& address) {
    return Succeeds(pod_, absl::StrCat("ping -n -q -c 1 -W 1 ", address, " > /dev/null"));
  }
  static bool Succeeds(const TestNetNs& netns, const std::string& command) {
    bool succeeds = false;
    netns.Run([&] { succeeds = std::system(command.c_str()) == 0; });
    return succeeds;
  }
  // The number of packets since the link was created.
  uint64_t ReceivedByPod() {
    uint64_t packets = 0;
    pod_.Run([&] {
      std::ifstream devices("/proc/thread-self/net/dev");
      for (std::string line; std::getline(devices, line);) {
        unsigned long long bytes = 0, count = 0;
        if (std::sscanf(line.c_str(), " eth0: %llu %llu", &bytes, &count) == 2) packets = count;
      }
    });
    return packets;
  }
  void Build(bool wanted) {
    node_.Run([&] {
      const std::vector<NftTable> tables = HostEndRules(wanted);
      ASSERT_EQ(ReplaceNftTables(tables), absl::OkStatus());
      EXPECT_EQ(ValueOrDie(ReadNftTables(tables)).empty(), !wanted);
    });
  }

  const TestNetNs node_;
  const TestNetNs pod_;
};

TEST_F(HostEndWallTest, NothingOfThePodReachesTheNodeBehindIt) {
  EXPECT_EQ(HostEnd().group, kHostEndGroup) << "from the creating message";
  EXPECT_TRUE(Answered("192.0.2.1")) << "what the wall is against";
  EXPECT_TRUE(Answered("2001:db8::1"));
  Build(true);
  pod_.Shell("ip neigh flush all");
  EXPECT_FALSE(Answered("192.0.2.1")) << "ARP";
  EXPECT_FALSE(Answered("2001:db8::1")) << "neighbour discovery";
  const std::string mac = HostEnd().mac.ToString();
  for (const char* address : {"192.0.2.1", "2001:db8::1"}) {
    pod_.Shell("ip neigh replace " + std::string(address) + " lladdr " + mac + " dev eth0");
    EXPECT_FALSE(Answered(address)) << "a pod that knows where to send";
  }
  Build(false);
  EXPECT_TRUE(Answered("192.0.2.1"));
}

class OldHostEndTest : public HostEndWallTest {
 protected:
  OldHostEndTest() : HostEndWallTest(/*group=*/0) {}
};

TEST_F(OldHostEndTest, IsPutBehindTheWall) {
  Build(true);
  EXPECT_TRUE(Answered("192.0.2.1"));
  const auto loop = ValueOrDie(EventLoop::Create());
  const Log log([](LogLevel, const std::string&) {});
  node_.Run([&] {
    HostEndWall wall(loop.get(), &log, KernelNft(), ValueOrDie(KernelHostEndLinks()));
    wall.Want(true);
    wall.MarkLinks();
    EXPECT_EQ(wall.problem(), absl::OkStatus());
  });
  EXPECT_EQ(HostEnd().group, kHostEndGroup);
  EXPECT_FALSE(Answered("192.0.2.1"));
}

TEST_F(HostEndWallTest, TheNodeSendsNothingOfItsOwnToThePod) {
  Build(true);
  const uint64_t before = ReceivedByPod();
  // A node that forwards IPv6 reports the groups of routers on each link that comes up. With
  // arp_notify it also announces its addresses by ARP.
  node_.Shell(
      "echo 1 > /proc/sys/net/ipv4/conf/vx40cuhhrn1i6dk/arp_notify; "
      "ip link set vx40cuhhrn1i6dk down; ip link set vx40cuhhrn1i6dk up");
  for (const char* table : {"inet", "arp"}) {
    EXPECT_TRUE(WaitFor([&] {
      return Succeeds(node_, absl::StrCat("nft list table ", table,
                                          " vxvde-wall | grep -q 'oifgroup.*packets [1-9]'"));
    })) << table
        << ": it tried to";
  }
  EXPECT_EQ(ReceivedByPod(), before);
}

}  // namespace
}  // namespace vxvde
