#include "plugin/wire/neighbour.h"

#include <algorithm>
#include <array>

#include "plugin/base/frame.h"
#include "plugin/wire/checksum.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

// ARP over Ethernet for IPv4: RFC 826.
constexpr size_t kArp = kEthernetHeaderSize;
constexpr size_t kArpSize = 28;
constexpr size_t kMinimumFrame = 60;  // IEEE 802.3, without the FCS
constexpr std::array<uint8_t, 6> kArpEthernetIpv4 = {0, 1, 8, 0, 6, 4};
constexpr uint16_t kArpRequest = 1;
constexpr uint16_t kArpReply = 2;

// RFC 4861, sections 4.3 and 4.4: both are 24 bytes and options.
constexpr size_t kIp6 = kEthernetHeaderSize;
constexpr size_t kIcmp = kIp6 + 40;
constexpr size_t kIcmpSize = 24;
constexpr uint8_t kSolicitation = 135;
constexpr uint8_t kAdvertisement = 136;
constexpr uint8_t kFlagSolicited = 0x40;
constexpr uint8_t kFlagOverride = 0x20;
constexpr uint8_t kOptionSource = 1;
constexpr uint8_t kOptionTarget = 2;
constexpr uint8_t kOptionMark = 253;  // RFC 4727, section 5.1.3: for experiments
constexpr size_t kOptionMarkSize = 16;

constexpr std::array<uint8_t, 5> kMagic = {'v', 'x', 'v', 'd', 'e'};
constexpr size_t kMarkSize = kMagic.size() + 1 + 4 + 2;

constexpr std::array<uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                               0,    0,    0, 0, 0, 0, 0, 1};

std::optional<AgentMark> MarkIn(std::span<const uint8_t> bytes) {
  if (bytes.size() < kMarkSize || !std::equal(kMagic.begin(), kMagic.end(), bytes.begin())) {
    return std::nullopt;
  }
  const uint8_t kind = bytes[kMagic.size()];
  if (kind < static_cast<uint8_t>(AgentMark::Kind::kClaim) ||
      kind > static_cast<uint8_t>(AgentMark::Kind::kFree)) {
    return std::nullopt;
  }
  return AgentMark{.kind = static_cast<AgentMark::Kind>(kind),
                   .beat = LoadBe32(bytes.data() + kMagic.size() + 1),
                   .agents = LoadBe16(bytes.data() + kMagic.size() + 5)};
}

bool ParseArp(std::span<const uint8_t> frame, Neighbour& out) {
  if (frame.size() < kArp + kArpSize) return false;
  const uint8_t* arp = frame.data() + kArp;
  if (!std::equal(kArpEthernetIpv4.begin(), kArpEthernetIpv4.end(), arp)) return false;
  const uint16_t operation = LoadBe16(arp + 6);
  const MacAddress mac = MacAddress::FromWire(arp + 8);
  const IpAddress from = IpAddress::FromWire({arp + 14, 4});
  const IpAddress target = IpAddress::FromWire({arp + 24, 4});
  if (!mac.IsStation()) return false;

  Neighbour message;
  message.mac = mac;
  message.source = SourceMac(frame);
  if (operation == kArpReply || (operation == kArpRequest && from == target)) {
    message.kind = Neighbour::Kind::kHas;
    message.address = from;
    if (from.IsUnspecified()) return false;
  } else if (operation == kArpRequest) {
    message.kind = from.IsUnspecified() ? Neighbour::Kind::kProbe : Neighbour::Kind::kAsk;
    message.address = target;
    if (!from.IsUnspecified()) message.asker = from;
  } else {
    return false;
  }
  message.mark = MarkIn(frame.subspan(kArp + kArpSize));
  out = message;
  return true;
}

struct Options {
  std::optional<MacAddress> link;  // source or target link-layer address
  std::optional<AgentMark> mark;
};

// RFC 4861, section 4.6: an option of length zero, or beyond the message, invalidates the message.
bool ParseOptions(std::span<const uint8_t> bytes, uint8_t link, Options& out) {
  while (!bytes.empty()) {
    if (bytes.size() < 2 || bytes[1] == 0 || bytes[1] * size_t{8} > bytes.size()) return false;
    const std::span<const uint8_t> option = bytes.first(bytes[1] * size_t{8});
    if (option[0] == link) out.link = MacAddress::FromWire(&option[2]);
    if (option[0] == kOptionMark) out.mark = MarkIn(option.subspan(2));
    bytes = bytes.subspan(option.size());
  }
  return true;
}

// RFC 4861, sections 7.1.1 and 7.1.2: the conditions for a valid message.
bool ParseDiscovery(std::span<const uint8_t> frame, bool checksum, Neighbour& out) {
  if (frame.size() < kIcmp + kIcmpSize) return false;
  const uint8_t* ip = frame.data() + kIp6;
  const size_t length = LoadBe16(ip + 4);
  if (ip[0] >> 4 != 6 || ip[6] != kProtocolIcmpv6 || ip[7] != 255 || length < kIcmpSize ||
      length > frame.size() - kIcmp) {
    return false;
  }
  const std::span<const uint8_t> icmp = frame.subspan(kIcmp, length);
  const uint8_t type = icmp[0];
  if ((type != kSolicitation && type != kAdvertisement) || icmp[1] != 0) return false;
  const std::span<const uint8_t> source(ip + 8, 16);
  const std::span<const uint8_t> destination(ip + 24, 16);
  if (checksum) {
    const uint64_t pseudo =
        PseudoHeaderSum(source, destination, kProtocolIcmpv6, static_cast<uint32_t>(length));
    if (ChecksumFinish(ChecksumAdd(icmp, pseudo)) != 0) return false;
  }
  const IpAddress from = IpAddress::FromWire(source);
  const IpAddress target = IpAddress::FromWire(icmp.subspan(8, 16));
  if (target.IsMulticast() || target.IsUnspecified() || from.IsMulticast()) return false;
  Options options;
  if (!ParseOptions(icmp.subspan(kIcmpSize), type == kSolicitation ? kOptionSource : kOptionTarget,
                    options)) {
    return false;
  }
  Neighbour message;
  message.address = target;
  message.source = SourceMac(frame);
  message.mac = options.link.value_or(message.source);
  message.mark = options.mark;
  if (!message.mac.IsStation()) return false;
  if (type == kAdvertisement) {
    message.kind = Neighbour::Kind::kHas;
  } else if (from.IsUnspecified()) {
    if (options.link.has_value()) return false;
    message.kind = Neighbour::Kind::kProbe;
  } else {
    message.kind = Neighbour::Kind::kAsk;
    message.asker = from;
  }
  out = message;
  return true;
}

class Writer {
 public:
  Writer() { bytes_.reserve(128); }
  void Add(std::span<const uint8_t> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void Be16(uint16_t value) {
    bytes_.push_back(static_cast<uint8_t>(value >> 8));
    bytes_.push_back(static_cast<uint8_t>(value));
  }
  void Byte(uint8_t value) { bytes_.push_back(value); }
  void Mark(const AgentMark& mark) {
    Add(kMagic);
    Byte(static_cast<uint8_t>(mark.kind));
    Be16(static_cast<uint16_t>(mark.beat >> 16));
    Be16(static_cast<uint16_t>(mark.beat));
    Be16(mark.agents);
  }
  std::vector<uint8_t>& bytes() { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

struct Arp {
  uint16_t operation;
  MacAddress sender;
  IpAddress from;
  MacAddress target_mac;
  IpAddress target;
};

std::vector<uint8_t> BuildArp(const MacAddress& to, const MacAddress& source, const Arp& arp,
                              const AgentMark& mark) {
  Writer frame;
  frame.Add(to.bytes());
  frame.Add(source.bytes());
  frame.Be16(kEtherTypeArp);
  frame.Add(kArpEthernetIpv4);
  frame.Be16(arp.operation);
  frame.Add(arp.sender.bytes());
  frame.Add(arp.from.wire());
  frame.Add(arp.target_mac.bytes());
  frame.Add(arp.target.wire());
  frame.Mark(mark);
  frame.bytes().resize(kMinimumFrame);
  return std::move(frame.bytes());
}

struct Discovery {
  uint8_t type;
  uint8_t flags;
  IpAddress from;
  IpAddress to;
  IpAddress target;
  std::optional<MacAddress> target_mac;
};

std::vector<uint8_t> BuildDiscovery(const MacAddress& to, const MacAddress& source,
                                    const Discovery& message, const AgentMark& mark) {
  const uint16_t size =
      static_cast<uint16_t>(kIcmpSize + (message.target_mac ? 8 : 0) + kOptionMarkSize);
  Writer frame;
  frame.Add(to.bytes());
  frame.Add(source.bytes());
  frame.Be16(kEtherTypeIpv6);
  frame.Add(std::array<uint8_t, 4>{0x60, 0, 0, 0});
  frame.Be16(size);
  frame.Byte(kProtocolIcmpv6);
  frame.Byte(255);  // hop limit
  frame.Add(message.from.wire());
  frame.Add(message.to.wire());
  frame.Byte(message.type);
  frame.Byte(0);  // code
  frame.Be16(0);  // checksum, below
  frame.Byte(message.flags);
  frame.Add(std::array<uint8_t, 3>{});
  frame.Add(message.target.wire());
  if (message.target_mac) {
    frame.Byte(kOptionTarget);
    frame.Byte(1);  // of 8 bytes
    frame.Add(message.target_mac->bytes());
  }
  frame.Byte(kOptionMark);
  frame.Byte(kOptionMarkSize / 8);
  frame.Mark(mark);
  std::vector<uint8_t>& bytes = frame.bytes();
  bytes.resize(kIcmp + size);
  const uint64_t pseudo =
      PseudoHeaderSum(message.from.wire(), message.to.wire(), kProtocolIcmpv6, size);
  StoreBe16(&bytes[kIcmp + 2],
            ChecksumFinish(ChecksumAdd(std::span(bytes).subspan(kIcmp), pseudo)));
  return std::move(bytes);
}

// RFC 4291, section 2.7.1.
IpAddress SolicitedNode(const IpAddress& address) {
  std::array<uint8_t, 16> group = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0};
  std::copy_n(address.wire().begin() + 13, 3, group.begin() + 13);
  return IpAddress::FromWire(group);
}

// RFC 2464, section 7.
MacAddress MulticastMac(const IpAddress& group) {
  const std::span<const uint8_t> wire = group.wire();
  return MacAddress({0x33, 0x33, wire[12], wire[13], wire[14], wire[15]});
}

}  // namespace

bool ParseNeighbour(std::span<const uint8_t> frame, bool checksum, Neighbour& out) {
  if (frame.size() < kEthernetHeaderSize || !SourceMac(frame).IsStation()) return false;
  switch (LoadBe16(frame.data() + 12)) {
    case kEtherTypeArp:
      return ParseArp(frame, out);
    case kEtherTypeIpv6:
      return ParseDiscovery(frame, checksum, out);
    default:
      return false;
  }
}

std::vector<uint8_t> BuildProbe(const MacAddress& mac, const IpAddress& address,
                                const AgentMark& mark, const MacAddress& to) {
  if (address.is_v4()) {
    return BuildArp(to, mac,
                    {.operation = kArpRequest,
                     .sender = mac,
                     .from = IpAddress(),
                     .target_mac = MacAddress(),
                     .target = address},
                    mark);
  }
  const IpAddress group = SolicitedNode(address);
  return BuildDiscovery(to.IsBroadcast() ? MulticastMac(group) : to, mac,
                        {.type = kSolicitation,
                         .flags = 0,
                         .from = IpAddress::AnyV6(),
                         .to = group,
                         .target = address,
                         .target_mac = {}},
                        mark);
}

std::vector<uint8_t> BuildHolds(const MacAddress& source, const MacAddress& holder,
                                const IpAddress& address, const AgentMark& mark) {
  if (address.is_v4()) {
    return BuildArp(MacAddress::Broadcast(), source,
                    {.operation = kArpRequest,
                     .sender = holder,
                     .from = address,
                     .target_mac = MacAddress(),
                     .target = address},
                    mark);
  }
  const IpAddress all = IpAddress::FromWire(kAllNodes);
  return BuildDiscovery(MulticastMac(all), source,
                        {.type = kAdvertisement,
                         .flags = kFlagOverride,
                         .from = address,
                         .to = all,
                         .target = address,
                         .target_mac = holder},
                        mark);
}

std::vector<uint8_t> BuildAnswer(const MacAddress& source, const MacAddress& holder,
                                 const Neighbour& question, const AgentMark& mark) {
  if (question.address.is_v4()) {
    return BuildArp(question.source, source,
                    {.operation = kArpReply,
                     .sender = holder,
                     .from = question.address,
                     .target_mac = question.mac,
                     .target = question.asker.value_or(IpAddress())},
                    mark);
  }
  // A station without an address can only be answered by multicast: RFC 4861, section 7.2.4.
  const IpAddress all = IpAddress::FromWire(kAllNodes);
  const bool probe = question.kind == Neighbour::Kind::kProbe;
  return BuildDiscovery(probe ? MulticastMac(all) : question.source, source,
                        {.type = kAdvertisement,
                         .flags = static_cast<uint8_t>(
                             question.asker ? kFlagSolicited | kFlagOverride : kFlagOverride),
                         .from = question.address,
                         .to = question.asker.value_or(all),
                         .target = question.address,
                         .target_mac = holder},
                        mark);
}

}  // namespace vxvde
