// Tests that one agent's kernel datapath passes to the next: the programs forward in between, and
// the next agent takes over their state.

#include <bpf/bpf.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/fastpath/kernel.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr PortId kPort1{7}, kPort2{8};
constexpr uint16_t kTheirFastPort = 15824;
constexpr Instant kSeen{std::chrono::hours(1)};

MacAddress Mac(uint8_t last) { return MacAddress({0x02, 0, 0, 0, 0, last}); }

// Keeps the descriptors of an agent in this process.
class FakeStore final : public FdStore {
 public:
  UniqueFd Take(const std::string& name) override {
    const auto found = kept.find(name);
    return found == kept.end() ? UniqueFd() : UniqueFd(dup(found->second.get()));
  }
  Ticket Keep(const std::string& name, int fd) override {
    kept[name] = UniqueFd(dup(fd));
    return Ticket::kNone;
  }
  void Drop(Ticket) override {}
  void Forget(const std::string&) override {}

  std::map<std::string, UniqueFd> kept;
};

class KernelInheritedTest : public testing::Test {
 protected:
  void SetUp() override {
    ConnectVeth(node_, "eth0", fabric_, "eth0");
    ConnectVeth(node_, "vx-1", pod1_, "eth0");
    ConnectVeth(node_, "vx-2", pod2_, "eth0");
    fabric_.SetUp("eth0", "192.0.2.254/24");
    uplink_ = node_.SetUp("eth0", "192.0.2.1/24");
    pod1_.SetUp("eth0", "198.51.100.1/24");
    pod2_.SetUp("eth0", "198.51.100.2/24");
    node_.Shell("ip link set vx-1 up; ip link set vx-2 up");
    end1_ = ValueOrDie(node_.OpenNetlink().GetLink("vx-1")).index;
    end2_ = ValueOrDie(node_.OpenNetlink().GetLink("vx-2")).index;
    mac1_ = ValueOrDie(pod1_.OpenNetlink().GetLink("eth0")).mac;
    mac2_ = ValueOrDie(pod2_.OpenNetlink().GetLink("eth0")).mac;
    node_.WaitUntilRunning(end1_);
    node_.WaitUntilRunning(end2_);
    // Without ARP, which only an agent floods.
    pod1_.Shell(absl::StrCat("ip neigh add 198.51.100.2 dev eth0 lladdr ", mac2_.ToString()));
    pod2_.Shell(absl::StrCat("ip neigh add 198.51.100.1 dev eth0 lladdr ", mac1_.ToString()));
    Start();
    node_.Run([&] {
      ASSERT_TRUE(cloud_->AddPort(kPort1, end1_).ok());
      ASSERT_TRUE(cloud_->AddPort(kPort2, end2_).ok());
      ASSERT_TRUE(cloud_->SetPeer(kPeer, kTheirFastPort).ok());
      cloud_->SetStation(mac1_, kPort1, kSeen);
      cloud_->SetStation(mac2_, kPort2, kSeen);
      cloud_->SetStation(Mac(0x11), kPort1, kSeen);  // behind that pod
      cloud_->SetStation(Mac(0x20), kPeer, kSeen);
    });
  }
  void TearDown() override {
    node_.Run([&] {
      cloud_.reset();
      fast_.reset();
    });
    node_.Shell("test $(ip -o link | grep -c vx[tdf]14790) = 0");
    node_.Shell("! tc filter show dev eth0 ingress | grep -q bpf");
  }

  void Start(uint16_t unicast_port = 14790) {
    node_.Run([&] {
      fast_ = ValueOrDie(KernelFastPath::Open(&store_));
      fast_->SetLocalAddresses({IpAddress::V4(192, 0, 2, 1)});
      cloud_ = ValueOrDie(fast_->Join({.group = IpAddress::V4(239, 1, 2, 3),
                                       .vni = *Vni::Make(42),
                                       .unicast_port = unicast_port,
                                       .uplink = uplink_,
                                       .bind = {}}));
    });
  }
  // The agent ends.
  void End() {
    node_.Run([&] {
      fast_->KeepForNextAgent();
      cloud_.reset();
      fast_.reset();
    });
  }
  void Ping() const { pod1_.Shell("ping -q -c 3 -i 0.01 -W 1 198.51.100.2 >/dev/null"); }
  void DropInherited() {
    node_.Run([&] { fast_->DropInherited(); });
  }
  std::vector<MacAddress> InheritedAt(const Location& where) const {
    std::vector<MacAddress> macs;
    for (const InheritedStation& inherited : cloud_->InheritedStations(where))
      macs.push_back(inherited.mac);
    std::sort(macs.begin(), macs.end());
    return macs;
  }

  const Peer kPeer{IpAddress::V4(192, 0, 2, 254), 14800};
  TestNetNs node_, fabric_, pod1_, pod2_;
  IfIndex uplink_, end1_, end2_;
  MacAddress mac1_, mac2_;
  FakeStore store_;
  std::unique_ptr<KernelFastPath> fast_;
  std::unique_ptr<FastCloud> cloud_;
};

TEST_F(KernelInheritedTest, FramesPassWithoutAnAgentAndUnderTheNext) {
  Ping();
  const FastCounters before = cloud_->CountersOf(kPort1);
  EXPECT_GE(before.from.frames, 3u);
  End();
  Ping();
  Start();
  Ping();
  node_.Run([&] {
    ASSERT_TRUE(cloud_->AddPort(PortId{1}, end1_).ok());
    Ping();
    ASSERT_TRUE(cloud_->AddPort(PortId{2}, end2_).ok());
    cloud_->SetStation(mac1_, PortId{1}, kSeen);
    cloud_->SetStation(mac2_, PortId{2}, kSeen);
  });
  DropInherited();
  Ping();
  // The counters continue.
  EXPECT_GE(cloud_->CountersOf(PortId{1}).from.frames, before.from.frames + 12);
  EXPECT_THAT(cloud_->Explain(mac1_, mac2_), HasSubstr("to port 2."));
}

TEST_F(KernelInheritedTest, TheNextAgentIsToldWhatWasKnown) {
  const uint16_t fast_port = cloud_->fast_port();
  EXPECT_FALSE(cloud_->IsInheritedPort(end1_)) << "there was no agent before";
  EXPECT_THAT(cloud_->InheritedPeers(), IsEmpty());
  End();
  Start();
  EXPECT_EQ(fast_->WhyNotInherited(), "");
  EXPECT_EQ(cloud_->fast_port(), fast_port);
  EXPECT_TRUE(cloud_->IsInheritedPort(end1_));
  EXPECT_FALSE(cloud_->IsInheritedPort(uplink_));
  const std::vector<InheritedPeer> peers = cloud_->InheritedPeers();
  ASSERT_EQ(peers.size(), 1u);
  EXPECT_EQ(peers[0].peer, kPeer);
  EXPECT_EQ(peers[0].fast_port, kTheirFastPort);
  ASSERT_EQ(cloud_->InheritedStations(kPeer).size(), 1u);
  EXPECT_EQ(cloud_->InheritedStations(kPeer)[0].mac, Mac(0x20));
  EXPECT_EQ(cloud_->InheritedStations(kPeer)[0].seen, kSeen);
  EXPECT_THAT(InheritedAt(PortId{1}), IsEmpty()) << "not yet a port";
  node_.Run([&] {
    ASSERT_TRUE(cloud_->AddPort(PortId{1}, end1_).ok());
    EXPECT_FALSE(cloud_->IsInheritedPort(end1_)) << "it is one now";
    std::vector<MacAddress> there = {mac1_, Mac(0x11)};
    std::sort(there.begin(), there.end());
    EXPECT_EQ(InheritedAt(PortId{1}), there);
    ASSERT_TRUE(cloud_->SetPeer(kPeer, kTheirFastPort).ok());
    cloud_->SetStation(Mac(0x20), kPeer, kSeen);
    cloud_->SetStation(mac1_, PortId{1}, kSeen);
  });
  DropInherited();
  EXPECT_THAT(cloud_->Explain(mac1_, Mac(0x20)), HasSubstr(kPeer.ToString()));
}

TEST_F(KernelInheritedTest, WhatIsNotTakenOverGoes) {
  End();
  Start();
  node_.Run([&] {
    ASSERT_TRUE(cloud_->AddPort(PortId{1}, end1_).ok());
    cloud_->SetStation(mac1_, PortId{1}, kSeen);
  });
  DropInherited();
  EXPECT_FALSE(cloud_->IsInheritedPort(end2_));
  EXPECT_THAT(cloud_->InheritedPeers(), IsEmpty());
  for (const MacAddress& mac : {mac2_, Mac(0x11), Mac(0x20)}) {
    EXPECT_EQ(cloud_->LastSeen(mac), std::nullopt) << mac.ToString();
  }
  EXPECT_TRUE(cloud_->LastSeen(mac1_).has_value());
  node_.Shell("tc filter show dev vx-1 ingress | grep -q from_pod");
  node_.Shell("! tc filter show dev vx-2 ingress | grep -q from_pod");
  // Its slots are free for others.
  node_.Run([&] {
    ASSERT_TRUE(cloud_->AddPort(PortId{2}, end2_).ok());
    ASSERT_TRUE(cloud_->SetPeer(kPeer, kTheirFastPort).ok());
    cloud_->SetStation(mac2_, PortId{2}, kSeen);
  });
  Ping();
}

TEST_F(KernelInheritedTest, ACloudThatIsNotJoinedAgainGoes) {
  End();
  Start(/*unicast_port=*/14791);
  EXPECT_FALSE(cloud_->IsInheritedPort(end1_));
  node_.Shell("ip link show vxt14790 && ip link show vxf14790");
  DropInherited();
  node_.Shell("test $(ip -o link | grep -c vx[tdf]14790) = 0");
  node_.Shell("! tc filter show dev vx-1 ingress | grep -q from_pod");
  node_.Shell("tc filter show dev eth0 ingress | grep -q from_uplink");
}

TEST_F(KernelInheritedTest, MapsOfAnotherVersionAreNotGoneOnWith) {
  node_.Run([&] {
    Netlink netlink = ValueOrDie(Netlink::Open());
    const InheritedPrograms inherited = ValueOrDie(FindInheritedPrograms(netlink));
    ASSERT_TRUE(inherited.maps.contains("fp_node"));
    EXPECT_TRUE(inherited.maps.contains("fp_ports")) << "though not all programs use it";
    const uint32_t slot = 0;
    const fp_node other = {.abi = FP_ABI + 1};
    ASSERT_EQ(bpf_map_update_elem(inherited.maps.at("fp_node").get(), &slot, &other, BPF_ANY), 0);
  });
  End();
  Start();
  EXPECT_THAT(fast_->WhyNotInherited(), HasSubstr(absl::StrCat("version ", FP_ABI + 1)));
  EXPECT_FALSE(cloud_->IsInheritedPort(end1_));
  EXPECT_THAT(cloud_->InheritedPeers(), IsEmpty());
  node_.Shell("! tc filter show dev vx-1 ingress | grep -q from_pod");
  DropInherited();
  node_.Run([&] {
    ASSERT_TRUE(cloud_->AddPort(PortId{1}, end1_).ok());
    ASSERT_TRUE(cloud_->AddPort(PortId{2}, end2_).ok());
    cloud_->SetStation(mac1_, PortId{1}, kSeen);
    cloud_->SetStation(mac2_, PortId{2}, kSeen);
  });
  Ping();
}

TEST_F(KernelInheritedTest, WhatWasPuntedMeanwhileWaitsInTheTap) {
  End();
  pod1_.Shell("ping -b -q -c 1 -W 0.01 198.51.100.255 >/dev/null 2>&1 || true");
  Start();
  node_.Run([&] { ASSERT_TRUE(cloud_->AddPort(PortId{1}, end1_).ok()); });
  Buffers buffers(16);
  std::vector<PuntedFrame> punted;
  DropCounters drops;
  const bool came = WaitFor([&] {
    if (!cloud_->frames().Receive(buffers, punted, drops).ok()) return false;
    return std::any_of(punted.begin(), punted.end(), [](const PuntedFrame& frame) {
      return frame.port == PortId{1} && frame.frame.bytes[0] == 0xff;
    });
  });
  EXPECT_TRUE(came);
  DropInherited();
}

// As on Kubernetes, where all processes of a container end at once: the devices remain.
TEST_F(KernelInheritedTest, TapsThatNobodyKeptAreOpenedAgain) {
  End();
  store_.kept.clear();
  Ping();
  const IfIndex before = ValueOrDie(node_.OpenNetlink().GetLink("vxt14790")).index;
  Start();
  EXPECT_EQ(ValueOrDie(node_.OpenNetlink().GetLink("vxt14790")).index, before);
  Ping();
  DropInherited();
}

// An agent was killed between creating them and setting their aliases.
TEST_F(KernelInheritedTest, HalfMadeDevicesAreOurs) {
  node_.Shell(
      "ip link add vxf14791 type vxlan external dstport 15815; ip tuntap add vxt14791 mode tap; "
      "ip tuntap add vxd14791 mode tap; ip link add vxf14792 type vxlan external dstport 15816; "
      "ip link add vxf14793 type bridge");
  const IfIndex before = ValueOrDie(node_.OpenNetlink().GetLink("vxf14791")).index;
  std::unique_ptr<FastCloud> second;
  node_.Run([&] {
    second = ValueOrDie(fast_->Join({.group = IpAddress::V4(239, 1, 2, 3),
                                     .vni = *Vni::Make(43),
                                     .unicast_port = 14791,
                                     .uplink = uplink_,
                                     .bind = {}}));
  });
  EXPECT_NE(ValueOrDie(node_.OpenNetlink().GetLink("vxf14791")).index, before);
  EXPECT_TRUE(node_.OpenNetlink().GetLink("vxf14792").ok());
  DropInherited();
  EXPECT_FALSE(node_.OpenNetlink().GetLink("vxf14792").ok()) << "no cloud has asked for it";
  EXPECT_TRUE(node_.OpenNetlink().GetLink("vxf14793").ok()) << "another one's";
  node_.Run([&] { second.reset(); });
}

}  // namespace
}  // namespace vxvde
