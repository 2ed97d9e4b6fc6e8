#include "agent/attach/attachment_resources.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "agent/attach/admission.h"
#include "agent/base/refusal.h"
#include "plugin/base/status.h"
#include "plugin/wire/announce.h"

namespace vxvde {
namespace {

// The name of this room in JoinedClouds.
constexpr char kHolder[] = "attachments";

// A neighbour may miss the first announcement, for example behind a switch that has just seen its
// port come up. RFC 5227, section 2.3, announces twice as well.
constexpr std::chrono::seconds kSecondAnnouncement{1};

}  // namespace

absl::Status PlanEnded() {
  return Refuse(kCniTryAgainLater, "a DEL ended the plan before it was committed",
                "run ADD again if the container is still wanted");
}

absl::StatusOr<const CloudOptions*> AttachmentResources::Join(const CloudConfig& cloud) {
  return parts_.clouds->Join(kHolder, cloud);
}

void AttachmentResources::LeaveIfUnused(const CloudKey& cloud) {
  if (!parts_.table->HasOn(cloud)) parts_.clouds->Leave(kHolder, cloud);
}

absl::StatusOr<std::unique_ptr<FrameIo>> AttachmentResources::OpenInterface(Attachment& attachment,
                                                                            UniqueFd tap) {
  const AttachmentRecord& record = attachment.record;
  if (record.tap) {
    attachment.netns = parts_.links->netns_of_tap(tap, record.netns);
    return parts_.links->tap_port(record.id, std::move(tap));
  }
  ASSIGN_OR_RETURN(const LinkInfo link, parts_.links->by_name(record.host_ifname));
  if (IdOfAlias(link.alias) != record.id) {
    return absl::NotFoundError(absl::StrCat(
        "interface ", record.host_ifname, " has alias \"", link.alias, "\" instead of ",
        LinkAlias(record.id, MainIdOf(record)), ": another program made it"));
  }
  attachment.host_end = link.index;
  return parts_.links->packet_port(link.index);
}

absl::Status AttachmentResources::AddPort(Attachment& attachment, std::unique_ptr<FrameIo> io) {
  const AttachmentRecord& record = attachment.record;
  const std::string name =
      record.tap ? absl::StrCat(record.container_id, "/", record.ifname) : record.host_ifname;
  ASSIGN_OR_RETURN(CloudHandle * handle, parts_.the_switch->Find(attachment.cloud.key));
  const absl::StatusOr<PortId> port =
      handle->AddPort({.name = name,
                       .mac = record.mac,
                       .mtu = record.mtu,
                       .host_end = attachment.host_end,
                       .guard = GuardFor(*parts_.config, attachment.cloud.key, record)},
                      std::move(io));
  if (absl::IsAlreadyExists(port.status())) {
    return Refuse(AttachError::kMacInUse, port.status().message(), "request another MAC");
  }
  RETURN_IF_ERROR(port.status());
  attachment.port = *port;
  return absl::OkStatus();
}

void AttachmentResources::RemovePort(Attachment& attachment, bool with_link) {
  attachment.announcement.reset();
  const PortId port = std::exchange(attachment.port, PortId::kNone);
  if (port == PortId::kNone) return;
  const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(attachment.cloud.key);
  absl::StatusOr<std::unique_ptr<FrameIo>> io =
      handle.ok() ? (*handle)->TakePort(port) : handle.status();
  if (io.ok()) {
    parts_.links->close_later(
        {.io = *std::move(io), .with_link = with_link, .host_end = attachment.host_end});
  } else {
    parts_.log->Warn("port not removed",
                     {{"id", attachment.record.id}, {"error", std::string(io.status().message())}});
  }
}

bool AttachmentResources::IsStale(const Attachment& attachment) const {
  if (attachment.state == Attachment::State::kPlanned) return false;
  // The port of an attached tap reports the end of the tap, and then the attachment is dropped.
  if (attachment.record.tap) return attachment.state == Attachment::State::kWaiting;
  const absl::StatusOr<LinkInfo> link = parts_.links->by_name(attachment.record.host_ifname);
  return absl::IsNotFound(link.status()) ||
         (link.ok() && IdOfAlias(link->alias) != attachment.record.id);
}

void AttachmentResources::UpdateGuard(const Attachment& attachment) {
  const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(attachment.cloud.key);
  const absl::Status status =
      handle.ok()
          ? (*handle)->SetGuard(attachment.port,
                                GuardFor(*parts_.config, attachment.cloud.key, attachment.record))
          : handle.status();
  if (!status.ok()) {
    parts_.log->Warn("port security not changed",
                     {{"id", attachment.record.id}, {"error", std::string(status.message())}});
  }
}

void AttachmentResources::AnnounceOnce(const Attachment& attachment, bool to_ports) {
  const absl::StatusOr<CloudHandle*> handle = parts_.the_switch->Find(attachment.cloud.key);
  if (!handle.ok()) return;  // its ports are gone
  for (const IpPrefix& address : attachment.record.addresses) {
    const auto frame = BuildAnnouncement(attachment.record.mac, address.address);
    const absl::Status status = to_ports ? (*handle)->Inject(attachment.port, frame)
                                         : (*handle)->InjectToGroup(attachment.port, frame);
    if (!status.ok()) {
      parts_.log->Warn("not announced", {{"id", attachment.record.id},
                                         {"address", address.address.ToString()},
                                         {"error", std::string(status.message())}});
    }
  }
}

void AttachmentResources::Announce(Attachment& attachment, bool to_ports) {
  if (attachment.record.addresses.empty()) return;
  AnnounceOnce(attachment, to_ports);
  attachment.announcement = std::make_unique<Timer>(parts_.loop);
  attachment.announcement->After(
      kSecondAnnouncement, [this, &attachment, to_ports] { AnnounceOnce(attachment, to_ports); });
}

void AttachmentResources::RegisterExternal(const Attachment& attachment) {
  const AttachmentRecord& record = attachment.record;
  parts_.claims->RegisterExternal(record.id, attachment.cloud.key, record.mac, record.addresses);
}

// The subnets in which the node needs an address to reach the attachment. Addresses of an IPAM
// plugin are not known before the commit; Publish has them.
std::vector<IpPrefix> AttachmentResources::NodeSubnets(const Attachment& attachment) const {
  const NamedCloud* named = parts_.config->FindByKey(attachment.cloud.key);
  std::vector<IpPrefix> subnets = named != nullptr ? named->subnets : std::vector<IpPrefix>();
  if (!attachment.record.port_mappings.empty() && attachment.plan.has_value()) {
    const std::vector<IpPrefix>& brought = attachment.plan->brought;
    subnets.insert(subnets.end(), brought.begin(), brought.end());
  }
  return subnets;
}

void AttachmentResources::OpenNodePort(const Attachment& attachment, NodePorts::Opened done) {
  parts_.node_ports->Open(attachment.record.id, attachment.cloud.key, NodeSubnets(attachment),
                          std::move(done));
}

absl::Status AttachmentResources::Publish(const Attachment& attachment) {
  const AttachmentRecord& record = attachment.record;
  if (record.port_mappings.empty()) return absl::OkStatus();
  return parts_.node_ports->Publish({.id = record.id,
                                     .holder = HolderOf(record),
                                     .cloud = attachment.cloud.key,
                                     .addresses = record.addresses,
                                     .mappings = record.port_mappings});
}

void AttachmentResources::Restore(const Attachment& attachment) {
  RegisterExternal(attachment);
  if (!attachment.record.node_port) return;
  OpenNodePort(attachment, [](const absl::StatusOr<std::vector<IpPrefix>>&) {});
  if (const absl::Status status = Publish(attachment); !status.ok()) {
    parts_.log->Error("ports not published",
                      {{"id", attachment.record.id}, {"error", std::string(status.message())}});
  }
}

void AttachmentResources::Forget(Attachment& attachment) {
  const std::string id = attachment.record.id;
  RemovePort(attachment, /*with_link=*/false);
  parts_.claims->Release(id);
  parts_.node_ports->Unpublish(id);
  parts_.node_ports->Close(id);
  AttachService::PlanDone done;
  if (attachment.plan.has_value()) done = std::move(attachment.plan->done);
  parts_.table->Erase(attachment);
  if (done) done(PlanEnded());
}

void AttachmentResources::LogEnd(const Attachment& attachment, absl::string_view event,
                                 absl::string_view reason) const {
  parts_.log->Info(event, {{"id", attachment.record.id},
                           {"cloud", NameOfCloud(*parts_.config, attachment.cloud)},
                           {"container", attachment.record.container_id},
                           {"ifname", attachment.record.ifname},
                           {"reason", std::string(reason)}});
}

void AttachmentResources::Drop(Attachment& attachment, absl::string_view event,
                               absl::string_view reason) {
  LogEnd(attachment, event, reason);
  const CloudKey cloud = attachment.cloud.key;
  Forget(attachment);
  LeaveIfUnused(cloud);
}

absl::Status AttachmentResources::End(Attachment& attachment, absl::string_view event,
                                      absl::string_view reason) {
  RETURN_IF_ERROR(parts_.table->End(attachment));
  ++parts_.reconciled->attachments;
  Drop(attachment, event, reason);
  return absl::OkStatus();
}

void AttachmentResources::EndAnyway(Attachment& attachment, absl::string_view event,
                                    absl::string_view reason) {
  const absl::Status status = End(attachment, event, reason);
  if (status.ok()) return;
  parts_.log->Warn("record not moved",
                   {{"id", attachment.record.id}, {"error", std::string(status.message())}});
  Drop(attachment, event, reason);
}

}  // namespace vxvde
