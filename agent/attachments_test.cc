#include "agent/attachments.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "agent/live_node.h"
#include "agent/refusal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/base/status.h"
#include "plugin/cloud/fakes.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kVnl[] = "vxvde://239.1.2.3/vni=42";

std::optional<uint32_t> NoGroups(absl::string_view) { return std::nullopt; }

CloudKey KeyOf(const std::string& vnl) { return ParseVnl(vnl, NoGroups)->key; }

// The kernel as the agent sees it: interfaces, taps and UDP ports that are taken. It goes on
// living when an agent is restarted. Every call of it is a step that can be made to fail.
struct Kernel {
  std::map<std::string, LinkInfo> links;
  std::set<std::pair<std::string, std::string>> taps;             // netns and name
  std::set<uint16_t> taken;                                       // by another program
  std::map<std::string, std::shared_ptr<FakePort::State>> ports;  // by link, or "tap"
  std::vector<std::shared_ptr<FakeSocket::State>> unicast;        // each ever opened
  std::vector<DeadPort> buried;
  int bound = 0;      // sockets open now
  int steps = 0;      // calls so far
  int fail_step = 0;  // the one of them that fails
  bool no_route = false;
  bool uplink_up = true;

  absl::Status Step(const char* what) {
    if (++steps == fail_step) return absl::InternalError(absl::StrCat("injected: ", what));
    return absl::OkStatus();
  }

  void AddVeth(const std::string& id) {
    LinkInfo link;
    link.index = IfIndex{static_cast<uint32_t>(100 + links.size())};
    link.name = HostIfName(id);
    link.alias = LinkAlias(id);
    links[link.name] = link;
  }

  absl::StatusOr<LinkInfo> ByName(const std::string& name) {
    if (const absl::Status s = Step("link"); !s.ok()) return s;
    if (const auto found = links.find(name); found != links.end()) return found->second;
    return absl::NotFoundError(absl::StrCat("no interface ", name));
  }

  Links AsLinks() {
    Links out;
    out.by_name = [this](const std::string& name) { return ByName(name); };
    out.by_index = [this](IfIndex) -> absl::StatusOr<LinkInfo> {
      if (const absl::Status s = Step("uplink"); !s.ok()) return s;
      LinkInfo eth0;
      eth0.index = IfIndex{2};
      eth0.name = "eth0";
      eth0.mtu = 1500;
      eth0.up = uplink_up;
      return eth0;
    };
    out.route = [this](const IpAddress&) -> absl::StatusOr<RouteAnswer> {
      if (const absl::Status s = Step("route"); !s.ok()) return s;
      if (no_route) return absl::UnavailableError("Network is unreachable");
      RouteAnswer answer;
      answer.interface = IfIndex{2};
      return answer;
    };
    out.packet_port = [this](IfIndex index) -> absl::StatusOr<std::unique_ptr<FrameIo>> {
      if (const absl::Status s = Step("packet socket"); !s.ok()) return s;
      const auto link = std::find_if(links.begin(), links.end(),
                                     [&](const auto& l) { return l.second.index == index; });
      if (link == links.end()) return absl::NotFoundError("no such index");
      return NewPort(link->first);
    };
    out.tap_port = [this](UniqueFd tap) -> absl::StatusOr<std::unique_ptr<FrameIo>> {
      if (const absl::Status s = Step("tap"); !s.ok()) return s;
      if (!tap) return absl::InvalidArgumentError("no descriptor");
      return NewPort("tap");
    };
    out.reopen_tap = [this](const std::string& netns, const std::string& ifname,
                            const std::string&) -> absl::StatusOr<UniqueFd> {
      if (const absl::Status s = Step("reopen tap"); !s.ok()) return s;
      if (!taps.contains({netns, ifname})) return absl::NotFoundError("no tap");
      return UniqueFd(eventfd(0, EFD_CLOEXEC));
    };
    out.bury = [this](DeadPort port) { buried.push_back(std::move(port)); };
    return out;
  }

  std::unique_ptr<FrameIo> NewPort(const std::string& name) {
    // A descriptor that epoll refuses makes AddPort fail.
    struct Unwatchable : FakePort {
      using FakePort::FakePort;
      int fd() const override { return -1; }
    };
    const auto state = std::make_shared<FakePort::State>();
    ports[name] = state;
    if (!Step("watch port").ok()) return std::make_unique<Unwatchable>(state);
    return std::make_unique<FakePort>(state);
  }

  SwitchSockets AsSockets() {
    struct Counted : FakeSocket {
      Counted(std::shared_ptr<State> state, int* bound)
          : FakeSocket(std::move(state)), bound(bound) {
        ++*bound;
      }
      ~Counted() override { --*bound; }
      int* bound;
    };
    SwitchSockets sockets;
    sockets.group = [this](const UdpOptions& o) -> absl::StatusOr<std::unique_ptr<DatagramIo>> {
      if (const absl::Status s = Step("group socket"); !s.ok()) return s;
      const auto state = std::make_shared<FakeSocket::State>();
      state->port = o.group_port;
      return std::make_unique<Counted>(state, &bound);
    };
    sockets.unicast = [this](const UdpOptions& o) -> absl::StatusOr<std::unique_ptr<DatagramIo>> {
      if (const absl::Status s = Step("unicast socket"); !s.ok()) return s;
      if (taken.contains(o.port)) return absl::AlreadyExistsError("Address already in use");
      const auto state = std::make_shared<FakeSocket::State>();
      state->port = o.port;
      unicast.push_back(state);
      return std::make_unique<Counted>(state, &bound);
    };
    return sockets;
  }

  // Datagrams that were sent from a cloud's unicast socket with the header alone.
  int Leaves() const {
    int leaves = 0;
    for (const auto& socket : unicast) {
      for (const FakeSocket::Out& out : socket->out) leaves += out.bytes.size() == 8;
    }
    return leaves;
  }
};

// Answers when the test says so.
struct FakeClaims : AddressClaims {
  std::vector<AddressWish> wishes;
  std::map<std::string, Claimed> waiting;  // by lease
  std::vector<std::string> released;
  std::map<std::string, std::vector<IpPrefix>> occupied;

  void Claim(AddressWish wish, Claimed done) override {
    waiting[wish.lease] = std::move(done);
    wishes.push_back(std::move(wish));
  }
  void Release(const std::string& lease) override {
    waiting.erase(lease);
    occupied.erase(lease);
    released.push_back(lease);
  }
  void Occupy(const std::string& lease, const CloudKey&, const MacAddress&,
              const std::vector<IpPrefix>& addresses) override {
    occupied[lease] = addresses;
  }
  absl::Status Ready(const CloudKey&, const std::vector<IpPrefix>&) const override { return ready; }
  std::vector<AllocatorSnapshot> Snapshot() const override { return {}; }

  absl::Status ready;
};

// Opens at once, with address 1 of each subnet.
struct FakeNodePorts : NodePorts {
  std::map<std::string, std::vector<IpPrefix>> users;  // and the subnets that they named
  std::map<std::string, Publication> published;
  absl::Status refuses_to_open;
  absl::Status refuses_to_publish;
  absl::Status taken;

  void Open(const std::string& user, const CloudKey&, const std::vector<IpPrefix>& subnets,
            Opened done) override {
    users[user] = subnets;
    if (!refuses_to_open.ok()) return done(refuses_to_open);
    std::vector<IpPrefix> addresses;
    for (const IpPrefix& subnet : subnets) {
      std::vector<uint8_t> wire(subnet.address.wire().begin(), subnet.address.wire().end());
      wire.back() = 1;
      addresses.push_back({IpAddress::FromWire(wire), subnet.length});
    }
    done(addresses);
  }
  void Close(const std::string& user) override { users.erase(user); }
  absl::Status CheckFree(const std::string&, const std::vector<PortMapping>&) const override {
    return taken;
  }
  absl::Status Publish(const Publication& publication) override {
    if (refuses_to_publish.ok()) published[publication.id] = publication;
    return refuses_to_publish;
  }
  void Unpublish(const std::string& id) override { published.erase(id); }
  std::vector<AttachmentInfo> List() const override { return shown; }

  std::vector<AttachmentInfo> shown;
};

// One life of the agent.
struct Agent {
  Agent(Kernel* kernel, const std::string& run_dir, const Config& config)
      : loop(*EventLoop::Create()),
        the_switch(loop.get(), kernel->AsSockets()),
        store(*Store::Open(run_dir)),
        log([this](LogLevel, const std::string& line) { lines.push_back(line); }),
        links(kernel->AsLinks()),
        clouds(&the_switch, &store, &log, &links),
        attachments({.loop = loop.get(),
                     .the_switch = &the_switch,
                     .store = &store,
                     .log = &log,
                     .links = &links,
                     .clouds = &clouds,
                     .claims = &claims,
                     .node_ports = &node_ports},
                    NoGroups, config) {
    the_switch.SetListener([this](const SwitchEvent& event) { attachments.OnEvent(event); });
  }

  // One turn after another, until `done`.
  void RunUntil(const std::function<bool()>& done) {
    const EventLoop::TimerId poll = loop->Every(std::chrono::milliseconds(1), [&] {
      if (done()) loop->Stop();
    });
    loop->Run();
    loop->Cancel(poll);
  }

  std::vector<std::string> lines;
  std::unique_ptr<EventLoop> loop;
  Switch the_switch;
  Store store;
  Log log;
  Links links;
  JoinedClouds clouds;
  FakeClaims claims;
  FakeNodePorts node_ports;
  Attachments attachments;
};

class AttachmentsTest : public testing::Test {
 protected:
  AttachmentsTest() {
    std::string pattern = testing::TempDir() + "/attachments.XXXXXX";
    run_dir_ = mkdtemp(pattern.data());
    const absl::StatusOr<Config> config = ParseConfig(R"(
node: n1
clouds:
  - {name: blue, vnl: "vxvde://239.1.2.3/vni=42", mtu: 1400}
  - {name: team, vnl: "vxvde://239.1.2.3/vni=43", namespaces: ["team-*"]}
  - {name: routed, vnl: "vxvde://239.1.2.3/vni=44", subnets: [10.42.0.0/16]}
  - name: out
    vnl: vxvde://239.1.2.3/vni=45
    subnets: [10.45.0.0/16, 10.46.0.0/16, "fd45::/64"]
    gateway: true
)",
                                                      NoGroups);
    EXPECT_TRUE(config.ok()) << config.status();
    config_ = *config;
    Start();
  }
  ~AttachmentsTest() override {
    agent_.reset();
    std::filesystem::remove_all(run_dir_);
  }

  void Start() {
    agent_.reset();
    agent_ = std::make_unique<Agent>(&kernel_, run_dir_, config_);
  }
  void Restart() {
    Start();
    ASSERT_TRUE(agent_->attachments.Restore().ok());
  }

  static PlanRequest Request(const std::string& container, const std::string& cloud = "blue") {
    PlanRequest request;
    request.key = {"net", container, "eth0"};
    request.cloud = cloud;
    request.netns = "/run/netns/" + container;
    request.addresses_by_caller = true;
    return request;
  }
  static std::string IdOf(const PlanRequest& request) {
    return AttachmentId(request.key.network, request.key.container_id, request.key.ifname);
  }
  absl::StatusOr<PlannedAttachment> Plan(const PlanRequest& request) {
    return agent_->attachments.Plan(request);
  }
  absl::StatusOr<PortId> Commit(const PlannedAttachment& plan,
                                const std::vector<IpPrefix>& with = {}) {
    return agent_->attachments.Commit(plan.ticket, with, UniqueFd());
  }
  // What the CNI program does: plan, link, commit.
  absl::StatusOr<PortId> Add(const PlanRequest& request,
                             const std::vector<std::string>& with = {}) {
    absl::StatusOr<PlannedAttachment> plan = Plan(request);
    if (!plan.ok()) return plan.status();
    UniqueFd tap;
    if (request.tap) {
      kernel_.taps.insert({request.netns, request.key.ifname});
      tap = UniqueFd(eventfd(0, EFD_CLOEXEC));
    } else {
      kernel_.AddVeth(plan->id);
    }
    std::vector<IpPrefix> addresses;
    for (const std::string& text : with) addresses.push_back(*IpPrefix::Parse(text));
    return agent_->attachments.Commit(plan->ticket, addresses, std::move(tap));
  }
  static Refusal Why(const absl::Status& status) { return RefusalOf(status); }
  static uint32_t Code(AttachError error) { return static_cast<uint32_t>(error); }

  std::vector<AttachmentRecord> Records() { return Store::Open(run_dir_)->Load()->records; }
  UnicastPorts SavedPorts() { return Store::Open(run_dir_)->Load()->ports; }
  bool Joined(const std::string& vnl) { return agent_->the_switch.IsJoined(KeyOf(vnl)); }
  CloudSnapshot Cloud() { return agent_->the_switch.Snapshot().clouds.at(0); }

  void ExpectNothingLeft() {
    EXPECT_THAT(agent_->the_switch.Snapshot().clouds, IsEmpty());
    EXPECT_THAT(agent_->attachments.List(), IsEmpty());
    EXPECT_THAT(Records(), IsEmpty());
    EXPECT_THAT(SavedPorts(), IsEmpty());
    EXPECT_EQ(kernel_.bound, 0);
  }

  std::string run_dir_;
  Config config_;
  Kernel kernel_;
  std::unique_ptr<Agent> agent_;
};

TEST_F(AttachmentsTest, AddAndDelete) {
  const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->id, IdOf(Request("c1")));
  EXPECT_EQ(plan->host_ifname, "vx" + plan->id);
  EXPECT_EQ(plan->alias, "vxvde:" + plan->id);
  EXPECT_EQ(plan->mtu, 1400);
  EXPECT_EQ(plan->cloud, "blue");
  EXPECT_EQ(plan->vnl, kVnl);
  EXPECT_EQ(plan->mac, DeriveMac("net", "c1", "eth0", 0));
  EXPECT_TRUE(Joined(kVnl));
  EXPECT_THAT(agent_->attachments.List(), IsEmpty()) << "nothing is visible yet";
  EXPECT_THAT(Records(), IsEmpty());

  kernel_.AddVeth(plan->id);
  const absl::StatusOr<PortId> port = Commit(*plan, {*IpPrefix::Parse("192.0.2.7/24")});
  ASSERT_TRUE(port.ok()) << port.status();
  ASSERT_THAT(agent_->attachments.List(), SizeIs(1));
  EXPECT_EQ(agent_->attachments.List()[0].port, *port);
  EXPECT_THAT(Records(), SizeIs(1));
  ASSERT_THAT(Cloud().ports, SizeIs(1));
  EXPECT_EQ(Cloud().ports[0].options.mac, plan->mac);
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), Cloud().options.unicast_port);

  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  EXPECT_EQ(kernel_.Leaves(), 1) << "the last port has gone";
  ExpectNothingLeft();
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), false) << "twice is fine";
}

TEST_F(AttachmentsTest, ACloudIsLeftWithItsLastPortOnly) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());
  ASSERT_TRUE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_TRUE(Joined(kVnl));
  EXPECT_EQ(kernel_.Leaves(), 0);
  const absl::StatusOr<PlannedAttachment> planned = Plan(Request("c3"));
  ASSERT_TRUE(agent_->attachments.Detach(Request("c2").key).ok());
  EXPECT_TRUE(Joined(kVnl)) << "a plan holds it";
  agent_->attachments.Rollback(planned->ticket);
  EXPECT_EQ(kernel_.Leaves(), 1);
  ExpectNothingLeft();
}

// One ADD may make several attachments, by annotation; its DEL names the first only.
TEST_F(AttachmentsTest, DetachAllTakesWhatTheSameAddMade) {
  PlanRequest net1 = Request("c1", "team");
  net1.key.ifname = "net1";
  net1.main_ifname = "eth0";
  PlanRequest another_adds = Request("c1");  // the same network once more, as Multus does
  another_adds.key.ifname = "net2";
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(Add(net1).ok());
  ASSERT_TRUE(Add(another_adds).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());

  Restart();  // what belongs together is on disk
  EXPECT_EQ(*agent_->attachments.DetachAll(Request("c1").key), true);
  std::vector<std::string> left;
  for (const AttachmentInfo& one : agent_->attachments.List()) {
    left.push_back(one.container_id + "/" + one.ifname);
  }
  EXPECT_THAT(left, UnorderedElementsAre("c1/net2", "c2/eth0"));
  EXPECT_EQ(*agent_->attachments.DetachAll(Request("c1").key), false) << "twice is fine";
}

// Chained, the first interface is another plugin's: there is no attachment of that name.
TEST_F(AttachmentsTest, DetachAllNeedsNoFirst) {
  PlanRequest net1 = Request("c1");
  net1.key.ifname = "net1";
  net1.main_ifname = "eth0";
  const absl::StatusOr<PlannedAttachment> plan = Plan(net1);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->alias, "vxvde:" + plan->id + ":" + IdOf(Request("c1")));
  agent_->attachments.Rollback(plan->ticket);
  ASSERT_TRUE(Add(net1).ok());
  EXPECT_EQ(*agent_->attachments.DetachAll(Request("c1").key), true);
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, M3_AnnotationsNameLocatorsOnlyWhereAllowed) {
  PlanRequest request = Request("c1", "");
  request.vnl = "vxvde://239.1.2.9";
  request.by_annotation = true;
  const Refusal why = Why(Plan(request).status());
  EXPECT_EQ(why.code, Code(AttachError::kForbidden));
  EXPECT_THAT(why.message, AllOf(HasSubstr("vxvde://239.1.2.9"), HasSubstr("allowVnl: false")));
  ExpectNothingLeft();

  request.by_annotation = false;  // the operator's configuration
  EXPECT_TRUE(Add(request).ok());
  config_.allow_vnl = true;
  agent_->attachments.SetConfig(config_);
  request.by_annotation = true;
  request.key.ifname = "net1";
  EXPECT_TRUE(Add(request).ok());

  // A locator is no way around the rule of the cloud that it names.
  request.key.ifname = "net2";
  request.vnl = "vxvde://239.1.2.3/vni=43";
  request.pod_namespace = "shop";
  EXPECT_THAT(Why(Plan(request).status()).message,
              AllOf(HasSubstr("\"shop\""), HasSubstr("[team-*]")));
}

// Each call into the kernel and each write to the run-dir fails once: whatever it was, the ADD
// fails, and nothing of it is left.
TEST_F(AttachmentsTest, EachStepOfAddFailsInTurn) {
  for (const bool tap : {false, true}) {
    int failures = 0;
    for (int step = 1;; ++step) {
      kernel_ = Kernel{};
      Start();
      kernel_.fail_step = step;
      PlanRequest request = Request("c1");
      request.tap = tap;
      const absl::StatusOr<PortId> port = Add(request, {"192.0.2.7/24"});
      kernel_.fail_step = 0;
      if (port.ok()) {
        ASSERT_LT(kernel_.steps, step) << "step " << step << " failed and nobody noticed";
        ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
        ExpectNothingLeft();
        break;
      }
      ++failures;
      SCOPED_TRACE(
          absl::StrCat(tap ? "tap" : "veth", ", step ", step, ": ", port.status().message()));
      ExpectNothingLeft();
      EXPECT_TRUE(Add(request).ok()) << "the next try works";
      EXPECT_TRUE(agent_->attachments.Detach(request.key).ok());
      kernel_.links.clear();
    }
    EXPECT_GE(failures, 6);
  }
}

TEST_F(AttachmentsTest, EachWriteOfAddFailsInTurn) {
  // A folder stands where the file is to be written: first the ports, then the record.
  const std::string ports = run_dir_ + "/clouds.json.new";
  std::filesystem::create_directory(ports);
  EXPECT_THAT(std::string(Plan(Request("c1")).status().message()), HasSubstr("clouds.json"));
  ExpectNothingLeft();
  std::filesystem::remove(ports);

  const std::string record = run_dir_ + "/attachments/" + IdOf(Request("c1")) + ".json.new";
  std::filesystem::create_directory(record);
  EXPECT_THAT(std::string(Add(Request("c1")).status().message()), HasSubstr(".json"));
  ExpectNothingLeft();
  std::filesystem::remove(record);
  EXPECT_TRUE(Add(Request("c1")).ok());
}

TEST_F(AttachmentsTest, ADetachBuriesThePortWithItsLink) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(*agent_->attachments.Detach(Request("c1").key));
  ASSERT_EQ(kernel_.buried.size(), 1);
  EXPECT_NE(kernel_.buried[0].io, nullptr);
  EXPECT_TRUE(kernel_.buried[0].with_link);
  EXPECT_EQ(kernel_.buried[0].host_end, kernel_.links[HostIfName(IdOf(Request("c1")))].index);

  PlanRequest tap = Request("c2");
  tap.tap = true;
  ASSERT_TRUE(Add(tap).ok());
  ASSERT_TRUE(*agent_->attachments.Detach(tap.key));
  ASSERT_EQ(kernel_.buried.size(), 2);
  EXPECT_TRUE(kernel_.buried[1].with_link);
  EXPECT_EQ(kernel_.buried[1].host_end, IfIndex::kNone);
}

// Its interface is the plugin's, which is about to undo what it did.
TEST_F(AttachmentsTest, AFailedCommitBuriesThePortAlone) {
  const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  kernel_.AddVeth(plan->id);
  std::filesystem::remove_all(run_dir_ + "/attachments");  // the record cannot be written
  ASSERT_FALSE(Commit(*plan).ok());
  ASSERT_EQ(kernel_.buried.size(), 1);
  EXPECT_FALSE(kernel_.buried[0].with_link);
}

TEST_F(AttachmentsTest, ADetachWhoseRecordCannotBeRemovedIsTriedAgain) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  // A folder in the record's place cannot be unlinked.
  const std::string path = run_dir_ + "/attachments/" + IdOf(Request("c1")) + ".json";
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_FALSE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_THAT(Cloud().ports, SizeIs(1)) << "as it was";
  std::filesystem::remove(path);
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, CommitNeedsALinkThatIsOurs) {
  const auto refused = [&](const std::function<void(LinkInfo&)>& spoil) {
    const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
    EXPECT_TRUE(plan.ok()) << plan.status();
    kernel_.AddVeth(plan->id);
    spoil(kernel_.links[plan->host_ifname]);
    const absl::Status status = Commit(*plan).status();
    EXPECT_FALSE(status.ok());
    ExpectNothingLeft();
    return std::string(status.message());
  };
  EXPECT_THAT(refused([](LinkInfo& link) { link.alias = "someone else's"; }),
              HasSubstr("not ours"));
}

TEST_F(AttachmentsTest, ClouldsAreChosenByNameLocatorOrDefault) {
  const Refusal unknown = Why(Plan(Request("c1", "red")).status());
  EXPECT_EQ(unknown.code, Code(AttachError::kUnknownCloud));
  EXPECT_THAT(unknown.message, HasSubstr("\"red\""));
  EXPECT_THAT(unknown.remedy, HasSubstr("blue, team, routed"));

  PlanRequest request = Request("c1", "");
  request.vnl = "vxvde://239.1.2.3/vni=42/ttl=9";
  const absl::StatusOr<PlannedAttachment> named = Plan(request);
  EXPECT_EQ(named->cloud, "blue") << "it is the named cloud";
  EXPECT_EQ(named->vnl, kVnl) << "with the named cloud's options";

  const absl::StatusOr<PlannedAttachment> by_default = Plan(Request("c2", ""));
  EXPECT_EQ(by_default->vnl, "vxvde://");
  EXPECT_EQ(by_default->cloud, "vxvde://");
  EXPECT_EQ(by_default->mtu, 1450);

  request = Request("c3", "");
  request.vnl = "vxvde://239.1.2.3/nonsense=1";
  EXPECT_EQ(Why(Plan(request).status()).code, kCniInvalidConfig);
}

TEST_F(AttachmentsTest, PolicyAndAddressesAreChecked) {
  PlanRequest request = Request("c1", "team");
  request.pod_namespace = "shop";
  const Refusal forbidden = Why(Plan(request).status());
  EXPECT_EQ(forbidden.code, Code(AttachError::kForbidden));
  EXPECT_THAT(forbidden.message, HasSubstr("namespaces: [team-*]"));
  // The locator is no way around the rule of the cloud that it names.
  request.cloud = "";
  request.vnl = "vxvde://239.1.2.3/vni=43";
  EXPECT_EQ(Why(Plan(request).status()).code, Code(AttachError::kForbidden));
  request.pod_namespace = "team-a";
  EXPECT_TRUE(Plan(request).ok());
  EXPECT_TRUE(Plan(Request("c2", "team")).ok()) << "outside Kubernetes there is no limit";

  request = Request("c3", "routed");
  request.addresses_by_caller = false;
  request.cloud = "blue";
  EXPECT_TRUE(Plan(request).ok()) << "no subnets: layer 2 only";
  ASSERT_THAT(agent_->attachments.List(), IsEmpty());
}

TEST_F(AttachmentsTest, WhoAskedIsKept) {
  PlanRequest podman = Request("c1");
  podman.caller = "netavark";
  ASSERT_TRUE(Add(podman).ok());
  ASSERT_TRUE(Add(Request("c2")).ok());
  Restart();
  for (const AttachmentInfo& info : agent_->attachments.List()) {
    EXPECT_EQ(info.caller, info.container_id == "c1" ? "netavark" : "cni");
  }
}

TEST_F(AttachmentsTest, MacsAreKeptApart) {
  PlanRequest first = Request("c1");
  first.mac = DeriveMac("net", "c2", "eth0", 0);
  ASSERT_TRUE(Add(first).ok());
  // What would be derived is taken: the next one is.
  EXPECT_EQ(Plan(Request("c2"))->mac, DeriveMac("net", "c2", "eth0", 1));
  PlanRequest same = Request("c3");
  same.mac = first.mac;
  const Refusal refusal = Why(Plan(same).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kMacInUse));
  EXPECT_THAT(refusal.message, HasSubstr("container c1 interface eth0"));
  same.cloud = "team";
  EXPECT_TRUE(Plan(same).ok()) << "another cloud";

  PlanRequest pod = Request("c4");
  pod.pod_uid = "uid-1";
  const MacAddress mac = Plan(pod)->mac;
  EXPECT_EQ(mac, DeriveMac("net", "uid-1", "eth0", 0)) << "a new sandbox of the pod keeps it";
}

TEST_F(AttachmentsTest, AnAddressIsGivenOnce) {
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  const Refusal refusal = Why(Add(Request("c2"), {"192.0.2.8/24", "192.0.2.7/25"}).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kAddressInUse));
  EXPECT_THAT(refusal.message, HasSubstr("192.0.2.7"));
  EXPECT_THAT(refusal.message, HasSubstr("container c1"));
  EXPECT_TRUE(Add(Request("c3", "team"), {"192.0.2.7/24"}).ok()) << "another cloud";
}

TEST_F(AttachmentsTest, AddTwiceIsRefusedUnlessTheFirstIsDead) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const Refusal refusal = Why(Plan(Request("c1")).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kAlreadyAttached));
  EXPECT_THAT(refusal.remedy, HasSubstr("DEL"));

  kernel_.links.clear();
  EXPECT_TRUE(Add(Request("c1")).ok());
  EXPECT_THAT(Cloud().ports, SizeIs(1));
  EXPECT_THAT(Records(), SizeIs(1));
  EXPECT_EQ(kernel_.Leaves(), 0) << "the cloud stayed joined";

  kernel_.links.clear();
  EXPECT_TRUE(Plan(Request("c1", "team")).ok());
  EXPECT_FALSE(Joined(kVnl)) << "the replaced one was the last of its cloud";
}

TEST_F(AttachmentsTest, APlanUnderWayKeepsItsKey) {
  const absl::StatusOr<PlannedAttachment> first = Plan(Request("c1"));
  EXPECT_EQ(Why(Plan(Request("c1")).status()).code, kCniTryAgainLater);
  // A DEL ends it; what its own connection then does is harmless.
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  const absl::StatusOr<PlannedAttachment> second = Plan(Request("c1"));
  ASSERT_TRUE(second.ok());
  EXPECT_FALSE(Commit(*first).ok());
  agent_->attachments.Rollback(first->ticket);
  kernel_.AddVeth(second->id);
  EXPECT_TRUE(Commit(*second).ok());
}

TEST_F(AttachmentsTest, JoiningNeedsAnUplinkAndAFreePort) {
  kernel_.no_route = true;
  EXPECT_EQ(Why(Plan(Request("c1")).status()).code, Code(AttachError::kCannotJoin));
  kernel_.no_route = false;

  config_.unicast_ports = {20000, 20001};
  Start();
  kernel_.taken = {20000};
  ASSERT_TRUE(Plan(Request("c1", "blue")).ok());
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), 20001);
  const Refusal refusal = Why(Plan(Request("c2", "team")).status());
  EXPECT_EQ(refusal.code, Code(AttachError::kCannotJoin));
  EXPECT_THAT(refusal.message, HasSubstr("20000-20001"));
  EXPECT_THAT(refusal.remedy, HasSubstr("unicastPorts"));
}

TEST_F(AttachmentsTest, ARestartedAgentTakesItsPortsUpAgain) {
  PlanRequest tap = Request("c2");
  tap.tap = true;
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  ASSERT_TRUE(Add(tap).ok());
  ASSERT_TRUE(Add(Request("gone")).ok());
  ASSERT_TRUE(Add(Request("other", "team")).ok());
  const uint16_t unicast = Cloud().options.unicast_port;
  const std::vector<AttachmentInfo> before = agent_->attachments.List();
  kernel_.links.erase(HostIfName(IdOf(Request("gone"))));
  kernel_.links.erase(HostIfName(IdOf(Request("other", "team"))));

  Restart();
  EXPECT_EQ(kernel_.Leaves(), 0) << "nothing that reads as leave";
  EXPECT_EQ(Cloud().options.unicast_port, unicast);
  EXPECT_FALSE(Joined("vxvde://239.1.2.3/vni=43"));
  std::vector<std::string> containers;
  for (const AttachmentInfo& info : agent_->attachments.List()) {
    EXPECT_NE(info.port, PortId::kNone);
    containers.push_back(info.container_id);
  }
  EXPECT_THAT(containers, testing::UnorderedElementsAre("c1", "c2"));
  EXPECT_THAT(Records(), SizeIs(2));
  std::vector<MacAddress> macs;
  for (const PortSnapshot& port : Cloud().ports) macs.push_back(port.options.mac);
  EXPECT_THAT(macs, testing::UnorderedElementsAre(DeriveMac("net", "c1", "eth0", 0),
                                                  DeriveMac("net", "c2", "eth0", 0)));
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  EXPECT_EQ(*agent_->attachments.Detach(tap.key), true);
  EXPECT_EQ(kernel_.Leaves(), 1);
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, WhatCannotBeTakenUpYetWaitsAndIsShown) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const uint16_t unicast = Cloud().options.unicast_port;
  kernel_.no_route = true;
  Restart();
  ASSERT_THAT(agent_->attachments.List(), SizeIs(1));
  EXPECT_EQ(agent_->attachments.List()[0].port, PortId::kNone);
  EXPECT_THAT(agent_->attachments.List()[0].problem, HasSubstr("no route"));
  EXPECT_THAT(Records(), SizeIs(1));
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), unicast);

  kernel_.no_route = false;
  agent_->RunUntil([&] { return agent_->attachments.List()[0].port != PortId::kNone; });
  EXPECT_EQ(agent_->attachments.List()[0].problem, "");
  EXPECT_EQ(Cloud().options.unicast_port, unicast);
}

TEST_F(AttachmentsTest, ATakenUnicastPortIsReplacedAndSaid) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const uint16_t unicast = Cloud().options.unicast_port;
  kernel_.taken = {unicast};
  Restart();
  ASSERT_THAT(Cloud().ports, SizeIs(1));
  EXPECT_NE(Cloud().options.unicast_port, unicast);
  EXPECT_EQ(SavedPorts().at(KeyOf(kVnl)), Cloud().options.unicast_port);
  EXPECT_THAT(agent_->lines, testing::Contains(HasSubstr("unicast port changed")));
}

// S1.
TEST_F(AttachmentsTest, ReadyMeansThatAnAddWouldWork) {
  Attachments& attachments = agent_->attachments;
  EXPECT_TRUE(attachments.Ready("blue", "").ok());
  EXPECT_TRUE(attachments.Ready("", "").ok());
  EXPECT_FALSE(Joined(kVnl)) << "a question joins nothing";
  const Refusal unknown = Why(attachments.Ready("mauve", ""));
  EXPECT_EQ(unknown.code, 50u);
  EXPECT_THAT(unknown.message, HasSubstr("mauve"));
  kernel_.no_route = true;
  EXPECT_EQ(Why(attachments.Ready("blue", "")).code, 50u);
  kernel_.no_route = false;

  ASSERT_TRUE(Add(Request("c1")).ok());
  EXPECT_TRUE(attachments.Ready("blue", "").ok());
  kernel_.uplink_up = false;
  const Refusal down = Why(attachments.Ready("blue", ""));
  EXPECT_EQ(down.code, 51u) << "c1 is cut off";
  EXPECT_THAT(down.message, HasSubstr("eth0"));
  EXPECT_THAT(down.remedy, HasSubstr("up"));
  EXPECT_EQ(Why(attachments.Ready("team", "")).code, 50u) << "nobody is there";
}

// C1.
TEST_F(AttachmentsTest, CheckSaysWhyNoFrameFlows) {
  const auto check = [&] { return agent_->attachments.Check(Request("c1").key).status(); };
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotAttached));
  const absl::StatusOr<PlannedAttachment> plan = Plan(Request("c1"));
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotAttached)) << "a plan is not yet one";
  agent_->attachments.Rollback(plan->ticket);

  ASSERT_TRUE(Add(Request("c1")).ok());
  const absl::StatusOr<CheckedAttachment> good = agent_->attachments.Check(Request("c1").key);
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->mtu, 1400);
  EXPECT_EQ(good->mac, DeriveMac("net", "c1", "eth0", 0));
  EXPECT_FALSE(good->tap);

  kernel_.uplink_up = false;
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotForwarding));
  EXPECT_THAT(Why(check()).message, HasSubstr("eth0 of cloud blue is down"));
  kernel_.uplink_up = true;
  kernel_.links.at(HostIfName(plan->id)).alias = "other";
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotForwarding));
  kernel_.links.at(HostIfName(plan->id)).alias = LinkAlias(plan->id);
  kernel_.no_route = true;
  Restart();
  EXPECT_EQ(Why(check()).code, Code(AttachError::kNotForwarding)) << "it waits";
  EXPECT_THAT(Why(check()).message, HasSubstr("no route"));
}

TEST_F(AttachmentsTest, APodThatDiesWithoutDelIsForgotten) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  const std::string link = HostIfName(IdOf(Request("c1")));
  kernel_.links.erase(link);
  kernel_.ports.at(link)->Break(absl::NotFoundError("the interface is gone"));
  agent_->RunUntil([&] { return agent_->attachments.List().empty(); });
  EXPECT_EQ(kernel_.Leaves(), 1);
  ExpectNothingLeft();
}

// G1: what such a pod has elsewhere (a lease) is still to be given back.
TEST_F(AttachmentsTest, AnEndedOneIsListedUntilDelOrAdd) {
  const auto listed = [&] {
    std::vector<std::string> text;
    for (const ListedAttachment& one : agent_->attachments.ListNetwork("net")) {
      text.push_back(one.key.container_id + (one.ended ? " ended" : ""));
    }
    std::sort(text.begin(), text.end());
    return text;
  };
  for (const char* container : {"c1", "c2", "c3"}) ASSERT_TRUE(Add(Request(container)).ok());
  PlanRequest other = Request("c9");
  other.key.network = "another";
  ASSERT_TRUE(Add(other).ok());
  PlanRequest podman = Request("c4");
  podman.caller = "netavark";
  ASSERT_TRUE(Add(podman).ok());
  for (const char* container : {"c1", "c2", "c4"}) {
    const std::string link = HostIfName(IdOf(Request(container)));
    kernel_.links.erase(link);
    kernel_.ports.at(link)->Break(absl::NotFoundError("the interface is gone"));
  }
  agent_->RunUntil([&] { return agent_->attachments.List().size() == 2; });
  EXPECT_THAT(listed(), ElementsAre("c1 ended", "c2 ended", "c3")) << "netavark never asks";
  Restart();
  EXPECT_THAT(listed(), ElementsAre("c1 ended", "c2 ended", "c3"));
  EXPECT_EQ(*agent_->attachments.Detach(Request("c1").key), true);
  ASSERT_TRUE(Add(Request("c2")).ok());
  EXPECT_THAT(listed(), ElementsAre("c2", "c3"));
  EXPECT_THAT(Store::Open(run_dir_)->Load()->ended, IsEmpty());
}

// D1: before anything is taken up, so nothing is joined, and left again, for it.
TEST_F(AttachmentsTest, DelsThatWereQueuedAreDoneFirst) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  ASSERT_TRUE(Add(Request("c2", "team")).ok());
  DetachQueue queue(run_dir_);
  const auto put = [&](const std::string& container) {
    return queue.Put(
        {.network = "net", .container_id = container, .ifname = "eth0", .with_others = true});
  };
  ASSERT_TRUE(put("c2").ok());
  ASSERT_TRUE(put("never").ok());
  const size_t sockets = kernel_.unicast.size();
  Restart();
  EXPECT_EQ(kernel_.unicast.size(), sockets + 1) << "blue alone is joined again";
  ASSERT_THAT(agent_->attachments.List(), SizeIs(1));
  EXPECT_EQ(agent_->attachments.List()[0].container_id, "c1");
  EXPECT_THAT(Records(), SizeIs(1));
  EXPECT_THAT(queue.Load()->detaches, IsEmpty());

  ASSERT_TRUE(put("c1").ok());
  agent_->attachments.DetachQueued();
  ExpectNothingLeft();
}

// The same container comes back (podman restart): its old DEL must not end its new life.
TEST_F(AttachmentsTest, AnAddTakesItsQueuedDelAway) {
  ASSERT_TRUE(
      DetachQueue(run_dir_).Put({.network = "net", .container_id = "c1", .ifname = "eth0"}).ok());
  ASSERT_TRUE(Add(Request("c1")).ok());
  Restart();
  EXPECT_THAT(agent_->attachments.List(), SizeIs(1));
}

TEST_F(AttachmentsTest, AddressesAreAnnouncedTwice) {
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  const auto announced = [&] {
    // To the group: header, then a broadcast frame with EtherType ARP (0x0806).
    int n = 0;
    for (const FakeSocket::Out& out : kernel_.unicast.at(0)->out) {
      n += out.bytes.size() >= 8 + 42 && out.bytes[8] == 0xff && out.bytes[8 + 12] == 0x08 &&
           out.bytes[8 + 13] == 0x06 && out.to.address == IpAddress::V4(239, 1, 2, 3);
    }
    return n;
  };
  agent_->RunUntil([&] { return announced() == 2; });
}

TEST_F(AttachmentsTest, AReloadChangesPlansFromNowOn) {
  ASSERT_TRUE(Add(Request("c1")).ok());
  Config changed = config_;
  changed.clouds[0].config.key.vni = *Vni::Make(99);
  agent_->attachments.SetConfig(changed);
  EXPECT_THAT(agent_->lines, testing::Contains(HasSubstr("cloud kept as joined")));
  EXPECT_TRUE(Joined(kVnl));
  EXPECT_EQ(Plan(Request("c2"))->vnl, "vxvde://239.1.2.3/vni=99");
  ASSERT_TRUE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_FALSE(Joined(kVnl));
}

TEST_F(AttachmentsTest, TheNodeIsShown) {
  const LiveNode node(agent_->loop.get(), &agent_->the_switch, &agent_->attachments,
                      &agent_->claims, &agent_->node_ports, NoGroups);
  ASSERT_TRUE(Add(Request("c1"), {"192.0.2.7/24"}).ok());
  PlanRequest unnamed = Request("c2", "");
  unnamed.vnl = "vxvde://239.9.9.9";
  ASSERT_TRUE(Add(unnamed).ok());
  const NodeSnapshot snapshot = node.Snapshot();
  EXPECT_EQ(snapshot.node, "n1");
  ASSERT_THAT(snapshot.clouds, SizeIs(2));
  EXPECT_EQ(snapshot.clouds[0].name, "blue");
  EXPECT_EQ(snapshot.clouds[0].vnl, kVnl);
  EXPECT_EQ(snapshot.clouds[1].name, "vxvde://239.9.9.9");
  EXPECT_THAT(snapshot.attachments, SizeIs(2));

  const MacAddress mac = DeriveMac("net", "c1", "eth0", 0);
  const MacAddress stranger({2, 0, 0x5e, 0x10, 0, 9});
  EXPECT_TRUE(node.Explain("blue", stranger, mac)->destination_known);
  EXPECT_TRUE(node.Explain(kVnl, stranger, mac)->destination_known);
  for (const char* cloud : {"red", "team", "vxvde://239.7.7.7"}) {
    const absl::Status status = node.Explain(cloud, stranger, mac).status();
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(cloud));
  }
}

TEST_F(AttachmentsTest, APlanWaitsForItsAddresses) {
  PlanRequest request = Request("c1", "routed");
  request.addresses_by_caller = false;
  request.pod_namespace = "shop";
  request.pod_name = "web-0";
  const absl::StatusOr<PlannedAttachment> plan = Plan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::vector<absl::StatusOr<SettledPlan>> settled;
  const auto settle = [&](PlanTicket ticket) {
    agent_->attachments.Settle(
        ticket, [&](absl::StatusOr<SettledPlan> result) { settled.push_back(std::move(result)); });
  };
  settle(plan->ticket);
  ASSERT_THAT(agent_->claims.wishes, SizeIs(1));
  const AddressWish& wish = agent_->claims.wishes[0];
  EXPECT_EQ(wish.lease, plan->id);
  EXPECT_EQ(wish.owner, "shop/web-0");
  EXPECT_EQ(wish.mac, plan->mac);
  EXPECT_THAT(wish.subnets, ElementsAre(*IpPrefix::Parse("10.42.0.0/16")));
  EXPECT_THAT(settled, IsEmpty());
  agent_->claims.waiting.at(plan->id)(std::vector<IpPrefix>{*IpPrefix::Parse("10.42.0.7/16")});
  ASSERT_THAT(settled, SizeIs(1));
  ASSERT_TRUE(settled[0].ok());
  EXPECT_THAT(settled[0]->addresses, ElementsAre(*IpPrefix::Parse("10.42.0.7/16")));
  EXPECT_THAT(settled[0]->gateways, IsEmpty());

  kernel_.AddVeth(plan->id);
  ASSERT_TRUE(Commit(*plan, settled[0]->addresses).ok());
  EXPECT_THAT(agent_->claims.occupied, IsEmpty()) << "it is claimed, and not by others' means";
  EXPECT_THAT(agent_->claims.released, IsEmpty());
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  EXPECT_THAT(agent_->claims.released, ElementsAre(plan->id));

  // Taken: the plan is there until it is rolled back, and then its claim is not.
  request = Request("c2", "routed");
  request.addresses_by_caller = false;
  const absl::StatusOr<PlannedAttachment> refused = Plan(request);
  ASSERT_TRUE(refused.ok());
  settle(refused->ticket);
  EXPECT_EQ(agent_->claims.wishes.back().owner, "container/c2");
  agent_->claims.waiting.at(refused->id)(Refuse(AttachError::kAddressInUse, "taken", "another"));
  ASSERT_THAT(settled, SizeIs(2));
  EXPECT_EQ(Why(settled[1].status()).code, Code(AttachError::kAddressInUse));
  agent_->attachments.Rollback(refused->ticket);
  EXPECT_EQ(agent_->claims.released.back(), refused->id);

  // A DEL while it waits.
  request = Request("c3", "routed");
  request.addresses_by_caller = false;
  const absl::StatusOr<PlannedAttachment> deleted = Plan(request);
  ASSERT_TRUE(deleted.ok());
  settle(deleted->ticket);
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  ASSERT_THAT(settled, SizeIs(3));
  EXPECT_EQ(Why(settled[2].status()).code, kCniTryAgainLater);
  EXPECT_THAT(agent_->claims.waiting, testing::Not(testing::Contains(testing::Key(deleted->id))));
  settle(deleted->ticket);
  EXPECT_EQ(Why(settled.back().status()).code, kCniTryAgainLater);
}

TEST_F(AttachmentsTest, AGatewayIsInUseAsLongAsItsPod) {
  const PlanRequest request = Request("c1", "out");
  const absl::StatusOr<PlannedAttachment> plan = Plan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  absl::StatusOr<SettledPlan> settled = absl::UnknownError("");
  const auto settle = [&](PlanTicket ticket) {
    agent_->attachments.Settle(
        ticket, [&](absl::StatusOr<SettledPlan> result) { settled = std::move(result); });
  };
  settle(plan->ticket);
  ASSERT_TRUE(settled.ok()) << settled.status();
  EXPECT_THAT(settled->gateways,
              ElementsAre(*IpAddress::Parse("10.45.0.1"), *IpAddress::Parse("fd45::1")))
      << "one a family";
  kernel_.AddVeth(plan->id);
  ASSERT_TRUE(Commit(*plan, {*IpPrefix::Parse("10.45.0.7/16")}).ok());
  EXPECT_THAT(agent_->node_ports.published, IsEmpty());

  Restart();
  EXPECT_THAT(agent_->node_ports.users, ElementsAre(testing::Key(plan->id)));
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  EXPECT_THAT(agent_->node_ports.users, IsEmpty());

  agent_->node_ports.refuses_to_open = Refuse(AttachError::kPoolExhausted, "full", "enlarge it");
  const absl::StatusOr<PlannedAttachment> refused = Plan(request);
  ASSERT_TRUE(refused.ok());
  settle(refused->ticket);
  EXPECT_EQ(Why(settled.status()).code, Code(AttachError::kPoolExhausted));
  agent_->attachments.Rollback(refused->ticket);
  EXPECT_THAT(agent_->node_ports.users, IsEmpty());
}

TEST_F(AttachmentsTest, PortsArePublishedAsLongAsTheirPod) {
  PlanRequest request = Request("c1");
  request.port_mappings = {{8080, 80, "tcp", std::nullopt}, {53, 53, "udp", std::nullopt}};
  request.brought = {*IpPrefix::Parse("192.0.2.7/24")};
  const auto add = [&]() -> absl::StatusOr<PortId> {
    ASSIGN_OR_RETURN(const PlannedAttachment plan, Plan(request));
    agent_->attachments.Settle(plan.ticket, [](const absl::StatusOr<SettledPlan>& settled) {
      EXPECT_TRUE(settled.ok());
      EXPECT_THAT(settled->gateways, IsEmpty()) << "published, but no way out";
    });
    kernel_.AddVeth(plan.id);
    return Commit(plan, request.brought);
  };
  ASSERT_TRUE(add().ok());
  const std::string id = IdOf(request);
  EXPECT_THAT(agent_->node_ports.users.at(id), ElementsAre(*IpPrefix::Parse("192.0.2.7/24")));

  Restart();
  EXPECT_TRUE(agent_->node_ports.users.contains(id));
  ASSERT_TRUE(agent_->node_ports.published.contains(id));
  const Publication& published = agent_->node_ports.published[id];
  EXPECT_EQ(published.mappings, request.port_mappings);
  EXPECT_EQ(published.addresses, request.brought);
  EXPECT_EQ(published.cloud, KeyOf(kVnl));
  EXPECT_THAT(published.holder, HasSubstr("container c1"));
  ASSERT_TRUE(agent_->attachments.Detach(request.key).ok());
  EXPECT_THAT(agent_->node_ports.published, IsEmpty());
  ExpectNothingLeft();

  agent_->node_ports.refuses_to_publish = Refuse(AttachError::kPortInUse, "in use", "another");
  EXPECT_EQ(Why(add().status()).code, Code(AttachError::kPortInUse));
  EXPECT_THAT(agent_->node_ports.users, IsEmpty());
  ExpectNothingLeft();
  agent_->node_ports.taken = agent_->node_ports.refuses_to_publish;
  EXPECT_EQ(Why(Plan(request).status()).code, Code(AttachError::kPortInUse));
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, TheNodesAddressIsNoPods) {
  AttachmentInfo node;
  node.ifname = "vx-blue";
  node.cloud = KeyOf(kVnl);
  node.addresses = {*IpPrefix::Parse("192.0.2.1/24")};
  agent_->node_ports.shown = {node};
  const Refusal refused = Why(Add(Request("c1"), {"192.0.2.1/24"}).status());
  EXPECT_EQ(refused.code, Code(AttachError::kAddressInUse));
  EXPECT_THAT(refused.message, HasSubstr("vx-blue"));
  EXPECT_TRUE(Add(Request("c1"), {"192.0.2.2/24"}).ok());
}

// A7.
TEST_F(AttachmentsTest, AnAddressThatNobodyCouldGiveIsRefused) {
  PlanRequest request = Request("c1");
  request.addresses_by_caller = false;
  request.addresses = {*IpAddress::Parse("192.0.2.7")};
  const Refusal refused = Why(Plan(request).status());
  EXPECT_EQ(refused.code, kCniInvalidConfig);
  EXPECT_THAT(refused.message, HasSubstr("192.0.2.7"));
  EXPECT_THAT(refused.remedy, HasSubstr("\"ipam\": {}"));
  ExpectNothingLeft();
}

TEST_F(AttachmentsTest, AddressesOfOthersAreNoted) {
  ASSERT_TRUE(Add(Request("c1", "routed"), {"10.42.0.9/16"}).ok());
  EXPECT_THAT(agent_->claims.occupied,
              testing::ElementsAre(testing::Pair(IdOf(Request("c1")),
                                                 ElementsAre(*IpPrefix::Parse("10.42.0.9/16")))));
  ASSERT_TRUE(agent_->attachments.Detach(Request("c1").key).ok());
  EXPECT_THAT(agent_->claims.occupied, IsEmpty());
}

}  // namespace
}  // namespace vxvde
