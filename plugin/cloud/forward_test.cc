#include "plugin/cloud/forward.h"

#include <chrono>
#include <string>

#include "gtest/gtest.h"

namespace vxvde {
namespace {

using Action = Verdict::Action;
using std::chrono::seconds;

constexpr Instant kNow{seconds(1'000'000)};
const Peer kPeerA{IpAddress::V4(192, 0, 2, 1), 14790};
const Peer kPeerB{IpAddress::V4(192, 0, 2, 2), 14790};

MacAddress Mac(uint8_t n) { return MacAddress({0x02, 0, 0, 0, 0, n}); }
const MacAddress kOnPort1 = Mac(1);  // a pod's own
const MacAddress kOnPort2 = Mac(2);
const MacAddress kBehindPort1 = Mac(3);  // learned: for example behind a bridge in the pod
const MacAddress kAtPeerA = Mac(4);
const MacAddress kAtPeerB = Mac(5);
const MacAddress kUnknown = Mac(6);
const MacAddress kExpired = Mac(7);
const MacAddress kZero;
const MacAddress kBroadcast = MacAddress::Broadcast();
const MacAddress kMulticast({0x33, 0x33, 0, 0, 0, 1});

Fdb MakeFdb() {
  Fdb fdb({.expiry = seconds(128)});
  fdb.Learn(kExpired, kPeerA, kNow - seconds(128));
  fdb.AddStatic(kOnPort1, PortId{1});
  fdb.AddStatic(kOnPort2, PortId{2});
  fdb.Learn(kBehindPort1, PortId{1}, kNow);
  fdb.Learn(kAtPeerA, kPeerA, kNow);
  fdb.Learn(kAtPeerB, kPeerB, kNow);
  return fdb;
}

Verdict Dropped(Drop drop) {
  Verdict verdict;
  verdict.drop = drop;
  return verdict;
}
Verdict Flood() {
  Verdict verdict;
  verdict.action = Action::kFlood;
  return verdict;
}
Verdict ToPort(uint32_t port) {
  Verdict verdict;
  verdict.action = Action::kToPort;
  verdict.port = PortId{port};
  return verdict;
}
Verdict ToPeer(const Peer& peer) {
  Verdict verdict;
  verdict.action = Action::kToPeer;
  verdict.peer = peer;
  return verdict;
}

struct Row {
  const char* destination_is;
  MacAddress destination;
  Verdict from_port_1, from_port_2, from_peer_a, from_peer_b;
};

// Tests every kind of destination from every kind of location.
TEST(Forward, IsThisTable) {
  const Verdict flood = Flood();
  const Verdict hairpin = Dropped(Drop::kHairpin);
  const Verdict same_port = Dropped(Drop::kSamePort);
  const Row rows[] = {
      {"broadcast", kBroadcast, flood, flood, flood, flood},
      {"multicast", kMulticast, flood, flood, flood, flood},
      {"unknown", kUnknown, flood, flood, flood, flood},
      {"expired", kExpired, flood, flood, flood, flood},
      {"zero", kZero, flood, flood, flood, flood},
      {"a pod on port 1", kOnPort1, same_port, ToPort(1), ToPort(1), ToPort(1)},
      {"a pod on port 2", kOnPort2, ToPort(2), same_port, ToPort(2), ToPort(2)},
      {"learned on port 1", kBehindPort1, same_port, ToPort(1), ToPort(1), ToPort(1)},
      {"at peer A", kAtPeerA, ToPeer(kPeerA), ToPeer(kPeerA), hairpin, hairpin},
      {"at peer B", kAtPeerB, ToPeer(kPeerB), ToPeer(kPeerB), hairpin, hairpin},
  };
  const Fdb fdb = MakeFdb();
  // The source matters only if it is a group address: learning is the caller's task.
  for (const MacAddress& source : {kOnPort1, kAtPeerA, kUnknown, kZero}) {
    for (const Row& row : rows) {
      SCOPED_TRACE(std::string("destination is ") + row.destination_is);
      EXPECT_EQ(Forward(row.destination, source, PortId{1}, fdb, kNow), row.from_port_1);
      EXPECT_EQ(Forward(row.destination, source, PortId{2}, fdb, kNow), row.from_port_2);
      EXPECT_EQ(Forward(row.destination, source, kPeerA, fdb, kNow), row.from_peer_a);
      EXPECT_EQ(Forward(row.destination, source, kPeerB, fdb, kNow), row.from_peer_b);
    }
  }
  for (const MacAddress& source : {kBroadcast, kMulticast}) {
    for (const Row& row : rows) {
      SCOPED_TRACE(std::string("group source; destination is ") + row.destination_is);
      for (const Location& from :
           {Location(PortId{1}), Location(PortId{2}), Location(kPeerA), Location(kPeerB)}) {
        EXPECT_EQ(Forward(row.destination, source, from, fdb, kNow), Dropped(Drop::kBadSource));
      }
    }
  }
}

}  // namespace
}  // namespace vxvde
