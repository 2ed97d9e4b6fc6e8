// Tests claims and releases on a simulated cloud. allocator_protocol_test.cc tests foreign frames.

#include "agent/ipam/allocator.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/base/refusal.h"
#include "agent/ipam/testing/fake_lan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Use = HeldAddress::Use;

TEST(Allocator, AClaimOnAnEmptyCloudTakesTheTimeOfItsProbes) {
  FakeLan lan({P("192.0.2.0/24")});
  FakeLan::Node& node = lan.AddNode();
  lan.Claim(node, lan.Wish("a"));
  EXPECT_THAT(node.leases, IsEmpty()) << "the probes are not over";
  lan.Run(1s);
  ASSERT_THAT(node.leases["a"], SizeIs(1));
  EXPECT_EQ(node.leases["a"][0].length, 24);
  EXPECT_TRUE(IsUsable(P("192.0.2.0/24"), node.leases["a"][0].address));
  EXPECT_GT(node.took["a"], 180ms);
  EXPECT_LT(node.took["a"], 320ms);
}

TEST(Allocator, AClaimForASpareAddressTakesNoTime) {
  FakeLan lan({P("192.0.2.0/24"), P("2001:db8::/64")});
  FakeLan::Node& node = lan.AddNode();
  lan.Run(1s);
  EXPECT_EQ(lan.Snapshot(node).pools[0].spare, 7u) << "a 32nd of the subnet";
  EXPECT_EQ(lan.Snapshot(node).pools[1].spare, 8u);
  for (int i = 0; i < 7; ++i) lan.Claim(node, lan.Wish(absl::StrCat(i)));
  EXPECT_THAT(node.leases, SizeIs(7));
  for (const auto& [lease, took] : node.took) EXPECT_EQ(took, 0ms);
  EXPECT_THAT(node.leases["0"], ElementsAre(testing::Field(&IpPrefix::length, 24),
                                            testing::Field(&IpPrefix::length, 64)));
  lan.Run(1s);
  EXPECT_EQ(lan.Snapshot(node).pools[0].spare, 7u) << "refilled";
  EXPECT_THAT(lan.Duplicates(), IsEmpty());
}

// Decision 0006: a Kubernetes pod that is recreated finds its address kept.
TEST(Allocator, AnOwnerThatReturnsGetsItsAddressBack) {
  FakeLan lan({P("192.0.2.0/24")});
  FakeLan::Node& node = lan.AddNode();
  lan.Claim(node, lan.Wish("1", "default/web-0"));
  lan.Run(1s);
  const auto before = node.leases["1"];
  lan.Release(node, "1");
  for (int i = 0; i < 5; ++i) lan.Claim(node, lan.Wish(absl::StrCat("other", i)));
  lan.Run(60s);
  lan.Claim(node, lan.Wish("2", "default/web-0"));
  EXPECT_EQ(node.leases["2"], before);
  lan.Release(node, "2");
  lan.Run(HeldAddresses::kKeptFor + 10s);
  EXPECT_EQ(lan.Snapshot(node).pools[0].kept, 0u) << "kept for a limited time";
}

// The first pod of a cloud on a node has to wait for probes and gets its own first candidate.
TEST(Allocator, TheFirstCandidateOfAnOwnerIsTheSameOnEachNode) {
  std::set<IpAddress> got;
  for (int i = 0; i < 3; ++i) {
    FakeLan lan({P("10.42.0.0/16")}, 7 + i);
    FakeLan::Node& node = lan.AddNode();
    lan.Claim(node, lan.Wish("x", "default/web-0"));
    lan.Run(1s);
    got.insert(node.leases["x"].at(0).address);
  }
  EXPECT_THAT(got, SizeIs(1));
}

TEST(Allocator, NeverTakesTheAddressOfASilentHost) {
  for (const char* text : {"192.0.2.0/29", "2001:db8::/125"}) {
    const IpPrefix subnet = P(text);
    FakeLan lan({subnet});
    // All but two addresses belong to a host that has sent nothing so far.
    Candidates order(subnet, kCloud.ToString(), "a");
    FakeLan::Host& host = lan.AddHost({});
    for (uint64_t i = 0; i + 2 < UsableAddresses(subnet); ++i) host.addresses.insert(*order.Next());
    FakeLan::Node& node = lan.AddNode();
    lan.Claim(node, lan.Wish("a"));
    lan.Run(3s);
    ASSERT_TRUE(node.leases.contains("a")) << node.refused["a"];
    EXPECT_THAT(lan.Duplicates(), IsEmpty());
    EXPECT_LT(node.took["a"], 500ms) << "an answer ends a probe at once";
  }
}

// I4, and the purpose of the whole protocol.
TEST(Allocator, NodesThatClaimAtOnceNeverGetTheSameAddress) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    FakeLan lan({P("192.0.2.0/24"), P("2001:db8::/120")}, seed);
    lan.AddHost({"192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:db8::77"});
    for (int i = 0; i < 4; ++i) lan.AddNode();
    for (int i = 0; i < 50; ++i) {
      for (const auto& node : lan.nodes_) lan.Claim(*node, lan.Wish(absl::StrCat("pod", i)));
      if (seed % 2 == 0) lan.Run(1ms);
    }
    lan.Run(10s);
    EXPECT_EQ(lan.Leases(), 200u) << "seed " << seed;
    EXPECT_THAT(lan.Duplicates(), IsEmpty()) << "seed " << seed;
    for (const auto& node : lan.nodes_) EXPECT_THAT(node->conflicts, IsEmpty());
  }
}

TEST(Allocator, ToleratesLostFrames) {
  size_t leases = 0;
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    FakeLan lan({P("192.0.2.0/23")}, seed);
    lan.loss = 0.02;
    lan.jitter = 20ms;
    lan.AddHost({"192.0.2.10", "192.0.3.11"});
    for (int i = 0; i < 4; ++i) lan.AddNode();
    for (int i = 0; i < 30; ++i) {
      for (const auto& node : lan.nodes_) lan.Claim(*node, lan.Wish(absl::StrCat("pod", i)));
      lan.Run(20ms);
    }
    lan.Run(5s);
    leases += lan.Leases();
    EXPECT_THAT(lan.Duplicates(), IsEmpty()) << "seed " << seed;
  }
  EXPECT_EQ(leases, 20u * 120u);
}

TEST(Allocator, OfTwoClaimsForOneAddressExactlyOneSucceeds) {
  for (int i = 1; i < 100; ++i) {
    FakeLan lan({P("192.0.2.0/24"), P("2001:db8::/64")}, i);
    FakeLan::Node& a = lan.AddNode();
    FakeLan::Node& b = lan.AddNode();
    for (FakeLan::Node* node : {&a, &b}) {
      AddressWish wish = lan.Wish("x");
      wish.wanted = {A(absl::StrCat("192.0.2.", i))};
      if (i % 2 == 0) wish.wanted.push_back(A(absl::StrCat("2001:db8::", i)));
      lan.Claim(*node, wish);
      lan.Run(std::chrono::milliseconds(i % 5));
    }
    lan.Run(2s);
    EXPECT_EQ(lan.Leases(), 1u) << i;
    const absl::Status refused = a.leases.empty() ? a.refused["x"] : b.refused["x"];
    EXPECT_EQ(RefusalOf(refused).code, static_cast<uint32_t>(AttachError::kAddressInUse));
  }
}

TEST(Allocator, AWantedAddressIsGivenUpByANodeThatHoldsItUnassigned) {
  FakeLan lan({P("192.0.2.0/24")});
  FakeLan::Node& a = lan.AddNode();
  FakeLan::Node& b = lan.AddNode();
  lan.Run(1s);
  AddressWish wish = lan.Wish("x");
  wish.wanted = {lan.Snapshot(b).held.at(0).address};
  lan.Claim(a, wish);
  lan.Run(1s);
  EXPECT_TRUE(a.leases.contains("x")) << a.refused["x"];
}

TEST(Allocator, AWantedAddressIsAssignedOrTheRefusalNamesItsStation) {
  FakeLan lan({P("192.0.2.0/24"), P("2001:db8::/64")});
  lan.AddHost({"192.0.2.10"});
  FakeLan::Node& node = lan.AddNode();
  const auto ask = [&](const std::string& lease, std::vector<IpAddress> wanted) {
    AddressWish wish = lan.Wish(lease);
    wish.wanted = std::move(wanted);
    lan.Claim(node, wish);
    lan.Run(1s);
  };
  ask("a", {A("192.0.2.20"), A("2001:db8::20")});
  EXPECT_THAT(node.leases["a"], ElementsAre(P("192.0.2.20/24"), P("2001:db8::20/64")));

  ask("b", {A("2001:db8::21"), A("192.0.2.10")});
  Refusal why = RefusalOf(node.refused["b"]);
  EXPECT_EQ(why.code, static_cast<uint32_t>(AttachError::kAddressInUse));
  EXPECT_THAT(why.message, HasSubstr("192.0.2.10"));
  EXPECT_THAT(why.message, HasSubstr(Mac(0xb0, 1).ToString()));
  EXPECT_THAT(why.message, HasSubstr("peer 192.0.2.9:14790"));
  ask("c", {A("2001:db8::21")});
  EXPECT_TRUE(node.leases.contains("c")) << "the other half of the failed claim was given back";

  ask("d", {A("192.0.2.20")});
  EXPECT_THAT(RefusalOf(node.refused["d"]).message, HasSubstr("on this node"));
  ask("e", {A("192.0.2.255")});
  EXPECT_EQ(RefusalOf(node.refused["e"]).code, kCniInvalidConfig);
  ask("f", {A("198.51.100.1")});
  EXPECT_THAT(RefusalOf(node.refused["f"]).message, HasSubstr("192.0.2.0/24, 2001:db8::/64"));
}

TEST(Allocator, ExhaustionIsReportedAndEnds) {
  FakeLan lan({P("192.0.2.0/28")});  // 14
  FakeLan::Node& a = lan.AddNode();
  FakeLan::Node& b = lan.AddNode();
  for (int i = 0; i < 7; ++i) {
    lan.Claim(a, lan.Wish(absl::StrCat("a", i)));
    lan.Claim(b, lan.Wish(absl::StrCat("b", i)));
  }
  lan.Run(5s);
  EXPECT_EQ(lan.Leases(), 14u);
  EXPECT_THAT(lan.Duplicates(), IsEmpty());
  EXPECT_TRUE(a.allocator->Ready(lan.now_, {P("192.0.2.0/28")}).ok());
  lan.Claim(a, lan.Wish("more"));
  lan.Run(5s);
  const Refusal why = RefusalOf(a.refused["more"]);
  EXPECT_EQ(why.code, static_cast<uint32_t>(AttachError::kPoolExhausted));
  EXPECT_THAT(why.message, HasSubstr("192.0.2.0/28"));
  EXPECT_LT(a.took["more"], 1s) << "each agent answers at once";
  EXPECT_FALSE(a.allocator->Ready(lan.now_, {P("192.0.2.0/28")}).ok());

  lan.Release(b, "b3");
  lan.Claim(a, lan.Wish("again"));
  lan.Run(2s);
  EXPECT_TRUE(a.leases.contains("again"));
  EXPECT_TRUE(a.allocator->Ready(lan.now_, {P("192.0.2.0/28")}).ok());
}

TEST(Allocator, SpareAndKeptAddressesAreGivenUpToANodeInNeed) {
  FakeLan lan({P("192.0.2.0/26")});  // 62: one spare a node, three kept
  FakeLan::Node& a = lan.AddNode();
  FakeLan::Node& b = lan.AddNode();
  for (int i = 0; i < 3; ++i) lan.Claim(b, lan.Wish(absl::StrCat("b", i), absl::StrCat("ns/", i)));
  lan.Run(2s);
  for (int i = 0; i < 3; ++i) lan.Release(b, absl::StrCat("b", i));
  lan.Run(1s);
  EXPECT_EQ(lan.Snapshot(b).pools[0].kept, 3u);
  EXPECT_EQ(lan.Snapshot(b).pools[0].spare, 1u);
  for (int i = 0; i < 62; ++i) {
    lan.Claim(a, lan.Wish(absl::StrCat("a", i)));
    lan.Run(500ms);
  }
  lan.Run(5s);
  EXPECT_THAT(a.leases, SizeIs(62));
  EXPECT_THAT(a.refused, IsEmpty());
  EXPECT_THAT(lan.Snapshot(b).held, IsEmpty());
}

TEST(Allocator, AReleasedAddressIsFreeForOthers) {
  FakeLan lan({P("192.0.2.0/30")});  // 2
  FakeLan::Node& a = lan.AddNode();
  FakeLan::Node& b = lan.AddNode();
  for (int round = 0; round < 5; ++round) {
    lan.Claim(a, lan.Wish("x"));
    lan.Claim(a, lan.Wish("y"));
    lan.Run(3s);
    ASSERT_EQ(a.leases.size(), 2u);
    lan.Release(a, "x");
    lan.Release(a, "y");
    lan.Claim(b, lan.Wish("x"));
    lan.Claim(b, lan.Wish("y"));
    lan.Run(3s);
    ASSERT_EQ(b.leases.size(), 2u);
    lan.Release(b, "x");
    lan.Release(b, "y");
  }
  EXPECT_TRUE(a.allocator->idle());
  EXPECT_THAT(lan.Snapshot(a).held, IsEmpty());
}

TEST(Allocator, ReleaseDuringAClaimLeavesNothing) {
  FakeLan lan({P("192.0.2.0/28"), P("2001:db8::/124")});
  FakeLan::Node& node = lan.AddNode();
  for (int ms = 0; ms < 300; ms += 7) {
    lan.Claim(node, lan.Wish("x"));
    lan.Run(std::chrono::milliseconds(ms));
    lan.Release(node, "x");
    EXPECT_TRUE(node.allocator->idle());
    EXPECT_THAT(lan.Snapshot(node).held, IsEmpty()) << "a small subnet has no spare addresses";
  }
}

TEST(Allocator, TheSameClaimAgainHasTheSameOutcome) {
  FakeLan lan({P("192.0.2.0/24")});
  FakeLan::Node& node = lan.AddNode();
  const AddressWish wish = lan.Wish("x");
  lan.Claim(node, wish);
  lan.Run(1s);
  const auto first = node.leases["x"];
  node.leases.clear();
  lan.Claim(node, wish);
  EXPECT_EQ(node.leases["x"], first);
}

TEST(Allocator, AddressesBroughtByPodsAreOccupied) {
  FakeLan lan({P("192.0.2.0/29")});
  FakeLan::Node& a = lan.AddNode();
  FakeLan::Node& b = lan.AddNode();
  std::vector<IpPrefix> most;
  for (int i = 1; i <= 5; ++i) most.push_back(P(absl::StrCat("192.0.2.", i, "/29")));
  a.allocator->RegisterExternal(lan.now_, "static", Mac(0xc0, 99), most);
  lan.Claim(a, lan.Wish("here"));
  lan.Run(3s);
  EXPECT_THAT(a.leases["here"], ElementsAre(P("192.0.2.6/29")));
  lan.Claim(b, lan.Wish("there"));
  lan.Run(3s);
  EXPECT_TRUE(b.refused.contains("there")) << "the agent answers probes for them";
  lan.Release(a, "static");
  lan.Claim(b, lan.Wish("again"));
  lan.Run(3s);
  EXPECT_TRUE(b.leases.contains("again"));
}

TEST(Allocator, ARestoredLeaseIsHeld) {
  FakeLan lan({P("192.0.2.0/30")});
  FakeLan::Node& b = lan.AddNode();
  FakeLan::Node& a = lan.AddNode();
  const LeaseRecord record{.lease = "x",
                           .cloud = kCloud,
                           .owner = "c1",
                           .mac = Mac(0xc0, 7),
                           .addresses = {P("192.0.2.1/30")}};
  a.allocator->Restore(lan.now_, record);
  a.allocator->RegisterExternal(lan.now_, "x", Mac(0xc0, 7), {P("192.0.2.1/30")});
  EXPECT_EQ(lan.Snapshot(a).held.at(0).use, Use::kLeased)
      << "the report of its attachment does not change that";
  lan.Claim(b, lan.Wish("y"));
  lan.Claim(b, lan.Wish("z"));
  lan.Run(3s);
  EXPECT_EQ(b.leases.size() + b.refused.size(), 2u);
  EXPECT_EQ(b.leases.size(), 1u);
}

// An agent that was stopped for seconds finds several claims past their deadline. The first one to
// fail gives back an address with which the next one succeeds.
TEST(Allocator, AFailedClaimMayCompleteALateOne) {
  const IpPrefix small = P("192.0.2.0/26");
  const IpPrefix large = P("198.51.96.0/20");
  Allocator allocator(
      {.cloud = kCloud, .name = "blue", .mac = Mac(0xa0, 1), .seed = 1, .where = {}});
  Instant now = Instant{} + 1000s;
  // Two addresses are left, and one of them is heard in use.
  std::vector<IpPrefix> brought;
  for (int i = 1; i <= 60; ++i) brought.push_back(P(absl::StrCat("192.0.2.", i, "/26")));
  allocator.RegisterExternal(now, "brought", Mac(0xc0, 1), brought);
  const auto answer = [&](const IpAddress& address) {
    Neighbour message;
    message.kind = Neighbour::Kind::kHas;
    message.address = address;
    message.mac = message.source = Mac(0xb0, 1);
    allocator.OnFrame(now, message);
  };
  const auto wish = [&](const std::string& lease, std::vector<IpPrefix> subnets) {
    AddressWish made;
    made.lease = made.owner = lease;
    made.cloud = kCloud;
    made.subnets = std::move(subnets);
    made.mac = Mac(0xc0, 2);
    return made;
  };
  allocator.RegisterExternal(now, "for now", Mac(0xc0, 3),
                             {P("192.0.2.61/26"), P("192.0.2.62/26")});
  allocator.SetPools(now, {small}, /*defend=*/false);
  allocator.Release(now, "for now");
  answer(A("192.0.2.61"));
  // "a" gets the last address of `small`, and none of `large` within its time.
  allocator.Claim(now, wish("a", {large, small}));
  const Instant start = now;
  while (now < start + 4s) {
    for (const std::vector<uint8_t>& frame : allocator.TakeFrames()) {
      Neighbour probe;
      ASSERT_TRUE(ParseNeighbour(frame, true, probe));
      if (probe.kind == Neighbour::Kind::kProbe && large.Contains(probe.address)) {
        answer(probe.address);
      }
    }
    now += 50ms;
    allocator.OnTime(now);
  }
  ASSERT_THAT(allocator.TakeOutcomes(), IsEmpty());
  // "c" probes the address in use, and "b" waits for the end of that.
  allocator.Claim(now, wish("c", {small}));
  allocator.Claim(now, wish("b", {small}));
  ASSERT_THAT(allocator.TakeOutcomes(), IsEmpty());
  now = start + 20s;
  allocator.OnTime(now);
  std::map<std::string, bool> outcomes;
  for (const Allocator::Outcome& one : allocator.TakeOutcomes()) {
    EXPECT_TRUE(outcomes.emplace(one.lease, one.addresses.ok()).second) << one.lease;
  }
  EXPECT_THAT(outcomes, ElementsAre(testing::Pair("a", false), testing::Pair("b", true),
                                    testing::Pair("c", false)));
}

}  // namespace
}  // namespace vxvde
