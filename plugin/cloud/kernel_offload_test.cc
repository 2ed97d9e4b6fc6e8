#include "plugin/cloud/kernel_offload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugin/cloud/testing/fake_fastpath.h"
#include "plugin/cloud/testing/fakes.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

constexpr MacAddress kPod = MacAddress({0x02, 0, 0, 0, 0, 0x0a});
constexpr MacAddress kFar = MacAddress({0x02, 0, 0, 0, 0, 0xf1});
constexpr PortId kPort{1};
constexpr PortId kTap{2};
constexpr IfIndex kHostEnd{12};
constexpr uint16_t kFastPort = 5000;
constexpr Duration kExpiry = 128s;
const Peer kPeer{IpAddress::V4(192, 0, 2, 1), 40001};
const Peer kOther{IpAddress::V4(192, 0, 2, 2), 40002};

MacAddress Station(uint32_t n) {
  return MacAddress({0x02, 1, 0, static_cast<uint8_t>(n >> 16), static_cast<uint8_t>(n >> 8),
                     static_cast<uint8_t>(n)});
}

// Records its calls.
class FakeHost : public OffloadHost {
 public:
  std::map<PortId, PortOffload> ports;
  std::map<Peer, bool> peers;
  uint64_t counted = 0;  // frames
  std::vector<PortId> drained, rewatched, failed;
  bool drains = true;

  bool DrainPort(PortId port) override {
    drained.push_back(port);
    return drains;
  }
  bool ReadPunted() override { return false; }
  void RewatchPort(PortId port, int) override { rewatched.push_back(port); }
  void FailPort(PortId port) override { failed.push_back(port); }
  void OnPortOffload(PortId port, PortOffload state, const FastCounters& last) override {
    ports[port] = state;
    counted += last.from.frames + last.to.frames;
  }
  void OnPeerOffload(const Peer& peer, bool offloaded, const FastCounters& last) override {
    peers[peer] = offloaded;
    counted += last.from.frames + last.to.frames;
  }
};

class KernelOffloadTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = EventLoop::Create().value();
    Start();
  }
  void Start() {
    offload_ = std::make_unique<KernelOffload>(
        OffloadStart{.fast = std::make_unique<FakeFastCloud>(fast_)}, &fdb_, loop_.get(), &buffers_,
        &host_);
  }
  PortOffload Add(PortId id, const MacAddress& mac, IfIndex host_end) {
    const PortOffload state =
        offload_->AddPort(id, {.name = "p", .mac = mac, .host_end = host_end}, &io_);
    EXPECT_TRUE(fdb_.AddStatic(mac, id));
    return state;
  }
  Instant now() const { return loop_->now(); }
  void Probe() {
    fast_->Push({PuntedFrame::Way::kTunnelProbe, PortId::kNone, {Bytes(60)}});
    std::vector<PuntedFrame> out;
    DropCounters drops;
    EXPECT_TRUE(offload_->ReceivePunted(out, drops));
    EXPECT_THAT(out, IsEmpty()) << "it is no frame of a port";
    EXPECT_FALSE(offload_->ReceivePunted(out, drops));
  }
  // Runs the loop until `done`, once; returns the most stations that came or went in one turn.
  size_t RunUntil(const std::function<bool()>& done) {
    size_t most = 0;
    size_t before = fast_->stations.size();
    std::function<void()> look = [&] {
      const size_t is = fast_->stations.size();
      most = std::max(most, is > before ? is - before : before - is);
      before = is;
      if (done()) return loop_->Stop();
      loop_->Post(look);
    };
    loop_->Post(look);
    loop_->Run();
    return most;
  }

  std::unique_ptr<EventLoop> loop_;
  Buffers buffers_{64};
  FakeHost host_;
  std::shared_ptr<FakeFastCloud::State> fast_ = std::make_shared<FakeFastCloud::State>();
  std::shared_ptr<FakePort::State> port_ = std::make_shared<FakePort::State>();
  FakePort io_{port_};
  std::unique_ptr<KernelOffload> offload_;
  Fdb fdb_{{.expiry = kExpiry}, [this](const FdbChange& change) {
             if (offload_ != nullptr) offload_->OnFdbChange(change);
           }};
};

TEST_F(KernelOffloadTest, WithoutAFastPathItDoesNothing) {
  offload_ = std::make_unique<KernelOffload>(OffloadStart{.why_not = "old kernel"}, &fdb_,
                                             loop_.get(), &buffers_, &host_);
  EXPECT_FALSE(offload_->active());
  EXPECT_EQ(offload_->fast_port(), 0);
  EXPECT_EQ(Add(kPort, kPod, kHostEnd), PortOffload::kNone);
  offload_->StartPeer(kPeer, kFastPort);
  offload_->StopPeer(kPeer);
  offload_->Tick(now() + 5s);
  offload_->RemovePort(kPort);
  EXPECT_THAT(offload_->InheritedPeers(), IsEmpty());
  EXPECT_EQ(offload_->Explain(kPod, kFar), "");
  CloudSnapshot snapshot;
  offload_->AddTo(snapshot);
  EXPECT_EQ(snapshot.why_not_fast, "old kernel");
  EXPECT_THAT(host_.ports, IsEmpty());
  EXPECT_THAT(host_.peers, IsEmpty());
}

TEST_F(KernelOffloadTest, APortIsDrainedBeforeTheProgramsGetIt) {
  EXPECT_EQ(Add(kPort, kPod, kHostEnd), PortOffload::kNone);
  fast_->on_add_port = [&] {
    EXPECT_FALSE(port_->receiving);
    EXPECT_THAT(host_.drained, ElementsAre(kPort));
  };
  offload_->Tick(now() + KernelOffload::kStartAfter);
  EXPECT_THAT(host_.ports, ElementsAre(Pair(kPort, PortOffload::kKernel)));
  EXPECT_THAT(host_.rewatched, ElementsAre(kPort));
  EXPECT_EQ(fast_->discarded, 1);
  fast_->port_counters[kPort].from = {7, 700};
  offload_->FailPort(kPort);
  EXPECT_THAT(host_.ports, ElementsAre(Pair(kPort, PortOffload::kNone)));
  EXPECT_EQ(host_.counted, 7u);
  offload_->Tick(now() + 10s);
  EXPECT_EQ(fast_->port_attempts, 1) << "a failed port stays as it is";
}

TEST_F(KernelOffloadTest, APortThatFailsWhileItIsDrainedIsNotOffloaded) {
  Add(kPort, kPod, kHostEnd);
  host_.drains = false;
  offload_->Tick(now() + KernelOffload::kStartAfter);
  EXPECT_EQ(fast_->port_attempts, 0);
}

TEST_F(KernelOffloadTest, APortThatNeitherCanReadFails) {
  Add(kPort, kPod, kHostEnd);
  fast_->no_port = absl::FailedPreconditionError("it is enslaved to br0");
  fast_->on_add_port = [&] { port_->no_switch = absl::NotFoundError("gone"); };
  offload_->Tick(now() + KernelOffload::kStartAfter);
  EXPECT_THAT(host_.failed, ElementsAre(kPort));
}

TEST_F(KernelOffloadTest, ATapIsRelayedWhileTunnelProbesArrive) {
  Add(kTap, kPod, IfIndex::kNone);
  offload_->Tick(now() + 5s);
  EXPECT_THAT(host_.ports, IsEmpty());
  Probe();
  offload_->Tick(now() + 6s);
  EXPECT_THAT(host_.ports, ElementsAre(Pair(kTap, PortOffload::kRelayed)));
  EXPECT_TRUE(port_->receiving) << "the cloud reads it itself";
  offload_->Tick(now() + KernelOffload::kTunnelProbeLife);
  EXPECT_THAT(host_.ports, ElementsAre(Pair(kTap, PortOffload::kNone)));
  EXPECT_THAT(host_.failed, IsEmpty());
}

TEST_F(KernelOffloadTest, APeersStationsAreCopiedInBoundedTurns) {
  constexpr size_t kMany = 3 * KernelOffload::kStationsPerTurn + 5;
  for (uint32_t n = 0; n < kMany; ++n) fdb_.Learn(Station(n), kPeer, now());
  fdb_.Learn(kFar, kOther, now());
  offload_->StartPeer(kPeer, kFastPort);
  EXPECT_THAT(fast_->peers, ElementsAre(Pair(kPeer, kFastPort)));
  EXPECT_THAT(fast_->stations, SizeIs(KernelOffload::kStationsPerTurn));
  // Another peer waits for its turn, too.
  offload_->StartPeer(kOther, kFastPort);
  EXPECT_FALSE(fast_->stations.contains(kFar));
  // A station that moves meanwhile is not copied to its old location.
  fdb_.Learn(Station(0), PortId{9}, now());
  fdb_.Learn(Station(1), Peer{kPeer.address, 1}, now());

  EXPECT_LE(RunUntil([&] { return fast_->stations.contains(kFar); }),
            KernelOffload::kStationsPerTurn);
  EXPECT_THAT(fast_->stations, SizeIs(kMany));  // all but one, and kFar
  EXPECT_EQ(fast_->stations.at(Station(0)).where, Location(PortId{9}));
  EXPECT_FALSE(fast_->stations.contains(Station(1)));
  EXPECT_EQ(fast_->stations.at(Station(2)).where, Location(kPeer));
}

TEST_F(KernelOffloadTest, AStoppedPeerKeepsItsSlotUntilItsStationsAreGone) {
  constexpr size_t kMany = 3 * KernelOffload::kStationsPerTurn;
  offload_->StartPeer(kPeer, kFastPort);
  for (uint32_t n = 0; n < kMany; ++n) fdb_.Learn(Station(n), kPeer, now());
  ASSERT_THAT(fast_->stations, SizeIs(kMany));
  fast_->peer_counters[kPeer].from = {3, 300};
  offload_->StopPeer(kPeer);
  EXPECT_THAT(fast_->stopped, ElementsAre(kPeer)) << "the programs do not use it any more";
  EXPECT_EQ(host_.counted, 3u);
  EXPECT_FALSE(host_.peers.at(kPeer));
  offload_->StartPeer(kPeer, kFastPort);
  EXPECT_FALSE(host_.peers.at(kPeer)) << "not yet again";
  fdb_.Learn(Station(0), PortId{9}, now());
  EXPECT_LE(RunUntil([&] { return fast_->peers.empty(); }), KernelOffload::kStationsPerTurn);
  EXPECT_THAT(fast_->stations, ElementsAre(Pair(Station(0), testing::_)));
  offload_->StartPeer(kOther, kFastPort);
  EXPECT_TRUE(host_.peers.at(kOther));
}

TEST_F(KernelOffloadTest, APeerThatLeftWaitsForTheSweep) {
  offload_->StartPeer(kPeer, kFastPort);
  fdb_.Learn(kFar, kPeer, now());
  fdb_.ForgetPeer(kPeer);
  offload_->StopPeer(kPeer);
  offload_->OnSwept();
  EXPECT_THAT(fast_->peers, SizeIs(1));
  fdb_.Sweep(now(), 1000,
             [](const MacAddress&, const Location&) { return std::optional<Instant>(); });
  offload_->OnSwept();
  EXPECT_THAT(fast_->peers, IsEmpty());
  EXPECT_THAT(fast_->stations, IsEmpty());
}

TEST_F(KernelOffloadTest, APeerWithoutAWayIsStopped) {
  fast_->no_peer = absl::FailedPreconditionError("no route");
  offload_->StartPeer(kPeer, kFastPort);
  EXPECT_THAT(host_.peers, IsEmpty());
  fast_->no_peer = absl::OkStatus();
  offload_->StartPeer(kPeer, kFastPort);
  fdb_.Learn(kFar, kPeer, now());
  fast_->no_peer = absl::FailedPreconditionError("no route");
  offload_->StartPeer(kPeer, kFastPort + 1);
  EXPECT_THAT(host_.peers, ElementsAre(Pair(kPeer, false)));
  EXPECT_THAT(fast_->peers, IsEmpty());
  EXPECT_THAT(fast_->stations, IsEmpty());
}

TEST_F(KernelOffloadTest, WhatAnEarlierAgentLeftIsTakenOver) {
  fast_->inherited_ports = {kHostEnd};
  fast_->inherited_taps = {kFar};
  fast_->inherited_stations[kPort] = {{.mac = Station(1), .seen = now() - 5s},
                                      {.mac = Station(2), .seen = now() - 5s},
                                      {.mac = Station(3), .seen = now() - kExpiry}};
  port_->Push({Bytes(60)});  // a copy of a frame that the programs have forwarded
  EXPECT_EQ(Add(kPort, kPod, kHostEnd), PortOffload::kKernel);
  EXPECT_FALSE(port_->receiving);
  EXPECT_THAT(port_->in, IsEmpty());
  offload_->InheritStations(kPort, kExpiry,
                            [](const MacAddress& mac) { return mac != Station(2); });
  EXPECT_EQ(fast_->stations.at(Station(1)).seen, now() - 5s);
  EXPECT_FALSE(fast_->stations.contains(Station(2))) << "its guard refuses it";
  EXPECT_FALSE(fast_->stations.contains(Station(3))) << "it has expired";
  EXPECT_EQ(offload_->AddPort(kTap, {.name = "t", .mac = kFar}, &io_), PortOffload::kRelayed);
}

TEST_F(KernelOffloadTest, AbandonGivesEverythingBack) {
  Add(kPort, kPod, kHostEnd);
  offload_->Tick(now() + KernelOffload::kStartAfter);
  offload_->StartPeer(kPeer, kFastPort);
  fast_->peer_counters[kPeer].to = {2, 200};
  fast_->port_counters[kPort].from = {5, 500};
  fast_->lost = {.frames = 3, .datagrams = 4};
  DropCounters drops;
  offload_->Abandon("wg0 has no Ethernet header", drops);
  EXPECT_FALSE(offload_->active());
  EXPECT_FALSE(fast_->alive);
  EXPECT_TRUE(port_->receiving);
  EXPECT_EQ(host_.ports.at(kPort), PortOffload::kNone);
  EXPECT_FALSE(host_.peers.at(kPeer));
  EXPECT_EQ(host_.counted, 7u);
  EXPECT_EQ(drops[Drop::kPortOverrun], 3u);
  EXPECT_EQ(drops[Drop::kSocketOverrun], 4u);
  CloudSnapshot snapshot;
  offload_->AddTo(snapshot);
  EXPECT_THAT(snapshot.why_not_fast, HasSubstr("wg0"));
  offload_->RemovePort(kPort);
}

TEST_F(KernelOffloadTest, OnlyPlacesThatAreOffloadedAreSeenByThePrograms) {
  offload_->StartPeer(kPeer, kFastPort);
  fdb_.Learn(kFar, kPeer, now());
  fdb_.Learn(Station(1), kOther, now());
  fast_->stations[kFar].seen = now() + 3s;
  EXPECT_EQ(offload_->LastSeen(kFar, kPeer), now() + 3s);
  EXPECT_EQ(offload_->LastSeen(Station(1), kOther), std::nullopt);
  EXPECT_FALSE(offload_->TakeInUse(kPeer, now()));
  fast_->peer_counters[kPeer].from = {1, 100};
  EXPECT_TRUE(offload_->TakeInUse(kPeer, now()));
  EXPECT_FALSE(offload_->TakeInUse(kPeer, now()));
}

}  // namespace
}  // namespace vxvde
