// The agent's attachments with a real switch and run-dir, and with fakes of everything else: a
// kernel whose calls can be made to fail, and claims and node's ports whose answers the test gives.
// An agent can be restarted on the same kernel and run-dir.

#ifndef VXVDE_AGENT_ATTACH_TESTING_ATTACHMENTS_FIXTURE_H_
#define VXVDE_AGENT_ATTACH_TESTING_ATTACHMENTS_FIXTURE_H_

#include <sys/eventfd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "agent/attach/attachments.h"
#include "agent/base/refusal.h"
#include "agent/testing/agent_base.h"
#include "agent/testing/fakes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/base/status.h"
#include "plugin/cloud/testing/fakes.h"

namespace vxvde {

// The kernel as the agent sees it: interfaces, taps and UDP ports that are taken. It outlives a
// restart of the agent. Each call is a step that can be made to fail.
struct Kernel {
  std::map<std::string, LinkInfo> links;
  std::set<std::pair<std::string, std::string>> taps;             // netns and name
  std::set<uint16_t> taken;                                       // by another program
  std::map<std::string, std::shared_ptr<FakePort::State>> ports;  // by link, or "tap"
  std::vector<std::shared_ptr<FakeSocket::State>> unicast;        // each ever opened
  std::vector<ClosingPort> closed_later;
  int bound = 0;      // sockets open now
  int opened = 0;     // ports so far
  int steps = 0;      // calls so far
  int fail_step = 0;  // the one of them that fails
  bool no_route = false;
  bool uplink_up = true;
  IfIndex uplink{2};
  FastPath* fast = nullptr;
  TapNetNs tap_netns;

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

  // As the Reconciler sees it.
  KernelSnapshot AsSnapshot() const {
    std::vector<LinkInfo> list;
    for (const auto& [name, link] : links) list.push_back(link);
    return {.links = std::move(list)};
  }

  Links AsLinks() {
    Links out;
    out.by_name = [this](const std::string& name) { return ByName(name); };
    out.by_index = [this](IfIndex index) -> absl::StatusOr<LinkInfo> {
      if (const absl::Status s = Step("uplink"); !s.ok()) return s;
      for (const auto& [name, link] : links) {
        if (link.index == index) return link;
      }
      if (index != uplink) return absl::NotFoundError("no such index");
      LinkInfo eth0 = FakeUplink(uplink);
      eth0.up = uplink_up;
      return eth0;
    };
    out.route = [this](const IpAddress&) -> absl::StatusOr<RouteAnswer> {
      if (const absl::Status s = Step("route"); !s.ok()) return s;
      if (no_route) return absl::UnavailableError("Network is unreachable");
      RouteAnswer answer;
      answer.interface = uplink;
      return answer;
    };
    out.packet_port = [this](IfIndex index) -> absl::StatusOr<std::unique_ptr<FrameIo>> {
      if (const absl::Status s = Step("packet socket"); !s.ok()) return s;
      const auto link = std::find_if(links.begin(), links.end(),
                                     [&](const auto& l) { return l.second.index == index; });
      if (link == links.end()) return absl::NotFoundError("no such index");
      return NewPort(link->first);
    };
    out.tap_port = [this](const std::string&,
                          UniqueFd tap) -> absl::StatusOr<std::unique_ptr<FrameIo>> {
      if (const absl::Status s = Step("tap"); !s.ok()) return s;
      if (!tap) return absl::InvalidArgumentError("no descriptor");
      return NewPort("tap");
    };
    out.reopen_tap = [this](const std::string& netns, const std::string& ifname, const std::string&,
                            bool) -> absl::StatusOr<UniqueFd> {
      if (const absl::Status s = Step("reopen tap"); !s.ok()) return s;
      if (!taps.contains({netns, ifname})) return absl::NotFoundError("no tap");
      return UniqueFd(eventfd(0, EFD_CLOEXEC));
    };
    out.netns_of_tap = [this](const UniqueFd&, const std::string&) { return tap_netns; };
    out.close_later = [this](ClosingPort port) { closed_later.push_back(std::move(port)); };
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
    ++opened;
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
    done(FirstAddresses(subnets));
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
  absl::Status Ready(const CloudKey&) const override { return ready; }
  std::vector<AttachmentInfo> List() const override { return shown; }

  absl::Status ready;
  std::vector<AttachmentInfo> shown;
};

// One life of the agent.
struct Agent : AgentBase {
  Agent(Kernel* kernel, const std::string& run_dir, const Config& first_config)
      : AgentBase(kernel->AsSockets(), kernel->AsLinks(), run_dir, first_config, kernel->fast),
        attachments({.loop = loop.get(),
                     .the_switch = &the_switch,
                     .store = &store,
                     .log = &log,
                     .links = &links,
                     .clouds = &clouds,
                     .claims = &claims,
                     .node_ports = &node_ports,
                     .config = &config},
                    NoGroups) {
    the_switch.SetListener([this](const SwitchEvent& event) { attachments.OnEvent(event); });
  }

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
  // Starts a plan, whose result goes to `result`.
  PlanTicket StartPlan(const PlanRequest& request,
                       std::optional<absl::StatusOr<PlannedAttachment>>* result) {
    return agent_->attachments.Plan(request, [result](absl::StatusOr<PlannedAttachment> planned) {
      EXPECT_FALSE(result->has_value()) << "answered twice";
      *result = std::move(planned);
    });
  }
  // A plan whose claim, if it has one, is granted at once.
  absl::StatusOr<PlannedAttachment> Plan(const PlanRequest& request) {
    std::optional<absl::StatusOr<PlannedAttachment>> result;
    StartPlan(request, &result);
    if (const std::string id = IdOf(request); agent_->claims.waiting.contains(id)) {
      agent_->claims.Answer(id, FirstAddresses(agent_->claims.wishes.back().subnets));
    }
    if (!result.has_value()) return absl::InternalError("the plan has no result");
    return *std::move(result);
  }
  absl::StatusOr<PortId> Commit(const PlannedAttachment& plan,
                                const std::vector<IpPrefix>& with = {}) {
    return agent_->attachments.Commit(plan.ticket, with, UniqueFd());
  }
  // The steps of the CNI plugin: plan, link, commit.
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
  // Container ids of attached and waiting attachments, sorted.
  std::vector<std::string> Containers() {
    std::vector<std::string> list;
    for (const AttachmentInfo& info : agent_->attachments.List()) list.push_back(info.container_id);
    std::sort(list.begin(), list.end());
    return list;
  }
  // The number of announcements that a cloud's socket sent to the group: header, then a broadcast
  // frame with EtherType ARP (0x0806).
  static int Announced(const FakeSocket::State& socket) {
    int n = 0;
    for (const FakeSocket::Out& out : socket.out) {
      n += out.bytes.size() >= 8 + 42 && out.bytes[8] == 0xff && out.bytes[8 + 12] == 0x08 &&
           out.bytes[8 + 13] == 0x06 && out.to.address == IpAddress::V4(239, 1, 2, 3);
    }
    return n;
  }

  void ExpectNothingLeft() {
    EXPECT_THAT(agent_->the_switch.Snapshot().clouds, testing::IsEmpty());
    EXPECT_THAT(agent_->attachments.List(), testing::IsEmpty());
    EXPECT_THAT(Records(), testing::IsEmpty());
    EXPECT_THAT(SavedPorts(), testing::IsEmpty());
    EXPECT_EQ(kernel_.bound, 0);
  }

  std::string run_dir_;
  Config config_;
  Kernel kernel_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_TESTING_ATTACHMENTS_FIXTURE_H_
