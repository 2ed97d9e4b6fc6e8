// What tests of the agent's parts have in common: a cloud, an uplink, claims that the test answers.

#ifndef VXVDE_AGENT_TESTING_FAKES_H_
#define VXVDE_AGENT_TESTING_FAKES_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/ipam/address_claims.h"
#include "plugin/base/ip_address.h"
#include "plugin/os/netlink.h"
#include "plugin/vnl/vnl.h"

namespace vxvde {

inline constexpr char kVnl[] = "vxvde://239.1.2.3/vni=42";

inline std::optional<uint32_t> NoGroups(absl::string_view) { return std::nullopt; }

inline CloudKey KeyOf(const std::string& vnl) { return ParseVnl(vnl, NoGroups)->key; }

inline LinkInfo FakeUplink(IfIndex index) {
  LinkInfo eth0;
  eth0.index = index;
  eth0.name = "eth0";
  eth0.mtu = 1500;
  eth0.up = true;
  return eth0;
}

// Each subnet's address 1, with its length.
inline std::vector<IpPrefix> FirstAddresses(const std::vector<IpPrefix>& subnets) {
  std::vector<IpPrefix> addresses;
  for (const IpPrefix& subnet : subnets) {
    std::vector<uint8_t> wire(subnet.address.wire().begin(), subnet.address.wire().end());
    wire.back() = 1;
    addresses.push_back({IpAddress::FromWire(wire), subnet.length});
  }
  return addresses;
}

// Answers when the test says so.
struct FakeClaims : AddressClaims {
  std::vector<AddressWish> wishes;
  std::map<std::string, Claimed> waiting;  // by lease
  std::vector<std::string> released;
  std::map<std::string, std::vector<IpPrefix>> occupied;
  absl::Status ready;
  std::set<std::string> wanted;  // of the last Collect
  size_t collects = 0;           // what it answers

  // A claim that waits.
  void Answer(const std::string& lease, absl::StatusOr<std::vector<IpPrefix>> answer) {
    waiting.extract(lease).mapped()(std::move(answer));
  }

  void Claim(AddressWish wish, Claimed done) override {
    waiting[wish.lease] = std::move(done);
    wishes.push_back(std::move(wish));
  }
  void Release(const std::string& lease) override {
    waiting.erase(lease);
    occupied.erase(lease);
    released.push_back(lease);
  }
  std::map<std::string, CloudKey> Leases() const override { return {}; }
  size_t Collect(const std::set<std::string>& attachments) override {
    wanted = attachments;
    return collects;
  }
  void RegisterExternal(const std::string& lease, const CloudKey&, const MacAddress&,
                        const std::vector<IpPrefix>& addresses) override {
    occupied[lease] = addresses;
  }
  absl::Status Ready(const CloudKey&, const std::vector<IpPrefix>&) const override { return ready; }
  std::vector<AllocatorSnapshot> Snapshot() const override { return {}; }
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_TESTING_FAKES_H_
