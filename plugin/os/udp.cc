// The sockets of a member, read and written in batches; the contract is in udp.h and io.h. Sources:
// udp(7), ip(7), ipv6(7); UDP_SEGMENT and UDP_GRO: net/ipv4/udp.c, udp_send_skb() and
// udp_cmsg_recv(). The filter: Documentation/networking/filter.rst, and udp_queue_rcv_one_skb(),
// which counts datagrams that a filter refuses and datagrams that a full queue does not take in one
// number (SK_MEMINFO_DROPS).

#include "plugin/os/udp.h"

#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/fd.h"
#include "plugin/os/netlink.h"

namespace vxvde {
namespace {

constexpr size_t kBatch = 64;
constexpr uint32_t kMaxSegments = 64;  // UDP_MAX_SEGMENTS of older kernels
constexpr int kDefaultBuffer = 8 << 20;

// In every network namespace (LOOPBACK_IFINDEX of the kernel).
constexpr uint32_t kLoopback = 1;

// The control message that may accompany a received message: UDP_GRO.
struct alignas(cmsghdr) InControl {
  char bytes[CMSG_SPACE(sizeof(int))];
};
// The control message of a sent run: UDP_SEGMENT.
struct alignas(cmsghdr) OutControl {
  char bytes[CMSG_SPACE(sizeof(uint16_t))];
};

struct Inbox {
  std::array<mmsghdr, kBatch> messages;
  std::array<iovec, kBatch> parts;
  std::array<sockaddr_storage, kBatch> names;
  std::array<InControl, kBatch> controls;
};

// Messages that wait for one sendmmsg(). A message with a segment size carries `datagrams` of them.
struct Outbox {
  size_t count = 0;
  std::array<mmsghdr, kBatch> messages;
  std::array<sockaddr_storage, kBatch> names;
  std::array<OutControl, kBatch> controls;
  std::array<uint16_t, kBatch> segment_sizes;
  std::array<uint32_t, kBatch> datagrams;
};

struct Destination {
  sockaddr_storage name;
  socklen_t size;
};

IfIndex MasterOf(IfIndex uplink);

class UdpSocket : public DatagramIo {
 public:
  UdpSocket(UniqueFd fd, uint16_t port, const UdpOptions& options, bool segments)
      : fd_(std::move(fd)),
        port_(port),
        v6_(options.group.is_v6()),
        scope_(static_cast<uint32_t>(options.uplink)),
        largest_run_(v6_ ? 65487 : 65507),
        largest_segment_(LargestSegment(options.uplink_mtu)),
        segments_(segments),
        master_(MasterOf(options.uplink)),
        in_(std::make_unique<Inbox>()),
        out_(std::make_unique<Outbox>()),
        pieces_(std::make_unique<Outbox>()) {}

  int fd() const override { return fd_.get(); }
  uint16_t port() const override { return port_; }
  absl::Status SetUplink(IfIndex uplink, int mtu) override;
  absl::Status Rejoin() override;
  void CountLost(DropCounters& drops) override;
  void RememberGroup(const UdpOptions& options) { joined_ = options; }
  absl::Status Receive(Buffers& buffers, std::vector<InDatagram>& out,
                       DropCounters& drops) override;
  void Send(std::span<const OutDatagram> batch, DropCounters& drops) override;

 private:
  // Datagrams larger than half of a send cannot share one.
  int LargestSegment(int mtu) const { return std::min(mtu - (v6_ ? 48 : 28), largest_run_ / 2); }
  static uint16_t SegmentSizeOf(msghdr& message);
  void AddRuns(const OutDatagram& run, const Destination& to, DropCounters& drops);
  void AddPieces(Outbox& box, std::span<const iovec> parts, size_t segment_size,
                 const Destination& to, DropCounters& drops);
  void Add(Outbox& box, std::span<const iovec> parts, const Destination& to, uint16_t segment_size,
           uint32_t datagrams, DropCounters& drops);
  void Flush(Outbox& box, DropCounters& drops);
  void Refused(const Outbox& box, size_t i, int error, DropCounters& drops);

  UniqueFd fd_;
  uint16_t port_;
  bool v6_;
  uint32_t scope_;         // interface of link-local IPv6 peers
  int largest_run_;        // payload bytes of one send
  int largest_segment_;    // payload bytes of one datagram that UDP_SEGMENT may make
  bool segments_;          // the kernel has UDP_SEGMENT and has not refused it permanently
  uint32_t lost_ = 0;      // the kernel's count at the last read
  bool was_full_ = false;  // the queue was more than half full at that time
  IfIndex master_;         // an interface that the filter admits beside the uplink
  std::optional<UdpOptions> joined_;  // set for the socket of a group
  BatchSize batch_;
  std::unique_ptr<Inbox> in_;
  std::unique_ptr<Outbox> out_;
  std::unique_ptr<Outbox> pieces_;  // the datagrams of a refused run, while out_ is being flushed
};

absl::Status SendGroupsThrough(const UniqueFd& fd, bool v6, IfIndex uplink) {
  const int index = static_cast<int>(uplink);
  ip_mreqn out = {};
  out.imr_ifindex = index;
  const int result =
      v6 ? setsockopt(fd.get(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof(index))
         : setsockopt(fd.get(), IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof(out));
  if (result == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("send multicast through interface ", index));
}

// A filter sees a datagram that arrived by a port of a bridge, bond or VRF device with that
// device's index.
IfIndex MasterOf(IfIndex uplink) {
  if (uplink == IfIndex::kNone) return IfIndex::kNone;
  absl::StatusOr<Netlink> netlink = Netlink::Open();
  if (!netlink.ok()) return IfIndex::kNone;
  const absl::StatusOr<LinkInfo> link = netlink->GetLink(uplink);
  return link.ok() ? link->master : IfIndex::kNone;
}

// Replaces the socket's filter in one step.
absl::Status AdmitOnly(const UniqueFd& fd, IfIndex uplink, IfIndex master) {
  if (uplink == IfIndex::kNone) return absl::OkStatus();
  const uint32_t first = static_cast<uint32_t>(uplink);
  const uint32_t second = master != IfIndex::kNone ? static_cast<uint32_t>(master) : first;
  sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_IFINDEX)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kLoopback, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  const sock_fprog program = {.len = std::size(steps), .filter = steps};
  if (setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, absl::StrCat("admit only interface ", first, " to a UDP socket"));
}

absl::Status UdpSocket::SetUplink(IfIndex uplink, int mtu) {
  const IfIndex master = MasterOf(uplink);
  RETURN_IF_ERROR(SendGroupsThrough(fd_, v6_, uplink));
  RETURN_IF_ERROR(AdmitOnly(fd_, uplink, master));
  scope_ = static_cast<uint32_t>(uplink);
  master_ = master;
  largest_segment_ = LargestSegment(mtu);
  return absl::OkStatus();
}

absl::Status UdpSocket::Receive(Buffers& buffers, std::vector<InDatagram>& out,
                                DropCounters& drops) {
  out.clear();
  CountLost(drops);
  const size_t batch = batch_.Next(std::min(buffers.count(), kBatch));
  for (size_t i = 0; i < batch; ++i) {
    const std::span<uint8_t> buffer = buffers[i];
    in_->parts[i] = {buffer.data(), buffer.size()};
    msghdr& message = in_->messages[i].msg_hdr;
    message = {};
    message.msg_name = &in_->names[i];
    message.msg_namelen = sizeof(in_->names[i]);
    message.msg_iov = &in_->parts[i];
    message.msg_iovlen = 1;
    message.msg_control = in_->controls[i].bytes;
    message.msg_controllen = sizeof(in_->controls[i].bytes);
  }
  int count;
  do {
    count = recvmmsg(fd_.get(), in_->messages.data(), batch, MSG_DONTWAIT, nullptr);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    if (errno == EAGAIN) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("receive on UDP port ", port_));
  }
  size_t bytes = 0;
  for (int i = 0; i < count; ++i) {
    msghdr& message = in_->messages[i].msg_hdr;
    bytes += in_->messages[i].msg_len;
    const uint16_t segment_size = SegmentSizeOf(message);
    if ((message.msg_flags & MSG_TRUNC) != 0) {
      drops.Add(Drop::kTruncated);
      continue;
    }
    InDatagram datagram;
    if (!FromSockaddr(in_->names[i], datagram.from.address, datagram.from.port)) continue;
    datagram.bytes = buffers[i].first(in_->messages[i].msg_len);
    if (segment_size < datagram.bytes.size()) datagram.segment_size = segment_size;
    out.push_back(datagram);
  }
  batch_.Read(static_cast<size_t>(count), bytes);
  return absl::OkStatus();
}

// 0: a single datagram
uint16_t UdpSocket::SegmentSizeOf(msghdr& message) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
    int value = 0;
    std::memcpy(&value, CMSG_DATA(c), sizeof(value));
    return static_cast<uint16_t>(value);
  }
  return 0;
}

// The kernel has one count for datagrams that the filter refused and for those that a full queue
// did not take. A queue only grows until it is read, and every read comes here first: if it was not
// even half full now and at the last read, it was not full in between.
void UdpSocket::CountLost(DropCounters& drops) {
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof(memory);
  // Kernels before 4.12 have no SO_MEMINFO.
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_MEMINFO, memory, &size) != 0) return;
  const bool full = memory[SK_MEMINFO_RMEM_ALLOC] > memory[SK_MEMINFO_RCVBUF] / 2;
  const bool may_overrun = std::exchange(was_full_, full) || full;
  const uint32_t now = memory[SK_MEMINFO_DROPS];
  const uint32_t lost = now - std::exchange(lost_, now);  // the count wraps
  if (lost == 0) return;
  const IfIndex uplink = static_cast<IfIndex>(scope_);
  if (may_overrun || uplink == IfIndex::kNone) {
    drops.Add(Drop::kSocketOverrun, lost);
    return;
  }
  drops.Add(Drop::kNotFromHere, lost);
  // The uplink may have become a port of another device since.
  if (const IfIndex master = MasterOf(uplink); master != master_) {
    if (AdmitOnly(fd_, uplink, master).ok()) master_ = master;
  }
}

void UdpSocket::Send(std::span<const OutDatagram> batch, DropCounters& drops) {
  for (const OutDatagram& datagram : batch) {
    Destination to;
    to.size = ToSockaddr(datagram.to.address, datagram.to.port, scope_, to.name);
    if (datagram.segment_size == 0 || datagram.size <= datagram.segment_size) {
      Add(*out_, datagram.parts, to, 0, 1, drops);
    } else if (segments_ && datagram.segment_size <= largest_segment_) {
      AddRuns(datagram, to, drops);
    } else {
      AddPieces(*out_, datagram.parts, datagram.segment_size, to, drops);
    }
  }
  Flush(*out_, drops);
}

// Uses as many sends as necessary: one carries at most kMaxSegments and largest_run_ bytes.
void UdpSocket::AddRuns(const OutDatagram& run, const Destination& to, DropCounters& drops) {
  const size_t most =
      std::min<size_t>(kMaxSegments, static_cast<size_t>(largest_run_) / run.segment_size);
  size_t first = 0;  // index of a part
  size_t size = 0;   // bytes since `first`
  for (size_t i = 0; i < run.parts.size(); ++i) {
    size += run.parts[i].iov_len;
    const bool last = i + 1 == run.parts.size();
    if (!last && size < most * run.segment_size) continue;
    const size_t datagrams = (size + run.segment_size - 1) / run.segment_size;
    Add(*out_, run.parts.subspan(first, i + 1 - first), to, datagrams > 1 ? run.segment_size : 0,
        static_cast<uint32_t>(datagrams), drops);
    first = i + 1;
    size = 0;
  }
}

void UdpSocket::AddPieces(Outbox& box, std::span<const iovec> parts, size_t segment_size,
                          const Destination& to, DropCounters& drops) {
  size_t first = 0;
  size_t size = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    size += parts[i].iov_len;
    if (size < segment_size && i + 1 < parts.size()) continue;
    Add(box, parts.subspan(first, i + 1 - first), to, 0, 1, drops);
    first = i + 1;
    size = 0;
  }
}

void UdpSocket::Add(Outbox& box, std::span<const iovec> parts, const Destination& to,
                    uint16_t segment_size, uint32_t datagrams, DropCounters& drops) {
  if (box.count == kBatch) Flush(box, drops);
  const size_t i = box.count++;
  box.segment_sizes[i] = segment_size;
  box.datagrams[i] = datagrams;
  std::memcpy(&box.names[i], &to.name, to.size);
  msghdr& message = box.messages[i].msg_hdr;
  message = {};
  message.msg_name = &box.names[i];
  message.msg_namelen = to.size;
  message.msg_iov = const_cast<iovec*>(parts.data());  // sendmsg() reads only
  message.msg_iovlen = parts.size();
  if (segment_size == 0) return;
  message.msg_control = box.controls[i].bytes;
  message.msg_controllen = sizeof(box.controls[i].bytes);
  cmsghdr* control = CMSG_FIRSTHDR(&message);
  control->cmsg_level = IPPROTO_UDP;
  control->cmsg_type = UDP_SEGMENT;
  control->cmsg_len = CMSG_LEN(sizeof(segment_size));
  std::memcpy(CMSG_DATA(control), &segment_size, sizeof(segment_size));
}

void UdpSocket::Flush(Outbox& box, DropCounters& drops) {
  size_t i = 0;
  while (i < box.count) {
    // An error concerns the first message: an error in the middle ends the call before it.
    const int sent = sendmmsg(fd_.get(), &box.messages[i], box.count - i, MSG_DONTWAIT);
    if (sent > 0) {
      i += static_cast<size_t>(sent);
    } else if (errno != EINTR) {
      Refused(box, i, errno, drops);
      ++i;
    }
  }
  box.count = 0;
}

void UdpSocket::Refused(const Outbox& box, size_t i, int error, DropCounters& drops) {
  if (box.segment_sizes[i] != 0) {
    // EIO: the route's device cannot compute checksums (kernels before 6.11), or IPsec is involved.
    const bool for_good = error == EIO || error == EOPNOTSUPP || error == ENOPROTOOPT;
    // This run does not fit this route, whose MTU may be smaller than the uplink's.
    const bool this_run = error == EINVAL || error == EMSGSIZE;
    if (for_good) segments_ = false;
    if (for_good || this_run) {
      const msghdr& message = box.messages[i].msg_hdr;
      const Destination to = {box.names[i], message.msg_namelen};
      AddPieces(*pieces_, {message.msg_iov, message.msg_iovlen}, box.segment_sizes[i], to, drops);
      Flush(*pieces_, drops);
      return;
    }
  }
  Drop reason = Drop::kSendFailed;
  if (error == EAGAIN || error == ENOBUFS) reason = Drop::kSocketFull;
  if (error == EMSGSIZE) reason = Drop::kTooBig;
  drops.Add(reason, box.datagrams[i]);
}

// Sets an option that the socket requires.
absl::Status Set(const UniqueFd& fd, int level, int option, int value, absl::string_view what) {
  if (setsockopt(fd.get(), level, option, &value, sizeof(value)) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("set ", what, " to ", value, " on a UDP socket"));
}

void SetBuffer(const UniqueFd& fd, int force_option, int option, int bytes) {
  // With CAP_NET_ADMIN beyond net.core.[rw]mem_max, without it up to that.
  if (setsockopt(fd.get(), SOL_SOCKET, force_option, &bytes, sizeof(bytes)) == 0) return;
  (void)setsockopt(fd.get(), SOL_SOCKET, option, &bytes, sizeof(bytes));
}

absl::StatusOr<UniqueFd> Open(const UdpOptions& options) {
  UniqueFd fd(socket(options.group.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus(errno, "open a UDP socket");
  if (options.group.is_v6()) {
    RETURN_IF_ERROR(Set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY"));
  }
  return fd;
}

// Options of both sockets, before or after they are bound.
absl::Status SetUp(const UniqueFd& fd, const UdpOptions& options) {
  if (options.group.is_v6()) {
    RETURN_IF_ERROR(Set(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0, "IPV6_MULTICAST_ALL"));
  } else {
    RETURN_IF_ERROR(Set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0, "IP_MULTICAST_ALL"));
  }
  const int receive_buffer = options.receive_buffer > 0 ? options.receive_buffer : kDefaultBuffer;
  SetBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, receive_buffer);
  return AdmitOnly(fd, options.uplink, MasterOf(options.uplink));
}

// The port to which it was bound.
absl::StatusOr<uint16_t> Bind(const UniqueFd& fd, const IpAddress& address, uint16_t port,
                              IfIndex uplink) {
  sockaddr_storage name = {};
  socklen_t size = ToSockaddr(address, port, static_cast<uint32_t>(uplink), name);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), size) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind UDP ", Peer{address, port}.ToString()));
  }
  size = sizeof(name);
  IpAddress bound_address;
  uint16_t bound_port = 0;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0 ||
      !FromSockaddr(name, bound_address, bound_port)) {
    return ErrnoStatus(errno, "ask for a UDP socket's port");
  }
  return bound_port;
}

absl::Status Join(const UniqueFd& fd, const UdpOptions& options, bool leave = false) {
  int result;
  if (options.group.is_v6()) {
    ipv6_mreq request = {};
    std::memcpy(&request.ipv6mr_multiaddr, options.group.wire().data(), 16);
    request.ipv6mr_interface = static_cast<unsigned>(options.uplink);
    result = setsockopt(fd.get(), IPPROTO_IPV6, leave ? IPV6_LEAVE_GROUP : IPV6_JOIN_GROUP,
                        &request, sizeof(request));
  } else {
    ip_mreqn request = {};
    std::memcpy(&request.imr_multiaddr, options.group.wire().data(), 4);
    request.imr_ifindex = static_cast<int>(options.uplink);
    result = setsockopt(fd.get(), IPPROTO_IP, leave ? IP_DROP_MEMBERSHIP : IP_ADD_MEMBERSHIP,
                        &request, sizeof(request));
  }
  if (result == 0 || errno == EADDRINUSE) return absl::OkStatus();  // joined already
  const int error = errno;
  const absl::Status status =
      ErrnoStatus(error, absl::StrCat(leave ? "leave" : "join", " group ", options.group.ToString(),
                                      " on interface ", static_cast<uint32_t>(options.uplink)));
  if (error == ENOBUFS) {
    return absl::ResourceExhaustedError(
        absl::StrCat(status.message(), "; raise net.ipv4.igmp_max_memberships with sysctl"));
  }
  if (error == ENODEV && options.uplink == IfIndex::kNone) {
    return absl::NotFoundError(absl::StrCat(
        status.message(), "; there is no route to the group: add one, or name the uplink"));
  }
  return status;
}

absl::Status UdpSocket::Rejoin() {
  if (!joined_.has_value()) return DatagramIo::Rejoin();
  // The leave fails if an earlier join failed: the socket is not a member then, as required here.
  Join(fd_, *joined_, /*leave=*/true).IgnoreError();
  return Join(fd_, *joined_);
}

absl::Status SetUpUnicast(const UniqueFd& fd, const UdpOptions& options) {
  RETURN_IF_ERROR(SetUp(fd, options));
  SetBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, kDefaultBuffer);
  if (options.group.is_v6()) {
    constexpr int kLevel = IPPROTO_IPV6;
    // Unicast keeps the kernel's hop limit, as the reference does.
    RETURN_IF_ERROR(Set(fd, kLevel, IPV6_MULTICAST_HOPS, options.ttl, "IPV6_MULTICAST_HOPS"));
    RETURN_IF_ERROR(Set(fd, kLevel, IPV6_MULTICAST_LOOP, 1, "IPV6_MULTICAST_LOOP"));
    RETURN_IF_ERROR(Set(fd, kLevel, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT, "IPV6_MTU_DISCOVER"));
  } else {
    constexpr int kLevel = IPPROTO_IP;
    RETURN_IF_ERROR(Set(fd, kLevel, IP_TTL, options.ttl, "IP_TTL"));
    RETURN_IF_ERROR(Set(fd, kLevel, IP_MULTICAST_TTL, options.ttl, "IP_MULTICAST_TTL"));
    RETURN_IF_ERROR(Set(fd, kLevel, IP_MULTICAST_LOOP, 1, "IP_MULTICAST_LOOP"));
    RETURN_IF_ERROR(Set(fd, kLevel, IP_MTU_DISCOVER, IP_PMTUDISC_DONT, "IP_MTU_DISCOVER"));
  }
  if (options.uplink != IfIndex::kNone) {
    RETURN_IF_ERROR(SendGroupsThrough(fd, options.group.is_v6(), options.uplink));
  }
  // Kernels before 5.0 have no UDP_GRO: they deliver single datagrams.
  const int on = 1;
  (void)setsockopt(fd.get(), IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
  return absl::OkStatus();
}

// Kernels before 4.18 have no UDP_SEGMENT.
bool HasSegments(const UniqueFd& fd) {
  int segment_size = 0;
  socklen_t size = sizeof(segment_size);
  return getsockopt(fd.get(), IPPROTO_UDP, UDP_SEGMENT, &segment_size, &size) == 0;
}

IpAddress UnicastAddress(const UdpOptions& options) {
  return options.bind.value_or(options.group.is_v6() ? IpAddress::AnyV6() : IpAddress());
}

absl::Status CheckBound(const UniqueFd& fd, const IpAddress& address, uint16_t port) {
  sockaddr_storage name = {};
  socklen_t size = sizeof(name);
  IpAddress bound_address;
  uint16_t bound_port = 0;
  int type = 0;
  socklen_t type_size = sizeof(type);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && type == SOCK_DGRAM &&
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0 &&
      FromSockaddr(name, bound_address, bound_port) && bound_address == address &&
      bound_port == port) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("descriptor ", fd.get(), " is not bound to UDP ",
                                                 Peer{address, port}.ToString()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DatagramIo>> OpenGroupSocket(const UdpOptions& options) {
  ASSIGN_OR_RETURN(UniqueFd fd, Open(options));
  RETURN_IF_ERROR(SetUp(fd, options));
  RETURN_IF_ERROR(Set(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"));
  if (options.group.is_v6() && options.uplink != IfIndex::kNone) {
    // IPv6 matches memberships by group alone (inet6_mc_check() in net/ipv6/mcast.c): without the
    // filter, datagrams that arrive where another process has joined would be received as well.
    RETURN_IF_ERROR(Set(fd, SOL_SOCKET, SO_BINDTOIFINDEX, static_cast<int>(options.uplink),
                        "SO_BINDTOIFINDEX"));
  }
  ASSIGN_OR_RETURN(const uint16_t port,
                   Bind(fd, options.group, options.group_port, options.uplink));
  RETURN_IF_ERROR(Join(fd, options));
  auto socket = std::make_unique<UdpSocket>(std::move(fd), port, options, false);
  socket->RememberGroup(options);
  return socket;
}

absl::StatusOr<std::unique_ptr<DatagramIo>> AdoptGroupSocket(UniqueFd fd,
                                                             const UdpOptions& options) {
  RETURN_IF_ERROR(CheckBound(fd, options.group, options.group_port));
  RETURN_IF_ERROR(SetUp(fd, options));
  RETURN_IF_ERROR(Join(fd, options));
  auto socket = std::make_unique<UdpSocket>(std::move(fd), options.group_port, options, false);
  socket->RememberGroup(options);
  return socket;
}

absl::StatusOr<std::unique_ptr<DatagramIo>> OpenUnicastSocket(const UdpOptions& options) {
  ASSIGN_OR_RETURN(UniqueFd fd, Open(options));
  RETURN_IF_ERROR(SetUpUnicast(fd, options));
  const bool segments = HasSegments(fd);
  ASSIGN_OR_RETURN(const uint16_t port,
                   Bind(fd, UnicastAddress(options), options.port, options.uplink));
  return std::make_unique<UdpSocket>(std::move(fd), port, options, segments);
}

absl::StatusOr<std::unique_ptr<DatagramIo>> AdoptUnicastSocket(UniqueFd fd,
                                                               const UdpOptions& options) {
  RETURN_IF_ERROR(CheckBound(fd, UnicastAddress(options), options.port));
  RETURN_IF_ERROR(SetUpUnicast(fd, options));
  const bool segments = HasSegments(fd);
  return std::make_unique<UdpSocket>(std::move(fd), options.port, options, segments);
}

}  // namespace vxvde
