// All that commands have outside, as a fake that writes down what it is asked and fails what it is
// told to; and the request that their tests begin with.

#ifndef VXVDE_CNI_FAKE_OUTSIDE_H_
#define VXVDE_CNI_FAKE_OUTSIDE_H_

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/api/attachment_id.h"
#include "cni/check.h"
#include "cni/commands.h"
#include "cni/error.h"
#include "cni/gc.h"
#include "plugin/base/status.h"

namespace vxvde {

inline constexpr char kMac[] = "\x02\x00\x5e\x10\x00\x02";

inline Request AddRequest() {
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

}  // namespace vxvde

#endif  // VXVDE_CNI_FAKE_OUTSIDE_H_
