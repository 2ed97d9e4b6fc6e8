// FakeLan: a simulated cloud for allocators and hosts. Frames have a delay, are lost, or do not
// cross a partition. Time is virtual and randomness seeded, so each run is the same.

#ifndef VXVDE_AGENT_IPAM_TESTING_FAKE_LAN_H_
#define VXVDE_AGENT_IPAM_TESTING_FAKE_LAN_H_

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/ipam/allocator.h"
#include "gtest/gtest.h"
#include "plugin/wire/announce.h"
#include "plugin/wire/packet.h"

namespace vxvde {

inline IpPrefix P(const std::string& text) { return *IpPrefix::Parse(text); }
inline IpAddress A(const std::string& text) { return *IpAddress::Parse(text); }
inline MacAddress Mac(int group, int number) {
  return MacAddress({0x02, 0, 0x5e, static_cast<uint8_t>(group), static_cast<uint8_t>(number >> 8),
                     static_cast<uint8_t>(number)});
}

inline const CloudKey kCloud{IpAddress::V4(239, 1, 2, 3), 14789, *Vni::Make(42)};

class FakeLan {
 public:
  struct Node {
    std::unique_ptr<Allocator> allocator;
    MacAddress mac;
    std::map<std::string, std::vector<IpPrefix>> leases;
    std::map<std::string, absl::Status> refused;
    std::map<std::string, Instant> claimed_at;
    std::map<std::string, Duration> took;
    std::vector<AddressConflict> conflicts;
    int side = 0;          // of a partition
    Instant busy_until{};  // until then frames wait in its inbox
  };
  // A host without an agent. Answers ARP and ND for its addresses, as Linux does.
  struct Host {
    MacAddress mac;
    std::set<IpAddress> addresses;
    int side = 0;
  };

  explicit FakeLan(std::vector<IpPrefix> subnets, uint32_t seed = 1)
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
    node.claimed_at[wish.lease] = now_;
    node.allocator->Claim(now_, wish);
    Collect(node);
  }
  void Release(Node& node, const std::string& lease) {
    node.allocator->Release(now_, lease);
    node.leases.erase(lease);
    Collect(node);
  }
  void Send(const std::vector<uint8_t>& frame, int side = 0) { Transmit(frame, side, nullptr); }

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

  // Addresses that two pods have, or a pod and a host.
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

  Instant now_ = Instant{} + std::chrono::seconds(1000);
  double loss = 0;
  Duration delay = std::chrono::milliseconds(1);
  Duration jitter = std::chrono::milliseconds(4);
  size_t frames = 0;  // sent so far
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
      node.took[outcome.lease] = now_ - node.claimed_at[outcome.lease];
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
      if (message.address.is_v4()) {  // a reply, to the sender alone
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

}  // namespace vxvde

#endif  // VXVDE_AGENT_IPAM_TESTING_FAKE_LAN_H_
