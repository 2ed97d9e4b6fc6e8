// Tests a whole node on a fake system: each event reaches the parts that need it.

#include "agent/node/node.h"

#include <sys/eventfd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/node_port/testing/fake_nft.h"
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
using ::testing::ElementsAre;
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

  FakeNft firewall_rules, underlay_rules, host_end_rules;
  bool with_fast_path = false;
  int dropped = 0;
  int kept = 0;
  absl::Status no_tap;

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
    system.firewall = {.rules = firewall_rules.AsKernel()};
    system.underlay_rules = underlay_rules.AsKernel();
    system.underlay = {.links = [] { return std::vector<LinkInfo>{FakeUplink(IfIndex{2})}; },
                       .addresses = [] { return std::vector<AddressInfo>(); }};
    system.host_end_rules = host_end_rules.AsKernel();
    system.host_ends = {.list = [] { return std::vector<LinkInfo>(); },
                        .mark = [](IfIndex) { return absl::OkStatus(); }};
    system.open_rule_monitor = []() -> absl::StatusOr<NftMonitor> {
      return absl::UnimplementedError("no notifications here");
    };
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
    ran_ = false;
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
  // The result of a plan that waits for nothing.
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

  struct Step {
    std::function<bool()> until;
    std::function<void()> then = [] {};
  };
  // Runs the loop until the condition of the last step holds. A stopped loop cannot run again, so
  // this is called once for each node.
  void Run(const std::vector<Step>& steps) {
    ASSERT_FALSE(std::exchange(ran_, true));
    EventLoop& loop = node_->loop();
    auto step = steps.begin();
    const EventLoop::TimerId poll = loop.Every(std::chrono::milliseconds(1), [&] {
      if (step == steps.end() || !step->until()) return;
      step->then();
      if (++step == steps.end()) loop.Stop();
    });
    loop.Run();
    loop.Cancel(poll);
  }

  bool ran_ = false;  // since Start()
  std::string run_dir_;
  World world_;
  std::vector<std::string> lines_;
  const Log log_ = Log([this](LogLevel, const std::string& line) { lines_.push_back(line); });
  std::vector<std::string> clouds_of_events_;
  std::unique_ptr<Node> node_;
};

TEST_F(NodeTest, TheWallsStandWhileACloudIsJoined) {
  Start(Blue());
  EXPECT_EQ(world_.underlay_rules.text, "");
  EXPECT_EQ(world_.host_end_rules.text, "");
  Add();
  EXPECT_NE(world_.host_end_rules.text, "") << "before there is a host end";
  const std::string port =
      absl::StrCat(node_->view().Snapshot().clouds.at(0).state.options.unicast_port);
  Run({{.until = [&] { return !world_.underlay_rules.text.empty(); },
        .then =
            [&] {
              EXPECT_THAT(world_.underlay_rules.text, HasSubstr(port));
              EXPECT_TRUE(*node_->attachments().Detach(Request().key));
              EXPECT_THAT(node_->view().Snapshot().clouds, IsEmpty());
            }},
       {.until = [&] {
         return world_.underlay_rules.text.empty() && world_.host_end_rules.text.empty();
       }}});
}

TEST_F(NodeTest, ARefusedWallKeepsPodsFromTheNode) {
  Start(Blue());
  world_.underlay_rules.refuses = absl::FailedPreconditionError("a program owns inet x");
  Add();
  NodeSnapshot snapshot;
  std::string ready;
  Run({{.until = [&] { return !node_->view().WhyNotReady().empty(); },
        .then =
            [&] {
              snapshot = node_->view().Snapshot();
              ready = std::string(node_->attachments().Ready("blue", "").message());
              world_.underlay_rules.refuses = absl::OkStatus();
            }},
       {.until = [&] { return node_->view().WhyNotReady().empty(); }}});
  EXPECT_THAT(snapshot.warning, HasSubstr("owns inet x"));
  EXPECT_THAT(ready, HasSubstr("owns inet x"));
  std::vector<std::string> parts;
  for (const RulesState& state : snapshot.rules) {
    if (!state.problem.empty()) parts.push_back(state.part);
  }
  EXPECT_THAT(parts, ElementsAre("underlay-wall"));
  EXPECT_EQ(node_->view().Snapshot().warning, "");
  EXPECT_EQ(node_->attachments().Ready("blue", ""), absl::OkStatus());
  // Without permission the node works without walls, and reports it.
  world_.underlay_rules.refuses = absl::PermissionDeniedError("not permitted");
  Start(Blue());
  EXPECT_THAT(node_->view().Snapshot().warning, HasSubstr("not permitted"));
  EXPECT_EQ(node_->view().WhyNotReady(), "");
  EXPECT_EQ(node_->attachments().Ready("blue", ""), absl::OkStatus());
}

TEST_F(NodeTest, ARestartedNodeHasItsWallsAtOnce) {
  Start(Blue());
  Add();
  world_.underlay_rules.text = "";
  world_.host_end_rules.text = "";
  Start(Blue());
  EXPECT_NE(world_.underlay_rules.text, "");
  EXPECT_NE(world_.host_end_rules.text, "");
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
  Run({{.until = [&] { return !world_.underlay_rules.text.empty(); }}});
  EXPECT_THAT(world_.underlay_rules.text, Not(HasSubstr("20000-20010")));
  node_->Reload(
      ConfigOf("node: n1\nmetrics: \"\"\ndatapath: user\nunicastPorts: 20000-20010\n"
               "clouds: [{name: azure, vnl: \"vxvde://239.1.2.3/vni=42\", "
               "snooping: false}]\n"));
  EXPECT_THAT(lines_, Contains(HasSubstr("event=\"metrics address kept\"")));
  EXPECT_THAT(lines_, Contains(AllOf(HasSubstr("event=\"datapath changed\""),
                                     HasSubstr("kernel=\"no eBPF here\""))));
  EXPECT_THAT(lines_, Contains(HasSubstr("event=\"configuration reloaded\" clouds=1")));
  EXPECT_THAT(world_.underlay_rules.text, HasSubstr("20000-20010"));
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
