// Packet sockets and taps behind FrameIo; the contract is in port.h and io.h.
// Sources: packet(7) and net/packet/af_packet.c; drivers/net/tun.c.

#include "plugin/os/port.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/base/vnet.h"

namespace vxvde {
namespace {

constexpr size_t kBatch = 64;
constexpr size_t kVlanTagSize = 4;
constexpr size_t kVlanTagOffset = 12;  // after the two MACs
constexpr int kPacketBuffer = 16 << 20;

// The reason why a frame could not be written. EINVAL: the vnet header does not fit the frame.
Drop WriteDrop(int error) {
  switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      return Drop::kPortFull;
    case EMSGSIZE:
      return Drop::kTooBigForPort;
    case EINVAL:
      return Drop::kBadOffload;
    default:  // ENETDOWN ENXIO ENODEV; for a tap EIO EBADFD
      return Drop::kPortDown;
  }
}

// The vnet header in front of a frame's parts, as one vector for writev().
class Gather {
 public:
  std::span<iovec> operator()(const OutFrame& frame) {
    header_ = ToVnet(frame.offload);
    parts_[0] = {&header_, sizeof(header_)};
    std::copy(frame.parts.begin(), frame.parts.end(), parts_.begin() + 1);
    return std::span(parts_).first(1 + frame.parts.size());
  }

 private:
  VnetHeader header_;
  std::array<iovec, 1 + OutFrame::kMaxParts> parts_;
};

// The metadata of one frame that a packet socket received.
struct alignas(cmsghdr) PacketControl {
  char bytes[CMSG_SPACE(sizeof(tpacket_auxdata))];
};
struct PacketInbox {
  std::array<mmsghdr, kBatch> messages;
  std::array<std::array<iovec, 2>, kBatch> parts;
  std::array<VnetHeader, kBatch> headers;
  std::array<PacketControl, kBatch> controls;
};

class PacketPort : public FrameIo {
 public:
  // `deaf`: opened without receiving.
  PacketPort(UniqueFd fd, IfIndex interface, bool deaf)
      : fd_(std::move(fd)), interface_(interface), in_(std::make_unique<PacketInbox>()) {
    SetDeaf(deaf);
  }

  int fd() const override { return fd_.get(); }
  bool receives() const override { return !to_.has_value(); }
  absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) override;
  absl::Status SetReceiving(bool on) override;
  absl::StatusOr<UniqueFd> Reopen(bool receives) override;
  Drop Send(const OutFrame& frame) override;

 private:
  absl::Status ReceiveError(int error, DropCounters& drops);
  void CountOverruns(DropCounters& drops);
  void SetDeaf(bool deaf);

  UniqueFd fd_;
  const IfIndex interface_;
  // The destination address of a socket that is bound to an EtherType. If it sends another one, the
  // kernel parses the frame (packet_parse_headers()), as it must in order to segment it.
  std::optional<sockaddr_ll> to_;
  uint32_t turns_ = 0;
  BatchSize batch_;
  std::unique_ptr<PacketInbox> in_;
  Gather gather_;
};

// The tag that the kernel removed from the frame, if any (skb->vlan_tci).
bool TakenTag(msghdr& message, tpacket_auxdata& aux) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
    std::memcpy(&aux, CMSG_DATA(c), sizeof(aux));
    return (aux.tp_status & TP_STATUS_VLAN_VALID) != 0;
  }
  return false;
}

// Reinserts it; `frame` starts kVlanTagSize bytes into its buffer.
std::span<uint8_t> RestoreTag(const tpacket_auxdata& aux, std::span<uint8_t> frame,
                              VnetHeader& header) {
  uint8_t* start = frame.data() - kVlanTagSize;
  std::memmove(start, frame.data(), kVlanTagOffset);
  const bool says_tpid = (aux.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
  const uint16_t tpid = htons(says_tpid ? aux.tp_vlan_tpid : ETH_P_8021Q);
  const uint16_t tci = htons(aux.tp_vlan_tci);
  std::memcpy(start + kVlanTagOffset, &tpid, sizeof(tpid));
  std::memcpy(start + kVlanTagOffset + 2, &tci, sizeof(tci));
  if ((header.flags & VnetHeader::kNeedsChecksum) != 0) header.csum_start += kVlanTagSize;
  if (header.hdr_len != 0) header.hdr_len += kVlanTagSize;
  return {start, frame.size() + kVlanTagSize};
}

absl::Status PacketPort::Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) {
  out.clear();
  const size_t most = std::min(buffers.count(), kBatch);
  const size_t batch = batch_.Next(most);
  for (size_t i = 0; i < batch; ++i) {
    const std::span<uint8_t> room = buffers[i].subspan(kVlanTagSize);
    in_->parts[i] = {iovec{&in_->headers[i], sizeof(VnetHeader)}, iovec{room.data(), room.size()}};
    msghdr& message = in_->messages[i].msg_hdr;
    message = {};
    message.msg_iov = in_->parts[i].data();
    message.msg_iovlen = in_->parts[i].size();
    message.msg_control = in_->controls[i].bytes;
    message.msg_controllen = sizeof(in_->controls[i].bytes);
  }
  int count;
  do {
    count = recvmmsg(fd_.get(), in_->messages.data(), batch, MSG_DONTWAIT, nullptr);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return ReceiveError(errno, drops);

  size_t bytes = 0;
  for (int i = 0; i < count; ++i) {
    msghdr& message = in_->messages[i].msg_hdr;
    const size_t size = in_->messages[i].msg_len;
    bytes += size;
    if ((message.msg_flags & MSG_TRUNC) != 0) {
      drops.Add(Drop::kTruncated);
      continue;
    }
    if (size < sizeof(VnetHeader) + kEthernetHeaderSize) {
      drops.Add(Drop::kShortFrame);
      continue;
    }
    VnetHeader& header = in_->headers[i];
    Frame frame;
    frame.bytes = buffers[i].subspan(kVlanTagSize, size - sizeof(VnetHeader));
    if (tpacket_auxdata aux; TakenTag(message, aux)) {
      frame.bytes = RestoreTag(aux, frame.bytes, header);
    }
    if (const Drop drop = FromVnet(header, frame.bytes, frame.offload); drop != Drop::kNone) {
      drops.Add(drop);
      continue;
    }
    out.push_back(frame);
  }
  batch_.Read(static_cast<size_t>(count), bytes);
  // A queue that overflowed fills whole batches afterwards. Asked periodically in any case, for a
  // queue that is shorter than a batch.
  if (static_cast<size_t>(count) == most || ++turns_ % 64 == 0) CountOverruns(drops);
  return absl::OkStatus();
}

// An error in the middle of a batch ends it, and the next call returns it, so each is reported
// once.
absl::Status PacketPort::ReceiveError(int error, DropCounters& drops) {
  if (error == EAGAIN) return absl::OkStatus();
  if (error == EINVAL) {
    // virtio_net_hdr_from_skb() cannot describe this super-frame, which is lost.
    drops.Add(Drop::kUnsupportedOffload);
    return absl::OkStatus();
  }
  if (error == ENETDOWN) {
    // The kernel reports the same error for a link that is down and for one that is gone.
    sockaddr_ll name = {};
    socklen_t size = sizeof(name);
    if (getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0 &&
        name.sll_ifindex <= 0) {
      error = ENODEV;
    }
  }
  return ErrnoStatus(error, "receive from a packet socket");
}

// Uses a filter: bind() to another protocol waits for RCU (some 10 ms) and no longer reports that
// the link is down. packet_rcv() runs the filter before it copies or counts anything. This filter
// rejects every frame.
absl::Status AttachNothing(const UniqueFd& fd) {
  sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
  const sock_fprog program = {.len = 1, .filter = &nothing};
  if (setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "stop receiving from a packet socket");
}

absl::Status PacketPort::SetReceiving(bool on) {
  if (!on) return AttachNothing(fd_);
  const int unused = 0;
  // ENOENT: there is no filter to remove.
  if (setsockopt(fd_.get(), SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) == 0 ||
      errno == ENOENT) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "receive again from a packet socket");
}

void PacketPort::CountOverruns(DropCounters& drops) {
  tpacket_stats statistics = {};  // since they were last read
  socklen_t size = sizeof(statistics);
  if (getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0) {
    drops.Add(Drop::kPortOverrun, statistics.tp_drops);
  }
}

Drop PacketPort::Send(const OutFrame& frame) {
  const std::span<iovec> parts = gather_(frame);
  msghdr message = {};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (to_.has_value()) {
    message.msg_name = &*to_;
    message.msg_namelen = sizeof(*to_);
  }
  while (sendmsg(fd_.get(), &message, MSG_DONTWAIT) < 0) {
    if (errno != EINTR) return WriteDrop(errno);
  }
  return Drop::kNone;
}

class TapPort : public FrameIo {
 public:
  explicit TapPort(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const override { return fd_.get(); }
  absl::Status Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) override;
  Drop Send(const OutFrame& frame) override;

 private:
  UniqueFd fd_;
  Gather gather_;
};

absl::Status TapPort::Receive(Buffers& buffers, std::vector<Frame>& out, DropCounters& drops) {
  out.clear();
  const size_t batch = std::min(buffers.count(), kBatch);
  size_t bytes = 0;
  for (size_t reads = 0; reads < batch && bytes < BatchSize::kBytes; ++reads) {
    const std::span<uint8_t> room = buffers[out.size()];
    VnetHeader header;
    const std::array<iovec, 2> parts = {iovec{&header, sizeof(header)},
                                        iovec{room.data(), room.size()}};
    const ssize_t size = readv(fd_.get(), parts.data(), parts.size());
    if (size < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return absl::OkStatus();
      if (errno == EINVAL) {
        drops.Add(Drop::kUnsupportedOffload);
        continue;
      }
      if (!out.empty()) return absl::OkStatus();  // the next call meets the error again
      return TapReadError(errno);
    }
    bytes += static_cast<size_t>(size);
    const size_t frame_size = static_cast<size_t>(size) - std::min<size_t>(size, sizeof(header));
    if (frame_size < kEthernetHeaderSize) {
      drops.Add(Drop::kShortFrame);
      continue;
    }
    if (frame_size == room.size()) {  // a tap truncates without notice
      drops.Add(Drop::kTruncated);
      continue;
    }
    Frame frame;
    frame.bytes = room.first(frame_size);
    if (const Drop drop = FromVnet(header, frame.bytes, frame.offload); drop != Drop::kNone) {
      drops.Add(drop);
      continue;
    }
    out.push_back(frame);
  }
  return absl::OkStatus();
}

Drop TapPort::Send(const OutFrame& frame) {
  const std::span<iovec> parts = gather_(frame);
  while (writev(fd_.get(), parts.data(), static_cast<int>(parts.size())) < 0) {
    if (errno != EINTR) return WriteDrop(errno);
  }
  return Drop::kNone;
}

// Tells the kernel which offloads the reader of `tap` supports.
absl::Status AcceptOffloads(const UniqueFd& tap) {
  constexpr unsigned kBasic = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  constexpr unsigned kUso = 0x20 | 0x40;  // TUN_F_USO4 | TUN_F_USO6, Linux 6.2 and later
  if (ioctl(tap.get(), TUNSETOFFLOAD, kBasic | kUso) == 0) return absl::OkStatus();
  if (ioctl(tap.get(), TUNSETOFFLOAD, kBasic) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "set a tap's offloads");
}

bool InterfaceExists(const ifreq& request) {
  const UniqueFd any(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq copy = request;
  return any && ioctl(any.get(), SIOCGIFINDEX, &copy) == 0;
}

}  // namespace

namespace {

// Without `receives` it is bound to an unused EtherType and has a filter: the kernel still reports
// the state of its link.
absl::StatusOr<UniqueFd> OpenPacketSocket(IfIndex interface, bool receives) {
  const int index = static_cast<int>(interface);
  const std::string what = absl::StrCat("open a packet socket on interface ", index);
  // Protocol 0: nothing is received, from any interface, before bind().
  UniqueFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus(errno, absl::StrCat(what, " (this requires CAP_NET_RAW)"));
  const int on = 1;
  for (const int option : {PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING}) {
    if (setsockopt(fd.get(), SOL_PACKET, option, &on, sizeof(on)) != 0) {
      return ErrnoStatus(errno, absl::StrCat(what, ": set option ", option));
    }
  }
  // PACKET_QDISC_BYPASS is not set: veth has no queue to save, and tcpdump on the host end would no
  // longer see the frames to the pod.
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kPacketBuffer, sizeof(int)) != 0) {
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kPacketBuffer, sizeof(int));
  }
  if (!receives) RETURN_IF_ERROR(AttachNothing(fd));
  sockaddr_ll name = {};
  name.sll_family = AF_PACKET;
  name.sll_protocol = htons(receives ? ETH_P_ALL : ETH_P_LOOPBACK);
  name.sll_ifindex = index;
  if (index <= 0) return ErrnoStatus(ENODEV, what);  // 0 would select all interfaces
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    return ErrnoStatus(errno, what);
  }
  return fd;
}

}  // namespace

void PacketPort::SetDeaf(bool deaf) {
  to_.reset();
  if (!deaf) return;
  to_.emplace();
  to_->sll_family = AF_PACKET;
  to_->sll_ifindex = static_cast<int>(interface_);
  to_->sll_protocol = htons(ETH_P_ALL);
}

absl::StatusOr<UniqueFd> PacketPort::Reopen(bool receives) {
  ASSIGN_OR_RETURN(UniqueFd other, OpenPacketSocket(interface_, receives));
  SetDeaf(!receives);
  return std::exchange(fd_, std::move(other));
}

absl::StatusOr<std::unique_ptr<FrameIo>> AdoptPacketPort(UniqueFd fd, IfIndex interface) {
  sockaddr_ll name = {};
  socklen_t size = sizeof(name);
  // A socket whose interface is gone is bound to none.
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0 ||
      name.sll_family != AF_PACKET || name.sll_ifindex != static_cast<int>(interface)) {
    return absl::InvalidArgumentError(absl::StrCat("descriptor ", fd.get(),
                                                   " is not a packet socket on interface ",
                                                   static_cast<uint32_t>(interface)));
  }
  const bool deaf = name.sll_protocol != htons(ETH_P_ALL);
  auto port = std::make_unique<PacketPort>(std::move(fd), interface, deaf);
  // The process may have ended between the two steps of making it deaf.
  if (!deaf) RETURN_IF_ERROR(port->SetReceiving(true));
  return port;
}

absl::StatusOr<std::unique_ptr<FrameIo>> OpenPacketPort(IfIndex interface) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenPacketSocket(interface, /*receives=*/true));
  return std::make_unique<PacketPort>(std::move(fd), interface, /*deaf=*/false);
}

absl::Status TapReadError(int error) {
  // EBADFD: the interface was deleted; EFAULT: it is being deleted.
  return ErrnoStatus(error == EBADFD || error == EFAULT ? ENODEV : error, "read from a tap");
}

std::string TapNameOf(const UniqueFd& tap) {
  ifreq request = {};
  if (ioctl(tap.get(), TUNGETIFF, &request) != 0) return "";
  return std::string(request.ifr_name, strnlen(request.ifr_name, IFNAMSIZ));
}

absl::StatusOr<UniqueFd> NetNsOfTap(const UniqueFd& tap) {
  UniqueFd netns(ioctl(tap.get(), TUNGETDEVNETNS));
  if (!netns) return ErrnoStatus(errno, "get the namespace of a tap");
  return netns;
}

absl::StatusOr<std::unique_ptr<FrameIo>> OpenTapPort(UniqueFd tap) {
  ifreq request = {};
  if (ioctl(tap.get(), TUNGETIFF, &request) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("descriptor ", tap.get(), " is not a tap"));
  }
  // IFF_NO_PI cannot be checked: TUNGETIFF uses its bit for IFF_NOFILTER.
  constexpr int kNeeded = IFF_TAP | IFF_VNET_HDR;
  if ((request.ifr_flags & kNeeded) != kNeeded) {
    return absl::InvalidArgumentError(
        absl::StrCat("tun interface ", request.ifr_name,
                     " must be made with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, and has flags 0x",
                     absl::Hex(static_cast<uint16_t>(request.ifr_flags))));
  }
  const int header_size = kVnetHeaderSize;  // the last opener's value remains
  if (ioctl(tap.get(), TUNSETVNETHDRSZ, &header_size) != 0) {
    return ErrnoStatus(errno, absl::StrCat("set the vnet header size of tap ", request.ifr_name));
  }
  RETURN_IF_ERROR(Annotate(AcceptOffloads(tap), request.ifr_name));
  const int flags = fcntl(tap.get(), F_GETFL);
  if (flags < 0 || fcntl(tap.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, absl::StrCat("make tap ", request.ifr_name, " non-blocking"));
  }
  return std::make_unique<TapPort>(std::move(tap));
}

absl::StatusOr<UniqueFd> OpenTap(absl::string_view name, bool persistent) {
  const std::string what = absl::StrCat("make tap ", name);
  if (name.empty() || name.size() >= IFNAMSIZ) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": the name must have 1 to ", IFNAMSIZ - 1, " characters"));
  }
  UniqueFd tap(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!tap) return ErrnoStatus(errno, absl::StrCat(what, ": open /dev/net/tun"));
  ifreq request = {};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  if (!persistent) request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_TUN_EXCL);
  if (ioctl(tap.get(), TUNSETIFF, &request) != 0) {
    const int error = errno;
    // The kernel also answers EINVAL if a tun device or a link of another driver has the name.
    if (error == EBUSY || (error == EINVAL && InterfaceExists(request))) {
      return absl::AlreadyExistsError(
          absl::StrCat(what, ": the name is taken by another process or another kind of link"));
    }
    return ErrnoStatus(error, what);
  }
  if (persistent && ioctl(tap.get(), TUNSETPERSIST, 1) != 0) {
    return ErrnoStatus(errno, absl::StrCat(what, ": make it persistent"));
  }
  RETURN_IF_ERROR(Annotate(AcceptOffloads(tap), what));
  return tap;
}

}  // namespace vxvde
