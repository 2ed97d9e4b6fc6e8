#include "agent/node_port/host_ports.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/base/derive.h"
#include "agent/base/refusal.h"
#include "agent/node_port/testing/nft_text.h"
#include "agent/testing/agent_base.h"
#include "agent/testing/fakes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/cloud/testing/fakes.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kOther[] = "vxvde://239.1.2.3/vni=43";

IpPrefix Prefix(const std::string& text) { return *IpPrefix::Parse(text); }
IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

Config ConfigWith(const std::string& more) {
  absl::StatusOr<Config> config = ParseConfig(
      "node: n1\nclouds: [{name: blue, vnl: \"vxvde://239.1.2.3/vni=42\", "
      "subnets: [10.42.0.0/16, \"fd42::/64\"]" +
          more + "}]\n",
      NoGroups);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}
Config Gateway() { return ConfigWith(", gateway: true, masquerade: true"); }

// State that outlives an agent: links, rules and leases. Every call is a step that can be made to
// fail.
struct World {
  std::map<std::string, NodeLink> links;  // by alias
  std::map<std::string, std::string> sysctls = {{"net/ipv4/ip_forward", "0"},
                                                {"net/ipv6/conf/all/forwarding", "0"}};
  std::string table;  // of nftables
  std::map<std::string, CloudKey> leases;
  std::shared_ptr<FakePort::State> port;
  int steps = 0;
  int fail_step = 0;
  bool claims_wait = false;
  absl::Status no_claims;
  absl::Status no_rules;
  absl::Status no_removal;

  absl::Status Step(const char* what) {
    if (++steps == fail_step) return absl::InternalError(absl::StrCat("injected: ", what));
    return absl::OkStatus();
  }

  NodeLinkKernel AsNodeLinks() {
    return {.ensure = [this](const NodeLink& link) -> absl::StatusOr<IfIndex> {
              if (const absl::Status s = Step("link"); !s.ok()) return s;
              links[link.alias] = link;
              return IfIndex{7};
            },
            .remove =
                [this](const std::string& alias) {
                  if (no_removal.ok()) links.erase(alias);
                  return no_removal;
                },
            .get = [this](const std::string& key) -> absl::StatusOr<std::string> {
              return sysctls[key];
            },
            .set =
                [this](const std::string& key, const std::string& value) {
                  if (!sysctls_writable)
                    return absl::PermissionDeniedError("Read-only file system");
                  sysctls[key] = value;
                  return absl::OkStatus();
                }};
  }
  bool sysctls_writable = true;

  FirewallKernel AsFirewall() {
    return {.rules = {.replace =
                          [this](const std::vector<NftTable>& tables) {
                            if (const absl::Status s = Step("nft"); !s.ok()) return s;
                            if (!no_rules.ok()) return no_rules;
                            table = NftText(tables.front());
                            return absl::OkStatus();
                          },
                      .read = [this](const std::vector<NftTable>&) -> absl::StatusOr<std::string> {
                        return table;
                      }}};
  }

  Links AsLinks() {
    Links out;
    out.by_index = [](IfIndex index) -> absl::StatusOr<LinkInfo> { return FakeUplink(index); };
    out.route = [this](const IpAddress&) -> absl::StatusOr<RouteAnswer> {
      if (const absl::Status s = Step("route"); !s.ok()) return absl::UnavailableError(s.message());
      RouteAnswer answer;
      answer.interface = IfIndex{2};
      return answer;
    };
    out.packet_port = [this](IfIndex) -> absl::StatusOr<std::unique_ptr<FrameIo>> {
      if (const absl::Status s = Step("packet socket"); !s.ok()) return s;
      port = std::make_shared<FakePort::State>();
      return std::make_unique<FakePort>(port);
    };
    return out;
  }

  static SwitchSockets AsSockets() {
    const auto open = [](const UdpOptions& options) -> absl::StatusOr<std::unique_ptr<DatagramIo>> {
      const auto state = std::make_shared<FakeSocket::State>();
      state->port = options.port != 0 ? options.port : options.group_port;
      return std::make_unique<FakeSocket>(state);
    };
    SwitchSockets sockets;
    sockets.group = open;
    sockets.unicast = open;
    return sockets;
  }
};

// Claims the first address of each subnet, at once or on the test's command. Outlives an agent.
struct WorldClaims : FakeClaims {
  explicit WorldClaims(World* world) : world(world) {}
  void Claim(AddressWish wish, Claimed done) override {
    const CloudKey cloud = wish.cloud;
    FakeClaims::Claim(wish, std::move(done));
    if (const absl::Status s = world->Step("claim"); !s.ok()) return Answer(wish.lease, s);
    if (!world->no_claims.ok()) return Answer(wish.lease, world->no_claims);
    world->leases[wish.lease] = cloud;
    if (!world->claims_wait) Answer(wish.lease, FirstAddresses(wish.subnets));
  }
  void Release(const std::string& lease) override {
    FakeClaims::Release(lease);
    world->leases.erase(lease);
  }
  std::map<std::string, CloudKey> Leases() const override { return world->leases; }
  void AnswerAll() {
    for (const AddressWish& wish : std::vector<AddressWish>(wishes)) {
      if (waiting.contains(wish.lease)) Answer(wish.lease, FirstAddresses(wish.subnets));
    }
  }

  World* world;
};

struct Agent : AgentBase {
  Agent(World* world, const std::string& run_dir, const Config& first_config)
      : AgentBase(World::AsSockets(), world->AsLinks(), run_dir, first_config),
        claims(world),
        firewall(loop.get(), &log, world->AsFirewall()),
        node_links(world->AsNodeLinks()),
        ports({.loop = loop.get(),
               .the_switch = &the_switch,
               .clouds = &clouds,
               .claims = &claims,
               .firewall = &firewall,
               .walls = [this] { return walls; },
               .links = &links,
               .kernel = &node_links,
               .log = &log,
               .config = &config}) {
    the_switch.SetListener([this](const SwitchEvent& event) { ports.OnEvent(event); });
  }

  WorldClaims claims;
  Firewall firewall;
  absl::Status walls;
  NodeLinkKernel node_links;
  HostPorts ports;
};

class HostPortsTest : public testing::Test {
 protected:
  HostPortsTest() {
    std::string pattern = testing::TempDir() + "/host_ports.XXXXXX";
    run_dir_ = mkdtemp(pattern.data());
  }
  ~HostPortsTest() override {
    agent_.reset();
    std::filesystem::remove_all(run_dir_);
  }
  HostPorts& Start(const Config& config) {
    agent_.reset();
    agent_ = std::make_unique<Agent>(&world_, run_dir_, config);
    return agent_->ports;
  }
  HostPorts& ports() { return agent_->ports; }

  void RunUntil(const std::function<bool()>& done) { agent_->RunUntil(done); }
  size_t SwitchPorts() {
    size_t count = 0;
    for (const CloudSnapshot& cloud : agent_->the_switch.Snapshot().clouds) {
      count += cloud.ports.size();
    }
    return count;
  }
  void ExpectNothingLeft() {
    EXPECT_THAT(agent_->the_switch.Snapshot().clouds, IsEmpty());
    EXPECT_THAT(agent_->clouds.all(), IsEmpty());
    EXPECT_THAT(world_.links, IsEmpty());
    EXPECT_THAT(world_.leases, IsEmpty());
    EXPECT_EQ(world_.table, "");
    EXPECT_THAT(ports().List(), IsEmpty());
  }

  HostPorts::Opened Note() {
    return [this](absl::StatusOr<std::vector<IpPrefix>> answer) {
      ++answers_;
      answer_ = std::move(answer);
    };
  }
  static Publication Web(const std::string& id, const std::string& vnl = kVnl) {
    return {.id = id,
            .holder = "container " + id,
            .cloud = KeyOf(vnl),
            .addresses = {Prefix("10.42.0.7/16"), Prefix("fd42::7/64")},
            .mappings = {{8080, 80, "tcp", std::nullopt}}};
  }
  const std::vector<IpPrefix> subnets_ = {Prefix("10.42.0.0/16"), Prefix("fd42::/64")};
  const std::vector<IpPrefix> ours_ = {Prefix("10.42.0.1/16"), Prefix("fd42::1/64")};

  std::string run_dir_;
  World world_;
  std::unique_ptr<Agent> agent_;
  int answers_ = 0;
  absl::StatusOr<std::vector<IpPrefix>> answer_ = absl::UnknownError("");
};

TEST_F(HostPortsTest, TheConfigurationsPortIsOpenWithoutPods) {
  Start(Gateway()).Start();
  ASSERT_THAT(world_.links, SizeIs(1));
  const NodeLink& link = world_.links.begin()->second;
  EXPECT_EQ(link.ifname, "vx-blue");
  EXPECT_EQ(link.mtu, 1450);
  EXPECT_EQ(link.addresses, ours_);
  EXPECT_EQ(link.mac, DeriveMac("node", "n1", KeyOf(kVnl).ToString(), 0));
  EXPECT_EQ(agent_->claims.wishes.at(0).owner, "node/n1");
  EXPECT_EQ(agent_->claims.wishes[0].mac, link.mac);
  ASSERT_EQ(SwitchPorts(), 1u);
  EXPECT_EQ(agent_->the_switch.Snapshot().clouds[0].ports[0].options.name, "vx-blue");
  EXPECT_NE(agent_->the_switch.Snapshot().clouds[0].ports[0].options.host_end, IfIndex::kNone);
  EXPECT_THAT(world_.table, AllOf(HasSubstr("\"vx-blue\""), HasSubstr("ip saddr 10.42.0.0/16 masq"),
                                  HasSubstr("ip6 saddr fd42::/64 masq")));
  EXPECT_EQ(world_.sysctls["net/ipv4/ip_forward"], "1");
  EXPECT_EQ(world_.sysctls["net/ipv6/conf/all/forwarding"], "1");
  ASSERT_THAT(ports().List(), SizeIs(1));
  const AttachmentInfo shown = ports().List()[0];
  EXPECT_EQ(shown.mode, "node");
  EXPECT_EQ(shown.host_ifname, "vx-blue");
  EXPECT_EQ(shown.addresses, ours_);
  EXPECT_NE(shown.port, PortId::kNone);
  EXPECT_EQ(shown.problem, "");

  // A pod's request is met at once, and its end changes nothing.
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  EXPECT_EQ(answers_, 1);
  EXPECT_EQ(*answer_, ours_);
  ports().Close("a");
  EXPECT_EQ(SwitchPorts(), 1u);
  // A pod that routes through the port keeps it, whatever the configuration says.
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  Config nothing;
  nothing.node = "n1";
  agent_->config.Set(nothing);
  EXPECT_EQ(world_.links.begin()->second.ifname, "vx-blue");
  EXPECT_THAT(world_.table, AllOf(HasSubstr("vx-blue"), Not(HasSubstr("saddr 10.42"))));
  ports().Close("a");
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, OfACloudWithoutGatewayItIsTheAttachmentsAlone) {
  Start(ConfigWith("")).Start();
  ExpectNothingLeft();
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  EXPECT_EQ(*answer_, ours_);
  ports().Open("b", KeyOf(kVnl), subnets_, Note());
  EXPECT_EQ(answers_, 2);
  EXPECT_THAT(world_.table, Not(HasSubstr("saddr 10.42")));
  ports().Close("a");
  EXPECT_EQ(SwitchPorts(), 1u);
  ports().Close("b");
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, AnAnswerWaitsForTheClaims) {
  world_.claims_wait = true;
  Start(ConfigWith("")).Start();
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  ports().Open("b", KeyOf(kVnl), subnets_, Note());
  EXPECT_EQ(answers_, 0);
  EXPECT_THAT(agent_->claims.waiting, SizeIs(2));
  EXPECT_THAT(ports().List().at(0).problem, HasSubstr("claimed"));
  ports().Close("a");
  agent_->claims.AnswerAll();
  EXPECT_EQ(answers_, 1) << "of b: a has closed";
  EXPECT_EQ(*answer_, ours_);

  ASSERT_TRUE(agent_->clouds.Join("attachments", *ParseVnl(kOther, NoGroups)).ok());
  ports().Open("c", KeyOf(kOther), {Prefix("10.43.0.0/16")}, Note());
  ports().Close("c");
  agent_->clouds.Leave("attachments", KeyOf(kOther));
  EXPECT_THAT(agent_->claims.waiting, IsEmpty());
  EXPECT_EQ(answers_, 1);
  ports().Close("b");
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, ARefusedClaimIsTheAnswer) {
  Start(ConfigWith("")).Start();
  world_.no_claims = Refuse(AttachError::kPoolExhausted, "10.42.0.0/16 is full", "enlarge it");
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  EXPECT_EQ(answers_, 1);
  EXPECT_EQ(RefusalOf(answer_.status()).code, static_cast<uint32_t>(AttachError::kPoolExhausted));
  ports().Close("a");
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, WithoutPermissionTheRefusalSaysSo) {
  Start(ConfigWith("")).Start();
  agent_->node_links.ensure = [](const NodeLink&) -> absl::StatusOr<IfIndex> {
    return absl::PermissionDeniedError("create veth pair: Operation not permitted");
  };
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  const Refusal refusal = RefusalOf(answer_.status());
  EXPECT_EQ(refusal.code, kCniInvalidConfig);
  EXPECT_THAT(refusal.message, HasSubstr("not permitted"));
  EXPECT_THAT(refusal.remedy, HasSubstr("CAP_NET_ADMIN"));
}

// Whichever step fails, the user gets an error, and closing the port leaves nothing behind.
TEST_F(HostPortsTest, EachStepMayFail) {
  int failed = 0;
  for (int step = 1; step < 100; ++step) {
    world_ = World();
    world_.fail_step = step;
    Start(ConfigWith("")).Start();
    answers_ = 0;
    ports().Open("a", KeyOf(kVnl), subnets_, Note());
    ASSERT_EQ(answers_, 1) << step;
    const absl::Status published =
        answer_.ok() ? ports().Publish(Web("a")) : absl::FailedPreconditionError("not open");
    const bool all = answer_.ok() && published.ok();
    if (!answer_.ok()) {
      EXPECT_THAT(std::string(answer_.status().message()), HasSubstr("injected")) << step;
    } else if (!published.ok()) {
      EXPECT_THAT(std::string(published.message()), HasSubstr("injected")) << step;
      EXPECT_THAT(world_.table, Not(HasSubstr("8080"))) << step;
    }
    failed += !all;
    ports().Unpublish("a");
    ports().Close("a");
    if (all) {  // the step follows Publish(), or does not exist: the rules wait for a retry
      if (world_.steps < step) break;
      RunUntil([&] { return world_.table.empty(); });
    }
    ExpectNothingLeft();
  }
  EXPECT_GE(failed, 7) << "route, two claims, link, socket, two times nft";
}

TEST_F(HostPortsTest, CloudsWithANodePortAreNotReadyWhileRulesAreRefused) {
  world_.no_rules = absl::InternalError("injected: nft");
  Start(Gateway()).Start();
  EXPECT_THAT(std::string(ports().Ready(KeyOf(kVnl)).message()), HasSubstr("injected: nft"));
  EXPECT_THAT(std::string(ports().FirewallProblem().message()), HasSubstr("injected: nft"));
  EXPECT_EQ(ports().Ready(KeyOf("vxvde://239.9.9.9")), absl::OkStatus()) << "it needs no rules";
  world_.no_rules = absl::OkStatus();
  RunUntil([&] { return ports().FirewallProblem().ok(); });
  EXPECT_EQ(ports().Ready(KeyOf(kVnl)), absl::OkStatus());
  EXPECT_THAT(world_.table, HasSubstr("vx-blue"));
  agent_->walls = absl::FailedPreconditionError("no wall");
  EXPECT_EQ(ports().Ready(KeyOf("vxvde://239.9.9.9")), agent_->walls);
}

TEST_F(HostPortsTest, AConfiguredPortIsTriedUntilItIsOpen) {
  world_.fail_step = 4;  // the link
  Start(Gateway()).Start();
  EXPECT_THAT(ports().List().at(0).problem, HasSubstr("injected: link"));
  EXPECT_EQ(ports().List()[0].port, PortId::kNone);
  RunUntil([&] { return SwitchPorts() == 1; });
  EXPECT_EQ(ports().List().at(0).problem, "");
  EXPECT_THAT(world_.table, HasSubstr("vx-blue"));
}

TEST_F(HostPortsTest, WhatIsPublished) {
  Start(ConfigWith("")).Start();
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  Publication web = Web("a");
  web.mappings = {{8080, 80, "tcp", std::nullopt},
                  {53, 5353, "udp", Ip("192.0.2.1")},
                  {54, 5354, "udp", Ip("2001:db8::1")}};
  ASSERT_EQ(ports().Publish(web), absl::OkStatus());
  EXPECT_THAT(
      world_.table,
      AllOf(HasSubstr("ipv4 dnat ip to tcp dport map { 8080 : 10.42.0.7 . 80 }"),
            HasSubstr("ipv6 dnat ip6 to tcp dport map { 8080 : fd42::7 . 80 }"),
            HasSubstr("ip daddr 192.0.2.1 dnat ip to udp dport map { 53 : 10.42.0.7 . 5353 }"),
            HasSubstr("ip6 daddr 2001:db8::1 dnat ip6 to udp dport map { 54 : fd42::7")));
  EXPECT_EQ(world_.sysctls["net/ipv4/conf/vx-blue/route_localnet"], "1");
  ports().Unpublish("a");
  EXPECT_THAT(world_.table, AllOf(HasSubstr("vx-blue"), Not(HasSubstr("8080"))));
  EXPECT_EQ(world_.sysctls["net/ipv4/conf/vx-blue/route_localnet"], "0");
  ports().Close("a");
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, WhatCannotBePublishedIsRefused) {
  Start(ConfigWith("")).Start();
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  ports().Open("b", KeyOf(kVnl), subnets_, Note());
  ASSERT_EQ(ports().Publish(Web("a")), absl::OkStatus());
  EXPECT_EQ(ports().CheckFree("a", Web("a").mappings), absl::OkStatus()) << "its own";
  for (const auto& host_ip : {std::optional<IpAddress>(), {Ip("192.0.2.1")}, {Ip("fd00::1")}}) {
    const absl::Status taken = ports().CheckFree("b", {{8080, 81, "tcp", host_ip}});
    EXPECT_EQ(RefusalOf(taken).code, static_cast<uint32_t>(AttachError::kPortInUse));
    EXPECT_THAT(RefusalOf(taken).message, AllOf(HasSubstr("8080/tcp"), HasSubstr("container a")));
  }
  EXPECT_FALSE(ports().Publish(Web("b")).ok());
  EXPECT_EQ(ports().CheckFree("b", {{8080, 80, "udp", std::nullopt}}), absl::OkStatus());
  EXPECT_EQ(
      ports().CheckFree("b", {{80, 80, "tcp", Ip("192.0.2.1")}, {80, 80, "tcp", Ip("fd00::1")}}),
      absl::OkStatus());
  EXPECT_THAT(RefusalOf(ports().CheckFree(
                            "b", {{80, 80, "tcp", Ip("192.0.2.1")}, {80, 81, "tcp", std::nullopt}}))
                  .message,
              HasSubstr("mapped twice"));

  Publication v4 = Web("b");
  v4.addresses = {Prefix("10.42.0.8/16")};
  v4.mappings = {{81, 80, "tcp", Ip("2001:db8::1")}};
  EXPECT_THAT(RefusalOf(ports().Publish(v4)).message, HasSubstr("no IPv6 address"));
  v4.mappings = {{81, 80, "tcp", std::nullopt}};
  v4.addresses.clear();
  EXPECT_THAT(RefusalOf(ports().Publish(v4)).message, HasSubstr("no address"));
}

TEST_F(HostPortsTest, AnUnspecifiedHostAddressIsAFamily) {
  Start(ConfigWith("")).Start();
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  ports().Open("b", KeyOf(kVnl), subnets_, Note());
  const std::optional<IpAddress> any4 = IpAddress();
  const std::optional<IpAddress> any6 = IpAddress::AnyV6();
  Publication web = Web("a");
  web.mappings = {{8080, 80, "tcp", any4}};
  Publication other = Web("b");
  other.addresses = {Prefix("10.42.0.8/16"), Prefix("fd42::8/64")};
  other.mappings = {{8080, 81, "tcp", any6}};
  ASSERT_EQ(ports().Publish(web), absl::OkStatus());
  ASSERT_EQ(ports().Publish(other), absl::OkStatus()) << "of two containers, one has IPv4";
  EXPECT_THAT(world_.table,
              AllOf(HasSubstr("ipv4 dnat ip to tcp dport map { 8080 : 10.42.0.7 . 80 }"),
                    HasSubstr("ipv6 dnat ip6 to tcp dport map { 8080 : fd42::8 . 81 }")));
  for (const std::optional<IpAddress>& host_ip :
       {any4, any6, {Ip("192.0.2.1")}, std::optional<IpAddress>()}) {
    EXPECT_FALSE(ports().CheckFree("c", {{8080, 80, "tcp", host_ip}}).ok());
  }

  // Both belong to one container, as podman passes -p 0.0.0.0:8080:80 -p [::]:8080:80.
  ports().Unpublish("b");
  web.mappings = {{8080, 80, "tcp", std::nullopt}, {8080, 80, "tcp", any6}};
  ASSERT_EQ(ports().Publish(web), absl::OkStatus());
  EXPECT_THAT(world_.table,
              AllOf(HasSubstr("ipv4 dnat ip to tcp dport map { 8080 : 10.42.0.7 . 80 }"),
                    HasSubstr("ipv6 dnat ip6 to tcp dport map { 8080 : fd42::7 . 80 }")));
  // A container without IPv6.
  web.addresses = {Prefix("10.42.0.7/16")};
  ASSERT_EQ(ports().Publish(web), absl::OkStatus());
  web.mappings = {{8080, 80, "tcp", any6}};
  EXPECT_THAT(RefusalOf(ports().Publish(web)).message, HasSubstr("no IPv6 address"));
}

TEST_F(HostPortsTest, CloudsAreApartUnlessTheConfigurationSaysOtherwise) {
  const auto config = [](const std::string& of_blue) {
    absl::StatusOr<Config> two = ParseConfig(
        "node: n1\nclouds: [{name: blue, vnl: \"vxvde://239.1.2.3/vni=42\", gateway: true, "
        "subnets: [10.42.0.0/16]" +
            of_blue + "}, {name: green, vnl: \"" + kOther +
            "\", gateway: true, subnets: [10.43.0.0/16]}]\n",
        NoGroups);
    EXPECT_TRUE(two.ok()) << two.status();
    return *two;
  };
  Start(config("")).Start();
  EXPECT_THAT(world_.table,
              HasSubstr("oifname { \"vx-blue\" . \"vx-blue\", \"vx-green\" . \"vx-green\" } acc"));
  agent_->config.Set(config(", reaches: [green], routed: true"));
  EXPECT_THAT(world_.table, AllOf(HasSubstr("\"vx-blue\" . \"vx-green\""),
                                  Not(HasSubstr("\"vx-green\" . \"vx-blue\"")),
                                  HasSubstr("oifname \"vx-blue\" accept")));
}

TEST_F(HostPortsTest, ThePortIsOnTheLinkOfWhatIsPublished) {
  Config config;
  config.node = "n1";
  Start(config).Start();
  // The attachment has joined the cloud by its locator, which the configuration does not have.
  const CloudConfig cloud = *ParseVnl(kVnl, NoGroups);
  ASSERT_TRUE(agent_->clouds.Join("attachments", cloud).ok());
  ports().Open("a", KeyOf(kVnl), {}, Note());
  EXPECT_THAT(*answer_, IsEmpty());
  EXPECT_THAT(world_.links.begin()->second.ifname, AllOf(HasSubstr("vx-"), SizeIs(15)));
  ASSERT_EQ(ports().Publish(Web("a")), absl::OkStatus());
  EXPECT_EQ(world_.links.begin()->second.addresses, ours_);
  EXPECT_EQ(SwitchPorts(), 1u);
  ports().Unpublish("a");
  ports().Close("a");
  agent_->clouds.Leave("attachments", KeyOf(kVnl));
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, ARestartedAgentTakesThemOver) {
  Start(Gateway()).Start();
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  ASSERT_EQ(ports().Publish(Web("a")), absl::OkStatus());
  ASSERT_TRUE(agent_->clouds.Join("attachments", *ParseVnl(kOther, NoGroups)).ok());
  ports().Open("b", KeyOf(kOther), {Prefix("10.43.0.0/16")}, Note());
  ASSERT_THAT(world_.links, SizeIs(2));
  const std::string table = world_.table;

  Start(Gateway());
  EXPECT_EQ(world_.table, table);
  ports().Open("a", KeyOf(kVnl), subnets_, Note());
  ASSERT_EQ(ports().Publish(Web("a")), absl::OkStatus());
  EXPECT_EQ(world_.table, table) << "nothing is taken away before all is known";
  ports().Start();
  EXPECT_EQ(SwitchPorts(), 1u);
  EXPECT_THAT(world_.table, AllOf(HasSubstr("8080"), HasSubstr("vx-blue")));
  EXPECT_THAT(world_.links, SizeIs(1)) << "nobody wants that of b any more";
  EXPECT_THAT(world_.leases, SizeIs(2));

  Start(ConfigWith("")).Start();
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, WhatIsLeftIsKnownByItsLease) {
  const std::string lease = "node " + KeyOf(kVnl).ToString() + " 10.42.0.0/16";
  const std::string alias = NodeAlias(KeyOf(kVnl));
  world_.links[alias] = {};
  Start(ConfigWith("")).Start();
  EXPECT_THAT(world_.links, SizeIs(1)) << "another agent's";

  world_.leases = {{lease, KeyOf(kVnl)}, {"0123456789abc", KeyOf(kVnl)}};
  world_.no_removal = absl::UnavailableError("busy");
  Start(ConfigWith("")).Start();
  EXPECT_THAT(world_.leases, SizeIs(2)) << "the next start knows of it by that";
  world_.no_removal = absl::OkStatus();
  Start(ConfigWith("")).Start();
  EXPECT_THAT(world_.links, IsEmpty());
  EXPECT_THAT(world_.leases, ElementsAre(testing::Key("0123456789abc"))) << "an attachment's";

  world_.leases = {{lease, KeyOf(kVnl)}};  // the agent was killed between the claim and the link
  Start(ConfigWith("")).Start();
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, ALinkThatCannotBeRemovedGoesWithTheNextStart) {
  Start(Gateway()).Start();
  world_.no_removal = absl::UnavailableError("busy");
  agent_->config.Set(ConfigWith(""));
  EXPECT_THAT(world_.links, SizeIs(1));
  world_.no_removal = absl::OkStatus();
  Start(ConfigWith("")).Start();
  ExpectNothingLeft();
}

TEST_F(HostPortsTest, ALinkThatSomebodyRemovedIsMadeAgain) {
  Start(Gateway()).Start();
  world_.links.clear();
  world_.port->Break(absl::NotFoundError("gone"));
  RunUntil([&] { return !world_.links.empty(); });
  EXPECT_EQ(SwitchPorts(), 1u);
  EXPECT_THAT(agent_->lines, testing::Contains(HasSubstr("lost")));
}

TEST_F(HostPortsTest, WithoutForwardingItWorksAndSaysSo) {
  world_.sysctls_writable = false;
  Start(Gateway()).Start();
  EXPECT_EQ(SwitchPorts(), 1u);
  EXPECT_THAT(ports().List().at(0).problem,
              AllOf(HasSubstr("does not forward"), HasSubstr("Read-only")));
}

TEST(NodeIfName, FitsAnInterface) {
  EXPECT_EQ(NodeIfName("blue"), "vx-blue");
  EXPECT_EQ(NodeIfName("twelve-chars"), "vx-twelve-chars");
  const std::string longer = NodeIfName("thirteen-chars");
  EXPECT_THAT(longer, AllOf(SizeIs(15), HasSubstr("vx-thirt")));
  EXPECT_NE(longer, NodeIfName("thirteen-charz"));
  EXPECT_THAT(NodeIfName("vxvde://239.1.2.3/vni=42"), AllOf(SizeIs(15), Not(HasSubstr("/"))));
}

}  // namespace
}  // namespace vxvde
