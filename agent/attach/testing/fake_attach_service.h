// An AttachService that lists its calls and can be told to fail or to answer plans later.

#ifndef VXVDE_AGENT_ATTACH_TESTING_FAKE_ATTACH_SERVICE_H_
#define VXVDE_AGENT_ATTACH_TESTING_FAKE_ATTACH_SERVICE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/attach/attach_service.h"

namespace vxvde {

class FakeAttachService : public AttachService {
 public:
  absl::Status fail;                // the result of each operation, unless it is OK
  std::vector<std::string> calls;   // "plan blue/c1/eth0", "commit 1", "rollback 1", "detach ..."
  PlanRequest plan;                 // the last one
  std::vector<IpPrefix> addresses;  // of the last commit
  int tap = -1;                     // the last commit's descriptor number
  std::vector<ListedAttachment> listed;
  int open = 0;  // plans that have neither ended with an error nor been committed or rolled back
  std::vector<IpPrefix> plan_addresses;  // of a plan's result
  std::vector<IpAddress> plan_gateways;  // of a plan's result
  bool plan_waits = false;               // a plan waits for AnswerPlan

  bool plan_pending() const { return pending_ != nullptr; }
  // Answers the pending plan with its result, or with an error.
  void AnswerPlan(const absl::Status& status) {
    const PlanDone done = std::exchange(pending_, nullptr);
    if (status.ok()) return done(Result());
    --open;
    done(status);
  }

  PlanTicket Plan(const PlanRequest& request, PlanDone done) override {
    calls.push_back(absl::StrCat("plan ", Text(request.key)));
    plan = request;
    const PlanTicket ticket = static_cast<PlanTicket>(++tickets_);
    if (!fail.ok()) {
      done(fail);
      return ticket;
    }
    ++open;
    pending_ = std::move(done);
    if (!plan_waits) AnswerPlan(absl::OkStatus());
    return ticket;
  }
  absl::StatusOr<PortId> Commit(PlanTicket ticket, const std::vector<IpPrefix>& with,
                                UniqueFd fd) override {
    calls.push_back(absl::StrCat("commit ", static_cast<uint64_t>(ticket)));
    --open;
    addresses = with;
    tap = fd.get();
    if (!fail.ok()) return fail;
    return PortId{7};
  }
  absl::Status SetAddresses(const AttachmentKey& key, const std::vector<IpPrefix>& with) override {
    calls.push_back(absl::StrCat("set addresses ", Text(key)));
    addresses = with;
    return fail;
  }
  void Rollback(PlanTicket ticket) override {
    calls.push_back(absl::StrCat("rollback ", static_cast<uint64_t>(ticket)));
    pending_ = nullptr;
    --open;
  }
  absl::StatusOr<bool> Detach(const AttachmentKey& key) override {
    calls.push_back(absl::StrCat("detach ", Text(key)));
    if (!fail.ok()) return fail;
    return true;
  }
  absl::StatusOr<CheckedAttachment> Check(const AttachmentKey& key) override {
    calls.push_back(absl::StrCat("check ", Text(key)));
    if (!fail.ok()) return fail;
    return CheckedAttachment{.mac = MacAddress({2, 0, 0x5e, 0x10, 0, 1}), .mtu = 1450};
  }
  std::vector<ListedAttachment> ListNetwork(const std::string&) const override { return listed; }
  absl::Status Ready(const std::string& cloud, const std::string& vnl) override {
    calls.push_back(absl::StrCat("ready ", cloud, vnl));
    return fail;
  }
  absl::StatusOr<bool> DetachAll(const AttachmentKey& key) override {
    calls.push_back(absl::StrCat("detach all ", Text(key)));
    if (!fail.ok()) return fail;
    return true;
  }
  absl::StatusOr<bool> ForgetEnded(const AttachmentKey& key) override {
    calls.push_back(absl::StrCat("forget ", Text(key)));
    if (!fail.ok()) return fail;
    return true;
  }

 private:
  PlannedAttachment Result() const {
    PlannedAttachment planned;
    planned.ticket = static_cast<PlanTicket>(tickets_);
    planned.id = "0123456789abc";
    planned.mac = MacAddress({2, 0, 0x5e, 0x10, 0, 1});
    planned.mtu = plan.mtu != 0 ? static_cast<int>(plan.mtu) : 1450;
    planned.host_ifname = plan.tap ? "" : "vx0123456789abc";
    planned.alias = "vxvde:0123456789abc";
    planned.gso_max_size = 60632;
    planned.cloud = "blue";
    planned.vnl = "vxvde://239.1.2.3";
    planned.addresses = plan_addresses;
    planned.gateways = plan_gateways;
    return planned;
  }
  static std::string Text(const AttachmentKey& key) {
    return absl::StrCat(key.network, "/", key.container_id, "/", key.ifname);
  }
  uint64_t tickets_ = 0;
  PlanDone pending_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_ATTACH_TESTING_FAKE_ATTACH_SERVICE_H_
