// A whole node on a system of fakes: what has to reach which part.

#include "agent/node/node.h"

#include <sys/eventfd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/testing/fakes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/cloud/testing/fake_fastpath.h"
#include "plugin/cloud/testing/fakes.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

Config ConfigOf(const std::string& yaml) {
  absl::StatusOr<Config> config = ParseConfig(yaml, NoGroups);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}
Config Blue(const std::string& more = "") {
  return ConfigOf("node: n1\nclouds: [{name: blue, vnl: \"vxvde://239.1.2.3/vni=42\"}]\n" + more);
}

// The system, which outlives a node: rules, the kernel datapath, and whether taps can be opened.
struct World {
  struct CountedFastPath : FakeFastPath {
    explicit CountedFastPath(World* world) : world(world) {}
    void DropInherited() override { ++world->dropped; }
    void KeepForNextAgent() override { ++world->kept; }
    World* world;
  };

  std::string firewall_rules, underlay_rules, host_end_rules;  // empty: the table is gone
  bool with_fast_path = false;
  int dropped = 0;
  int kept = 0;
  absl::Status no_tap;

  static NftKernel Rules(std::string* table) {
    return {.run =
                [table](const std::string& commands) {
                  *table = commands.find('{') == std::string::npos ? "" : commands;
                  return absl::OkStatus();
                },
            .list = [table]() -> absl::StatusOr<std::string> { return *table; }};
  }

  NodeSystem AsSystem() {
    NodeSystem system;
    const auto socket =
        [](const UdpOptions& options) -> absl::StatusOr<std::unique_ptr<DatagramIo>> {
      const auto state = std::make_shared<FakeSocket::State>();
      state->port = options.port != 0 ? options.port : options.group_port;
      return std::make_unique<FakeSocket>(state);
    };
    system.sockets = {.group = socket, .unicast = socket};
    if (with_fast_path) {
      system.fast_path.fast = std::make_unique<CountedFastPath>(this);
    } else {
      system.fast_path.why_not = "no eBPF here";
    }
    system.links.by_name = [](const std::string&) -> absl::StatusOr<LinkInfo> {
      return absl::NotFoundError("no such interface");
    };
    system.links.by_index = [](IfIndex index) -> absl::StatusOr<LinkInfo> {
      return FakeUplink(index);
    };
    system.links.route = [](const IpAddress&) -> absl::StatusOr<RouteAnswer> {
      RouteAnswer answer;
      answer.interface = IfIndex{2};
      return answer;
    };
    system.links.tap_port = [](const std::string&,
                               UniqueFd) -> absl::StatusOr<std::unique_ptr<FrameIo>> {
      return std::make_unique<FakePort>(std::make_shared<FakePort::State>());
    };
    system.links.reopen_tap = [this](const std::string&, const std::string&, const std::string&,
                                     bool) -> absl::StatusOr<UniqueFd> {
      if (!no_tap.ok()) return no_tap;
      return UniqueFd(eventfd(0, EFD_CLOEXEC));
    };
    system.node_links = {
        .ensure = [](const NodeLink&) { return IfIndex{7}; },
        .remove = [](const std::string&) { return absl::OkStatus(); },
        .get = [](const std::string&) { return std::string("1"); },
        .set = [](const std::string&, const std::string&) { return absl::OkStatus(); }};
    system.firewall = {.rules = Rules(&firewall_rules)};
    system.underlay_rules = Rules(&underlay_rules);
    system.underlay = {.links = [] { return std::vector<LinkInfo>{FakeUplink(IfIndex{2})}; },
                       .addresses = [] { return std::vector<AddressInfo>(); }};
    system.host_end_rules = Rules(&host_end_rules);
    system.host_ends = {.list = [] { return std::vector<LinkInfo>(); },
                        .mark = [](IfIndex) { return absl::OkStatus(); }};
    system.local_addresses = [] { return std::vector<IpAddress>(); };
    system.snapshot = [](const auto&) { return KernelSnapshot{.links = std::vector<LinkInfo>()}; };
    system.group_id = NoGroups;
    system.random = [n = uint64_t{0}]() mutable { return ++n; };
    return system;
  }
};

class NodeTest : public testing::Test {
 protected:
  NodeTest() {
    std::string pattern = testing::TempDir() + "/node.XXXXXX";
    run_dir_ = mkdtemp(pattern.data());
  }
  ~NodeTest() override {
    node_.reset();
    std::filesystem::remove_all(run_dir_);
  }

  Node& Start(const Config& config) {
    node_.reset();
    node_ = std::make_unique<Node>(world_.AsSystem(), *EventLoop::Create(), *Store::Open(run_dir_),
                                   config, &log_);
    node_->SetListener([this](const SwitchEvent&, const std::string& cloud) {
      clouds_of_events_.push_back(cloud);
    });
    EXPECT_TRUE(node_->Watch().ok());
    EXPECT_TRUE(node_->Restore().ok());
    return *node_;
  }

  static PlanRequest Request() {
    PlanRequest request;
    request.key = {"net", "c1", "eth0"};
    request.cloud = "blue";
    request.netns = "/run/netns/c1";
    request.addresses_by_caller = true;
    request.tap = true;
    return request;
  }
  // Of a plan that waits for nothing.
  absl::StatusOr<PlannedAttachment> Plan() {
    absl::StatusOr<PlannedAttachment> result = absl::InternalError("the plan has no result");
    node_->attachments().Plan(
        Request(), [&](absl::StatusOr<PlannedAttachment> planned) { result = std::move(planned); });
    return result;
  }
  void Add() {
    const absl::StatusOr<PlannedAttachment> plan = Plan();
    ASSERT_TRUE(plan.ok()) << plan.status();
    const absl::StatusOr<PortId> port =
        node_->attachments().Commit(plan->ticket, {}, UniqueFd(eventfd(0, EFD_CLOEXEC)));
    ASSERT_TRUE(port.ok()) << port.status();
  }

  // Runs the loop until `done`.
  void RunUntil(const std::function<bool()>& done) {
    EventLoop& loop = node_->loop();
    const EventLoop::TimerId poll = loop.Every(std::chrono::milliseconds(1), [&] {
      if (done()) loop.Stop();
    });
    loop.Run();
    loop.Cancel(poll);
  }

  std::string run_dir_;
  World world_;
  std::vector<std::string> lines_;
  const Log log_ = Log([this](LogLevel, const std::string& line) { lines_.push_back(line); });
  std::vector<std::string> clouds_of_events_;
  std::unique_ptr<Node> node_;
};

TEST_F(NodeTest, TheWallsStandWhileACloudIsJoined) {
  Start(Blue());
  EXPECT_EQ(world_.underlay_rules, "");
  EXPECT_EQ(world_.host_end_rules, "");
  Add();
  EXPECT_NE(world_.host_end_rules, "") << "before there is a host end";
  const std::string port =
      absl::StrCat(node_->view().Snapshot().clouds.at(0).state.options.unicast_port);
  RunUntil([&] { return !world_.underlay_rules.empty(); });
  EXPECT_THAT(world_.underlay_rules, HasSubstr(port));

  ASSERT_TRUE(*node_->attachments().Detach(Request().key));
  EXPECT_THAT(node_->view().Snapshot().clouds, IsEmpty());
  RunUntil([&] { return world_.underlay_rules.empty() && world_.host_end_rules.empty(); });
}

TEST_F(NodeTest, ARestartedNodeHasItsWallsAtOnce) {
  Start(Blue());
  Add();
  world_.underlay_rules = "";
  world_.host_end_rules = "";
  Start(Blue());
  EXPECT_NE(world_.underlay_rules, "");
  EXPECT_NE(world_.host_end_rules, "");
  EXPECT_THAT(node_->attachments().List(), SizeIs(1));
}

TEST_F(NodeTest, EventsAreLoggedAndPublishedWithTheNameOfTheirCloud) {
  Start(Blue());
  Add();
  EXPECT_THAT(lines_, Contains(HasSubstr("event=\"cloud joined\" cloud=blue")));
  EXPECT_THAT(lines_, Contains(HasSubstr("event=\"port added\" cloud=blue")));
  ASSERT_TRUE(*node_->attachments().Detach(Request().key));
  EXPECT_THAT(lines_, Contains(HasSubstr("event=\"cloud left\" cloud=blue")));
  EXPECT_THAT(clouds_of_events_, AllOf(Not(IsEmpty()), Each(std::string("blue"))));
}

TEST_F(NodeTest, ANewConfigurationReachesThePartsAndARefusedOneDoesNot) {
  Start(Blue());
  Add();
  RunUntil([&] { return !world_.underlay_rules.empty(); });
  EXPECT_THAT(world_.underlay_rules, Not(HasSubstr("20000-20010")));
  node_->Reload(
      ConfigOf("node: n1\nmetrics: \"\"\ndatapath: user\nunicastPorts: 20000-20010\n"
               "clouds: [{name: azure, vnl: \"vxvde://239.1.2.3/vni=42\", "
               "snooping: false}]\n"));
  EXPECT_THAT(lines_, Contains(HasSubstr("event=\"metrics address kept\"")));
  EXPECT_THAT(lines_, Contains(AllOf(HasSubstr("event=\"datapath changed\""),
                                     HasSubstr("kernel=\"no eBPF here\""))));
  EXPECT_THAT(lines_, Contains(HasSubstr("event=\"configuration reloaded\" clouds=1")));
  EXPECT_THAT(world_.underlay_rules, HasSubstr("20000-20010"));
  EXPECT_EQ(node_->view().Snapshot().clouds.at(0).name, "azure");
  EXPECT_FALSE(node_->view().Snapshot().clouds.at(0).state.options.snooping);
  EXPECT_FALSE(Plan().ok()) << "cloud blue is not configured any more";

  lines_.clear();
  node_->Reload(absl::InvalidArgumentError("agent.yaml:3: no such key"));
  EXPECT_THAT(lines_, Contains(AllOf(HasSubstr("configuration refused"), HasSubstr(":3: no"))));
  EXPECT_THAT(lines_, SizeIs(1));
  EXPECT_EQ(node_->view().Snapshot().clouds.at(0).name, "azure");
}

TEST_F(NodeTest, ATapThatCannotBeOpenedWaits) {
  Start(Blue());
  Add();
  EXPECT_FALSE(node_->TapsWait());
  world_.no_tap = absl::UnavailableError("too many open files");
  EXPECT_TRUE(Start(Blue()).TapsWait());
  world_.no_tap = absl::OkStatus();
  EXPECT_FALSE(Start(Blue()).TapsWait());
}

TEST_F(NodeTest, TheKernelDatapathIsHandedOver) {
  EXPECT_FALSE(Start(Blue()).HasFastPath());
  node_->DropInherited();
  node_->KeepForNextAgent();
  world_.with_fast_path = true;
  EXPECT_TRUE(Start(Blue()).HasFastPath());
  EXPECT_EQ(world_.dropped, 0) << "until all that could be inherited is";
  node_->DropInherited();
  EXPECT_EQ(world_.dropped, 1);
  node_->KeepForNextAgent();
  EXPECT_EQ(world_.kept, 1);
}

}  // namespace
}  // namespace vxvde
