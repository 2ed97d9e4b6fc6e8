// Fakes of the interfaces in commands.h. Together they record each call in one list and fail the
// calls that a test selects, so that a test can fail each step of a command in turn.

#ifndef VXVDE_CNI_TESTING_FAKE_OUTSIDE_H_
#define VXVDE_CNI_TESTING_FAKE_OUTSIDE_H_

#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "cni/agent_client.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "cni/ipam.h"
#include "cni/links.h"
#include "cni/request.h"
#include "plugin/base/status.h"

namespace vxvde {

inline constexpr char kMac[] = "\x02\x00\x5e\x10\x00\x02";

inline Network BlueNetwork() {
  Network network;
  network.name = "blue";
  network.version = SpecVersion::k100;
  network.ipam.emplace().type = "host-local";
  return network;
}

inline Container ContainerC1() { return {.id = "c1", .netns = "/run/netns/pod", .ifname = "eth0"}; }

// One interface, with an address of host-local.
inline AddRequest SimpleAdd() {
  AddRequest request;
  request.network = BlueNetwork();
  request.container = ContainerC1();
  Attachment& eth0 = request.attachments.emplace_back();
  eth0.ifname = "eth0";
  eth0.address_source = AddressSource::kIpamPlugin;
  return request;
}

// The calls of all fakes, in order.
class CallScript {
 public:
  std::vector<std::string> calls;
  // The n-th call (from 0) fails with this error.
  std::map<size_t, absl::Status> fail;

  absl::Status Note(const char* call, const std::string& ifname = "eth0") {
    calls.emplace_back(ifname == "eth0" ? call : call + (" " + ifname));
    const auto it = fail.find(calls.size() - 1);
    return it == fail.end() ? absl::OkStatus() : it->second;
  }
};

class FakePodLinks : public PodLinks {
 public:
  explicit FakePodLinks(CallScript* script) : script_(script) {}

  bool leftovers = false;
  LinkState state;
  std::vector<RouteInfo> pod_routes;  // before the ADD
  std::vector<std::string> alive;     // namespaces that contain the attachment's interface
  // The requests that were made.
  LinkNames names;
  LinkSpec spec;
  std::vector<IpPrefix> configured;
  std::vector<ResultRoute> routes;  // of the last Configure
  std::vector<ResultRoute> taken;   // the pod has other routes to these destinations
  LinkNames deleted;                // by DeleteAll
  LinkNames other;                  // what DeleteAll was told about net1

  absl::Status CheckNetNs(const std::string&, bool) override { return script_->Note("netns"); }
  absl::StatusOr<bool> HasLeftovers(const LinkNames& n) override {
    RETURN_IF_ERROR(script_->Note("look", n.ifname));
    return leftovers;
  }
  absl::StatusOr<PodLink> Create(const LinkNames& n, const LinkSpec& s) override {
    RETURN_IF_ERROR(script_->Note("create", n.ifname));
    names = n;
    spec = s;
    PodLink link;
    link.mac = s.mac;
    link.host_mac = *MacAddress::Parse("02:00:5e:10:00:01");
    if (s.mode == LinkMode::kTap) link.tap = UniqueFd(dup(0));
    return link;
  }
  absl::Status BringUp(const LinkNames& n, LinkMode) override {
    return script_->Note("bring up", n.ifname);
  }
  absl::StatusOr<std::vector<ResultRoute>> Configure(const LinkNames& n, LinkMode,
                                                     const std::vector<IpPrefix>& a,
                                                     const std::vector<ResultRoute>& r) override {
    configured = a;
    routes = r;
    RETURN_IF_ERROR(script_->Note("configure", n.ifname));
    std::vector<ResultRoute> there = r;
    std::erase_if(there, [&](const ResultRoute& route) {
      return std::count(taken.begin(), taken.end(), route) != 0;
    });
    return there;
  }
  absl::StatusOr<std::vector<RouteInfo>> ListRoutes(const std::string&) override {
    RETURN_IF_ERROR(script_->Note("routes"));
    return pod_routes;
  }
  absl::Status DeleteDefaultRoutes(const std::string&, int family) override {
    return script_->Note(family == AF_INET ? "delete default" : "delete default v6");
  }
  absl::Status Delete(const LinkNames& n) override { return script_->Note("unlink", n.ifname); }
  absl::Status DeleteAll(const LinkNames& main, NamesOfInterface names_of) override {
    deleted = main;
    other = names_of("net1");
    return script_->Note("unlink all");
  }
  absl::StatusOr<LinkState> Inspect(const LinkNames& n, LinkMode) override {
    RETURN_IF_ERROR(script_->Note("inspect"));
    names = n;
    return state;
  }
  absl::StatusOr<bool> IsInPod(const LinkNames& n) override {
    RETURN_IF_ERROR(script_->Note("in pod"));
    return std::count(alive.begin(), alive.end(), n.netns) != 0;
  }

 private:
  CallScript* script_;
};

class FakeAgentClient : public AgentClient {
 public:
  explicit FakeAgentClient(CallScript* script) : script_(script) {
    planned.set_id(AttachmentId("blue", "c1", "eth0"));
    planned.set_mac(std::string(kMac, 6));
    planned.set_mtu(1450);
    planned.set_gso_max_size(60000);
  }

  attach::v1::Planned planned;
  attach::v1::Checked checked;
  std::vector<attach::v1::Listed::Attachment> listed;
  bool has_attachments = false;
  std::vector<std::string> foreign;  // clouds that the agent does not know
  // The requests that were made.
  std::vector<attach::v1::Plan> plans;
  attach::v1::Plan plan;  // the last one
  attach::v1::Ping ping;
  std::vector<std::string> ids;  // of commits
  std::vector<std::string> committed;
  int taps = 0;                         // descriptors that commits carried
  std::vector<std::string> detached;    // "CONTAINER/IFNAME"
  std::chrono::milliseconds waited{0};  // by DetachAll, at most
  std::vector<std::string> checks;      // interface names

  absl::StatusOr<attach::v1::Planned> Plan(const attach::v1::Plan& p) override {
    plan = p;
    plans.push_back(p);
    RETURN_IF_ERROR(script_->Note("plan", p.key().ifname()));
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
    taps += tap ? 1 : 0;
    return script_->Note(id == planned.id() ? "commit" : "commit another");
  }
  absl::Status Detach(const attach::v1::AttachmentKey& key) override {
    return script_->Note("detach", key.ifname());
  }
  absl::Status DetachAll(const attach::v1::AttachmentKey& key,
                         std::chrono::milliseconds timeout) override {
    waited += timeout;
    detached.push_back(key.container_id() + "/" + key.ifname());
    return script_->Note("detach all", key.ifname());
  }
  absl::Status QueueDetachAll(const attach::v1::AttachmentKey&) override {
    return script_->Note("queue");
  }
  absl::Status UnqueueDetachAll(const attach::v1::AttachmentKey&) override {
    return script_->Note("unqueue");
  }
  absl::StatusOr<attach::v1::Checked> Check(const attach::v1::AttachmentKey& key) override {
    RETURN_IF_ERROR(script_->Note("check"));
    checks.push_back(key.ifname());
    return checked;
  }
  absl::StatusOr<std::vector<attach::v1::Listed::Attachment>> List(const std::string&,
                                                                   const std::string&) override {
    RETURN_IF_ERROR(script_->Note("list"));
    return listed;
  }
  bool HasAttachments() override { return has_attachments; }
  absl::Status Ping(const attach::v1::Ping& p, std::chrono::milliseconds) override {
    ping = p;
    return script_->Note("ping");
  }

 private:
  CallScript* script_;
};

class FakeIpamPlugin : public IpamPlugin {
 public:
  explicit FakeIpamPlugin(CallScript* script) : script_(script) {
    ResultAddress address;
    address.address = *IpPrefix::Parse("192.0.2.7/24");
    address.gateway = *IpAddress::Parse("192.0.2.1");
    lease.addresses = {address};
  }

  CniResult lease;
  std::string collected;  // the configuration of GC

  absl::StatusOr<CniResult> Add(const IpamDelegate&, const Container&) override {
    RETURN_IF_ERROR(script_->Note("ipam add"));
    return lease;
  }
  absl::Status Delete(const IpamDelegate&, const Container&) override {
    return script_->Note("ipam del");
  }
  absl::Status Check(const IpamDelegate&, const Container&) override {
    return script_->Note("ipam check");
  }
  absl::Status CheckStatus(const IpamDelegate&) override { return script_->Note("ipam status"); }
  absl::Status CollectGarbage(const IpamDelegate& delegate) override {
    collected = delegate.config;
    return script_->Note("ipam gc");
  }

 private:
  CallScript* script_;
};

class FakeOutput : public Output {
 public:
  explicit FakeOutput(CallScript* script) : script_(script) {}

  std::string printed;
  std::vector<std::string> logged;

  absl::Status Print(absl::string_view line) override {
    RETURN_IF_ERROR(script_->Note("print"));
    printed = std::string(line);
    return absl::OkStatus();
  }
  void Log(absl::string_view line) override { logged.emplace_back(line); }

 private:
  CallScript* script_;
};

struct FakeOutside {
  CallScript script;
  FakePodLinks links{&script};
  FakeAgentClient agent{&script};
  FakeIpamPlugin ipam{&script};
  FakeOutput output{&script};

  FakeOutside() = default;
  FakeOutside(const FakeOutside&) = delete;
  FakeOutside& operator=(const FakeOutside&) = delete;

  absl::Status Run(const AddRequest& request) { return Add(request, All()); }
  absl::Status Run(const DelRequest& request) { return Delete(request, All()); }
  absl::Status Run(const CheckRequest& request) { return Check(request, All()); }
  absl::Status Run(const GcRequest& request) { return CollectGarbage(request, All()); }
  absl::Status Run(const StatusRequest& request) { return CheckStatus(request, All()); }

 private:
  Outside All() { return {links, agent, ipam, output}; }
};

}  // namespace vxvde

#endif  // VXVDE_CNI_TESTING_FAKE_OUTSIDE_H_
