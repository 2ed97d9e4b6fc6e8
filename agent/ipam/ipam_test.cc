// Ipam on a real event loop and a real switch, with fake sockets and pods.

#include "agent/ipam/ipam.h"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/base/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/cloud/testing/fakes.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

const CloudKey kBlue = {IpAddress::V4(239, 1, 2, 3), 14789, *Vni::Make(42)};
const CloudKey kFlat = {IpAddress::V4(239, 1, 2, 4), 14789, *Vni::Make(42)};
const MacAddress kPod({0x02, 0, 0x5e, 0x10, 0, 1});
const MacAddress kOther({0x02, 0, 0x5e, 0x10, 0, 2});
constexpr char kId[] = "0000000000001";  // as of an attachment

struct Agent {
  explicit Agent(const std::string& run_dir)
      : loop(*EventLoop::Create()),
        the_switch(loop.get(), {.group = Socket, .unicast = Socket}),
        store(*Store::Open(run_dir)),
        log([this](LogLevel, const std::string& line) { lines.push_back(line); }),
        config(*ParseConfig(
            "clouds:\n"
            "- {name: blue, vnl: \"vxvde://239.1.2.3/vni=42\", subnets: [192.0.2.0/29, "
            "\"2001:db8::/125\"]}\n"
            "- {name: flat, vnl: \"vxvde://239.1.2.4/vni=42\"}\n",
            [](absl::string_view) { return std::nullopt; })),
        ipam({.loop = loop.get(),
              .the_switch = &the_switch,
              .store = &store,
              .log = &log,
              .config = &config},
             [this] { return ++random; }) {
    EXPECT_TRUE(ipam.Restore().ok());
    for (const CloudKey& cloud : {kBlue, kFlat}) {
      CloudOptions options;
      options.config.key = cloud;
      options.config.expiry = kDefaultExpiry;
      EXPECT_TRUE(the_switch.Join(options).ok());
      ipam.OnJoined(cloud);
    }
    thread = std::thread([this] { loop->Run(); });
  }
  ~Agent() {
    loop->Stop();
    thread.join();
  }

  // Runs `function`, which returns a value, on the loop's thread.
  template <typename Function>
  auto On(Function function) {
    auto result = loop->Call(std::move(function), 20s);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
  // Calls `done` on the loop's thread until it returns true.
  void RunUntil(const std::function<bool()>& done) {
    while (!On(done)) std::this_thread::yield();
  }

  static absl::StatusOr<std::unique_ptr<DatagramIo>> Socket(const UdpOptions& options) {
    auto state = std::make_shared<FakeSocket::State>();
    state->port = options.group_port;
    return std::make_unique<FakeSocket>(state);
  }

  size_t Ports(const CloudKey& cloud) {
    return On([&]() -> size_t {
      for (const CloudSnapshot& one : the_switch.Snapshot().clouds) {
        if (one.options.config.key == cloud) return one.ports.size();
      }
      return 0;
    });
  }
  void Release(const std::string& lease) {
    On([&] { return ipam.Release(lease), true; });
  }
  void RegisterExternal(const CloudKey& cloud, const std::vector<IpPrefix>& addresses) {
    On([&] { return ipam.RegisterExternal(kId, cloud, kPod, addresses), true; });
  }

  uint64_t random = 0;
  std::vector<std::string> lines;
  std::unique_ptr<EventLoop> loop;
  Switch the_switch;
  Store store;
  Log log;
  CurrentConfig config;
  Ipam ipam;
  std::thread thread;
};

class IpamTest : public testing::Test {
 protected:
  IpamTest() {
    std::string pattern = testing::TempDir() + "/ipam.XXXXXX";
    run_dir_ = mkdtemp(pattern.data());
    agent_ = std::make_unique<Agent>(run_dir_);
  }
  ~IpamTest() override {
    agent_.reset();
    std::filesystem::remove_all(run_dir_);
  }

  static AddressWish Wish(const std::string& lease, std::vector<IpAddress> wanted = {}) {
    AddressWish wish;
    wish.lease = lease;
    wish.cloud = kBlue;
    wish.subnets = {*IpPrefix::Parse("192.0.2.0/29"), *IpPrefix::Parse("2001:db8::/125")};
    wish.owner = "default/web-0";
    wish.mac = kPod;
    wish.wanted = std::move(wanted);
    return wish;
  }
  // Waits for the outcome.
  absl::StatusOr<std::vector<IpPrefix>> Claim(const AddressWish& wish) {
    absl::StatusOr<std::vector<IpPrefix>> answer = absl::UnknownError("none");
    bool done = false;
    size_t on_disk = 0;
    const auto on_answer = [&](absl::StatusOr<std::vector<IpPrefix>> claimed) {
      EXPECT_FALSE(done) << "called twice";
      done = true;
      on_disk = Files().size();
      answer = std::move(claimed);
    };
    agent_->On([&] { return agent_->ipam.Claim(wish, on_answer), true; });
    agent_->RunUntil([&] { return done; });
    EXPECT_TRUE(!answer.ok() || on_disk > 0) << "I1";
    return answer;
  }
  std::vector<LeaseRecord> Files() { return Store::Open(run_dir_)->LoadLeases()->records; }

  std::string run_dir_;
  std::unique_ptr<Agent> agent_;
};

TEST_F(IpamTest, ALeaseIsOnDiskUntilItIsReleased) {
  const auto addresses = Claim(Wish(kId));
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  ASSERT_THAT(*addresses, SizeIs(2));
  EXPECT_EQ((*addresses)[0].length, 29);
  EXPECT_EQ((*addresses)[1].length, 125);
  ASSERT_THAT(Files(), SizeIs(1));
  EXPECT_EQ(Files()[0].addresses, *addresses);
  EXPECT_EQ(Files()[0].cloud, kBlue);
  agent_->Release(kId);
  agent_->Release(kId);
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(IpamTest, AClaimThatIsReleasedIsNeverAnswered) {
  agent_->On([&] { return agent_->ipam.Claim(Wish(kId), [](const auto&) { FAIL(); }), true; });
  agent_->Release(kId);
  ASSERT_TRUE(Claim(Wish("0000000000002")).ok());
  EXPECT_THAT(Files(), SizeIs(1));
}

TEST_F(IpamTest, ARestartedAgentHoldsWhatIsAttached) {
  const auto first = Claim(Wish(kId));
  const auto second = Claim(Wish("0000000000002"));
  const auto node = Claim(Wish("node's own"));
  ASSERT_TRUE(first.ok() && second.ok() && node.ok())
      << first.status() << second.status() << node.status();
  agent_ = nullptr;  // one agent at a time
  agent_ = std::make_unique<Agent>(run_dir_);
  agent_->RegisterExternal(kBlue, *first);
  agent_->On([&] { return agent_->ipam.Collect({kId}), true; });
  EXPECT_THAT(Files(), SizeIs(2)) << "those of the attachment and of the node's own port";
  EXPECT_THAT(agent_->On([&] { return agent_->ipam.Leases(); }),
              ElementsAre(Pair(kId, kBlue), Pair("node's own", kBlue)));
  const absl::Status taken = Claim(Wish("0000000000003", {first->at(0).address})).status();
  EXPECT_EQ(RefusalOf(taken).code, static_cast<uint32_t>(AttachError::kAddressInUse));
  EXPECT_TRUE(Claim(Wish("0000000000003", {second->at(0).address})).ok());
  EXPECT_EQ(*Claim(Wish("node's own")), *node) << "the same claim again";
}

TEST_F(IpamTest, ALeaseWhoseFileCannotBeRemovedIsCollectedLater) {
  ASSERT_TRUE(Claim(Wish(kId)).ok());
  const std::filesystem::directory_iterator leases(run_dir_ + "/leases");
  const std::filesystem::path file = leases->path();
  std::filesystem::rename(file, run_dir_ + "/aside");
  std::filesystem::create_directory(file);  // unlink() fails
  agent_->Release(kId);
  EXPECT_THAT(agent_->lines, testing::Contains(testing::HasSubstr("lease not removed")));
  std::filesystem::remove(file);
  std::filesystem::rename(run_dir_ + "/aside", file);
  EXPECT_EQ(agent_->On([&] { return agent_->ipam.Collect({}); }), 1u);
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_THAT(agent_->On([&] { return agent_->ipam.Leases(); }), IsEmpty());
}

TEST_F(IpamTest, ThePortComesAndGoesWithTheCloud) {
  EXPECT_EQ(agent_->Ports(kBlue), 1u);
  EXPECT_EQ(agent_->Ports(kFlat), 0u) << "no addresses are allocated without subnets";
  agent_->RegisterExternal(kFlat, {*IpPrefix::Parse("192.0.2.9/29")});
  EXPECT_THAT(agent_->On([&] { return agent_->ipam.Snapshot(); }), SizeIs(1));
  for (const CloudKey& cloud : {kFlat, kBlue}) {
    agent_->On([&] { return agent_->ipam.OnLeaving(cloud), true; });
  }
  EXPECT_EQ(agent_->Ports(kBlue), 0u);
  agent_->On([&] { return agent_->the_switch.Leave(kBlue), true; });
  EXPECT_FALSE(Claim(Wish(kId)).ok());
  EXPECT_THAT(Files(), IsEmpty());
}

// Probes and answers cross the switch: a pod of this node answers for its address.
TEST_F(IpamTest, APodThatAnswersKeepsItsAddress) {
  const auto pod = std::make_shared<FakePort::State>();
  ASSERT_TRUE(agent_->On([&] {
    return (*agent_->the_switch.Find(kBlue))
        ->AddPort({.name = "pod", .mac = kOther, .mtu = 1450}, std::make_unique<FakePort>(pod))
        .ok();
  }));
  const IpAddress taken = IpAddress::V4(192, 0, 2, 3);
  absl::Status refused;
  agent_->On([&] {
    agent_->ipam.Claim(Wish(kId, {taken}),
                       [&](const auto& claimed) { refused = claimed.status(); });
    return true;
  });
  agent_->RunUntil([&] {
    for (const FakePort::Item& item : std::exchange(pod->out, {})) {
      Neighbour probe;
      if (!ParseNeighbour(item.bytes, true, probe) || probe.address != taken) continue;
      pod->Push({BuildAnswer(kOther, kOther, probe, {.kind = AgentMark::Kind::kHold, .beat = 0})});
    }
    return !refused.ok();
  });
  const Refusal why = RefusalOf(refused);
  EXPECT_EQ(why.code, static_cast<uint32_t>(AttachError::kAddressInUse));
  EXPECT_THAT(why.message, testing::HasSubstr(kOther.ToString() + " at port 2 of this node"));

  // The agent answers the pod's probe for a leased address.
  const auto leased = Claim(Wish(kId));
  ASSERT_TRUE(leased.ok()) << leased.status();
  agent_->On([&] {
    pod->out.clear();
    pod->Push(
        {BuildProbe(kOther, leased->at(0).address, {.kind = AgentMark::Kind::kClaim, .beat = 0})});
    return true;
  });
  Neighbour answer;
  agent_->RunUntil([&] {
    for (const FakePort::Item& item : pod->out) {
      if (ParseNeighbour(item.bytes, true, answer) && answer.kind == Neighbour::Kind::kHas &&
          DestinationMac(item.bytes) == kOther) {
        return true;
      }
    }
    return false;
  });
  EXPECT_EQ(answer.address, leased->at(0).address);
  EXPECT_EQ(answer.mac, kPod);
}

TEST_F(IpamTest, AConfigurationIsFollowed) {
  Config config;
  config.clouds.resize(1);
  config.clouds[0].name = "flat";
  config.clouds[0].config.key = kFlat;
  config.clouds[0].subnets = {*IpPrefix::Parse("203.0.113.0/24")};
  agent_->On([&] { return agent_->config.Set(config), true; });
  EXPECT_EQ(agent_->Ports(kFlat), 1u) << "a joined cloud has subnets now";
  AddressWish wish = Wish(kId);
  wish.cloud = kFlat;
  wish.subnets = config.clouds[0].subnets;
  const auto addresses = Claim(wish);
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  EXPECT_TRUE(wish.subnets[0].Contains(addresses->at(0).address));
}

}  // namespace
}  // namespace vxvde
