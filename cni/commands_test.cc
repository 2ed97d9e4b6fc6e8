// The order of steps, and that each of them is undone. Fakes write down what they are asked.

#include "cni/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "cni/check.h"
#include "cni/error.h"
#include "cni/gc.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kMac[] = "\x02\x00\x5e\x10\x00\x02";

Request AddRequest() {
  Request request;
  request.command = Command::kAdd;
  request.version = SpecVersion::k100;
  request.container_id = "c1";
  request.netns = "/run/netns/pod";
  request.ifname = "eth0";
  request.network = "blue";
  request.ipam.kind = Ipam::Kind::kDelegate;
  request.ipam.type = "host-local";
  return request;
}

// Everything outside, in one: writes down each call, fails those that it is told to.
class FakeOutside : public PodLinks, public AgentClient, public IpamPlugin {
 public:
  // The n-th call (from 0) fails with `error`; more than one may be set.
  std::map<size_t, absl::Status> fail;
  std::vector<std::string> calls;
  std::vector<std::string> logged;
  std::string printed;
  CniResult lease;
  attach::v1::Planned planned;
  attach::v1::Plan plan;
  attach::v1::Ping ping;
  std::vector<std::string> committed;
  std::vector<IpPrefix> configured;
  std::vector<ResultRoute> routes;
  LinkNames names;
  LinkSpec spec;
  bool got_tap = false;
  LinkState state;
  attach::v1::Checked checked;
  std::vector<attach::v1::Listed::Attachment> listed;
  std::vector<std::string> alive;     // namespaces with our interface in them
  std::vector<std::string> detached;  // "CONTAINER/IFNAME"
  std::vector<std::string> checks;    // ifnames
  std::string collected;              // the configuration that the IPAM plugin's GC got
  bool has_attachments = false;
  bool leftovers = false;
  std::vector<attach::v1::Plan> plans;
  std::vector<std::string> ids;      // of commits
  std::vector<std::string> foreign;  // clouds that the agent does not know
  LinkNames deleted;                 // by DeleteAll
  LinkNames other;                   // what that calls another interface, net1

  FakeOutside() {
    ResultAddress address;
    address.address = *IpPrefix::Parse("192.0.2.7/24");
    address.gateway = *IpAddress::Parse("192.0.2.1");
    lease.addresses = {address};
    planned.set_id(AttachmentId("blue", "c1", "eth0"));
    planned.set_mac(std::string(kMac, 6));
    planned.set_mtu(1450);
    planned.set_gso_max_size(60000);
  }

  absl::Status Run(const Request& request) {
    const auto print = [this](absl::string_view text) {
      RETURN_IF_ERROR(Note("print"));
      printed = std::string(text);
      return absl::OkStatus();
    };
    const auto log = [this](absl::string_view text) { logged.emplace_back(text); };
    const Outside outside = {*this, *this, *this, print, log};
    switch (request.command) {
      case Command::kDel:
        return ::vxvde::Delete(request, outside);
      case Command::kStatus:
        return ::vxvde::CheckStatus(request, outside);
      case Command::kCheck:
        return ::vxvde::Check(request, outside);
      case Command::kGc:
        return ::vxvde::CollectGarbage(request, outside);
      default:
        return ::vxvde::Add(request, outside);
    }
  }

  absl::Status CheckNetNs(const std::string&, bool) override { return Note("netns"); }
  absl::StatusOr<bool> HasLeftovers(const LinkNames& n) override {
    RETURN_IF_ERROR(Note("look", n.ifname));
    return leftovers;
  }
  absl::StatusOr<PodLink> Create(const LinkNames& n, const LinkSpec& s) override {
    RETURN_IF_ERROR(Note("create", n.ifname));
    names = n;
    spec = s;
    PodLink link;
    link.mac = s.mac;
    link.host_mac = *MacAddress::Parse("02:00:5e:10:00:01");
    if (s.mode == LinkMode::kTap) link.tap = UniqueFd(dup(0));
    return link;
  }
  absl::Status Configure(const LinkNames& n, LinkMode, const std::vector<IpPrefix>& a,
                         const std::vector<ResultRoute>& r) override {
    configured = a;
    routes = r;
    return Note("configure", n.ifname);
  }
  absl::Status Delete(const LinkNames& n) override { return Note("unlink", n.ifname); }
  absl::Status DeleteAll(const LinkNames& main, NamesOfInterface names_of) override {
    deleted = main;
    other = names_of("net1");
    return Note("unlink all");
  }
  absl::StatusOr<LinkState> Inspect(const LinkNames& n, LinkMode) override {
    RETURN_IF_ERROR(Note("inspect"));
    names = n;
    return state;
  }
  absl::StatusOr<bool> IsInPod(const LinkNames& n) override {
    RETURN_IF_ERROR(Note("in pod"));
    return std::count(alive.begin(), alive.end(), n.netns) != 0;
  }

  absl::StatusOr<attach::v1::Planned> Plan(const attach::v1::Plan& p) override {
    plan = p;
    plans.push_back(p);
    RETURN_IF_ERROR(Note("plan", p.key().ifname()));
    for (const std::string& cloud : foreign) {
      if (cloud == p.cloud()) return CniStatus(101, "there is no cloud " + cloud);
    }
    attach::v1::Planned answer = planned;
    if (p.key().ifname() != "eth0") {
      answer.set_id(AttachmentId(p.key().network(), p.key().container_id(), p.key().ifname()));
    }
    return answer;
  }
  absl::Status Commit(const std::string& id, const attach::v1::Commit& commit,
                      const UniqueFd& tap) override {
    ids.push_back(id);
    committed = {commit.addresses().begin(), commit.addresses().end()};
    got_tap = static_cast<bool>(tap);
    return Note(id == planned.id() ? "commit" : "commit another");
  }
  absl::Status Detach(const attach::v1::AttachmentKey& key) override {
    return Note("detach", key.ifname());
  }
  absl::Status DetachAll(const attach::v1::AttachmentKey& key) override {
    detached.push_back(key.container_id() + "/" + key.ifname());
    return Note("detach all", key.ifname());
  }
  absl::Status QueueDetachAll(const attach::v1::AttachmentKey&) override { return Note("queue"); }
  absl::Status UnqueueDetachAll(const attach::v1::AttachmentKey&) override {
    return Note("unqueue");
  }
  absl::StatusOr<attach::v1::Checked> Check(const attach::v1::AttachmentKey& key) override {
    RETURN_IF_ERROR(Note("check"));
    checks.push_back(key.ifname());
    return checked;
  }
  absl::StatusOr<std::vector<attach::v1::Listed::Attachment>> List(const std::string&,
                                                                   const std::string&) override {
    RETURN_IF_ERROR(Note("list"));
    return listed;
  }
  bool HasAttachments() override { return has_attachments; }
  absl::Status Ping(const attach::v1::Ping& p, std::chrono::milliseconds) override {
    ping = p;
    return Note("ping");
  }

  absl::StatusOr<CniResult> Add(const Request&) override {
    RETURN_IF_ERROR(Note("ipam add"));
    return lease;
  }
  absl::Status Delete(const Request&) override { return Note("ipam del"); }
  absl::Status CheckStatus(const Request&) override { return Note("ipam status"); }
  absl::Status Check(const Request&) override { return Note("ipam check"); }
  absl::Status CollectGarbage(const Request& request) override {
    collected = request.config;
    return Note("ipam gc");
  }

 private:
  absl::Status Note(const char* call, const std::string& ifname = "eth0") {
    calls.emplace_back(ifname == "eth0" ? call : call + (" " + ifname));
    const auto it = fail.find(calls.size() - 1);
    return it == fail.end() ? absl::OkStatus() : it->second;
  }
};

TEST(Add, CommitsLast) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(AddRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "ipam add", "create", "configure",
                                         "commit", "print"));
  EXPECT_THAT(outside.committed, ElementsAre("192.0.2.7/24"));
  EXPECT_EQ(outside.spec.mac.ToString(), "02:00:5e:10:00:02");
  EXPECT_EQ(outside.spec.mtu, 1450u);
  EXPECT_EQ(outside.spec.gso_max_size, 60000u);
  EXPECT_EQ(outside.names.host_ifname, "vx" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_EQ(outside.names.alias, "vxvde:" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_FALSE(outside.got_tap);
}

TEST(Add, A2_ResultNamesBothEnds) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(AddRequest()).ok());
  const std::string host = "vx" + AttachmentId("blue", "c1", "eth0");
  EXPECT_EQ(outside.printed,
            R"({"cniVersion":"1.0.0","interfaces":[{"name":")" + host +
                R"(","mac":"02:00:5e:10:00:01"},{"name":"eth0","mac":"02:00:5e:10:00:02",)"
                R"("sandbox":"/run/netns/pod"}],"ips":[{"interface":1,"address":"192.0.2.7/24",)"
                R"("gateway":"192.0.2.1"}]})");
}

TEST(Add, TapHasOneEndAndItsDescriptorRidesAlong) {
  FakeOutside outside;
  Request request = AddRequest();
  request.mode = LinkMode::kTap;
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_TRUE(outside.got_tap);
  EXPECT_EQ(outside.plan.mode(), attach::v1::TAP);
  EXPECT_EQ(outside.printed,
            R"({"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:5e:10:00:02",)"
            R"("sandbox":"/run/netns/pod"}],"ips":[{"interface":0,"address":"192.0.2.7/24",)"
            R"("gateway":"192.0.2.1"}]})");
}

TEST(Add, A3_RoutesAreSaidAsInstalled) {
  FakeOutside outside;
  Request request = AddRequest();
  outside.lease.routes.resize(2);
  outside.lease.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
  outside.lease.routes[1].destination = *IpPrefix::Parse("2001:db8::/32");
  request.routes.resize(1);
  request.routes[0].destination = *IpPrefix::Parse("198.51.100.0/24");
  request.routes[0].gateway = *IpAddress::Parse("192.0.2.9");
  outside.lease.dns.nameservers = {"192.0.2.53"};
  ASSERT_TRUE(outside.Run(request).ok());
  ASSERT_EQ(outside.routes.size(), 3u);
  EXPECT_EQ(outside.routes[0].gateway, IpAddress::V4(192, 0, 2, 1));  // its family's
  EXPECT_FALSE(outside.routes[1].gateway);
  EXPECT_EQ(outside.routes[2].gateway, IpAddress::V4(192, 0, 2, 9));
  EXPECT_THAT(outside.printed,
              HasSubstr(R"("routes":[{"dst":"0.0.0.0/0","gw":"192.0.2.1"},{"dst":"2001:db8::/32"},)"
                        R"({"dst":"198.51.100.0/24","gw":"192.0.2.9"}])"));
  EXPECT_THAT(outside.printed, HasSubstr(R"("dns":{"nameservers":["192.0.2.53"]})"));
}

TEST(Add, PlanSaysWhatIsAsked) {
  FakeOutside outside;
  Request request = AddRequest();
  request.vnl = "vxvde://239.1.2.3";
  request.mtu = 1400;
  request.mac = *MacAddress::Parse("02:00:5e:10:00:02");
  request.pod_namespace = "shop";
  request.pod_name = "web";
  request.pod_uid = "u-1";
  ASSERT_TRUE(outside.Run(request).ok());
  const attach::v1::Plan& plan = outside.plan;
  EXPECT_EQ(plan.key().network(), "blue");
  EXPECT_EQ(plan.key().container_id(), "c1");
  EXPECT_EQ(plan.key().ifname(), "eth0");
  EXPECT_EQ(plan.vnl(), "vxvde://239.1.2.3");
  EXPECT_EQ(plan.mode(), attach::v1::VETH);
  EXPECT_EQ(plan.netns(), "/run/netns/pod");
  EXPECT_EQ(plan.pod().namespace_(), "shop");
  EXPECT_EQ(plan.pod().name(), "web");
  EXPECT_EQ(plan.pod().uid(), "u-1");
  EXPECT_EQ(plan.mac(), std::string(kMac, 6));
  EXPECT_EQ(plan.mtu(), 1400u);
  EXPECT_TRUE(plan.addresses_by_caller());
}

TEST(Add, WithoutIpamTheAgentIsAskedForAddresses) {
  FakeOutside outside;
  Request request = AddRequest();
  request.ipam = Ipam();
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_FALSE(outside.plan.addresses_by_caller());
  EXPECT_THAT(outside.committed, IsEmpty());
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look", "plan", "create", "configure", "commit", "print"));
}

TEST(Add, EmptyIpamTakesTheCallersAddresses) {
  FakeOutside outside;
  Request request = AddRequest();
  request.ipam = Ipam();
  request.ipam.kind = Ipam::Kind::kCaller;
  request.ips = {{IpAddress::V4(192, 0, 2, 9), 24}};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_TRUE(outside.plan.addresses_by_caller());
  EXPECT_THAT(outside.committed, ElementsAre("192.0.2.9/24"));
}

TEST(Add, A7_AnotherAddressThanAskedForIsAnError) {
  FakeOutside outside;
  Request request = AddRequest();
  request.ips = {{IpAddress::V4(192, 0, 2, 8), std::nullopt}};
  const CniError error = ToCniError(outside.Run(request));
  EXPECT_EQ(error.code, 7u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("192.0.2.8"), HasSubstr("192.0.2.7")));
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "ipam add", "ipam del"));
}

TEST(Add, LeaseWithoutAddressIsAnError) {
  FakeOutside outside;
  outside.lease.addresses.clear();
  EXPECT_FALSE(outside.Run(AddRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "ipam add", "ipam del"));
}

TEST(Add, E9_AgentForgetsAKilledTryToo) {
  FakeOutside outside;
  outside.leftovers = true;
  ASSERT_TRUE(outside.Run(AddRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "detach", "unlink", "look", "plan",
                                         "ipam add", "create", "configure", "commit", "print"));
}

TEST(Add, WithoutAnAgentWhatIsThereStays) {
  FakeOutside outside;
  outside.leftovers = true;
  outside.fail[2] = CniStatus(kCniTryAgainLater, "nobody answers", "start the agent");
  EXPECT_EQ(ToCniError(outside.Run(AddRequest())).code, kCniTryAgainLater);
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "detach"));
}

// E9: host-local refuses while it has the lease of an ADD that was killed.
TEST(Add, E9_LeaseOfAKilledTryIsGivenBackFirst) {
  FakeOutside outside;
  outside.fail[3] = CniStatus(999, "duplicate allocation is not allowed");
  ASSERT_TRUE(outside.Run(AddRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "ipam add", "ipam del",
                                         "ipam add", "create", "configure", "commit", "print"));
}

TEST(Add, A5_LeaseThatFailsTwiceIsTheErrorOfThePlugin) {
  FakeOutside outside;
  outside.fail[3] = CniStatus(104, "first");
  outside.fail[5] = CniStatus(104, "pool is empty", "add a range");
  const CniError error = ToCniError(outside.Run(AddRequest()));
  EXPECT_EQ(error.code, 104u);
  EXPECT_EQ(error.msg, "pool is empty");
  EXPECT_EQ(error.details, "add a range");
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look", "plan", "ipam add", "ipam del", "ipam add", "ipam del"));
}

TEST(Add, AgentThatNamesThingsOtherwiseIsRefused) {
  for (const int what : {0, 1, 2}) {
    FakeOutside outside;
    if (what == 0) outside.planned.set_id("0123456789abc");
    if (what == 1) outside.planned.set_mac("12345");
    if (what == 2) outside.planned.set_mtu(0);
    EXPECT_EQ(ToCniError(outside.Run(AddRequest())).code, 100u);
    EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan"));
  }
}

TEST(Add, A5_LeaseThatCannotEvenBeGivenBackIsNotTriedAgain) {
  FakeOutside outside;
  outside.fail[3] = CniStatus(7, "no such plugin");
  outside.fail[4] = CniStatus(7, "still no such plugin");
  EXPECT_EQ(ToCniError(outside.Run(AddRequest())).msg, "no such plugin");
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look", "plan", "ipam add", "ipam del", "ipam del"));
}

// What has to be undone once a step was begun, in the order in which it has to be.
std::vector<std::string> UndoOf(const std::string& step) {
  const std::vector<std::pair<std::string, std::string>> undo = {
      {"ipam add", "ipam del"}, {"create", "unlink"}, {"commit", "detach"}};
  const std::vector<std::string> order = {"netns",  "look",      "plan",   "ipam add",
                                          "create", "configure", "commit", "print"};
  std::vector<std::string> expected;
  for (const std::string& one : order) {
    for (const auto& [what, how] : undo) {
      if (what == one) expected.insert(expected.begin(), how);
    }
    if (one == step) break;
  }
  return expected;
}

TEST(Add, A5_EachStepFailedInTurnIsUndoneBackwards) {
  for (const LinkMode mode : {LinkMode::kVeth, LinkMode::kTap}) {
    Request request = AddRequest();
    request.mode = mode;
    FakeOutside reference;
    ASSERT_TRUE(reference.Run(request).ok());
    for (size_t k = 0; k < reference.calls.size(); ++k) {
      SCOPED_TRACE(reference.calls[k]);
      FakeOutside outside;
      outside.fail[k] = CniStatus(123, "failed on purpose", "remedy");
      if (reference.calls[k] == "ipam add") outside.fail[k + 2] = outside.fail[k];
      const CniError error = ToCniError(outside.Run(request));
      EXPECT_EQ(error.code, 123u);
      EXPECT_EQ(error.msg, "failed on purpose");
      EXPECT_EQ(error.details, "remedy");
      EXPECT_EQ(outside.printed, "");
      std::vector<std::string> expected(reference.calls.begin(), reference.calls.begin() + k + 1);
      if (reference.calls[k] == "ipam add") {
        expected.insert(expected.end(), {"ipam del", "ipam add"});
      }
      const std::vector<std::string> undo = UndoOf(reference.calls[k]);
      expected.insert(expected.end(), undo.begin(), undo.end());
      EXPECT_EQ(outside.calls, expected);
    }
  }
}

TEST(Add, UndoThatFailsIsLoggedAndDoesNotStopTheRest) {
  FakeOutside outside;
  outside.fail[7] = CniStatus(5, "no reader");  // print
  outside.fail[8] = absl::InternalError("agent gone");
  outside.fail[9] = absl::InternalError("link stuck");
  outside.fail[10] = absl::InternalError("lease stuck");
  EXPECT_EQ(ToCniError(outside.Run(AddRequest())).code, 5u);
  EXPECT_THAT(std::vector<std::string>(outside.calls.begin() + 7, outside.calls.end()),
              ElementsAre("print", "detach", "unlink", "ipam del"));
  EXPECT_THAT(outside.logged, ElementsAre(HasSubstr("agent gone"), HasSubstr("link stuck"),
                                          HasSubstr("lease stuck")));
}

WantedNetwork Wanted(const std::string& cloud, const std::string& ifname) {
  WantedNetwork network;
  network.asked_by = "annotation a, entry \"" + cloud + "\"";
  network.cloud = cloud;
  network.ifname = ifname;
  return network;
}

// eth0, and two clouds beside it.
Request ThreeNetworks() {
  Request request = AddRequest();
  request.networks = {Wanted("green", "net1"), Wanted("red", "lab0")};
  request.networks[1].ips = {{IpAddress::V4(198, 51, 100, 7), 24}};
  return request;
}

TEST(AddSeveral, M2_AllArePlannedBeforeAnyIsMadeAndCommittedLast) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(ThreeNetworks()).ok());
  EXPECT_THAT(
      outside.calls,
      ElementsAre("netns", "look", "plan", "look net1", "plan net1", "look lab0", "plan lab0",
                  "ipam add", "create", "configure", "create net1", "configure net1", "create lab0",
                  "configure lab0", "commit", "commit another", "commit another", "print"));
  ASSERT_EQ(outside.plans.size(), 3u);
  EXPECT_FALSE(outside.plans[0].by_annotation());
  EXPECT_EQ(outside.plans[0].main_ifname(), "");
  EXPECT_EQ(outside.plans[1].cloud(), "green");
  EXPECT_TRUE(outside.plans[1].by_annotation());
  EXPECT_EQ(outside.plans[1].main_ifname(), "eth0");
  EXPECT_FALSE(outside.plans[1].addresses_by_caller());
  EXPECT_TRUE(outside.plans[2].addresses_by_caller());
  const std::string lab0 = AttachmentId("blue", "c1", "lab0");
  EXPECT_THAT(outside.ids, ElementsAre(AttachmentId("blue", "c1", "eth0"),
                                       AttachmentId("blue", "c1", "net1"), lab0));
  EXPECT_EQ(outside.names.alias, "vxvde:" + lab0 + ":" + AttachmentId("blue", "c1", "eth0"));
  EXPECT_EQ(outside.names.host_ifname, "vx" + lab0);
}

TEST(AddSeveral, A2_ResultHasAllAndTheFirstFirst) {
  FakeOutside outside;
  Request request = ThreeNetworks();
  request.mode = LinkMode::kTap;  // one end each
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.printed,
            R"({"cniVersion":"1.0.0","interfaces":[)"
            R"({"name":"eth0","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"},)"
            R"({"name":"net1","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"},)"
            R"({"name":"lab0","mac":"02:00:5e:10:00:02","sandbox":"/run/netns/pod"}],)"
            R"("ips":[{"interface":0,"address":"192.0.2.7/24","gateway":"192.0.2.1"},)"
            R"({"interface":2,"address":"198.51.100.7/24"}]})");
}

TEST(AddSeveral, A4_ChainedAddsToThePreviousResult) {
  FakeOutside outside;
  Request request = ThreeNetworks();
  request.previous_result =
      R"({"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],)"
      R"("ips":[{"address":"203.0.113.5/24","interface":1}],"colour":"red"})";
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look net1", "plan net1", "look lab0", "plan lab0",
                          "create net1", "configure net1", "create lab0", "configure lab0",
                          "commit another", "commit another", "print"));
  EXPECT_THAT(outside.printed, AllOf(HasSubstr(R"("colour":"red")"), HasSubstr(R"({"name":"br0"})"),
                                     HasSubstr(R"({"address":"198.51.100.7/24","interface":5})")));
}

TEST(AddSeveral, A4_ChainedWithoutNetworksPassesTheResultOn) {
  FakeOutside outside;
  Request request = AddRequest();
  request.previous_result = R"({"cniVersion":"1.0.0","dns":{"colour":"red"}})";
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.printed, *request.previous_result);
  EXPECT_THAT(outside.calls, ElementsAre("netns", "print")) << "also with the agent down";
}

TEST(AddSeveral, NetworksOfOtherPluginsAreLeftAlone) {
  FakeOutside outside;
  Request request = ThreeNetworks();
  outside.foreign = {"green"};
  request.networks[0].maybe_foreign = true;
  request.networks[0].problem = absl::InvalidArgumentError("somebody else's");
  request.networks[1].maybe_foreign = true;
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.calls,
              ElementsAre("netns", "look", "plan", "plan net1", "plan lab0", "look lab0",
                          "ipam add", "create", "configure", "create lab0", "configure lab0",
                          "commit", "commit another", "print"));
}

TEST(AddSeveral, AProblemWithAnEntryCountsOnceItIsOurs) {
  FakeOutside outside;
  Request request = ThreeNetworks();
  request.networks[0].maybe_foreign = true;
  request.networks[0].problem = absl::InvalidArgumentError("ips: no length");
  const CniError error = ToCniError(outside.Run(request));
  EXPECT_EQ(error.code, 7u);
  EXPECT_EQ(error.msg, "annotation a, entry \"green\": ips: no length");
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "plan", "plan net1"));
}

// A network that must be ours, and is not known: never silently missing.
TEST(AddSeveral, AnUnknownCloudFailsThePodAndNamesTheEntry) {
  FakeOutside outside;
  outside.foreign = {"red"};
  const CniError error = ToCniError(outside.Run(ThreeNetworks()));
  EXPECT_EQ(error.code, 101u);
  EXPECT_EQ(error.msg, "annotation a, entry \"red\": there is no cloud red");
  EXPECT_THAT(outside.calls, Not(Contains("create")));
}

TEST(AddSeveral, A5_EachStepFailedInTurnIsUndoneBackwards) {
  const std::map<std::string, std::string> undo_of = {
      {"ipam add", "ipam del"},       {"create", "unlink"}, {"create net1", "unlink net1"},
      {"create lab0", "unlink lab0"}, {"commit", "detach"}, {"commit another", "detach "}};
  FakeOutside reference;
  ASSERT_TRUE(reference.Run(ThreeNetworks()).ok());
  for (size_t k = 0; k < reference.calls.size(); ++k) {
    SCOPED_TRACE(reference.calls[k]);
    FakeOutside outside;
    outside.fail[k] = CniStatus(123, "failed on purpose", "remedy");
    if (reference.calls[k] == "ipam add") outside.fail[k + 2] = outside.fail[k];
    const CniError error = ToCniError(outside.Run(ThreeNetworks()));
    EXPECT_EQ(error.code, 123u);
    EXPECT_THAT(error.msg, testing::EndsWith("failed on purpose"));
    EXPECT_EQ(error.details, "remedy");
    EXPECT_EQ(outside.printed, "");
    std::vector<std::string> expected(reference.calls.begin(), reference.calls.begin() + k + 1);
    if (reference.calls[k] == "ipam add") {
      expected.insert(expected.end(), {"ipam del", "ipam add"});
    }
    const std::vector<std::string> names = {"net1", "lab0"};
    std::vector<std::string> undo;
    size_t commits = 0;
    for (size_t i = 0; i <= k; ++i) {
      const auto found = undo_of.find(reference.calls[i]);
      if (found == undo_of.end()) continue;
      const bool other = reference.calls[i] == "commit another";
      undo.push_back(other ? found->second + names[commits++] : found->second);
    }
    expected.insert(expected.end(), undo.rbegin(), undo.rend());
    EXPECT_EQ(outside.calls, expected);
  }
}

Request DelRequest() {
  Request request = AddRequest();
  request.command = Command::kDel;
  return request;
}

Request SetupRequest() {
  Request request = AddRequest();
  request.caller = Caller::kNetavark;
  request.ipam.kind = Ipam::Kind::kCaller;
  request.ips = {{*IpAddress::Parse("192.0.2.7"), 24}};
  return request;
}

TEST(Setup, N7_EndsWhatARebootLeftFirst) {
  FakeOutside outside;
  ASSERT_TRUE(outside.Run(SetupRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("netns", "look", "detach", "plan", "create", "configure",
                                         "commit", "print"));
  EXPECT_EQ(outside.plan.caller(), "netavark");
  EXPECT_TRUE(outside.plan.addresses_by_caller());
  EXPECT_EQ(outside.printed,
            R"({"dns_search_domains":[],"dns_server_ips":[],"interfaces":{"eth0":{)"
            R"("mac_address":"02:00:5e:10:00:02","subnets":[{"ipnet":"192.0.2.7/24"}]}}})");
}

// N6: no teardown follows a setup that failed.
TEST(Setup, N6_EachStepFailedInTurnIsUndone) {
  const std::vector<std::string> steps = {"netns",  "look",      "detach", "plan",
                                          "create", "configure", "commit", "print"};
  for (size_t i = 0; i < steps.size(); ++i) {
    FakeOutside outside;
    outside.fail[i] = absl::InternalError("no " + steps[i]);
    EXPECT_THAT(outside.Run(SetupRequest()).message(), HasSubstr("no " + steps[i]));
    std::vector<std::string> expected(steps.begin(), steps.begin() + static_cast<int>(i) + 1);
    if (i >= 6) expected.emplace_back("detach");
    if (i >= 4) expected.emplace_back("unlink");
    EXPECT_THAT(outside.calls, testing::ElementsAreArray(expected));
  }
}

TEST(Del, D1_IsTheListBackwards) {
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(DelRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("detach all", "unlink all", "ipam del"));
  EXPECT_EQ(outside.printed, "");
}

TEST(Del, M2_TakesAlongWhatTheAddMadeBeside) {
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(DelRequest()).ok());
  const std::string eth0 = AttachmentId("blue", "c1", "eth0");
  const std::string net1 = AttachmentId("blue", "c1", "net1");
  EXPECT_EQ(outside.deleted.alias, "vxvde:" + eth0);
  EXPECT_EQ(outside.other.alias, "vxvde:" + net1 + ":" + eth0);
  EXPECT_EQ(outside.other.host_ifname, "vx" + net1);
}

TEST(Del, D1_AgentThatIsDownDoesItWhenItStarts) {
  FakeOutside outside;
  outside.fail[0] = outside.fail[2] = CniStatus(11, "agent is down");
  EXPECT_TRUE(outside.Run(DelRequest()).ok());
  EXPECT_THAT(outside.calls,
              ElementsAre("detach all", "queue", "detach all", "unlink all", "ipam del"));
  EXPECT_THAT(outside.logged, Contains(HasSubstr("agent is down")));
}

// It looked into its queue before we wrote there.
TEST(Del, D1_AgentThatHasJustStartedIsAskedAgain) {
  FakeOutside outside;
  outside.fail[0] = CniStatus(11, "agent is down");
  EXPECT_TRUE(outside.Run(DelRequest()).ok());
  EXPECT_THAT(outside.calls, ElementsAre("detach all", "queue", "detach all", "unqueue",
                                         "unlink all", "ipam del"));
}

TEST(Del, D1_DelThatCannotBeQueuedFailsAndIsTriedAgain) {
  FakeOutside outside;
  outside.fail[0] = outside.fail[2] = CniStatus(11, "agent is down");
  outside.fail[1] = absl::InternalError("disk full");
  EXPECT_EQ(ToCniError(outside.Run(DelRequest())).msg, "disk full");
  EXPECT_THAT(outside.calls,
              ElementsAre("detach all", "queue", "detach all", "unlink all", "ipam del"));
}

TEST(Del, EveryStepIsTriedAndEveryErrorTold) {
  FakeOutside outside;
  outside.fail[0] = CniStatus(100, "versions differ");
  outside.fail[1] = absl::InternalError("link stuck");
  outside.fail[2] = CniStatus(7, "lease stuck");
  const CniError error = ToCniError(outside.Run(DelRequest()));
  EXPECT_THAT(outside.calls, ElementsAre("detach all", "unlink all", "ipam del"));
  EXPECT_EQ(error.code, 100u);
  EXPECT_EQ(error.msg, "versions differ; link stuck; lease stuck");
}

TEST(Del, WithoutDelegateThereIsNoLease) {
  FakeOutside outside;
  Request request = DelRequest();
  request.ipam = Ipam();
  EXPECT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.calls, ElementsAre("detach all", "unlink all"));
}

TEST(Status, S1_AsksAgentAndIpam) {
  Request request = AddRequest();
  request.command = Command::kStatus;
  FakeOutside ready;
  EXPECT_TRUE(ready.Run(request).ok());
  EXPECT_THAT(ready.calls, ElementsAre("ping", "ipam status"));

  FakeOutside down;
  down.fail[0] = CniStatus(11, "agent is down", "start it");
  const CniError error = ToCniError(down.Run(request));
  EXPECT_EQ(error.code, 50u);
  EXPECT_EQ(error.msg, "agent is down");
  EXPECT_EQ(error.details, "start it");

  down.calls.clear();
  down.has_attachments = true;
  EXPECT_EQ(ToCniError(down.Run(request)).code, 51u) << "and they are cut off";
}

TEST(Status, S1_NamesTheCloudThatIsMeant) {
  Request request = AddRequest();
  request.command = Command::kStatus;
  request.vnl = "vxvde://239.1.2.3";
  FakeOutside outside;
  EXPECT_TRUE(outside.Run(request).ok());
  EXPECT_EQ(outside.ping.vnl(), "vxvde://239.1.2.3");
}

TEST(Status, S1_TheAgents51AndTheIpamPluginsCodesStay) {
  Request request = AddRequest();
  request.command = Command::kStatus;
  for (const auto& [step, said, code] :
       {std::tuple{0, 51, 51}, {1, 51, 51}, {1, 50, 50}, {1, 4, 50}, {1, 999, 50}}) {
    FakeOutside outside;
    outside.fail[step] = CniStatus(said, "no", "remedy");
    const CniError error = ToCniError(outside.Run(request));
    EXPECT_EQ(error.code, static_cast<uint32_t>(code));
    EXPECT_EQ(error.details, "remedy");
  }
}

// What ADD left, and what its result said.
class CheckTest : public testing::Test {
 protected:
  CheckTest() {
    request_.command = Command::kCheck;
    request_.previous.interfaces = {
        {.name = "vx" + AttachmentId("blue", "c1", "eth0"), .mac = "", .mtu = 1450, .sandbox = ""},
        {.name = "eth0", .mac = "02:00:5E:10:00:02", .mtu = 1450, .sandbox = "/run/netns/pod"}};
    request_.previous.addresses = {
        {.address = *IpPrefix::Parse("192.0.2.7/24"), .gateway = std::nullopt, .interface = 1}};
    request_.previous.routes.resize(1);
    request_.previous.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
    request_.previous.routes[0].gateway = *IpAddress::Parse("192.0.2.1");
    LinkState& state = outside_.state;
    state.ours = state.up = state.host_up = true;
    state.mac = *MacAddress::Parse("02:00:5e:10:00:02");
    state.mtu = 1450;
    state.addresses = {*IpPrefix::Parse("192.0.2.7/24"), *IpPrefix::Parse("fe80::1/64")};
    state.routes.resize(1);
    state.routes[0].destination = *IpPrefix::Parse("0.0.0.0/0");
    state.routes[0].gateways = {*IpAddress::Parse("192.0.2.1")};
    outside_.checked.set_mtu(1450);
    outside_.checked.set_mode(attach::v1::VETH);
    Listed("eth0");
  }

  attach::v1::Listed::Attachment& Listed(const std::string& ifname) {
    attach::v1::Listed::Attachment& one = outside_.listed.emplace_back();
    one.mutable_key()->set_network("blue");
    one.mutable_key()->set_container_id("c1");
    one.mutable_key()->set_ifname(ifname);
    one.set_main_ifname("eth0");
    one.set_caller("cni");
    return one;
  }
  CniError Run() {
    outside_.calls.clear();
    const absl::Status status = outside_.Run(request_);
    return status.ok() ? CniError() : ToCniError(status);
  }

  Request request_ = AddRequest();
  FakeOutside outside_;
};

TEST_F(CheckTest, C1_PassesAfterAddAndSaysNothing) {
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.calls, ElementsAre("netns", "list", "check", "inspect", "ipam check"));
  EXPECT_EQ(outside_.printed, "");
  EXPECT_EQ(outside_.names.alias, "vxvde:" + AttachmentId("blue", "c1", "eth0"));
}

TEST_F(CheckTest, C1_NamesEachDifference) {
  const LinkState good = outside_.state;
  const auto differs = [&](const std::string& words, auto change) {
    outside_.state = good;
    change(outside_.state);
    const CniError error = Run();
    EXPECT_EQ(error.code, 112u) << words;
    EXPECT_THAT(error.msg, HasSubstr(words));
    EXPECT_NE(error.details, "");
  };
  differs("not the one", [](LinkState& s) { s.ours = false; });
  differs("02:00:5e:10:00:09",
          [](LinkState& s) { s.mac = *MacAddress::Parse("02:00:5e:10:00:09"); });
  differs("MTU of eth0 is 1400", [](LinkState& s) { s.mtu = 1400; });
  differs("eth0 is down", [](LinkState& s) { s.up = false; });
  differs("host end", [](LinkState& s) { s.host_up = false; });
  differs("192.0.2.7/24", [](LinkState& s) { s.addresses.erase(s.addresses.begin()); });
  differs("0.0.0.0/0 via 192.0.2.1", [](LinkState& s) { s.routes.clear(); });
  differs("0.0.0.0/0 via 192.0.2.1",
          [](LinkState& s) { s.routes[0].gateways = {*IpAddress::Parse("192.0.2.2")}; });
  outside_.fail[3] = absl::NotFoundError("no link");
  differs("eth0 is not in /run/netns/pod", [](LinkState&) {});
}

// Chained tuning, sbr and the like.
TEST_F(CheckTest, C1_WhatLaterPluginsDidIsTheirs) {
  LinkState& state = outside_.state;
  state.addresses.push_back(*IpPrefix::Parse("192.0.2.99/24"));
  state.routes.insert(state.routes.begin(), RouteInfo());
  state.routes[1].table = 100;  // moved
  state.mac = *MacAddress::Parse("02:00:5e:10:00:09");
  request_.previous.interfaces[1].mac = "02:00:5e:10:00:09";
  request_.previous.interfaces[1].mtu = 0;  // not said before 1.1.0
  state.mtu = 1300;
  request_.previous.interfaces.push_back(
      {.name = "net7", .mac = "", .mtu = 0, .sandbox = "/run/netns/pod"});
  EXPECT_EQ(Run().msg, "");
  state.mtu = 9000;
  EXPECT_THAT(Run().msg, HasSubstr("more than the cloud's 1450"));
}

TEST_F(CheckTest, C1_TheAgentsWordCounts) {
  outside_.fail[2] = CniStatus(111, "no uplink", "plug it in");
  EXPECT_EQ(Run().code, 111u);
  outside_.fail.clear();
  outside_.listed.clear();
  EXPECT_EQ(Run().msg, "") << "a result with our host end is ours, listed or not";
  EXPECT_THAT(outside_.checks, Contains("eth0"));
  outside_.fail[4] = CniStatus(999, "no lease");
  EXPECT_EQ(Run().msg, "no lease");
}

TEST_F(CheckTest, C1_ResultWithoutOurInterfaceIsNoResult) {
  request_.previous.interfaces.pop_back();
  EXPECT_EQ(Run().code, 7u);
  request_.previous.interfaces.clear();
  EXPECT_EQ(Run().code, 7u);
}

// Several networks by annotation, after another plugin's eth0.
TEST_F(CheckTest, M2_EachNetworkOfThePodIsChecked) {
  Listed("net1");
  outside_.listed.erase(outside_.listed.begin());
  request_.previous.interfaces[0].name = "veth12345678";
  request_.previous.interfaces.push_back(
      {.name = "net1", .mac = "02:00:5e:10:00:02", .mtu = 0, .sandbox = "/run/netns/pod"});
  EXPECT_EQ(Run().msg, "");
  EXPECT_THAT(outside_.checks, ElementsAre("net1"));
  EXPECT_THAT(outside_.calls, ElementsAre("netns", "list", "check", "inspect"));
  EXPECT_EQ(outside_.names.alias, "vxvde:" + AttachmentId("blue", "c1", "net1") + ":" +
                                      AttachmentId("blue", "c1", "eth0"));
  request_.mode = LinkMode::kTap;  // which has no host end to go by
  EXPECT_EQ(Run().msg, "");
}

class GcTest : public testing::Test {
 protected:
  GcTest() {
    request_.command = Command::kGc;
    request_.container_id = request_.ifname = request_.netns = "";
    request_.config = R"({"name":"blue"})";
  }
  attach::v1::Listed::Attachment& Listed(const std::string& container,
                                         const std::string& ifname = "eth0") {
    attach::v1::Listed::Attachment& one = outside_.listed.emplace_back();
    one.mutable_key()->set_network("blue");
    one.mutable_key()->set_container_id(container);
    one.mutable_key()->set_ifname(ifname);
    one.set_main_ifname("eth0");
    one.set_caller("cni");
    one.set_netns("/run/netns/" + container);
    return one;
  }

  Request request_ = AddRequest();
  FakeOutside outside_;
};

TEST_F(GcTest, G1_RunsDelForWhatIsNotListed) {
  Listed("dead");
  Listed("valid");
  Listed("dead2");
  Listed("dead2", "net1");
  request_.valid = {{"valid", "eth0"}};
  ASSERT_TRUE(outside_.Run(request_).ok());
  EXPECT_THAT(outside_.detached, ElementsAre("dead/eth0", "dead2/eth0"));
  EXPECT_THAT(outside_.calls,
              ElementsAre("list", "in pod", "detach all", "unlink all", "ipam del", "in pod",
                          "in pod", "detach all", "unlink all", "ipam del", "ipam gc"));
}

TEST_F(GcTest, G1_LeavesTheLivingThePlannedAndNetavarks) {
  Listed("alive");
  Listed("alive", "net1");
  Listed("planned").set_planned(true);
  Listed("podman").set_caller("netavark");
  outside_.alive = {"/run/netns/alive"};
  ASSERT_TRUE(outside_.Run(request_).ok());
  EXPECT_THAT(outside_.detached, IsEmpty());
  EXPECT_THAT(outside_.logged, Contains(HasSubstr("alive")));
  // Nor may the IPAM plugin give their addresses to others.
  EXPECT_THAT(outside_.collected,
              AllOf(HasSubstr(R"("cni.dev/attachments":[{"containerID":"alive","ifname":"eth0"})"),
                    HasSubstr(R"({"containerID":"planned","ifname":"eth0"}])")));
}

TEST_F(GcTest, G1_GoesOnAfterErrorsAndTellsAll) {
  Listed("a");
  Listed("b");
  Listed("c");
  outside_.fail[1] = absl::PermissionDeniedError("who are you");
  outside_.fail[4] = absl::InternalError("link stuck");
  outside_.fail[10] = CniStatus(999, "no gc");
  const CniError error = ToCniError(outside_.Run(request_));
  EXPECT_THAT(error.msg,
              AllOf(HasSubstr("container a interface eth0: who are you"),
                    HasSubstr("container b interface eth0: link stuck"), HasSubstr("no gc")));
  EXPECT_THAT(outside_.detached, ElementsAre("b/eth0", "c/eth0"));
}

TEST_F(GcTest, G1_WithoutTheAgentsListNothingIsRemoved) {
  Listed("dead");
  outside_.fail[0] = CniStatus(11, "agent is down");
  EXPECT_EQ(ToCniError(outside_.Run(request_)).code, 11u);
  EXPECT_THAT(outside_.calls, ElementsAre("list"));
}

TEST(Add, AsksForPortsAndShapesTheLink) {
  FakeOutside outside;
  Request request = AddRequest();
  request.ipam = {};
  request.ipam.kind = Ipam::Kind::kCaller;
  request.ips = {{.address = *IpAddress::Parse("192.0.2.7"), .length = 24}};
  request.ports = {{8080, 80, "tcp", std::nullopt}, {53, 5353, "udp", IpAddress::V4(192, 0, 2, 1)}};
  request.bandwidth.egress = BitRate{1'000'000, 80'000};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_THAT(outside.plan.addresses(), ElementsAre("192.0.2.7/24"))
      << "the node may join its link";
  ASSERT_EQ(outside.plan.port_mappings_size(), 2);
  EXPECT_EQ(outside.plan.port_mappings(0).host_port(), 8080u);
  EXPECT_EQ(outside.plan.port_mappings(0).container_port(), 80u);
  EXPECT_EQ(outside.plan.port_mappings(0).protocol(), "tcp");
  EXPECT_EQ(outside.plan.port_mappings(0).host_ip(), "");
  EXPECT_EQ(outside.plan.port_mappings(1).host_ip(), "192.0.2.1");
  EXPECT_EQ(outside.spec.bandwidth, request.bandwidth);
}

TEST(Add, TakesTheAgentsAddressesAndItsGateway) {
  FakeOutside outside;
  outside.planned.add_addresses("10.42.0.7/16");
  outside.planned.add_addresses("fd42::7/64");
  outside.planned.add_gateways("10.42.0.1");
  Request request = AddRequest();
  request.ipam = {};
  request.ips = {{.address = *IpAddress::Parse("10.42.0.7"), .length = std::nullopt}};
  ASSERT_TRUE(outside.Run(request).ok());
  EXPECT_FALSE(outside.plans.at(0).addresses_by_caller());
  EXPECT_THAT(outside.plans[0].addresses(), ElementsAre("10.42.0.7"));
  EXPECT_THAT(outside.configured,
              ElementsAre(*IpPrefix::Parse("10.42.0.7/16"), *IpPrefix::Parse("fd42::7/64")));
  ASSERT_EQ(outside.routes.size(), 1u);
  EXPECT_EQ(outside.routes[0].destination, *IpPrefix::Parse("0.0.0.0/0"));
  EXPECT_EQ(outside.routes[0].gateway, IpAddress::Parse("10.42.0.1").value());
  EXPECT_THAT(outside.printed, HasSubstr(R"("gateway":"10.42.0.1")"));
  EXPECT_THAT(outside.committed, ElementsAre("10.42.0.7/16", "fd42::7/64"));

  // M1: not on an interface beside the main one.
  FakeOutside beside;
  beside.planned = outside.planned;
  request.main_ifname = "eth1";
  ASSERT_TRUE(beside.Run(request).ok());
  EXPECT_THAT(beside.routes, IsEmpty());

  // An internal network of podman's has no way out.
  FakeOutside internal;
  internal.planned = outside.planned;
  request.main_ifname = "";
  request.gateway_wanted = false;
  ASSERT_TRUE(internal.Run(request).ok());
  EXPECT_THAT(internal.routes, IsEmpty());
  request.gateway_wanted = true;

  // A default route of the configuration is the only one.
  FakeOutside own;
  own.planned = outside.planned;
  request.main_ifname = "";
  ResultRoute route;
  route.destination = *IpPrefix::Parse("0.0.0.0/0");
  route.gateway = *IpAddress::Parse("10.42.0.254");
  request.routes = {route};
  ASSERT_TRUE(own.Run(request).ok());
  EXPECT_THAT(own.routes, ElementsAre(route));

  FakeOutside bad;
  bad.planned.add_addresses("10.42.0.7");
  EXPECT_THAT(std::string(bad.Run(request).message()), HasSubstr("10.42.0.7"));
}

}  // namespace
}  // namespace vxvde
