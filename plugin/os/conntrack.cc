#include "plugin/os/conntrack.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/netlink_message.h"

namespace vxvde {
namespace {

// Bits of CTA_FILTER_ORIG_FLAGS: the parts of the tuple that must match. The kernel defines them in
// a private header (include/net/netfilter/nf_internals.h).
constexpr uint32_t kProtocolMatches = 1u << 3;
constexpr uint32_t kDestinationPortMatches = 1u << 5;

using Socket = std::unique_ptr<nl_sock, decltype(&nl_socket_free)>;

absl::Status NlError(absl::string_view what, int error) {
  const std::string message = absl::StrCat(what, ": ", nl_geterror(error));
  if (error == -NLE_PERM) return absl::PermissionDeniedError(message);
  if (error == -NLE_OBJ_NOTFOUND) return absl::NotFoundError(message);
  return absl::UnavailableError(message);
}

absl::StatusOr<Socket> Connect() {
  Socket socket(nl_socket_alloc(), &nl_socket_free);
  if (socket == nullptr) return absl::ResourceExhaustedError("no memory for a netlink socket");
  if (const int error = nl_connect(socket.get(), NETLINK_NETFILTER); error != 0) {
    return NlError("open a netfilter netlink socket", error);
  }
  return socket;
}

uint16_t Type(int message) { return static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | message); }

nfgenmsg Header(int family) {
  return {.nfgen_family = static_cast<uint8_t>(family), .version = NFNETLINK_V0, .res_id = 0};
}

std::optional<uint16_t> Port(const Attributes& protocol, int type) {
  const nlattr* attribute = protocol.Find(type);
  if (attribute == nullptr || nla_len(attribute) != sizeof(uint16_t)) return std::nullopt;
  return ntohs(nla_get_u16(attribute));
}

// One direction of a flow. nullopt: not UDP, or cut short.
struct Tuple {
  IpAddress source;
  uint16_t source_port = 0;
  IpAddress destination;
  uint16_t destination_port = 0;
};
std::optional<Tuple> ReadTuple(const Attributes& flow, int type, int family) {
  const nlattr* tuple = flow.Find(type);
  if (tuple == nullptr) return std::nullopt;
  const Attributes parts(tuple);
  const nlattr* ip = parts.Find(CTA_TUPLE_IP);
  const nlattr* protocol = parts.Find(CTA_TUPLE_PROTO);
  if (ip == nullptr || protocol == nullptr) return std::nullopt;
  const bool v6 = family == AF_INET6;
  const Attributes addresses(ip);
  const Attributes ports(protocol);
  const auto source = addresses.Ip(v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, family);
  const auto destination = addresses.Ip(v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, family);
  const nlattr* number = ports.Find(CTA_PROTO_NUM);
  const auto source_port = Port(ports, CTA_PROTO_SRC_PORT);
  const auto destination_port = Port(ports, CTA_PROTO_DST_PORT);
  if (!source || !destination || !source_port || !destination_port || number == nullptr ||
      nla_len(number) != 1 || nla_get_u8(number) != IPPROTO_UDP) {
    return std::nullopt;
  }
  return Tuple{*source, *source_port, *destination, *destination_port};
}

// The identity of a flow in the kernel: its first tuple, its id, and its zone if it has one.
struct Name {
  std::vector<uint8_t> tuple;  // CTA_TUPLE_ORIG, unchanged
  std::optional<uint32_t> id;
  std::vector<uint8_t> zone;
};

std::vector<uint8_t> Bytes(const nlattr* attribute) {
  if (attribute == nullptr) return {};
  const auto* data = static_cast<const uint8_t*>(nla_data(attribute));
  return {data, data + nla_len(attribute)};
}

struct Reading {
  int family;
  const std::set<uint16_t>& ports;
  absl::FunctionRef<bool(const UdpFlow&)> stale;
  std::vector<Name> found = {};
};

int ReadFlow(nl_msg* message, void* argument) {
  auto& reading = *static_cast<Reading*>(argument);
  const nlmsghdr* reply = nlmsg_hdr(message);
  if (reply->nlmsg_type != Type(IPCTNL_MSG_CT_NEW)) return NL_OK;
  const Attributes flow(reply, sizeof(nfgenmsg));
  const std::optional<Tuple> there = ReadTuple(flow, CTA_TUPLE_ORIG, reading.family);
  const std::optional<Tuple> back = ReadTuple(flow, CTA_TUPLE_REPLY, reading.family);
  if (!there || !back || !reading.ports.contains(there->destination_port)) return NL_OK;
  if (!reading.stale({.destination = there->destination,
                      .port = there->destination_port,
                      .target = back->source,
                      .target_port = back->source_port})) {
    return NL_OK;
  }
  reading.found.push_back({.tuple = Bytes(flow.Find(CTA_TUPLE_ORIG)),
                           .id = flow.U32(CTA_ID),
                           .zone = Bytes(flow.Find(CTA_ZONE))});
  return NL_OK;
}

absl::Status Send(nl_sock* socket, NetlinkRequest& request, absl::string_view what) {
  if (!request.complete()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": does not fit one netlink message"));
  }
  nlmsghdr* header = request.header();
  header->nlmsg_seq = nl_socket_use_seq(socket);
  header->nlmsg_pid = nl_socket_get_local_port(socket);
  const int sent = nl_sendto(socket, header, header->nlmsg_len);
  return sent < 0 ? NlError(what, sent) : absl::OkStatus();
}

absl::Status Read(nl_sock* socket, Reading& reading) {
  constexpr char kWhat[] = "list tracked UDP flows";
  NetlinkRequest request(Type(IPCTNL_MSG_CT_GET), NLM_F_DUMP, Header(reading.family));
  request.Nest(CTA_TUPLE_ORIG | NLA_F_NESTED, [&] {
    request.Nest(CTA_TUPLE_PROTO | NLA_F_NESTED, [&] {
      request.PutU8(CTA_PROTO_NUM, IPPROTO_UDP);
      if (reading.ports.size() == 1) {
        const uint16_t port = htons(*reading.ports.begin());
        request.Put(CTA_PROTO_DST_PORT, &port, sizeof(port));
      }
    });
  });
  request.Nest(CTA_FILTER | NLA_F_NESTED, [&] {
    request.PutU32(CTA_FILTER_ORIG_FLAGS,
                   kProtocolMatches | (reading.ports.size() == 1 ? kDestinationPortMatches : 0));
  });
  RETURN_IF_ERROR(Send(socket, request, kWhat));
  if (const int error = nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, ReadFlow, &reading);
      error != 0) {
    return NlError(kWhat, error);
  }
  const int error = nl_recvmsgs_default(socket);
  // The table changes all the time. A flow that begins meanwhile follows the current rules.
  if (error != 0 && error != -NLE_DUMP_INTR) return NlError(kWhat, error);
  return absl::OkStatus();
}

absl::Status Delete(nl_sock* socket, int family, const Name& name) {
  constexpr char kWhat[] = "delete a tracked UDP flow";
  NetlinkRequest request(Type(IPCTNL_MSG_CT_DELETE), NLM_F_ACK, Header(family));
  request.Put(CTA_TUPLE_ORIG | NLA_F_NESTED, name.tuple.data(), name.tuple.size());
  if (name.id.has_value()) request.PutU32(CTA_ID, *name.id);
  if (!name.zone.empty()) request.Put(CTA_ZONE, name.zone.data(), name.zone.size());
  RETURN_IF_ERROR(Send(socket, request, kWhat));
  const int error = nl_wait_for_ack(socket);
  return error != 0 ? NlError(kWhat, error) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> DeleteUdpFlows(const std::set<uint16_t>& ports,
                                   absl::FunctionRef<bool(const UdpFlow&)> stale) {
  int deleted = 0;
  if (ports.empty()) return deleted;
  for (const int family : {AF_INET, AF_INET6}) {
    Reading reading{.family = family, .ports = ports, .stale = stale};
    {
      ASSIGN_OR_RETURN(const Socket socket, Connect());
      RETURN_IF_ERROR(Read(socket.get(), reading));
    }
    if (reading.found.empty()) continue;
    ASSIGN_OR_RETURN(const Socket socket, Connect());
    for (const Name& name : reading.found) {
      const absl::Status status = Delete(socket.get(), family, name);
      if (absl::IsNotFound(status)) continue;  // the flow has expired
      RETURN_IF_ERROR(status);
      ++deleted;
    }
  }
  return deleted;
}

}  // namespace vxvde
