#include "agent/handoff/session.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agent/api/attach.pb.h"
#include "agent/api/attachment_id.h"
#include "agent/base/refusal.h"
#include "agent/model/mtu.h"
#include "plugin/base/interface_name.h"
#include "plugin/base/status.h"
#include "plugin/base/version.h"

namespace vxvde {
namespace {

namespace pb = ::vxvde::attach::v1;

constexpr size_t kMaxName = 253;   // of a network, a container, a pod ...
constexpr size_t kMaxPath = 4095;  // PATH_MAX without the NUL
constexpr int kMaxAddresses = 64;
constexpr int kMaxPortMappings = 1024;
constexpr char kUseOneVersion[] = "use the vxvde CNI plugin of the agent's version";

void SetError(const absl::Status& error, pb::Error& message) {
  const Refusal refusal = RefusalOf(error);
  message.set_code(refusal.code);
  message.set_message(refusal.message);
  message.set_details(refusal.remedy);
}

std::string Serialized(const absl::Status& error) {
  pb::Reply reply;
  SetError(error, *reply.mutable_error());
  return reply.SerializeAsString();
}

absl::Status NotUnderstood(absl::string_view what) {
  return Refuse(kCniDecodeFailure, absl::StrCat("handoff: ", what), kUseOneVersion);
}

bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }

// CNI SPEC 1.1: a letter or digit, then letters, digits, '_', '.' or '-'.
absl::Status CheckName(absl::string_view what, const std::string& name, uint32_t code) {
  const bool good = !name.empty() && name.size() <= kMaxName && IsAlnum(name[0]) &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return IsAlnum(c) || c == '_' || c == '.' || c == '-';
                    });
  if (good) return absl::OkStatus();
  return Refuse(code, absl::StrCat(what, " \"", name.substr(0, kMaxName), "\" is not well-formed"),
                "use a letter or digit, then letters, digits, '_', '.' or '-', at most 253");
}

absl::Status CheckIfName(const std::string& ifname) {
  if (IsInterfaceName(ifname)) return absl::OkStatus();
  return Refuse(kCniInvalidEnvironment,
                absl::StrCat("interface name \"", ifname.substr(0, kMaxName), "\" is not valid"),
                "use 1 to 15 bytes without '/', ':', spaces and control characters");
}

absl::StatusOr<AttachmentKey> CheckKey(const pb::AttachmentKey& message) {
  AttachmentKey key{message.network(), message.container_id(), message.ifname()};
  RETURN_IF_ERROR(CheckName("network name", key.network, kCniInvalidConfig));
  RETURN_IF_ERROR(CheckName("container id", key.container_id, kCniInvalidEnvironment));
  RETURN_IF_ERROR(CheckIfName(key.ifname));
  return key;
}

absl::Status CheckText(absl::string_view what, const std::string& text, size_t most) {
  if (text.size() <= most && !absl::StrContains(text, '\0')) return absl::OkStatus();
  return Refuse(kCniInvalidConfig,
                absl::StrCat(what, " is longer than ", most, " bytes or contains a NUL"),
                "shorten it");
}

absl::StatusOr<PortMapping> CheckPortMapping(const pb::PortMapping& message) {
  const auto refuse = [&](absl::string_view what, absl::string_view remedy) {
    return Refuse(kCniInvalidConfig,
                  absl::StrCat("port mapping ", message.host_port(), ":", message.container_port(),
                               ": ", what),
                  remedy);
  };
  for (const uint32_t port : {message.host_port(), message.container_port()}) {
    if (port < 1 || port > 65535) {
      return refuse(absl::StrCat("port ", port, " is out of range"), "use 1 to 65535");
    }
  }
  PortMapping mapping{.host_port = static_cast<uint16_t>(message.host_port()),
                      .container_port = static_cast<uint16_t>(message.container_port()),
                      .protocol = message.protocol(),
                      .host_ip = std::nullopt};
  if (mapping.protocol != "tcp" && mapping.protocol != "udp" && mapping.protocol != "sctp") {
    return refuse(
        absl::StrCat("protocol \"", mapping.protocol.substr(0, kMaxName), "\" is unknown"),
        "use tcp, udp or sctp");
  }
  if (!message.host_ip().empty()) {
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(message.host_ip());
    if (!address.ok()) return refuse(address.status().message(), "write it as 192.0.2.7");
    mapping.host_ip = *address;
  }
  return mapping;
}

absl::StatusOr<std::vector<Allowed>> CheckAllowed(
    const google::protobuf::RepeatedPtrField<std::string>& texts) {
  absl::StatusOr<std::vector<Allowed>> list = ParseAllowed({texts.begin(), texts.end()});
  if (list.ok()) return list;
  return Refuse(kCniInvalidConfig, absl::StrCat("allow: ", list.status().message()),
                "correct the entry, or remove it");
}

absl::StatusOr<PlanRequest> CheckPlan(const pb::Plan& message) {
  PlanRequest request;
  ASSIGN_OR_RETURN(request.key, CheckKey(message.key()));
  request.cloud = message.cloud();
  request.vnl = message.vnl();
  RETURN_IF_ERROR(CheckText("cloud", request.cloud, kMaxName));
  RETURN_IF_ERROR(CheckText("vnl", request.vnl, kMaxPath));
  if (!request.cloud.empty() && !request.vnl.empty()) {
    return Refuse(kCniInvalidConfig,
                  absl::StrCat("both a cloud (\"", request.cloud, "\") and a vnl (\"", request.vnl,
                               "\") are given"),
                  "keep one of them");
  }
  if (message.mode() != pb::VETH && message.mode() != pb::TAP) {
    return Refuse(kCniInvalidConfig, absl::StrCat("mode ", message.mode(), " is unknown"),
                  "use veth or tap");
  }
  request.tap = message.mode() == pb::TAP;
  request.netns = message.netns();
  RETURN_IF_ERROR(CheckText("network namespace", request.netns, kMaxPath));
  if (!absl::StartsWith(request.netns, "/")) {
    return Refuse(kCniInvalidEnvironment,
                  absl::StrCat("network namespace \"", request.netns, "\" is not an absolute path"),
                  "set CNI_NETNS to the path of the pod's network namespace");
  }
  request.pod_namespace = message.pod().namespace_();
  request.pod_name = message.pod().name();
  request.pod_uid = message.pod().uid();
  RETURN_IF_ERROR(CheckText("pod namespace", request.pod_namespace, kMaxName));
  RETURN_IF_ERROR(CheckText("pod name", request.pod_name, kMaxName));
  RETURN_IF_ERROR(CheckText("pod uid", request.pod_uid, kMaxName));
  if (!message.mac().empty()) {
    if (message.mac().size() != MacAddress::kSize) {
      return Refuse(kCniInvalidConfig,
                    absl::StrCat("a MAC of ", message.mac().size(), " bytes is not valid"),
                    "give 6 bytes, or none to have one derived");
    }
    request.mac = MacAddress::FromWire(reinterpret_cast<const uint8_t*>(message.mac().data()));
    if (!request.mac->IsStation()) {
      return Refuse(kCniInvalidConfig,
                    absl::StrCat("MAC ", request.mac->ToString(), " is not valid for a pod: it is ",
                                 request.mac->IsGroup() ? "a group address" : "zero"),
                    "use a unicast address, for example 02:00:00:00:00:01");
    }
  }
  request.mtu = message.mtu();
  request.addresses_by_caller = message.addresses_by_caller();
  if (!message.caller().empty()) request.caller = message.caller();
  if (request.caller != "cni" && request.caller != "netavark") {
    return Refuse(kCniInvalidConfig,
                  absl::StrCat("caller \"", message.caller().substr(0, kMaxName), "\" is unknown"),
                  "use cni or netavark");
  }
  request.main_ifname = message.main_ifname();
  if (!request.main_ifname.empty()) RETURN_IF_ERROR(CheckIfName(request.main_ifname));
  request.by_annotation = message.by_annotation();
  if (message.addresses_size() > kMaxAddresses || message.port_mappings_size() > kMaxPortMappings) {
    return Refuse(kCniInvalidConfig,
                  absl::StrCat(message.addresses_size(), " addresses and ",
                               message.port_mappings_size(), " port mappings for one interface"),
                  absl::StrCat("give at most ", kMaxAddresses, " and ", kMaxPortMappings));
  }
  for (const std::string& text : message.addresses()) {
    if (request.addresses_by_caller) {
      const absl::StatusOr<IpPrefix> address = IpPrefix::Parse(text);
      if (!address.ok()) {
        return Refuse(kCniInvalidConfig, address.status().message(), "write it as 10.42.0.7/16");
      }
      request.brought.push_back(*address);
      continue;
    }
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
    if (!address.ok()) {
      return Refuse(kCniInvalidConfig, address.status().message(), "write it as 10.42.0.7");
    }
    request.addresses.push_back(*address);
  }
  for (const pb::PortMapping& mapping : message.port_mappings()) {
    ASSIGN_OR_RETURN(PortMapping checked, CheckPortMapping(mapping));
    request.port_mappings.push_back(std::move(checked));
  }
  ASSIGN_OR_RETURN(request.allow, CheckAllowed(message.allow()));
  ASSIGN_OR_RETURN(request.allow_by_annotation, CheckAllowed(message.allow_by_annotation()));
  return request;
}

absl::StatusOr<std::vector<IpPrefix>> CheckAddresses(const pb::Commit& message, int mtu) {
  if (message.addresses_size() > kMaxAddresses) {
    return Refuse(kCniInvalidConfig,
                  absl::StrCat(message.addresses_size(), " addresses for one interface"),
                  absl::StrCat("give at most ", kMaxAddresses));
  }
  std::vector<IpPrefix> addresses;
  for (const std::string& text : message.addresses()) {
    const absl::StatusOr<IpPrefix> address = IpPrefix::Parse(text);
    if (!address.ok()) {
      return Refuse(kCniInvalidConfig, address.status().message(), "write it as 10.42.0.7/16");
    }
    const IpAddress& ip = address->address;
    if (ip.IsMulticast() || ip.IsUnspecified() || ip.IsLoopback()) {
      return Refuse(kCniInvalidConfig, absl::StrCat("address ", text, " is not valid for a pod"),
                    "give a unicast address");
    }
    if (ip.is_v6() && mtu < kMinPodMtuWithIpv6) {
      return Refuse(AttachError::kMtuImpossible,
                    absl::StrCat("MTU ", mtu, " is too small for the IPv6 address ", text),
                    absl::StrCat("use an MTU of at least ", kMinPodMtuWithIpv6));
    }
    addresses.push_back(*address);
  }
  return addresses;
}

absl::Status CheckPing(const pb::Ping& message, AttachService& service) {
  RETURN_IF_ERROR(CheckText("cloud", message.cloud(), kMaxName));
  RETURN_IF_ERROR(CheckText("vnl", message.vnl(), kMaxPath));
  return service.Ready(message.cloud(), message.vnl());
}

// The listed attachments after `request.after()`, as many as fit one message in any case.
pb::Listed Page(const std::vector<ListedAttachment>& all, const pb::List& request) {
  constexpr size_t kEnough = kMaxHandoffMessage / 2;  // an entry is at most a path and some names
  pb::Listed page;
  size_t size = 0;
  for (const ListedAttachment& one : all) {
    if (one.id <= request.after()) continue;
    if (!request.container_id().empty() && one.key.container_id != request.container_id()) continue;
    if (size > kEnough) {
      page.set_more(true);
      break;
    }
    pb::Listed::Attachment& entry = *page.add_attachments();
    entry.mutable_key()->set_network(one.key.network);
    entry.mutable_key()->set_container_id(one.key.container_id);
    entry.mutable_key()->set_ifname(one.key.ifname);
    entry.set_id(one.id);
    entry.set_main_ifname(one.main_ifname);
    entry.set_caller(one.caller);
    entry.set_netns(one.netns);
    entry.set_mode(one.tap ? pb::TAP : pb::VETH);
    entry.set_planned(one.planned);
    entry.set_ended(one.ended);
    size += entry.ByteSizeLong();
  }
  return page;
}

std::string PlannedReply(const PlannedAttachment& plan) {
  pb::Reply reply;
  pb::Planned& planned = *reply.mutable_planned();
  planned.set_id(plan.id);
  planned.set_mac(plan.mac.bytes().data(), MacAddress::kSize);
  planned.set_mtu(static_cast<uint32_t>(plan.mtu));
  planned.set_host_ifname(plan.host_ifname);
  planned.set_alias(plan.alias);
  planned.set_gso_max_size(plan.gso_max_size);
  planned.set_cloud(plan.cloud);
  planned.set_vnl(plan.vnl);
  for (const IpPrefix& address : plan.addresses) planned.add_addresses(address.ToString());
  for (const IpAddress& gateway : plan.gateways) planned.add_gateways(gateway.ToString());
  return reply.SerializeAsString();
}

}  // namespace

std::string HandoffRefusal(uint32_t code, const std::string& message, const std::string& remedy) {
  pb::Reply reply;
  reply.mutable_error()->set_code(code);
  reply.mutable_error()->set_message(message);
  reply.mutable_error()->set_details(remedy);
  return reply.SerializeAsString();
}

HandoffSession::~HandoffSession() { End(); }

void HandoffSession::End() {
  const State was = std::exchange(state_, State::kOver);
  if (was == State::kPlanning || was == State::kPlanned) service_->Rollback(ticket_);
}

std::string HandoffSession::Over(const absl::Status& error) {
  End();
  return Serialized(error);
}

std::optional<std::string> HandoffSession::Plan(const PlanRequest& request) {
  state_ = State::kPlanning;
  key_ = request.key;
  tap_ = request.tap;
  std::optional<std::string> at_once;
  const auto in_this_call = std::make_shared<bool>(true);
  ticket_ = service_->Plan(
      request, [this, &at_once, in_this_call](const absl::StatusOr<PlannedAttachment>& planned) {
        std::string answer = OnPlanned(planned);
        if (*in_this_call) {
          at_once = std::move(answer);
        } else {
          const Later later = later_;  // which may destroy this session
          later(std::move(answer));
        }
      });
  *in_this_call = false;
  return at_once;
}

std::string HandoffSession::OnPlanned(const absl::StatusOr<PlannedAttachment>& planned) {
  if (!planned.ok()) {
    state_ = State::kOver;  // the service has ended the plan
    return Serialized(planned.status());
  }
  state_ = State::kPlanned;
  mtu_ = planned->mtu;
  return PlannedReply(*planned);
}

void HandoffSession::Undelivered() {
  if (state_ == State::kCommitted) {
    // An error is not fatal, since the runtime sends a DEL as well.
    service_->Detach(key_).IgnoreError();
  }
  End();
}

std::optional<std::string> HandoffSession::Handle(std::span<const uint8_t> message,
                                                  std::vector<UniqueFd> fds, bool truncated) {
  const auto over = [this](const absl::Status& error) { return Over(error); };
  if (state_ == State::kOver) return over(NotUnderstood("a message after the last answer"));
  if (truncated || message.size() > kMaxHandoffMessage) {
    return over(NotUnderstood(absl::StrCat("the message has more than ", kMaxHandoffMessage,
                                           " bytes, or too many descriptors")));
  }
  pb::Request request;
  if (!request.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return over(NotUnderstood("the message cannot be decoded"));
  }
  if (!greeted_ && request.protocol() != kAttachProtocol) {
    return over(
        Refuse(AttachError::kVersionMismatch,
               absl::StrCat("the CNI plugin speaks protocol ", request.protocol(),
                            ", and the agent (vxvde ", kVersion, ") protocol ", kAttachProtocol),
               "install plugin and agent of one version"));
  }
  greeted_ = true;

  const bool takes_fd = request.has_commit() && state_ == State::kPlanned && tap_;
  if (fds.size() != (takes_fd ? 1 : 0)) {
    return over(
        NotUnderstood(absl::StrCat(fds.size(), " descriptors came with a message that takes ",
                                   takes_fd ? "exactly one, the tap's" : "none")));
  }

  pb::Reply reply;
  switch (request.kind_case()) {
    case pb::Request::kPing: {
      reply.mutable_pong()->set_version(kVersion);
      const absl::Status ready = CheckPing(request.ping(), *service_);
      if (!ready.ok()) SetError(ready, *reply.mutable_pong()->mutable_problem());
      return reply.SerializeAsString();
    }

    case pb::Request::kPlan: {
      if (state_ != State::kFresh) return over(NotUnderstood("Plan must be the first message"));
      const absl::StatusOr<PlanRequest> plan = CheckPlan(request.plan());
      if (!plan.ok()) return over(plan.status());
      return Plan(*plan);
    }

    case pb::Request::kCommit: {
      if (state_ != State::kPlanned && state_ != State::kCommitted) {
        return over(NotUnderstood("Commit without a Plan"));
      }
      const absl::StatusOr<std::vector<IpPrefix>> addresses =
          CheckAddresses(request.commit(), mtu_);
      if (!addresses.ok()) return over(addresses.status());
      if (state_ == State::kCommitted) {
        const absl::Status set = service_->SetAddresses(key_, *addresses);
        if (!set.ok()) return over(set);
        reply.mutable_committed()->set_port(port_);
        return reply.SerializeAsString();
      }
      state_ = State::kOver;  // The plan ends with Commit, whatever the answer.
      const absl::StatusOr<PortId> port =
          service_->Commit(ticket_, *addresses, tap_ ? std::move(fds[0]) : UniqueFd());
      if (!port.ok()) return over(port.status());
      state_ = State::kCommitted;
      port_ = static_cast<uint32_t>(*port);
      reply.mutable_committed()->set_port(port_);
      return reply.SerializeAsString();
    }

    case pb::Request::kDetach: {
      if (state_ != State::kFresh) return over(NotUnderstood("Detach on the connection of a plan"));
      const absl::StatusOr<AttachmentKey> key = CheckKey(request.detach().key());
      if (!key.ok()) return over(key.status());
      const absl::StatusOr<bool> found = request.detach().only_ended() ? service_->ForgetEnded(*key)
                                         : request.detach().with_others()
                                             ? service_->DetachAll(*key)
                                             : service_->Detach(*key);
      if (!found.ok()) return over(found.status());
      reply.mutable_detached()->set_found(*found);
      return reply.SerializeAsString();
    }

    case pb::Request::kCheck: {
      if (state_ != State::kFresh) return over(NotUnderstood("Check on the connection of a plan"));
      const absl::StatusOr<AttachmentKey> key = CheckKey(request.check().key());
      if (!key.ok()) return over(key.status());
      const absl::StatusOr<CheckedAttachment> checked = service_->Check(*key);
      if (!checked.ok()) return over(checked.status());
      pb::Checked& message = *reply.mutable_checked();
      message.set_mac(checked->mac.bytes().data(), MacAddress::kSize);
      message.set_mtu(static_cast<uint32_t>(checked->mtu));
      message.set_mode(checked->tap ? pb::TAP : pb::VETH);
      return reply.SerializeAsString();
    }

    case pb::Request::kList: {
      if (state_ != State::kFresh) return over(NotUnderstood("List on the connection of a plan"));
      const std::string& network = request.list().network();
      if (!network.empty()) {
        const absl::Status good = CheckName("network name", network, kCniInvalidConfig);
        if (!good.ok()) return over(good);
      }
      *reply.mutable_listed() = Page(service_->ListNetwork(network), request.list());
      return reply.SerializeAsString();
    }

    case pb::Request::KIND_NOT_SET:
      break;
  }
  return over(NotUnderstood("the message has no request that this agent knows"));
}

}  // namespace vxvde
