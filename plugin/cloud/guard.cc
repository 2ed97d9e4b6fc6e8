// Parses from the Ethernet header on, as far as a receiver might. Refuses a frame whose headers a
// receiver could parse and this code cannot (several tags and LLC headers, headers in several
// fragments): these are known ways around such guards (RFC 7113; CERT VU#855201).

#include "plugin/cloud/guard.h"

#include <algorithm>
#include <array>

#include "plugin/base/frame.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using Bytes = std::span<const uint8_t>;

// Below it the EtherType is a length, and an LLC header follows (IEEE 802.3, 3.2.6).
constexpr uint16_t kMinEtherType = 0x0600;
constexpr uint16_t kVlanIdBits = 0x0fff;
constexpr size_t kVlanTagSize = 4;
constexpr size_t kSnapSize = 8;  // LLC aa aa 03, three bytes of organisation, EtherType
constexpr std::array<uint8_t, 3> kSnap = {0xaa, 0xaa, 0x03};
// Hosts skip two tags at most; a frame with more is crafted to be misread.
constexpr int kMaxLayers = 4;

constexpr size_t kArpSize = 28;
constexpr size_t kIpv4Size = 20;
constexpr size_t kIpv6Size = 40;
constexpr uint16_t kIpv4OffsetBits = 0x1fff;
constexpr uint16_t kIpv6OffsetBits = 0xfff8;
constexpr size_t kPortsSize = 4;  // of UDP: source and destination

// IPv6 extension headers (RFC 8200, section 4; IANA "IPv6 Extension Header Types"), without ESP:
// the headers behind that are encrypted.
constexpr uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kAuthentication = 51,
                  kDestination = 60, kMobility = 135, kHip = 139, kShim6 = 140;
constexpr int kMaxExtensions = 8;

// Ports of servers and clients.
constexpr uint16_t kDhcpServer = 67, kDhcpClient = 68, kDhcp6Server = 547, kDhcp6Client = 546;

// RFC 4861, section 4.
constexpr uint8_t kRouterSolicitation = 133, kRouterAdvertisement = 134, kSolicitation = 135,
                  kAdvertisement = 136, kRedirect = 137;
constexpr uint8_t kSourceLink = 1, kTargetLink = 2;

class Checker {
 public:
  Checker(const MacAddress& own, const PortGuard& guard) : own_(own), guard_(guard) {}

  Drop CheckFrame(Bytes frame) const {
    if (frame.size() < kEthernetHeaderSize) return Drop::kUnreadable;
    const MacAddress source = SourceMac(frame);
    if (source.IsGroup()) return Drop::kBadSource;
    if (!MayUse(source)) return Drop::kSpoofedMac;

    Bytes rest = frame.subspan(kEthernetHeaderSize);
    uint16_t type = LoadBe16(&frame[kEthernetHeaderSize - 2]);
    for (int layers = 0; layers < kMaxLayers; ++layers) {
      if (type == kEtherTypeVlan || type == kEtherTypeQinQ) {
        if (rest.size() < kVlanTagSize) return Drop::kUnreadable;
        // Number 0 is only a priority: hosts ignore the tag (IEEE 802.1Q, 9.6).
        if ((LoadBe16(rest.data()) & kVlanIdBits) != 0) return Drop::kNone;
        type = LoadBe16(&rest[2]);
        rest = rest.subspan(kVlanTagSize);
      } else if (type < kMinEtherType && IsSnap(rest)) {
        type = LoadBe16(&rest[kSnapSize - 2]);
        rest = rest.subspan(kSnapSize);
      } else {
        return CheckPacket(type, rest);
      }
    }
    return Drop::kUnreadable;
  }

 private:
  bool MayUse(const MacAddress& mac) const {
    return mac == own_ || std::any_of(guard_.macs.begin(), guard_.macs.end(),
                                      [&](const MacPrefix& one) { return one.Contains(mac); });
  }

  bool MayHave(const IpAddress& address) const {
    const auto in = [&](const std::vector<IpPrefix>& prefixes) {
      return std::any_of(prefixes.begin(), prefixes.end(),
                         [&](const IpPrefix& one) { return one.Contains(address); });
    };
    return in(guard_.addresses) || (address.is_v6() && address.IsLinkLocal()) ||
           !in(guard_.reserved);
  }
  bool MayHave(Bytes address) const { return MayHave(IpAddress::FromWire(address)); }

  // Any organisation: 00-00-00 is RFC 1042's, 00-00-f8 a bridge's, and hosts differ in the others
  // that they accept.
  static bool IsSnap(Bytes rest) {
    return rest.size() >= kSnapSize && std::equal(kSnap.begin(), kSnap.end(), rest.begin());
  }

  Drop CheckPacket(uint16_t type, Bytes packet) const {
    switch (type) {
      case kEtherTypeArp:
        return CheckArp(packet);
      case kEtherTypeIpv4:
        return CheckIpv4(packet);
      case kEtherTypeIpv6:
        return CheckIpv6(packet);
      default:
        return Drop::kNone;
    }
  }

  // Any operation: hosts believe the sender fields of all messages. Any hardware type: Linux
  // accepts more than one for Ethernet (arp_process() in net/ipv4/arp.c).
  Drop CheckArp(Bytes arp) const {
    if (arp.size() < kArpSize || LoadBe16(&arp[2]) != kEtherTypeIpv4 ||
        arp[4] != MacAddress::kSize || arp[5] != 4) {
      return Drop::kUnreadable;
    }
    if (!MayUse(MacAddress::FromWire(&arp[8]))) return Drop::kSpoofedMac;
    const IpAddress sender = IpAddress::FromWire(arp.subspan(14, 4));
    // From 0.0.0.0 it is a probe for the target address (RFC 5227, section 2.1.1).
    const bool may = sender.IsUnspecified() ? MayHave(arp.subspan(24, 4)) : MayHave(sender);
    return may ? Drop::kNone : Drop::kSpoofedAddress;
  }

  Drop CheckIpv4(Bytes ip) const {
    if (ip.size() < kIpv4Size || ip[0] >> 4 != 4) return Drop::kUnreadable;
    const size_t size = size_t{ip[0] & 0xfu} << 2;
    if (size < kIpv4Size || size > ip.size()) return Drop::kUnreadable;
    // Later fragments have no ports, and cannot overwrite those of the first: offsets are multiples
    // of 8.
    if (ip[9] != kProtocolUdp || (LoadBe16(&ip[6]) & kIpv4OffsetBits) != 0) return Drop::kNone;
    return CheckUdp(ip.subspan(size), kDhcpServer, kDhcpClient);
  }

  // A server's message comes from a server's port, or goes to a client's.
  Drop CheckUdp(Bytes udp, uint16_t server, uint16_t client) const {
    if (udp.size() < kPortsSize) return Drop::kUnreadable;
    const bool from_server = LoadBe16(udp.data()) == server || LoadBe16(&udp[2]) == client;
    return from_server && !guard_.dhcp_server ? Drop::kRogueServer : Drop::kNone;
  }

  Drop CheckIpv6(Bytes ip) const {
    if (ip.size() < kIpv6Size || ip[0] >> 4 != 6) return Drop::kUnreadable;
    const IpAddress source = IpAddress::FromWire(ip.subspan(8, 16));
    const size_t length = LoadBe16(&ip[4]);
    Bytes rest = ip.subspan(kIpv6Size);
    // Zero means 64 KiB or more (RFC 2675). Bytes behind the packet are padding.
    if (length != 0 && length < rest.size()) rest = rest.first(length);
    uint8_t protocol = ip[6];
    bool fragment = false;
    for (int extensions = 0; extensions <= kMaxExtensions; ++extensions) {
      size_t size = 0;
      switch (protocol) {
        case kProtocolUdp:
          return CheckUdp(rest, kDhcp6Server, kDhcp6Client);
        case kProtocolIcmpv6:
          return CheckIcmp(rest, source, fragment);
        case kFragment:
          if (rest.size() < 8) return Drop::kUnreadable;
          // The first fragment has all headers (RFC 7112), and fragments do not overlap (RFC 5722).
          if ((LoadBe16(&rest[2]) & kIpv6OffsetBits) != 0) return Drop::kNone;
          fragment = true;
          size = 8;
          break;
        case kAuthentication:
          if (rest.size() < 8) return Drop::kUnreadable;
          size = (size_t{rest[1]} + 2) * 4;
          break;
        case kHopByHop:
        case kRouting:
        case kDestination:
        case kMobility:
        case kHip:
        case kShim6:
          if (rest.size() < 8) return Drop::kUnreadable;
          size = (size_t{rest[1]} + 1) * 8;
          break;
        default:
          return Drop::kNone;
      }
      if (size > rest.size()) return Drop::kUnreadable;
      protocol = rest[0];
      rest = rest.subspan(size);
    }
    return Drop::kUnreadable;
  }

  Drop CheckIcmp(Bytes icmp, const IpAddress& source, bool fragment) const {
    if (icmp.empty()) return Drop::kUnreadable;
    const uint8_t type = icmp[0];
    if (type < kRouterSolicitation || type > kRedirect) return Drop::kNone;
    // Hosts ignore these in fragments (RFC 6980), and a fragment may contain only a part.
    if (fragment) return Drop::kUnreadable;
    if (type == kRouterAdvertisement || type == kRedirect) {
      if (!guard_.router) return Drop::kRogueServer;
      // A redirect contains addresses of other hosts.
      return type == kRedirect ? Drop::kNone : CheckDiscovery(icmp, 16, source);
    }
    if (type == kRouterSolicitation) return CheckDiscovery(icmp, 8, source);
    if (icmp.size() < 24) return Drop::kUnreadable;
    const IpAddress target = IpAddress::FromWire(icmp.subspan(8, 16));
    // From :: it is a probe (RFC 4862, section 5.4.2).
    const bool asks_for = type == kSolicitation && source.IsUnspecified();
    if ((asks_for || type == kAdvertisement) && !MayHave(target)) return Drop::kSpoofedAddress;
    return CheckDiscovery(icmp, 24, source);
  }

  // The common part: a sender, and options behind a header of `size` bytes.
  Drop CheckDiscovery(Bytes icmp, size_t size, const IpAddress& source) const {
    if (icmp.size() < size) return Drop::kUnreadable;
    if (!source.IsUnspecified() && !MayHave(source)) return Drop::kSpoofedAddress;
    for (Bytes options = icmp.subspan(size); !options.empty();) {
      if (options.size() < 2 || options[1] == 0 || options[1] * size_t{8} > options.size()) {
        return Drop::kUnreadable;
      }
      if ((options[0] == kSourceLink || options[0] == kTargetLink) &&
          !MayUse(MacAddress::FromWire(&options[2]))) {
        return Drop::kSpoofedMac;
      }
      options = options.subspan(options[1] * size_t{8});
    }
    return Drop::kNone;
  }

  const MacAddress& own_;
  const PortGuard& guard_;
};

}  // namespace

Drop CheckFromPort(Bytes frame, const MacAddress& own, const PortGuard& guard) {
  return guard.on ? Checker(own, guard).CheckFrame(frame) : Drop::kNone;
}

}  // namespace vxvde
