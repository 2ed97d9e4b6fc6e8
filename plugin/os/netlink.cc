// Builds requests with libnl's message functions and exchanges them in a plain sendmsg/recvmsg
// loop, because libnl's callbacks lose the kernel's extended ack. Sources: rtnetlink(7),
// linux/rtnetlink.h, Documentation/userspace-api/netlink/intro.rst, rtnl_stats_get() in
// net/core/rtnetlink.c.

#include "plugin/os/netlink.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ipv6.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/base/time.h"
#include "plugin/os/netlink_message.h"
#include "plugin/os/netns.h"

namespace vxvde {
namespace {

// Dumps come in pieces of at most 32 KiB (kernel netlink_dump); one message is never cut.
constexpr size_t kReplySize = 64 * 1024;

// The kernel's message after a struct nlmsgerr or the int of a NLMSG_DONE; "" if there is none.
std::string ExtendedAck(const nlmsghdr* reply) {
  if ((reply->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return "";
  size_t skip = sizeof(int);
  if (reply->nlmsg_type == NLMSG_ERROR) {
    const auto* error = static_cast<const nlmsgerr*>(nlmsg_data(reply));
    skip = sizeof(nlmsgerr);
    if ((reply->nlmsg_flags & NLM_F_CAPPED) == 0) skip += error->msg.nlmsg_len - NLMSG_HDRLEN;
  }
  if (static_cast<size_t>(nlmsg_datalen(reply)) < skip) return "";
  return Attributes(reply, skip).Text(NLMSGERR_ATTR_MSG);
}

// `error` receives the errno.
absl::Status KernelStatus(const nlmsghdr* reply, absl::string_view what, int& error) {
  if (static_cast<size_t>(nlmsg_datalen(reply)) < sizeof(int)) {
    return absl::InternalError(absl::StrCat(what, ": the kernel's reply is cut short"));
  }
  int code = 0;
  std::memcpy(&code, nlmsg_data(reply), sizeof(code));
  if (code == 0) return absl::OkStatus();
  error = -code;
  const absl::Status status = ErrnoStatus(error, what);
  const std::string words = ExtendedAck(reply);
  if (words.empty()) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), ": ", words));
}

uint32_t Number(IfIndex index) { return static_cast<uint32_t>(index); }

ifinfomsg LinkHeader(IfIndex index) {
  ifinfomsg header = {};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = static_cast<int>(index);
  return header;
}

absl::Status CheckName(absl::string_view name) {
  if (!name.empty() && name.size() < IFNAMSIZ) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("interface name \"", name, "\": must have 1 to ", IFNAMSIZ - 1, " characters"));
}

// disable_ipv6 of the interface is 0. A kernel without IPv6 has no such value.
bool Ipv6Of(const Attributes& link) {
  const nlattr* families = link.Find(IFLA_AF_SPEC);
  const nlattr* ipv6 = families != nullptr ? Attributes(families).Find(AF_INET6) : nullptr;
  const nlattr* values = ipv6 != nullptr ? Attributes(ipv6).Find(IFLA_INET6_CONF) : nullptr;
  int32_t disabled = 1;
  constexpr size_t kAt = DEVCONF_DISABLE_IPV6 * sizeof(disabled);  // in int32_t[DEVCONF_MAX]
  if (values == nullptr || nla_len(values) < static_cast<int>(kAt + sizeof(disabled))) return false;
  std::memcpy(&disabled, static_cast<const char*>(nla_data(values)) + kAt, sizeof(disabled));
  return disabled == 0;
}

absl::StatusOr<LinkInfo> ParseLink(const nlmsghdr* message) {
  if (!nlmsg_valid_hdr(message, sizeof(ifinfomsg))) {
    return absl::InternalError("a link message of the kernel is cut short");
  }
  const auto* header = static_cast<const ifinfomsg*>(nlmsg_data(message));
  const Attributes attributes(message, sizeof(ifinfomsg));
  LinkInfo link;
  link.index = static_cast<IfIndex>(header->ifi_index);
  link.up = (header->ifi_flags & IFF_UP) != 0;
  link.running = (header->ifi_flags & IFF_RUNNING) != 0;
  link.name = attributes.Text(IFLA_IFNAME);
  link.alias = attributes.Text(IFLA_IFALIAS);
  link.mtu = static_cast<int>(attributes.U32(IFLA_MTU).value_or(0));
  link.peer = static_cast<IfIndex>(attributes.U32(IFLA_LINK).value_or(0));
  if (const auto netns = attributes.U32(IFLA_LINK_NETNSID)) {
    link.peer_elsewhere = true;
    // NETNSA_NSID_NOT_ASSIGNED is negative.
    if (static_cast<int>(*netns) >= 0) link.peer_netns = static_cast<int>(*netns);
  }
  link.type = header->ifi_type;
  link.group = attributes.U32(IFLA_GROUP).value_or(0);
  link.master = static_cast<IfIndex>(attributes.U32(IFLA_MASTER).value_or(0));
  link.ipv6 = Ipv6Of(attributes);
  if (const nlattr* mac = attributes.Find(IFLA_ADDRESS);
      mac != nullptr && nla_len(mac) == MacAddress::kSize) {
    link.mac = MacAddress::FromWire(static_cast<const uint8_t*>(nla_data(mac)));
  }
  if (const nlattr* info = attributes.Find(IFLA_LINKINFO)) {
    link.kind = Attributes(info).Text(IFLA_INFO_KIND);
  }
  if (const nlattr* xdp = attributes.Find(IFLA_XDP)) {
    const Attributes programs(xdp);
    const nlattr* mode = programs.Find(IFLA_XDP_ATTACHED);
    const int attached = mode != nullptr && nla_len(mode) >= 1 ? nla_get_u8(mode) : 0;
    link.xdp_native =
        attached == XDP_ATTACHED_DRV || programs.U32(IFLA_XDP_DRV_PROG_ID).has_value();
    link.xdp_generic =
        attached == XDP_ATTACHED_SKB || programs.U32(IFLA_XDP_SKB_PROG_ID).has_value();
  }
  return link;
}

void PutEnd(NetlinkRequest& request, const VethEnd& end, int mtu) {
  request.PutName(IFLA_IFNAME, end.name);
  if (end.mac) request.PutMac(IFLA_ADDRESS, *end.mac);
  if (end.group != 0) request.PutU32(IFLA_GROUP, end.group);
  request.PutU32(IFLA_MTU, static_cast<uint32_t>(mtu));
}

// All host bits one. None of a subnet without such an address: IPv6, or two addresses and fewer
// (RFC 3021).
std::optional<IpAddress> BroadcastOf(const IpPrefix& prefix) {
  constexpr uint8_t kMaxLength = 30;
  if (prefix.address.is_v6() || prefix.length > kMaxLength) return std::nullopt;
  std::array<uint8_t, 4> bytes = {};
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int fixed = std::clamp(prefix.length - static_cast<int>(8 * i), 0, 8);
    bytes[i] = static_cast<uint8_t>(prefix.address.wire()[i] | (0xff >> fixed));
  }
  return IpAddress::FromWire(bytes);
}

}  // namespace

absl::StatusOr<UniqueFd> OpenNetlinkSocket(uint32_t groups, int flags) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE));
  if (!fd) return ErrnoStatus(errno, "open an rtnetlink socket");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, "bind an rtnetlink socket");
  }
  // Both only improve error messages; every kernel since 4.12 has them.
  const int on = 1;
  (void)setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
  (void)setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
  return fd;
}

absl::StatusOr<Netlink> Netlink::Open() {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenNetlinkSocket(0, 0));
  return Netlink(std::move(fd));
}

Netlink::Netlink(UniqueFd fd)
    : fd_(std::move(fd)), reply_(std::make_unique_for_overwrite<uint8_t[]>(kReplySize)) {}

absl::StatusOr<Netlink> Netlink::OpenIn(const UniqueFd& netns) {
  absl::StatusOr<UniqueFd> fd;
  RETURN_IF_ERROR(RunInNetNs(netns, [&] {
    fd = OpenNetlinkSocket(0, 0);
    return fd.status();
  }));
  return Netlink(*std::move(fd));
}

absl::Status Netlink::Exchange(NetlinkRequest& message, absl::string_view what,
                               absl::FunctionRef<absl::Status(const nlmsghdr*)> each,
                               int* kernel_error) {
  if (!message.complete()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": does not fit one netlink message"));
  }
  nlmsghdr* request = message.header();
  const bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  if (!dump) request->nlmsg_flags |= NLM_F_ACK;
  request->nlmsg_seq = ++sequence_;
  request->nlmsg_pid = 0;  // the kernel fills in the port id
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd_.get(), request, request->nlmsg_len, 0, reinterpret_cast<const sockaddr*>(&kernel),
             sizeof(kernel)) < 0) {
    return ErrnoStatus(errno, what);
  }

  absl::Status status;  // the first error of `each`; the rest is still read
  bool interrupted = false;
  while (true) {
    sockaddr_nl from = {};
    iovec part = {reply_.get(), kReplySize};
    msghdr received = {};
    received.msg_name = &from;
    received.msg_namelen = sizeof(from);
    received.msg_iov = &part;
    received.msg_iovlen = 1;
    const ssize_t size = recvmsg(fd_.get(), &received, 0);
    if (size < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, what);
    }
    if ((received.msg_flags & MSG_TRUNC) != 0) {
      return absl::InternalError(absl::StrCat(what, ": the kernel's reply is too long"));
    }
    if (from.nl_pid != 0) continue;  // not from the kernel: any process may send to this socket
    int left = static_cast<int>(size);
    for (auto* reply = reinterpret_cast<nlmsghdr*>(reply_.get()); nlmsg_ok(reply, left) != 0;
         reply = nlmsg_next(reply, &left)) {
      if (reply->nlmsg_seq != sequence_) continue;
      interrupted = interrupted || (reply->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (reply->nlmsg_type == NLMSG_ERROR || reply->nlmsg_type == NLMSG_DONE) {
        int error = 0;
        const absl::Status said = KernelStatus(reply, what, error);
        if (kernel_error != nullptr) *kernel_error = error;
        RETURN_IF_ERROR(said);
        if (interrupted) {
          return absl::AbortedError(absl::StrCat(what, ": changed while it was being listed"));
        }
        return status;
      }
      if (reply->nlmsg_type != NLMSG_NOOP && status.ok()) status = each(reply);
    }
  }
}

absl::Status Netlink::Do(NetlinkRequest& request, absl::string_view what, int* kernel_error) {
  return Exchange(
      request, what, [](const nlmsghdr*) { return absl::OkStatus(); }, kernel_error);
}

absl::Status Netlink::Dump(NetlinkRequest& request, absl::string_view what,
                           absl::FunctionRef<void()> restart,
                           absl::FunctionRef<absl::Status(const nlmsghdr*)> each) {
  // On a node where 200 pods end at once, ten successive attempts have each met a change.
  constexpr auto kPatience = std::chrono::seconds(2);
  const Instant end = Clock::now() + kPatience;
  absl::Status status;
  do {
    restart();
    status = Exchange(request, what, each);
  } while (absl::IsAborted(status) && Clock::now() < end);
  return status;
}

absl::StatusOr<LinkInfo> Netlink::GetOneLink(NetlinkRequest& request, absl::string_view what) {
  // Statistics are two thirds of a link's message, and no caller here needs them.
  request.PutU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  absl::StatusOr<LinkInfo> link = absl::InternalError(absl::StrCat(what, ": no answer"));
  RETURN_IF_ERROR(Exchange(request, what, [&](const nlmsghdr* reply) {
    if (reply->nlmsg_type == RTM_NEWLINK) link = ParseLink(reply);
    return absl::OkStatus();
  }));
  return link;
}

absl::StatusOr<LinkInfo> Netlink::GetLink(absl::string_view name) {
  RETURN_IF_ERROR(CheckName(name));
  NetlinkRequest request(RTM_GETLINK, 0, LinkHeader(IfIndex::kNone));
  request.PutName(IFLA_IFNAME, std::string(name));
  return GetOneLink(request, absl::StrCat("get link ", name));
}

absl::StatusOr<LinkInfo> Netlink::GetLink(IfIndex index) {
  NetlinkRequest request(RTM_GETLINK, 0, LinkHeader(index));
  return GetOneLink(request, absl::StrCat("get link ", Number(index)));
}

absl::StatusOr<LinkInfo> Netlink::GetLinkIn(int netns, IfIndex index) {
  NetlinkRequest request(RTM_GETLINK, 0, LinkHeader(index));
  request.PutU32(IFLA_TARGET_NETNSID, static_cast<uint32_t>(netns));
  return GetOneLink(request, absl::StrCat("get link ", Number(index), " of namespace ", netns));
}

absl::StatusOr<std::vector<LinkInfo>> Netlink::ListLinks() {
  NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP, LinkHeader(IfIndex::kNone));
  request.PutU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  std::vector<LinkInfo> links;
  RETURN_IF_ERROR(Dump(
      request, "list links", [&] { links.clear(); },
      [&](const nlmsghdr* reply) {
        if (reply->nlmsg_type != RTM_NEWLINK) return absl::OkStatus();
        ASSIGN_OR_RETURN(LinkInfo link, ParseLink(reply));
        links.push_back(std::move(link));
        return absl::OkStatus();
      }));
  return links;
}

absl::Status Netlink::CreateVeth(const VethSpec& spec) {
  RETURN_IF_ERROR(CheckName(spec.here.name));
  RETURN_IF_ERROR(CheckName(spec.there.name));
  const std::string what = absl::StrCat("create veth pair ", spec.here.name, " - ", spec.there.name,
                                        " (MTU ", spec.mtu, ")");
  NetlinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, LinkHeader(IfIndex::kNone));
  PutEnd(request, spec.here, spec.mtu);
  request.Nest(IFLA_LINKINFO, [&] {
    request.PutText(IFLA_INFO_KIND, "veth");
    request.Nest(IFLA_INFO_DATA, [&] {
      request.Nest(VETH_INFO_PEER, [&] {
        // Created without IFF_UP: an end that is up carries frames before its owner has configured
        // it.
        request.Append(LinkHeader(IfIndex::kNone));
        PutEnd(request, spec.there, spec.mtu);
        if (spec.gso_max_size != 0) request.PutU32(IFLA_GSO_MAX_SIZE, spec.gso_max_size);
        if (spec.there_netns >= 0) {
          request.PutU32(IFLA_NET_NS_FD, static_cast<uint32_t>(spec.there_netns));
        }
      });
    });
  });
  RETURN_IF_ERROR(Do(request, what));

  // rtnl_create_link() in net/core/rtnetlink.c does not read IFLA_IFALIAS of either end.
  if (spec.here.alias.empty() && spec.there.alias.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const LinkInfo here, GetLink(spec.here.name));
  absl::Cleanup remove = [&] { (void)DeleteLink(here.index); };
  if (!spec.here.alias.empty()) RETURN_IF_ERROR(SetAlias(here.index, spec.here.alias));
  if (!spec.there.alias.empty()) {
    if (spec.there_netns < 0) {
      RETURN_IF_ERROR(SetAlias(here.peer, spec.there.alias));
    } else {
      UniqueFd netns(fcntl(spec.there_netns, F_DUPFD_CLOEXEC, 0));
      if (!netns) return ErrnoStatus(errno, absl::StrCat(what, ": copy the namespace"));
      ASSIGN_OR_RETURN(Netlink there, OpenIn(netns));
      RETURN_IF_ERROR(there.SetAlias(here.peer, spec.there.alias));
    }
  }
  std::move(remove).Cancel();
  return absl::OkStatus();
}

absl::Status Netlink::SetAlias(IfIndex index, absl::string_view alias) {
  LinkChange change;
  change.alias = std::string(alias);
  return ChangeLink(index, change);
}

absl::Status Netlink::ChangeLink(IfIndex index, const LinkChange& change) {
  if (change.no_ipv6) {
    // A separate message before IFF_UP: do_setlink() brings the link up, which creates the
    // link-local address, before it reads IFLA_AF_SPEC.
    const std::string what =
        absl::StrCat("turn IPv6 autoconfiguration off on link ", Number(index));
    NetlinkRequest request(RTM_SETLINK, 0, LinkHeader(index));
    request.Nest(IFLA_AF_SPEC, [&] {
      request.Nest(AF_INET6,
                   [&] { request.PutU8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE); });
    });
    int error = 0;
    const absl::Status status = Do(request, what, &error);
    // The host (ipv6.disable=1) or the link (MTU below 1280) has no IPv6.
    if (!status.ok() && error != EAFNOSUPPORT) return status;
  }

  ifinfomsg header = LinkHeader(index);
  std::string what = absl::StrCat("change link ", Number(index), ":");
  if (change.up) {
    header.ifi_change = IFF_UP;
    header.ifi_flags = *change.up ? IFF_UP : 0;
    absl::StrAppend(&what, *change.up ? " up" : " down");
  }
  if (change.mtu) absl::StrAppend(&what, " MTU ", *change.mtu);
  if (change.mac) absl::StrAppend(&what, " MAC ", change.mac->ToString());
  if (change.alias) absl::StrAppend(&what, " alias \"", *change.alias, "\"");
  if (change.gso_max_size) absl::StrAppend(&what, " gso_max_size ", *change.gso_max_size);
  if (change.group) absl::StrAppend(&what, " group ", *change.group);
  if (change.tx_queue_len) absl::StrAppend(&what, " queue length ", *change.tx_queue_len);
  NetlinkRequest request(RTM_SETLINK, 0, header);
  if (change.mtu) request.PutU32(IFLA_MTU, static_cast<uint32_t>(*change.mtu));
  if (change.mac) request.PutMac(IFLA_ADDRESS, *change.mac);
  if (change.alias) request.PutText(IFLA_IFALIAS, *change.alias);
  if (change.gso_max_size) request.PutU32(IFLA_GSO_MAX_SIZE, *change.gso_max_size);
  if (change.group) request.PutU32(IFLA_GROUP, *change.group);
  if (change.tx_queue_len) request.PutU32(IFLA_TXQLEN, *change.tx_queue_len);
  return Do(request, what);
}

absl::Status Netlink::DeleteLink(IfIndex index) {
  NetlinkRequest request(RTM_DELLINK, 0, LinkHeader(index));
  return Do(request, absl::StrCat("delete link ", Number(index)));
}

absl::StatusOr<uint64_t> Netlink::GetTxDropped(IfIndex index) {
  const std::string what = absl::StrCat("get statistics of link ", Number(index));
  if_stats_msg header = {};
  header.family = AF_UNSPEC;
  header.ifindex = static_cast<uint32_t>(index);
  header.filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
  NetlinkRequest request(RTM_GETSTATS, 0, header);
  absl::StatusOr<uint64_t> dropped = absl::InternalError(absl::StrCat(what, ": no answer"));
  RETURN_IF_ERROR(Exchange(request, what, [&](const nlmsghdr* reply) {
    if (reply->nlmsg_type != RTM_NEWSTATS) return absl::OkStatus();
    const nlattr* stats = Attributes(reply, sizeof(if_stats_msg)).Find(IFLA_STATS_LINK_64);
    constexpr size_t kAt = offsetof(rtnl_link_stats64, tx_dropped);
    uint64_t value;
    if (stats == nullptr || static_cast<size_t>(nla_len(stats)) < kAt + sizeof(value)) {
      return absl::OkStatus();
    }
    std::memcpy(&value, static_cast<const uint8_t*>(nla_data(stats)) + kAt, sizeof(value));
    dropped = value;
    return absl::OkStatus();
  }));
  return dropped;
}

absl::Status Netlink::AddAddress(IfIndex index, const IpPrefix& prefix) {
  ifaddrmsg header = {};
  header.ifa_family = static_cast<uint8_t>(prefix.address.family());
  header.ifa_prefixlen = prefix.length;
  header.ifa_index = static_cast<uint32_t>(index);
  header.ifa_scope = prefix.address.IsLinkLocal() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  if (prefix.address.is_v6()) header.ifa_flags = IFA_F_NODAD;
  NetlinkRequest request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, header);
  request.PutIp(IFA_LOCAL, prefix.address);
  request.PutIp(IFA_ADDRESS, prefix.address);
  // The kernel derives none by itself.
  if (const auto broadcast = BroadcastOf(prefix)) request.PutIp(IFA_BROADCAST, *broadcast);
  return Do(request, absl::StrCat("add address ", prefix.ToString(), " to link ", Number(index)));
}

absl::Status Netlink::DeleteAddress(IfIndex index, const IpPrefix& prefix) {
  ifaddrmsg header = {};
  header.ifa_family = static_cast<uint8_t>(prefix.address.family());
  header.ifa_prefixlen = prefix.length;
  header.ifa_index = static_cast<uint32_t>(index);
  NetlinkRequest request(RTM_DELADDR, 0, header);
  request.PutIp(IFA_LOCAL, prefix.address);
  return Do(request,
            absl::StrCat("delete address ", prefix.ToString(), " from link ", Number(index)));
}

absl::StatusOr<std::vector<AddressInfo>> Netlink::ListAddresses() {
  NetlinkRequest request(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{});
  std::vector<AddressInfo> addresses;
  RETURN_IF_ERROR(Dump(
      request, "list addresses", [&] { addresses.clear(); },
      [&](const nlmsghdr* reply) {
        if (reply->nlmsg_type != RTM_NEWADDR || !nlmsg_valid_hdr(reply, sizeof(ifaddrmsg))) {
          return absl::OkStatus();
        }
        const auto* header = static_cast<const ifaddrmsg*>(nlmsg_data(reply));
        if (header->ifa_family != AF_INET && header->ifa_family != AF_INET6) {
          return absl::OkStatus();
        }
        const Attributes attributes(reply, sizeof(ifaddrmsg));
        // On a point-to-point link IFA_ADDRESS is the address of the other end.
        std::optional<IpAddress> ip = attributes.Ip(IFA_LOCAL, header->ifa_family);
        if (!ip) ip = attributes.Ip(IFA_ADDRESS, header->ifa_family);
        if (!ip) return absl::OkStatus();
        const uint32_t flags = attributes.U32(IFA_FLAGS).value_or(header->ifa_flags);
        addresses.push_back({.interface = static_cast<IfIndex>(header->ifa_index),
                             .prefix = {*ip, header->ifa_prefixlen},
                             .tentative = (flags & IFA_F_TENTATIVE) != 0});
        return absl::OkStatus();
      }));
  return addresses;
}

absl::Status Netlink::AddRoute(IfIndex index, const Route& route) {
  if (!route.destination && !route.gateway) {
    return absl::InvalidArgumentError("a route needs a destination or a gateway");
  }
  const std::string what =
      absl::StrCat("add route ", route.destination ? route.destination->ToString() : "default",
                   route.gateway ? absl::StrCat(" via ", route.gateway->ToString()) : "",
                   " on link ", Number(index));
  const int family =
      route.destination ? route.destination->address.family() : route.gateway->family();
  if (route.gateway && route.gateway->family() != family) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": destination and gateway must be of one address family"));
  }
  rtmsg header = {};
  header.rtm_family = static_cast<uint8_t>(family);
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = RTPROT_BOOT;
  header.rtm_type = RTN_UNICAST;
  header.rtm_scope = route.scope.value_or(route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK);
  if (route.destination) header.rtm_dst_len = route.destination->length;
  NetlinkRequest request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, header);
  if (route.destination) request.PutIp(RTA_DST, route.destination->Network().address);
  if (route.gateway) request.PutIp(RTA_GATEWAY, *route.gateway);
  request.PutU32(RTA_OIF, static_cast<uint32_t>(index));
  if (route.table) request.PutU32(RTA_TABLE, *route.table);
  if (route.priority) request.PutU32(RTA_PRIORITY, *route.priority);
  if (route.mtu || route.advmss) {
    request.Nest(RTA_METRICS, [&] {
      if (route.mtu) request.PutU32(RTAX_MTU, *route.mtu);
      if (route.advmss) request.PutU32(RTAX_ADVMSS, *route.advmss);
    });
  }
  return Do(request, what);
}

absl::Status Netlink::DeleteDefaultRoutes(int family) {
  rtmsg header = {};
  header.rtm_family = static_cast<uint8_t>(family);
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_type = RTN_UNICAST;
  header.rtm_scope = RT_SCOPE_NOWHERE;  // any
  while (true) {
    // One message deletes one route, whichever its metric and gateway.
    NetlinkRequest request(RTM_DELROUTE, 0, header);
    int error = 0;
    const absl::Status status = Do(request, "delete the default route", &error);
    // None is left: ESRCH, or ENOENT of an IPv6 table without any route.
    if (error == ESRCH || error == ENOENT) return absl::OkStatus();
    RETURN_IF_ERROR(status);
  }
}

absl::StatusOr<std::vector<RouteInfo>> Netlink::ListRoutes() {
  NetlinkRequest request(RTM_GETROUTE, NLM_F_DUMP, rtmsg{});
  std::vector<RouteInfo> routes;
  RETURN_IF_ERROR(Dump(
      request, "list routes", [&] { routes.clear(); },
      [&](const nlmsghdr* reply) {
        if (reply->nlmsg_type != RTM_NEWROUTE || !nlmsg_valid_hdr(reply, sizeof(rtmsg))) {
          return absl::OkStatus();
        }
        const auto* header = static_cast<const rtmsg*>(nlmsg_data(reply));
        const int family = header->rtm_family;
        if (header->rtm_type != RTN_UNICAST || (family != AF_INET && family != AF_INET6)) {
          return absl::OkStatus();
        }
        const Attributes attributes(reply, sizeof(rtmsg));
        RouteInfo route;
        const std::array<uint8_t, 16> zero = {};
        const size_t size = family == AF_INET6 ? 16 : 4;
        route.destination = {attributes.Ip(RTA_DST, family)
                                 .value_or(IpAddress::FromWire(std::span(zero).first(size))),
                             header->rtm_dst_len};
        route.interface = static_cast<IfIndex>(attributes.U32(RTA_OIF).value_or(0));
        route.table = attributes.U32(RTA_TABLE).value_or(header->rtm_table);
        route.priority = attributes.U32(RTA_PRIORITY).value_or(0);
        if (const auto gateway = attributes.Ip(RTA_GATEWAY, family)) {
          route.gateways.push_back(*gateway);
        }
        if (const nlattr* hops = attributes.Find(RTA_MULTIPATH)) {
          const auto* hop = static_cast<const rtnexthop*>(nla_data(hops));
          int left = nla_len(hops);
          while (left >= static_cast<int>(sizeof(rtnexthop)) && RTNH_OK(hop, left)) {
            const int inside = hop->rtnh_len - static_cast<int>(sizeof(rtnexthop));
            const Attributes of_hop(reinterpret_cast<const nlattr*>(
                                        reinterpret_cast<const uint8_t*>(hop) + sizeof(rtnexthop)),
                                    inside);
            if (const auto gateway = of_hop.Ip(RTA_GATEWAY, family)) {
              route.gateways.push_back(*gateway);
            }
            left -= static_cast<int>(RTNH_ALIGN(hop->rtnh_len));
            hop = RTNH_NEXT(hop);
          }
        }
        routes.push_back(std::move(route));
        return absl::OkStatus();
      }));
  return routes;
}

absl::StatusOr<RouteAnswer> Netlink::LookUpRoute(const IpAddress& destination) {
  const std::string what = absl::StrCat("look up the route to ", destination.ToString());
  rtmsg header = {};
  header.rtm_family = static_cast<uint8_t>(destination.family());
  header.rtm_dst_len = static_cast<uint8_t>(destination.bits());
  NetlinkRequest request(RTM_GETROUTE, 0, header);
  request.PutIp(RTA_DST, destination);
  RouteAnswer answer;
  bool usable = false;
  int error = 0;
  const absl::Status status = Exchange(
      request, what,
      [&](const nlmsghdr* reply) {
        if (reply->nlmsg_type != RTM_NEWROUTE || !nlmsg_valid_hdr(reply, sizeof(rtmsg))) {
          return absl::OkStatus();
        }
        const auto* route = static_cast<const rtmsg*>(nlmsg_data(reply));
        const Attributes attributes(reply, sizeof(rtmsg));
        // IPv6 reports a prohibiting route as a route, IPv4 as the error of that route.
        usable = route->rtm_type == RTN_UNICAST || route->rtm_type == RTN_LOCAL ||
                 route->rtm_type == RTN_MULTICAST || route->rtm_type == RTN_BROADCAST ||
                 route->rtm_type == RTN_ANYCAST;
        answer.interface = static_cast<IfIndex>(attributes.U32(RTA_OIF).value_or(0));
        answer.source = attributes.Ip(RTA_PREFSRC, destination.family());
        return absl::OkStatus();
      },
      &error);
  // IPv4 reports "blackhole" and "prohibit" as EINVAL and EACCES (net/ipv4/fib_semantics.c).
  if (!status.ok() && (error == EINVAL || error == EACCES)) {
    return absl::UnavailableError(status.message());
  }
  RETURN_IF_ERROR(status);
  if (!usable || answer.interface == IfIndex::kNone) {
    return absl::UnavailableError(absl::StrCat(what, ": there is no route"));
  }
  return answer;
}

}  // namespace vxvde
