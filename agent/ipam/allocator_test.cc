// Allocators on a cloud that is made up: frames take time, get lost or do not pass; time is
// virtual, so every run is the same.

#include "agent/ipam/allocator.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "agent/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/wire/announce.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Use = HeldAddress::Use;

IpPrefix P(const std::string& text) { return *IpPrefix::Parse(text); }
IpAddress A(const std::string& text) { return *IpAddress::Parse(text); }
MacAddress Mac(int group, int number) {
  return MacAddress({0x02, 0, 0x5e, static_cast<uint8_t>(group), static_cast<uint8_t>(number >> 8),
                     static_cast<uint8_t>(number)});
}

const CloudKey kCloud{IpAddress::V4(239, 1, 2, 3), 14789, *Vni::Make(42)};

class Lan {
 public:
  struct Node {
    std::unique_ptr<Allocator> allocator;
    MacAddress mac;
    std::map<std::string, std::vector<IpPrefix>> leases;
    std::map<std::string, absl::Status> refused;
    std::map<std::string, Instant> asked;
    std::map<std::string, Duration> took;
    std::vector<AddressConflict> conflicts;
    int side = 0;          // of a partition
    Instant busy_until{};  // hears and does nothing before, but what comes is kept
  };
  // An ordinary host, as Linux is one: answers for its addresses, by ARP and by ND.
  struct Host {
    MacAddress mac;
    std::set<IpAddress> addresses;
    int side = 0;
  };

  explicit Lan(std::vector<IpPrefix> subnets, uint32_t seed = 1)
      : subnets_(std::move(subnets)), random_(seed) {}

  Node& AddNode(bool defend = false) {
    const int number = static_cast<int>(nodes_.size()) + 1;
    auto node = std::make_unique<Node>();
    node->mac = Mac(0xa0, number);
    node->allocator = std::make_unique<Allocator>(
        Allocator::Options{.cloud = kCloud,
                           .name = "blue",
                           .mac = node->mac,
                           .seed = static_cast<uint32_t>(number),
                           .where = [](const MacAddress&) { return "peer 192.0.2.9:14790"; }});
    node->allocator->SetPools(now_, subnets_, defend);
    nodes_.push_back(std::move(node));
    Collect(*nodes_.back());
    return *nodes_.back();
  }
  Host& AddHost(const std::vector<std::string>& addresses) {
    auto host = std::make_unique<Host>();
    host->mac = Mac(0xb0, static_cast<int>(hosts_.size()) + 1);
    for (const std::string& text : addresses) host->addresses.insert(A(text));
    hosts_.push_back(std::move(host));
    return *hosts_.back();
  }

  AddressWish Wish(const std::string& lease, const std::string& owner = "") {
    AddressWish wish;
    wish.lease = lease;
    wish.cloud = kCloud;
    wish.subnets = subnets_;
    wish.owner = owner.empty() ? lease : owner;
    wish.mac = Mac(0xc0, ++pods_);
    return wish;
  }
  void Claim(Node& node, const AddressWish& wish) {
    node.asked[wish.lease] = now_;
    node.allocator->Claim(now_, wish);
    Collect(node);
  }
  void Release(Node& node, const std::string& lease) {
    node.allocator->Release(now_, lease);
    node.leases.erase(lease);
    Collect(node);
  }
  void Say(const std::vector<uint8_t>& frame, int side = 0) { Transmit(frame, side, nullptr); }

  void Run(Duration duration) {
    const Instant end = now_ + duration;
    while (true) {
      Instant next = end;
      for (const auto& node : nodes_) next = std::min(next, Due(*node));
      if (!wire_.empty()) next = std::min(next, wire_.begin()->first);
      if (next >= end) break;
      now_ = std::max(now_, next);
      while (!wire_.empty() && wire_.begin()->first <= now_) {
        const auto [to, frame] = std::move(wire_.begin()->second);
        wire_.erase(wire_.begin());
        Deliver(to, frame);
      }
      for (const auto& node : nodes_) {
        if (Due(*node) > now_) continue;
        node->allocator->OnTime(now_);
        Collect(*node);
      }
    }
    now_ = end;
  }

  // Each address that two pods have, or a pod and a host.
  std::vector<IpAddress> Duplicates() const {
    std::map<IpAddress, int> count;
    for (const auto& node : nodes_) {
      for (const auto& [lease, addresses] : node->leases) {
        for (const IpPrefix& address : addresses) ++count[address.address];
      }
    }
    for (const auto& host : hosts_) {
      for (const IpAddress& address : host->addresses) ++count[address];
    }
    std::vector<IpAddress> twice;
    for (const auto& [address, n] : count) {
      if (n > 1) twice.push_back(address);
    }
    return twice;
  }
  size_t Leases() const {
    size_t sum = 0;
    for (const auto& node : nodes_) sum += node->leases.size();
    return sum;
  }
  AllocatorSnapshot Snapshot(const Node& node) const { return node.allocator->Snapshot(now_); }

  Instant now_ = Instant{} + 1000s;
  double loss = 0;
  Duration delay = 1ms;
  Duration jitter = 4ms;
  size_t frames = 0;  // sent
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Host>> hosts_;

 private:
  struct To {
    Node* node;
    Host* host;
  };

  void Collect(Node& node) {
    for (const std::vector<uint8_t>& frame : node.allocator->TakeFrames()) {
      Transmit(frame, node.side, &node);
    }
    for (Allocator::Outcome& outcome : node.allocator->TakeOutcomes()) {
      node.took[outcome.lease] = now_ - node.asked[outcome.lease];
      if (outcome.addresses.ok()) {
        node.leases[outcome.lease] = *outcome.addresses;
      } else {
        node.refused[outcome.lease] = outcome.addresses.status();
      }
    }
    for (AddressConflict& conflict : node.allocator->TakeNewConflicts()) {
      node.conflicts.push_back(std::move(conflict));
    }
  }

  Instant Arrival() {
    return now_ + delay + jitter * static_cast<int64_t>(random_() % 1000) / 1000;
  }
  bool Lost() { return static_cast<double>(random_() % 10000) < loss * 10000; }

  void Transmit(const std::vector<uint8_t>& frame, int side, const Node* from) {
    ++frames;
    const MacAddress to = DestinationMac(frame);
    for (const auto& node : nodes_) {
      if (node.get() == from || node->side != side) continue;
      if ((!to.IsGroup() && to != node->mac) || Lost()) continue;
      wire_.emplace(Arrival(), std::pair(To{node.get(), nullptr}, frame));
    }
    for (const auto& host : hosts_) {
      if (host->side != side || (!to.IsGroup() && to != host->mac) || Lost()) continue;
      wire_.emplace(Arrival(), std::pair(To{nullptr, host.get()}, frame));
    }
  }

  static Instant Due(const Node& node) {
    return std::max(node.allocator->NextTime(), node.busy_until);
  }

  void Deliver(const To& to, const std::vector<uint8_t>& frame) {
    Neighbour message;
    ASSERT_TRUE(ParseNeighbour(frame, /*checksum=*/true, message));
    if (to.node != nullptr && now_ < to.node->busy_until) {
      wire_.emplace(to.node->busy_until, std::pair(to, frame));
    } else if (to.node != nullptr) {
      to.node->allocator->OnFrame(now_, message);
      Collect(*to.node);
    } else if (message.kind != Neighbour::Kind::kHas &&
               to.host->addresses.contains(message.address)) {
      std::vector<uint8_t> answer = BuildAnnouncement(to.host->mac, message.address);
      if (message.address.is_v4()) {  // a reply, to the asker alone
        std::copy(message.source.bytes().begin(), message.source.bytes().end(), answer.begin());
        answer[21] = 2;
      }
      Transmit(answer, to.host->side, nullptr);
    }
  }

  std::vector<IpPrefix> subnets_;
  std::minstd_rand random_;
  std::multimap<Instant, std::pair<To, std::vector<uint8_t>>> wire_;
  int pods_ = 0;
};

TEST(Allocator, AClaimOnAnEmptyCloudTakesItsProbesTime) {
  Lan lan({P("192.0.2.0/24")});
  Lan::Node& node = lan.AddNode();
  lan.Claim(node, lan.Wish("a"));
  EXPECT_THAT(node.leases, IsEmpty()) << "nobody was asked yet";
  lan.Run(1s);
  ASSERT_THAT(node.leases["a"], SizeIs(1));
  EXPECT_EQ(node.leases["a"][0].length, 24);
  EXPECT_TRUE(IsUsable(P("192.0.2.0/24"), node.leases["a"][0].address));
  EXPECT_GT(node.took["a"], 180ms);
  EXPECT_LT(node.took["a"], 320ms);
}

TEST(Allocator, WithSpareAddressesNoTimeAtAll) {
  Lan lan({P("192.0.2.0/24"), P("2001:db8::/64")});
  Lan::Node& node = lan.AddNode();
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

// 0006: a pod of Kubernetes that comes back finds its address kept for it.
TEST(Allocator, APodThatComesBackHasItsAddressAgain) {
  Lan lan({P("192.0.2.0/24")});
  Lan::Node& node = lan.AddNode();
  lan.Claim(node, lan.Wish("1", "default/web-0"));
  lan.Run(1s);
  const auto before = node.leases["1"];
  lan.Release(node, "1");
  for (int i = 0; i < 5; ++i) lan.Claim(node, lan.Wish(absl::StrCat("other", i)));
  lan.Run(60s);
  lan.Claim(node, lan.Wish("2", "default/web-0"));
  EXPECT_EQ(node.leases["2"], before);
  lan.Release(node, "2");
  lan.Run(kKeepFor + 10s);
  EXPECT_EQ(lan.Snapshot(node).pools[0].kept, 0u) << "not for ever";
}

// The first pod of a cloud on a node has to wait anyway, and gets the one that is its own.
TEST(Allocator, TheFirstChoiceOfAnOwnerIsTheSameOnAnyNode) {
  std::set<IpAddress> got;
  for (int i = 0; i < 3; ++i) {
    Lan lan({P("10.42.0.0/16")}, 7 + i);
    Lan::Node& node = lan.AddNode();
    lan.Claim(node, lan.Wish("x", "default/web-0"));
    lan.Run(1s);
    got.insert(node.leases["x"].at(0).address);
  }
  EXPECT_THAT(got, SizeIs(1));
}

TEST(Allocator, HostsAreAskedAndRespected) {
  for (const char* text : {"192.0.2.0/29", "2001:db8::/125"}) {
    const IpPrefix subnet = P(text);
    Lan lan({subnet});
    // All but two are taken by hosts that have said nothing so far.
    Candidates order(subnet, kCloud.ToString(), "a");
    Lan::Host& host = lan.AddHost({});
    for (uint64_t i = 0; i + 2 < UsableAddresses(subnet); ++i) host.addresses.insert(*order.Next());
    Lan::Node& node = lan.AddNode();
    lan.Claim(node, lan.Wish("a"));
    lan.Run(3s);
    ASSERT_TRUE(node.leases.contains("a")) << node.refused["a"];
    EXPECT_THAT(lan.Duplicates(), IsEmpty());
    EXPECT_LT(node.took["a"], 500ms) << "each answer comes at once";
  }
}

TEST(Allocator, WhatWasHeardIsNotEvenAskedFor) {
  const IpPrefix subnet = P("192.0.2.0/24");
  Lan lan({subnet});
  Lan::Node& node = lan.AddNode();
  const IpAddress first = *Candidates(subnet, kCloud.ToString(), "a").Next();
  lan.Say(BuildAnnouncement(Mac(0xb0, 1), first));
  lan.Run(10ms);
  lan.Claim(node, lan.Wish("a"));
  lan.Run(1s);
  EXPECT_NE(node.leases["a"].at(0).address, first);
  EXPECT_EQ(lan.Snapshot(node).taken, 0u);
}

// I4, and the aim of it all.
TEST(Allocator, ManyNodesAtOnceNeverTheSame) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    Lan lan({P("192.0.2.0/24"), P("2001:db8::/120")}, seed);
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

TEST(Allocator, AFewFramesMayBeLost) {
  size_t leases = 0;
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    Lan lan({P("192.0.2.0/23")}, seed);
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

TEST(Allocator, TwoThatWantOneAddressAtOnceAreOneWinner) {
  for (int i = 1; i < 100; ++i) {
    Lan lan({P("192.0.2.0/24"), P("2001:db8::/64")}, i);
    Lan::Node& a = lan.AddNode();
    Lan::Node& b = lan.AddNode();
    for (Lan::Node* node : {&a, &b}) {
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

// An address that is asked for by name is had from another node's store, too.
TEST(Allocator, ACertainAddressIsHadFromAnothersStore) {
  Lan lan({P("192.0.2.0/24")});
  Lan::Node& a = lan.AddNode();
  Lan::Node& b = lan.AddNode();
  lan.Run(1s);
  AddressWish wish = lan.Wish("x");
  wish.wanted = {lan.Snapshot(b).held.at(0).address};
  lan.Claim(a, wish);
  lan.Run(1s);
  EXPECT_TRUE(a.leases.contains("x")) << a.refused["x"];
}

// I2: an agent that is too busy to answer in time is waited for, by those who know it and by
// those who have only just come and hear of it.
TEST(Allocator, WhoIsBusyIsWaitedFor) {
  for (const bool just_come : {false, true}) {
    Lan lan({P("192.0.2.0/28")});
    Lan::Node& busy = lan.AddNode();
    Lan::Node& idle = lan.AddNode();
    lan.Claim(busy, lan.Wish("x"));
    lan.Claim(idle, lan.Wish("y"));
    lan.Run(5s);
    busy.busy_until = lan.now_ + 900ms;
    Lan::Node& node = just_come ? lan.AddNode() : idle;
    AddressWish wish = lan.Wish("z");
    wish.wanted = {busy.leases["x"].at(0).address};
    lan.Claim(node, wish);
    lan.Run(3s);
    EXPECT_TRUE(node.refused.contains("z"));
    EXPECT_GT(node.took["z"], 850ms);
    EXPECT_THAT(lan.Duplicates(), IsEmpty());
  }
}

TEST(Allocator, WhoHasGoneIsNotWaitedForLong) {
  Lan lan({P("192.0.2.0/28")});
  Lan::Node& gone = lan.AddNode();
  Lan::Node& node = lan.AddNode();
  lan.Claim(gone, lan.Wish("x"));
  lan.Claim(node, lan.Wish("y"));
  lan.Run(5s);
  gone.side = 1;
  lan.Claim(node, lan.Wish("a"));
  lan.Run(3s);
  EXPECT_GE(node.took["a"], 1400ms) << "it may be back";
  EXPECT_LE(node.took["a"], 1700ms);
  lan.Run(5s);
  lan.Claim(node, lan.Wish("b"));
  lan.Run(3s);
  EXPECT_LE(node.took["b"], 320ms) << "silent for too long";
  gone.side = 0;
  lan.Run(5s);
  node.allocator->OnGone(gone.mac);
  gone.side = 1;
  lan.Claim(node, lan.Wish("c"));
  lan.Run(3s);
  EXPECT_LE(node.took["c"], 320ms) << "it said goodbye";
}

TEST(Allocator, AnAddressThatIsAskedForIsHadOrItsHolderIsNamed) {
  Lan lan({P("192.0.2.0/24"), P("2001:db8::/64")});
  lan.AddHost({"192.0.2.10"});
  Lan::Node& node = lan.AddNode();
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
  EXPECT_TRUE(node.leases.contains("c")) << "what went with it was given back";

  ask("d", {A("192.0.2.20")});
  EXPECT_THAT(RefusalOf(node.refused["d"]).message, HasSubstr("on this node"));
  ask("e", {A("192.0.2.255")});
  EXPECT_EQ(RefusalOf(node.refused["e"]).code, kCniInvalidConfig);
  ask("f", {A("198.51.100.1")});
  EXPECT_THAT(RefusalOf(node.refused["f"]).message, HasSubstr("192.0.2.0/24, 2001:db8::/64"));
}

TEST(Allocator, ALeaseIsAnsweredForUntilItsEnd) {
  Lan lan({P("192.0.2.0/24"), P("2001:db8::/64")});
  Lan::Node& node = lan.AddNode();
  const AddressWish wish = lan.Wish("a");
  lan.Claim(node, wish);
  lan.Run(1s);
  Allocator& allocator = *node.allocator;
  for (const IpPrefix& address : node.leases["a"]) {
    Neighbour probe;
    probe.address = address.address;
    probe.mac = probe.source = Mac(0xb0, 9);
    allocator.OnFrame(lan.now_, probe);
    const auto frames = allocator.TakeFrames();
    ASSERT_THAT(frames, SizeIs(1));
    Neighbour answer;
    ASSERT_TRUE(ParseNeighbour(frames[0], true, answer));
    EXPECT_EQ(answer.kind, Neighbour::Kind::kHas);
    EXPECT_EQ(answer.mac, wish.mac) << "the pod's";

    probe.mac = probe.source = wish.mac;
    allocator.OnFrame(lan.now_, probe);
    EXPECT_THAT(allocator.TakeFrames(), IsEmpty()) << "its own kernel makes sure";
    Neighbour question = probe;
    question.kind = Neighbour::Kind::kAsk;
    question.mac = question.source = Mac(0xb0, 9);
    question.asker = address.address.is_v4() ? A("192.0.2.200") : A("2001:db8::200");
    allocator.OnFrame(lan.now_, question);
    EXPECT_THAT(allocator.TakeFrames(), IsEmpty()) << "the pod answers for itself";
  }
  // What is spare nobody else would answer for.
  IpAddress spare;
  for (const HeldAddress& held : lan.Snapshot(node).held) {
    if (held.use == Use::kSpare) spare = held.address;
  }
  Neighbour question;
  question.kind = Neighbour::Kind::kAsk;
  question.address = spare;
  question.mac = question.source = Mac(0xb0, 9);
  question.asker = spare.is_v4() ? A("192.0.2.200") : A("2001:db8::200");
  allocator.OnFrame(lan.now_, question);
  EXPECT_THAT(allocator.TakeFrames(), SizeIs(1));
}

TEST(Allocator, ExhaustionIsSaidAndEnds) {
  Lan lan({P("192.0.2.0/28")});  // 14
  Lan::Node& a = lan.AddNode();
  Lan::Node& b = lan.AddNode();
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
  EXPECT_LT(a.took["more"], 1s) << "those who have them say so at once";
  EXPECT_FALSE(a.allocator->Ready(lan.now_, {P("192.0.2.0/28")}).ok());

  lan.Release(b, "b3");
  lan.Claim(a, lan.Wish("again"));
  lan.Run(2s);
  EXPECT_TRUE(a.leases.contains("again"));
  EXPECT_TRUE(a.allocator->Ready(lan.now_, {P("192.0.2.0/28")}).ok());
}

// What one node has in store is not out of reach of another that has nothing left.
TEST(Allocator, SpareAndKeptOnesAreGivenUpToWhoNeedsThem) {
  Lan lan({P("192.0.2.0/26")});  // 62: one spare a node, three kept
  Lan::Node& a = lan.AddNode();
  Lan::Node& b = lan.AddNode();
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

TEST(Allocator, AReleasedLeaseCanBeHadByOthers) {
  Lan lan({P("192.0.2.0/30")});  // 2
  Lan::Node& a = lan.AddNode();
  Lan::Node& b = lan.AddNode();
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

TEST(Allocator, ReleaseInTheMiddleOfAClaimLeavesNothing) {
  Lan lan({P("192.0.2.0/28"), P("2001:db8::/124")});
  Lan::Node& node = lan.AddNode();
  for (int ms = 0; ms < 300; ms += 7) {
    lan.Claim(node, lan.Wish("x"));
    lan.Run(std::chrono::milliseconds(ms));
    lan.Release(node, "x");
    EXPECT_TRUE(node.allocator->idle());
    EXPECT_THAT(lan.Snapshot(node).held, IsEmpty()) << "a small subnet has no spare ones";
  }
}

TEST(Allocator, TheSameWishAgainHasTheSameAnswer) {
  Lan lan({P("192.0.2.0/24")});
  Lan::Node& node = lan.AddNode();
  const AddressWish wish = lan.Wish("x");
  lan.Claim(node, wish);
  lan.Run(1s);
  const auto first = node.leases["x"];
  node.leases.clear();
  lan.Claim(node, wish);
  EXPECT_EQ(node.leases["x"], first);
}

TEST(Allocator, WhatPodsBroughtIsOccupied) {
  Lan lan({P("192.0.2.0/29")});
  Lan::Node& a = lan.AddNode();
  Lan::Node& b = lan.AddNode();
  std::vector<IpPrefix> most;
  for (int i = 1; i <= 5; ++i) most.push_back(P(absl::StrCat("192.0.2.", i, "/29")));
  a.allocator->Occupy(lan.now_, "static", Mac(0xc0, 99), most);
  lan.Claim(a, lan.Wish("here"));
  lan.Run(3s);
  EXPECT_THAT(a.leases["here"], ElementsAre(P("192.0.2.6/29")));
  lan.Claim(b, lan.Wish("there"));
  lan.Run(3s);
  EXPECT_TRUE(b.refused.contains("there")) << "the agent answers for them";
  lan.Release(a, "static");
  lan.Claim(b, lan.Wish("again"));
  lan.Run(3s);
  EXPECT_TRUE(b.leases.contains("again"));
}

TEST(Allocator, ARestartedOneHoldsWhatItHad) {
  Lan lan({P("192.0.2.0/30")});
  Lan::Node& b = lan.AddNode();
  Lan::Node& a = lan.AddNode();
  const LeaseRecord record{.lease = "x",
                           .cloud = kCloud,
                           .owner = "c1",
                           .mac = Mac(0xc0, 7),
                           .addresses = {P("192.0.2.1/30")}};
  a.allocator->Restore(lan.now_, record);
  a.allocator->Occupy(lan.now_, "x", Mac(0xc0, 7), {P("192.0.2.1/30")});
  EXPECT_EQ(lan.Snapshot(a).held.at(0).use, Use::kLeased) << "it is ours all the same";
  lan.Claim(b, lan.Wish("y"));
  lan.Claim(b, lan.Wish("z"));
  lan.Run(3s);
  EXPECT_EQ(b.leases.size() + b.refused.size(), 2u);
  EXPECT_EQ(b.leases.size(), 1u);
}

// Two halves that give out the same while they are cut off from each other.
TEST(Allocator, AfterAPartitionEachSideSeesEveryDuplicate) {
  for (const bool defend : {false, true}) {
    Lan lan({P("192.0.2.0/27"), P("2001:db8::/123")}, 3);
    for (int i = 0; i < 4; ++i) lan.AddNode(defend);
    lan.Claim(*lan.nodes_[0], lan.Wish("before"));
    lan.Claim(*lan.nodes_[2], lan.Wish("before"));
    lan.Run(5s);
    for (int i = 0; i < 4; ++i) lan.nodes_[i]->side = i / 2;
    lan.Run(10s);
    for (const auto& node : lan.nodes_) {
      for (int i = 0; i < 10; ++i) lan.Claim(*node, lan.Wish(absl::StrCat("pod", i)));
    }
    lan.Run(10s);
    const std::vector<IpAddress> twice = lan.Duplicates();
    ASSERT_GT(twice.size(), 5u);
    for (const auto& node : lan.nodes_) {
      ASSERT_THAT(node->conflicts, IsEmpty());
      node->side = 0;
    }
    lan.Run(5s);
    for (const IpAddress& address : twice) {
      int reported = 0;
      for (const auto& node : lan.nodes_) {
        const bool has = std::any_of(node->leases.begin(), node->leases.end(), [&](auto& lease) {
          return std::any_of(lease.second.begin(), lease.second.end(),
                             [&](const IpPrefix& one) { return one.address == address; });
        });
        const auto& seen = node->conflicts;
        const bool saw = std::any_of(seen.begin(), seen.end(),
                                     [&](auto& one) { return one.address == address; });
        EXPECT_EQ(has, saw) << address.ToString();
        reported += saw;
      }
      EXPECT_EQ(reported, 2) << address.ToString();
    }
    const AllocatorSnapshot snapshot = lan.Snapshot(*lan.nodes_[0]);
    EXPECT_EQ(snapshot.conflicts_total, snapshot.conflicts.size());
    const AddressConflict& one = snapshot.conflicts.at(0);
    EXPECT_EQ(one.where, "peer 192.0.2.9:14790");
    EXPECT_NE(one.mac, one.other);
    lan.Release(*lan.nodes_[0], one.lease);
    for (const AddressConflict& left : lan.Snapshot(*lan.nodes_[0]).conflicts) {
      EXPECT_NE(left.lease, one.lease);
    }
  }
}

// A host that took a leased address without asking is seen; one that took a spare one may keep it.
TEST(Allocator, AHostThatTakesAnAddressIsSeen) {
  Lan lan({P("192.0.2.0/24")});
  Lan::Node& node = lan.AddNode();
  lan.Claim(node, lan.Wish("x"));
  lan.Run(1s);
  const IpAddress leased = node.leases["x"].at(0).address;
  for (int i = 0; i < 3; ++i) {
    lan.Say(BuildAnnouncement(Mac(0xb0, 1), leased));
    lan.Run(2s);
  }
  ASSERT_THAT(node.conflicts, SizeIs(1));
  EXPECT_EQ(node.conflicts[0].other, Mac(0xb0, 1));
  EXPECT_EQ(lan.Snapshot(node).conflicts.at(0).count, 3u);

  IpAddress spare;
  for (const HeldAddress& held : lan.Snapshot(node).held) {
    if (held.use == Use::kSpare) spare = held.address;
  }
  lan.Say(BuildAnnouncement(Mac(0xb0, 2), spare));
  lan.Run(2s);
  for (const HeldAddress& held : lan.Snapshot(node).held) EXPECT_NE(held.address, spare);
  EXPECT_THAT(node.conflicts, SizeIs(1));
}

// I3 and what it costs: hosts are not kept busy.
TEST(Allocator, AQuietCloudIsQuiet) {
  Lan lan({P("10.42.0.0/16")});
  for (int i = 0; i < 2; ++i) lan.AddNode();
  for (int i = 0; i < 20; ++i) {
    for (const auto& node : lan.nodes_) lan.Claim(*node, lan.Wish(absl::StrCat(i)));
    lan.Run(100ms);
  }
  lan.Run(10s);
  const size_t before = lan.frames;
  lan.Run(60s);
  EXPECT_LT(lan.frames - before, 110u) << "about one heartbeat in 1.5 s from each of two";
  EXPECT_GT(lan.frames - before, 50u);
}

// Any frame at any time: nothing breaks.
TEST(Allocator, NoFrameBreaksIt) {
  std::minstd_rand random(5);
  Lan lan({P("192.0.2.0/29"), P("2001:db8::/125")});
  Lan::Node& node = lan.AddNode();
  for (int i = 0; i < 20000; ++i) {
    Neighbour message;
    message.kind = static_cast<Neighbour::Kind>(random() % 3);
    const auto address = [&] {
      return random() % 2 == 0 ? IpAddress::V4(192, 0, 2, random() % 9)
                               : A(absl::StrCat("2001:db8::", random() % 9));
    };
    message.address = address();
    message.mac = random() % 8 == 0 ? node.mac : Mac(0xb0, random() % 4);
    message.source = random() % 4 == 0 ? Mac(0xb0, random() % 4) : message.mac;
    if (message.kind == Neighbour::Kind::kAsk) message.asker = address();
    if (random() % 2 == 0) {
      message.mark = AgentMark{.kind = static_cast<AgentMark::Kind>(1 + random() % 4),
                               .beat = static_cast<uint32_t>(random())};
    }
    node.allocator->OnFrame(lan.now_, message);
    const std::string lease = absl::StrCat(random() % 5);
    if (random() % 8 == 0) lan.Claim(node, lan.Wish(lease, random() % 2 ? "a/b" : "c"));
    if (random() % 8 == 0) lan.Release(node, lease);
    if (random() % 16 == 0) {
      node.allocator->Occupy(lan.now_, absl::StrCat("o", random() % 3), Mac(0xc0, 200),
                             {{address(), 29}});
    }
    lan.Run(std::chrono::milliseconds(random() % 60));
    std::set<IpAddress> held;
    for (const HeldAddress& one : lan.Snapshot(node).held)
      EXPECT_TRUE(held.insert(one.address).second);
  }
  for (int i = 0; i < 5; ++i) lan.Release(node, absl::StrCat(i));
  for (int i = 0; i < 3; ++i) lan.Release(node, absl::StrCat("o", i));
  EXPECT_TRUE(node.allocator->idle());
}

}  // namespace
}  // namespace vxvde
