// Theory of operation
//
// An ADD is a transaction, and the plugin's connection is its scope: if the connection ends before
// Commit, the agent undoes everything (Rollback).
//
//   1. Plan checks the request and reserves names and values: the cloud is joined, the MAC is
//      chosen, and a note in the run-dir says that a link may be made. Then it waits for what needs
//      other nodes or the kernel: addresses on the cloud (AddressClaims) and the node's own port
//      (NodePorts). The result goes to the plugin by a callback.
//   2. The plugin makes the link: a veth pair with the name and alias of the result, or a tap. It
//      runs the IPAM plugin, if there is one, and configures addresses.
//   3. Commit opens the link as a port of the switch, publishes ports, and writes the record. The
//      record comes last, so that each record stands for a complete attachment. From then on the
//      attachment survives the agent. Its addresses are announced.
//
// The states of an attachment:
//
//   from       event                                     to
//   none       Plan                                      planned
//   planned    Commit                                    attached
//   planned    Rollback, DEL, or an error                none
//   attached   the agent restarts                        waiting
//   waiting    Restorer opens its port                   attached
//   attached or waiting:
//              DEL                                       none
//              its interface is gone without a DEL       ended
//   ended      DEL, GC, or a new ADD                     none
//
// Plan is the only operation that takes more than one turn of the loop. Events in between:
//   - The connection ends: Rollback cancels the claim and the opening of the node's port, and their
//     callbacks never run.
//   - A DEL of the same key comes: it ends the plan, and the caller of Plan gets a refusal.
//   - A second ADD of the same key comes: it is refused until the first has ended.
//   - The agent dies: the next one finds the note, deletes the link if there is one, and removes
//     the note (OrphanCollector).
//
// A plan that ends without a commit may leave a link behind, because the plugin may be dead or be
// making the link at this very moment. The plan is then abandoned: OrphanCollector looks for the
// link until it is gone, and removes the note last.
//
// DEL removes the record first. If that fails, nothing has changed and the runtime tries again. The
// steps after it happen in memory or in the background, and cannot fail.

#include "agent/attach/attachments.h"

#include <algorithm>
#include <cassert>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/api/attachment_id.h"
#include "agent/attach/admission.h"
#include "agent/base/refusal.h"
#include "agent/clouds/uplink.h"
#include "agent/model/mtu.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

std::string AddressList(const AttachmentRecord& record) {
  return absl::StrJoin(record.addresses, ",", [](std::string* out, const IpPrefix& address) {
    absl::StrAppend(out, address.ToString());
  });
}

// A record of the request alone, without the agent's choices.
AttachmentRecord RecordOf(const PlanRequest& request, const std::string& id) {
  const AttachmentKey& key = request.key;
  AttachmentRecord record;
  record.id = id;
  record.network = key.network;
  record.container_id = key.container_id;
  record.ifname = key.ifname;
  record.main_ifname = request.main_ifname.empty() ? key.ifname : request.main_ifname;
  record.pod_namespace = request.pod_namespace;
  record.pod_name = request.pod_name;
  record.pod_uid = request.pod_uid;
  record.caller = request.caller;
  record.tap = request.tap;
  record.netns = request.netns;
  record.host_ifname = request.tap ? "" : HostIfName(id);
  record.port_mappings = request.port_mappings;
  record.allow = request.allow;
  record.allow.insert(record.allow.end(), request.allow_by_annotation.begin(),
                      request.allow_by_annotation.end());
  return record;
}

}  // namespace

Attachments::Attachments(const Parts& parts, GroupLookup group_id)
    : switch_(parts.the_switch),
      store_(parts.store),
      log_(parts.log),
      links_(*parts.links),
      clouds_(*parts.clouds),
      claims_(parts.claims),
      node_ports_(parts.node_ports),
      group_id_(std::move(group_id)),
      config_(parts.config->Get()),
      table_(parts.store, parts.log),
      resources_({.loop = parts.loop,
                  .the_switch = parts.the_switch,
                  .log = parts.log,
                  .links = parts.links,
                  .clouds = parts.clouds,
                  .claims = parts.claims,
                  .node_ports = parts.node_ports,
                  .table = &table_,
                  .config = &config_,
                  .reconciled = &reconciled_}),
      restorer_({.loop = parts.loop,
                 .log = parts.log,
                 .links = parts.links,
                 .clouds = parts.clouds,
                 .table = &table_,
                 .resources = &resources_,
                 .config = &config_}),
      orphans_({.loop = parts.loop,
                .log = parts.log,
                .links = parts.links,
                .queue = &parts.store->queue(),
                .claims = parts.claims,
                .table = &table_,
                .resources = &resources_,
                .service = this,
                .reconciled = &reconciled_}),
      subscription_(parts.config->Subscribe([this](const Config& before) { OnConfig(before); })) {}

// ---- Start and configuration ----

absl::Status Attachments::Restore() {
  ASSIGN_OR_RETURN(const AttachmentTable::Loaded loaded, table_.Load(group_id_));
  reconciled_.unreadable += loaded.unreadable;
  reconciled_.records += loaded.rebuilt;
  orphans_.CollectAbandonedPlans();
  // Runs before ports are opened, so that no cloud is joined for an attachment that a queued DEL
  // ends.
  orphans_.DetachQueued();
  restorer_.Start(loaded.ports);
  return absl::OkStatus();
}

void Attachments::OnConfig(const Config& before) {
  for (const auto& [key, joined] : clouds_.all()) {
    const NamedCloud* old = before.FindByKey(key);
    if (old == nullptr) continue;
    const NamedCloud* now = config_.FindByName(old->name);
    if (now != nullptr && FormatVnl(now->config) == FormatVnl(joined.config)) continue;
    log_->Warn("cloud kept as joined",
               {{"cloud", old->name},
                {"joined", FormatVnl(joined.config)},
                {"configured", now == nullptr ? "no more" : FormatVnl(now->config)},
                {"reason", "it is in use; the change applies once its last port here is gone"}});
  }
  for (const auto& [id, attachment] : table_.all()) {
    if (attachment.state == Attachment::State::kAttached) resources_.UpdateGuard(attachment);
  }
}

void Attachments::OnEvent(const SwitchEvent& event) {
  if (event.kind != SwitchEvent::Kind::kPortFailed) return;
  Attachment* attachment = table_.FindPort(event.cloud, event.port);
  if (attachment == nullptr) return;  // detached meanwhile
  resources_.EndAnyway(*attachment, "detached", "its interface is gone: the pod ended without DEL");
}

// ---- Plan ----

PlanTicket Attachments::Plan(const PlanRequest& request, PlanDone done) {
  const auto ticket = static_cast<PlanTicket>(++last_ticket_);
  const absl::StatusOr<Attachment*> planned = Admit(request, ticket);
  if (planned.ok()) {
    (*planned)->plan->done = std::move(done);
    ClaimAddresses(**planned);
  } else {
    done(planned.status());
  }
  return ticket;
}

absl::StatusOr<Attachment*> Attachments::Admit(const PlanRequest& request, PlanTicket ticket) {
  const std::string id = IdOfKey(request.key);
  ASSIGN_OR_RETURN(const CloudConfig cloud,
                   ChooseCloud(config_, group_id_, request.cloud, request.vnl));
  RETURN_IF_ERROR(CheckPolicy(config_, request, cloud));
  // A queued DEL of an earlier container of this id must not end the new one.
  RETURN_IF_ERROR(store_->queue().Remove(id));
  // An error leaves this cloud, and replacing a stale attachment leaves that one's cloud, unless
  // other attachments still use it.
  const Attachment* before = table_.Find(id);
  const CloudKey cloud_before = before != nullptr ? before->cloud.key : cloud.key;
  const absl::Cleanup leave = [&] {
    resources_.LeaveIfUnused(cloud.key);
    resources_.LeaveIfUnused(cloud_before);
  };
  RETURN_IF_ERROR(RemoveStale(request, id));
  ASSIGN_OR_RETURN(const CloudOptions* joined, resources_.Join(cloud));

  Attachment planned;
  planned.cloud = joined->config;
  planned.record = RecordOf(request, id);
  AttachmentRecord& record = planned.record;
  record.vnl = FormatVnl(joined->config);
  record.unicast_port = joined->unicast_port;
  ASSIGN_OR_RETURN(record.mtu, ChooseMtu(config_, request, cloud, joined->uplink_mtu));
  ASSIGN_OR_RETURN(record.mac, ChooseMac(request, table_.OthersOn(cloud.key, id)));
  RETURN_IF_ERROR(node_ports_->CheckFree(id, request.port_mappings));
  PendingPlan& plan = planned.plan.emplace();
  plan.ticket = ticket;
  plan.brought = request.brought;
  ASSIGN_OR_RETURN(plan.wish, ChooseAddresses(config_, request, cloud, id, record.mac));
  const absl::StatusOr<CloudHandle*> handle = switch_->Find(cloud.key);
  const bool offloaded = handle.ok() && (*handle)->IsOffloaded();
  plan.result = {.ticket = ticket,
                 .id = id,
                 .mac = record.mac,
                 .mtu = record.mtu,
                 .host_ifname = record.host_ifname,
                 .alias = LinkAlias(id, MainIdOf(record)),
                 .gso_max_size = GsoMaxSize(record.mtu, offloaded),
                 .cloud = clouds_.NameOf(cloud.key),
                 .vnl = record.vnl,
                 .addresses = {},
                 .gateways = {}};
  return table_.AddPlan(std::move(planned));
}

absl::Status Attachments::RemoveStale(const PlanRequest& request, const std::string& id) {
  Attachment* attachment = table_.Find(id);
  if (attachment == nullptr) return absl::OkStatus();
  if (attachment->state == Attachment::State::kPlanned) {
    return Refuse(kCniTryAgainLater,
                  absl::StrCat("another ADD of ", HolderOf(attachment->record), " is in progress"),
                  "wait until it has ended, or end it, then try again");
  }
  if (!resources_.IsStale(*attachment)) {
    return Refuse(AttachError::kAlreadyAttached,
                  absl::StrCat(HolderOf(attachment->record), " is attached already"),
                  "run DEL for it first");
  }
  RETURN_IF_ERROR(table_.RemoveRecord(id));
  resources_.LogEnd(*attachment, "attachment replaced",
                    absl::StrCat("its link is gone, and a new ADD came from ", request.netns));
  resources_.Forget(*attachment);
  return absl::OkStatus();
}

void Attachments::ClaimAddresses(Attachment& planned) {
  if (!planned.plan->wish.has_value()) return OpenNodePort(planned);
  claims_->Claim(*planned.plan->wish,
                 [this, &planned](absl::StatusOr<std::vector<IpPrefix>> addresses) {
                   if (!addresses.ok()) return FailPlan(planned, addresses.status());
                   PendingPlan& plan = *planned.plan;
                   // The caller configures the addresses that it brings, of any subnet.
                   if (plan.brought.empty()) plan.result.addresses = *std::move(addresses);
                   OpenNodePort(planned);
                 });
}

void Attachments::OpenNodePort(Attachment& planned) {
  const NamedCloud* named = config_.FindByKey(planned.cloud.key);
  const bool gateway = named != nullptr && named->gateway;
  if (!gateway && planned.record.port_mappings.empty()) return FinishPlan(planned);
  planned.record.node_port = true;
  resources_.OpenNodePort(
      planned, [this, &planned, gateway](const absl::StatusOr<std::vector<IpPrefix>>& addresses) {
        if (!addresses.ok()) return FailPlan(planned, addresses.status());
        std::vector<IpAddress>& gateways = planned.plan->result.gateways;
        for (const IpPrefix& prefix : *addresses) {  // one of each family
          const bool has_one = std::any_of(
              gateways.begin(), gateways.end(),
              [&](const IpAddress& other) { return other.family() == prefix.address.family(); });
          if (gateway && !has_one) gateways.push_back(prefix.address);
        }
        FinishPlan(planned);
      });
}

void Attachments::FinishPlan(Attachment& planned) {
  const PlanDone done = std::exchange(planned.plan->done, nullptr);
  done(planned.plan->result);  // may end the plan
}

void Attachments::FailPlan(Attachment& planned, const absl::Status& error) {
  const std::string id = planned.record.id;
  const PlanDone done = std::exchange(planned.plan->done, nullptr);
  resources_.Drop(planned, "plan rolled back", error.message());
  orphans_.AbandonPlan(id);
  done(error);
}

void Attachments::Rollback(PlanTicket ticket) {
  Attachment* planned = table_.FindPlan(ticket);
  if (planned == nullptr) return;
  planned->plan->done = nullptr;
  const std::string id = planned->record.id;
  resources_.Drop(*planned, "plan rolled back", "its connection ended before the commit");
  orphans_.AbandonPlan(id);
}

// ---- Commit ----

absl::StatusOr<PortId> Attachments::Commit(PlanTicket ticket,
                                           const std::vector<IpPrefix>& addresses, UniqueFd tap) {
  Attachment* planned = table_.FindPlan(ticket);
  if (planned == nullptr) return PlanEnded();
  if (const absl::Status status = CommitPlan(*planned, addresses, std::move(tap)); !status.ok()) {
    const std::string id = planned->record.id;
    const CloudKey cloud = planned->cloud.key;
    resources_.Forget(*planned);
    resources_.LeaveIfUnused(cloud);
    orphans_.AbandonPlanLater(id);
    return status;
  }
  const AttachmentRecord& record = planned->record;
  log_->Info("attached", {{"id", record.id},
                          {"cloud", clouds_.NameOf(planned->cloud.key)},
                          {"port", absl::StrCat(static_cast<uint32_t>(planned->port))},
                          {"container", record.container_id},
                          {"ifname", record.ifname},
                          {"mode", record.tap ? "tap" : "veth"},
                          {"mac", record.mac.ToString()},
                          {"mtu", absl::StrCat(record.mtu)},
                          {"addresses", AddressList(record)}});
  resources_.Announce(*planned, /*to_ports=*/true);
  return planned->port;
}

absl::Status Attachments::CommitPlan(Attachment& planned, const std::vector<IpPrefix>& addresses,
                                     UniqueFd tap) {
  const PendingPlan& plan = *planned.plan;
  assert(!plan.done);
  AttachmentRecord& record = planned.record;
  std::vector<IpAddress> claimed;
  if (plan.wish.has_value()) claimed = plan.wish->wanted;
  for (const IpPrefix& address : plan.result.addresses) claimed.push_back(address.address);
  RETURN_IF_ERROR(CheckCommit(config_, record, planned.cloud, addresses, claimed));
  RETURN_IF_ERROR(CheckAddressesFree(config_, planned.cloud, addresses,
                                     table_.OthersOn(planned.cloud.key, record.id),
                                     node_ports_->List()));
  record.addresses = addresses;
  absl::StatusOr<std::unique_ptr<FrameIo>> io = resources_.OpenInterface(planned, std::move(tap));
  if (absl::IsNotFound(io.status())) {
    return Refuse(kCniInvalidConfig,
                  absl::StrCat("the agent cannot find the plugin's link: ", io.status().message()),
                  "run agent and runtime in one network namespace; where that is impossible, as "
                  "with rootless containers, set \"mode\": \"tap\"");
  }
  RETURN_IF_ERROR(io.status());
  RETURN_IF_ERROR(resources_.AddPort(planned, *std::move(io)));
  if (!plan.wish.has_value() && !addresses.empty()) resources_.RegisterExternal(planned);
  RETURN_IF_ERROR(resources_.Publish(planned));
  record.netns_id = planned.netns.id;
  return table_.Commit(planned);
}

absl::Status Attachments::SetAddresses(const AttachmentKey& key,
                                       const std::vector<IpPrefix>& addresses) {
  Attachment* attachment = table_.Find(IdOfKey(key));
  if (attachment == nullptr || attachment->state != Attachment::State::kAttached) {
    return Refuse(kCniTryAgainLater,
                  absl::StrCat("container ", key.container_id, " interface ", key.ifname,
                               " was detached before its addresses were known"),
                  "run ADD again if the container is still wanted");
  }
  RETURN_IF_ERROR(
      CheckCommit(config_, attachment->record, attachment->cloud, addresses, /*claimed=*/{}));
  RETURN_IF_ERROR(CheckAddressesFree(config_, attachment->cloud, addresses,
                                     table_.OthersOn(attachment->cloud.key, attachment->record.id),
                                     node_ports_->List()));
  AttachmentRecord record = attachment->record;
  record.addresses = addresses;
  RETURN_IF_ERROR(table_.Renew(*attachment, std::move(record)));
  resources_.RegisterExternal(*attachment);
  resources_.UpdateGuard(*attachment);
  log_->Info("addresses", {{"id", attachment->record.id},
                           {"cloud", clouds_.NameOf(attachment->cloud.key)},
                           {"addresses", AddressList(attachment->record)}});
  resources_.Announce(*attachment, /*to_ports=*/true);
  return absl::OkStatus();
}

// ---- Detach ----

absl::StatusOr<bool> Attachments::Detach(const AttachmentKey& key) {
  const std::string id = IdOfKey(key);
  Attachment* attachment = table_.Find(id);
  const bool ended = table_.ended().contains(id);
  // The plugin's DEL deletes the link of an abandoned plan itself.
  if (attachment == nullptr && !ended && !table_.abandoned_plans().contains(id)) return false;
  RETURN_IF_ERROR(table_.RemoveRecord(id));
  if (attachment == nullptr) return ended;
  resources_.RemovePort(*attachment, /*with_link=*/true);
  resources_.Drop(*attachment, "detached", "DEL");
  return true;
}

absl::StatusOr<bool> Attachments::DetachAll(const AttachmentKey& key) {
  bool found = false;
  absl::Status first = absl::OkStatus();
  for (const AttachmentKey& one : table_.KeysOfAdd(key)) {
    const absl::StatusOr<bool> detached = Detach(one);
    first.Update(detached.status());
    found = found || detached.value_or(false);
  }
  if (!first.ok()) return first;
  return found;
}

absl::StatusOr<bool> Attachments::ForgetEnded(const AttachmentKey& key) {
  const std::string id = IdOfKey(key);
  ASSIGN_OR_RETURN(const bool found, table_.ForgetEnded(id));
  if (found) {
    log_->Info("ended attachment forgotten",
               {{"id", id}, {"container", key.container_id}, {"ifname", key.ifname}});
  }
  return found;
}

// ---- Check and lists ----

absl::StatusOr<CheckedAttachment> Attachments::Check(const AttachmentKey& key) {
  const Attachment* attachment = table_.Find(IdOfKey(key));
  if (attachment == nullptr || attachment->state == Attachment::State::kPlanned) {
    return Refuse(
        AttachError::kNotAttached,
        absl::StrCat("container ", key.container_id, " interface ", key.ifname, " of network ",
                     key.network, " is not attached on node ", config_.node),
        "run DEL and ADD for it; the agent's log says when it ended");
  }
  const AttachmentRecord& record = attachment->record;
  const auto not_forwarding = [&](absl::string_view reason, absl::string_view remedy) {
    return Refuse(AttachError::kNotForwarding,
                  absl::StrCat(HolderOf(record), " does not forward: ", reason), remedy);
  };
  if (attachment->state == Attachment::State::kWaiting) {
    return not_forwarding(attachment->problem,
                          absl::StrCat("the agent tries again every ", Restorer::kRetry.count(),
                                       " s; `vxvdectl ports` shows the state"));
  }
  if (resources_.IsStale(*attachment)) {
    return not_forwarding(absl::StrCat("its interface ", record.host_ifname, " is gone"),
                          "run DEL and ADD for it");
  }
  if (const absl::Status uplink = CheckUplink(attachment->cloud); !uplink.ok()) {
    return not_forwarding(uplink.message(), RefusalOf(uplink).remedy);
  }
  return CheckedAttachment{.mac = record.mac, .mtu = record.mtu, .tap = record.tap};
}

absl::Status Attachments::CheckUplink(const CloudConfig& cloud) const {
  Uplink uplink;
  if (const CloudOptions* joined = clouds_.Find(cloud.key)) {
    uplink = {.index = joined->uplink, .name = joined->uplink_name};
  } else {
    ASSIGN_OR_RETURN(uplink, ChooseUplink(cloud, config_.uplink, links_));
  }
  const absl::StatusOr<LinkInfo> link = links_.by_index(uplink.index);
  if (link.ok() && link->up) return absl::OkStatus();
  if (!link.ok() && !absl::IsNotFound(link.status())) return link.status();
  return Refuse(AttachError::kCannotJoin,
                absl::StrCat("the uplink ", uplink.name, " of cloud ", clouds_.NameOf(cloud.key),
                             link.ok() ? " is down" : " is gone"),
                absl::StrCat("ip link set ", uplink.name,
                             " up, or choose another (`uplink:` of the agent's configuration, "
                             "/if= of the locator)"));
}

absl::Status Attachments::Ready(const std::string& name, const std::string& vnl) {
  const auto not_ready = [](uint32_t code, const absl::Status& reason) {
    const Refusal refusal = RefusalOf(reason);
    return Refuse(code, refusal.message, refusal.remedy);
  };
  const absl::StatusOr<CloudConfig> cloud = ChooseCloud(config_, group_id_, name, vnl);
  if (!cloud.ok()) return not_ready(kCniNotAvailable, cloud.status());
  if (const absl::Status uplink = CheckUplink(*cloud); !uplink.ok()) {
    // A missing uplink also cuts off existing attachments. A plan does not count.
    const bool cuts_off =
        std::any_of(table_.all().begin(), table_.all().end(), [&](const auto& entry) {
          return entry.second.cloud.key == cloud->key &&
                 entry.second.state != Attachment::State::kPlanned;
        });
    return not_ready(cuts_off ? kCniLimitedConnectivity : kCniNotAvailable, uplink);
  }
  if (const absl::Status rules = node_ports_->Ready(cloud->key); !rules.ok()) {
    return Refuse(kCniNotAvailable, rules.message(),
                  "remedy what the message names; the agent tries again every 2 s");
  }
  const NamedCloud* named = config_.FindByKey(cloud->key);
  if (named == nullptr) return absl::OkStatus();
  const absl::Status claims = claims_->Ready(cloud->key, named->subnets);
  return claims.ok() ? claims : not_ready(kCniNotAvailable, claims);
}

std::vector<AttachmentInfo> Attachments::List() const {
  std::vector<AttachmentInfo> list;
  for (const auto& [id, attachment] : table_.all()) {
    if (attachment.state == Attachment::State::kPlanned) continue;
    const AttachmentRecord& record = attachment.record;
    list.push_back({.id = id,
                    .network = record.network,
                    .container_id = record.container_id,
                    .ifname = record.ifname,
                    .main_ifname = record.main_ifname,
                    .pod_namespace = record.pod_namespace,
                    .pod_name = record.pod_name,
                    .caller = record.caller,
                    .mode = record.tap ? "tap" : "veth",
                    .host_ifname = record.host_ifname,
                    .netns = record.netns,
                    .addresses = record.addresses,
                    .allow = FormatAllowed(record.allow),
                    .cloud = attachment.cloud.key,
                    .port = attachment.port,
                    .problem = attachment.problem});
  }
  return list;
}

std::vector<ListedAttachment> Attachments::ListNetwork(const std::string& network) const {
  std::vector<ListedAttachment> list;
  const auto add = [&](const AttachmentRecord& record, bool planned, bool ended) {
    if (!network.empty() && record.network != network) return;
    list.push_back({.key = {record.network, record.container_id, record.ifname},
                    .id = record.id,
                    .main_ifname = record.main_ifname,
                    .caller = record.caller,
                    .netns = record.netns,
                    .tap = record.tap,
                    .planned = planned,
                    .ended = ended});
  };
  for (const auto& [id, attachment] : table_.all()) {
    add(attachment.record, attachment.state == Attachment::State::kPlanned, /*ended=*/false);
  }
  for (const auto& [id, record] : table_.ended()) {
    if (table_.Find(id) == nullptr) add(record, /*planned=*/false, /*ended=*/true);
  }
  std::sort(list.begin(), list.end(),
            [](const ListedAttachment& a, const ListedAttachment& b) { return a.id < b.id; });
  return list;
}

}  // namespace vxvde
