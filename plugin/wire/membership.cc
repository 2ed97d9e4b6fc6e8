#include "plugin/wire/membership.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "plugin/base/frame.h"
#include "plugin/wire/checksum.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kIp = kEthernetHeaderSize;
constexpr size_t kIp4Size = 20;
constexpr size_t kIp6Size = 40;
constexpr size_t kMinimumFrame = 60;  // IEEE 802.3, without the FCS

constexpr uint8_t kProtocolHopByHop = 0;
constexpr uint8_t kProtocolIgmp = 2;
constexpr uint8_t kProtocolPim = 103;
constexpr uint8_t kPimHello = 0x20;  // version 2, type 0

// RFC 3376, section 4, and RFC 2236, section 2.1.
constexpr uint8_t kIgmpQuery = 0x11;
constexpr uint8_t kIgmpV1Report = 0x12;
constexpr uint8_t kIgmpV2Report = 0x16;
constexpr uint8_t kIgmpLeave = 0x17;
constexpr uint8_t kIgmpV3Report = 0x22;
// RFC 3810, section 5, and RFC 2710, section 3.1.
constexpr uint8_t kMldQuery = 130;
constexpr uint8_t kMldV1Report = 131;
constexpr uint8_t kMldDone = 132;
constexpr uint8_t kMldV2Report = 143;

// Bytes after the fields of a query: receivers include them in the checksum and otherwise ignore
// them (RFC 3376, section 4.1.10; RFC 3810, section 5.1.12).
constexpr std::array<uint8_t, 8> kMark = {'v', 'x', 'v', 'd', 'e', 1, 0, 0};

constexpr std::array<uint8_t, 4> kAllSystems = {224, 0, 0, 1};
constexpr std::array<uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                               0,    0,    0, 0, 0, 0, 0, 1};
constexpr uint8_t kRobustness = 2;

// The differences between the two: IGMP has addresses of 4 bytes, and its fields in 8 + 4 bytes;
// MLD has addresses of 16 bytes, and the same fields in 24 + 4.
struct Layout {
  bool v6;
  size_t group_at;  // of a query
  size_t address;   // bytes
  size_t short_query() const { return group_at + address; }
  size_t long_query() const { return short_query() + 4; }
};
constexpr Layout kIgmp{.v6 = false, .group_at = 4, .address = 4};
constexpr Layout kMld{.v6 = true, .group_at = 8, .address = 16};

// RFC 3376, section 4.1.1.
uint32_t FromCode(uint8_t code) {
  if (code < 128) return code;
  return static_cast<uint32_t>((code & 0x0f) | 0x10) << ((code >> 4 & 0x07) + 3);
}

// RFC 3810, section 5.1.3.
uint32_t FromCode16(uint16_t code) {
  if (code < 32768) return code;
  return static_cast<uint32_t>((code & 0x0fff) | 0x1000) << ((code >> 12 & 0x07) + 3);
}

bool ParseQuery(const Layout& layout, std::span<const uint8_t> message, Membership& out) {
  const bool is_long = message.size() >= layout.long_query();
  if (!is_long && message.size() != layout.short_query()) return false;
  out.kind = Membership::Kind::kQuery;
  out.group = IpAddress::FromWire(message.subspan(layout.group_at, layout.address));
  if (out.group->IsUnspecified()) out.group.reset();
  if (layout.v6) {
    const uint16_t code = LoadBe16(&message[4]);
    out.response = milliseconds(is_long ? FromCode16(code) : code);
  } else if (message[1] == 0) {
    out.response = seconds(10);  // IGMPv1: RFC 3376, section 7.2.1
  } else {
    out.response = milliseconds(100) * (is_long ? FromCode(message[1]) : message[1]);
  }
  if (!is_long) return true;
  const size_t sources = LoadBe16(&message[layout.short_query() + 2]);
  const size_t end = layout.long_query() + sources * layout.address;
  if (end > message.size()) return false;
  const std::span<const uint8_t> more = message.subspan(end);
  out.of_agent =
      more.size() >= kMark.size() && std::equal(kMark.begin(), kMark.end(), more.begin());
  return true;
}

// RFC 3376, section 4.2; RFC 3810, section 5.2: equal except for the size of addresses.
bool ParseRecords(const Layout& layout, std::span<const uint8_t> message, Membership& out) {
  if (message.size() < 8) return false;
  out.kind = Membership::Kind::kReport;
  size_t count = LoadBe16(&message[6]);
  std::span<const uint8_t> rest = message.subspan(8);
  for (; count > 0; --count) {
    const size_t fixed = 4 + layout.address;
    if (rest.size() < fixed) return false;
    const uint8_t type = rest[0];
    const size_t sources = LoadBe16(&rest[2]);
    const size_t size = fixed + sources * layout.address + rest[1] * size_t{4};
    if (size > rest.size()) return false;
    const IpAddress group = IpAddress::FromWire(rest.subspan(4, layout.address));
    rest = rest.subspan(size);
    constexpr uint8_t kIsIn = 1, kIsEx = 2, kToIn = 3, kToEx = 4, kAllow = 5, kBlock = 6;
    switch (type) {
      case kIsEx:
      case kToEx:
        out.records.push_back({group, true});
        break;
      case kIsIn:
      case kToIn:
      case kAllow:
        out.records.push_back({group, sources != 0});
        break;
      case kBlock:
        out.records.push_back({group, false});
        break;
      default:  // RFC 3376, section 4.2.12: unknown types are ignored
        break;
    }
  }
  return true;
}

bool ParseOne(const Layout& layout, std::span<const uint8_t> message, bool joined,
              Membership& out) {
  if (message.size() < layout.short_query()) return false;
  out.kind = Membership::Kind::kReport;
  out.records.push_back(
      {IpAddress::FromWire(message.subspan(layout.group_at, layout.address)), joined});
  return true;
}

bool ParseIgmp(std::span<const uint8_t> message, bool checksum, Membership& out) {
  if (message.size() < 8 || (checksum && ChecksumFinish(ChecksumAdd(message)) != 0)) return false;
  switch (message[0]) {
    case kIgmpQuery:
      return ParseQuery(kIgmp, message, out);
    case kIgmpV1Report:
    case kIgmpV2Report:
      return ParseOne(kIgmp, message, true, out);
    case kIgmpLeave:
      return ParseOne(kIgmp, message, false, out);
    case kIgmpV3Report:
      return ParseRecords(kIgmp, message, out);
    default:
      return false;
  }
}

bool ParseMld(std::span<const uint8_t> message, bool alert, Membership& out) {
  if (message.size() < 8) return false;
  switch (message[0]) {
    case kMldQuery:
      return alert && out.source.IsLinkLocal() && ParseQuery(kMld, message, out);
    case kMldV1Report:
      return ParseOne(kMld, message, true, out);
    case kMldDone:
      return ParseOne(kMld, message, false, out);
    case kMldV2Report:
      return ParseRecords(kMld, message, out);
    default:
      return false;
  }
}

bool ParseIp4(std::span<const uint8_t> packet, bool checksum, Membership& out) {
  if (packet.size() < kIp4Size || packet[0] >> 4 != 4) return false;
  const size_t header = (packet[0] & 0x0f) * size_t{4};
  const size_t length = LoadBe16(&packet[2]);
  const bool fragment = (LoadBe16(&packet[6]) & 0x3fff) != 0;
  if (header < kIp4Size || length < header || length > packet.size() || fragment) return false;
  if (ChecksumFinish(ChecksumAdd(packet.first(header))) != 0) return false;
  out.source = IpAddress::FromWire(packet.subspan(12, 4));
  const std::span<const uint8_t> message = packet.subspan(header, length - header);
  switch (packet[9]) {
    case kProtocolIgmp:
      return ParseIgmp(message, checksum, out);
    case kProtocolPim:
      out.kind = Membership::Kind::kRouter;
      return message.size() >= 4 && message[0] == kPimHello &&
             (!checksum || ChecksumFinish(ChecksumAdd(message)) == 0);
    default:
      return false;
  }
}

// MLD follows hop-by-hop options: RFC 8200, section 4.2, and RFC 2711.
bool HasRouterAlert(std::span<const uint8_t> options) {
  constexpr uint8_t kPad1 = 0, kRouterAlert = 5;
  while (!options.empty()) {
    if (options[0] == kPad1) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2 || options.size() < options[1] + size_t{2}) return false;
    if (options[0] == kRouterAlert && options[1] == 2 && LoadBe16(&options[2]) == 0) return true;
    options = options.subspan(options[1] + size_t{2});
  }
  return false;
}

bool ParseIp6(std::span<const uint8_t> packet, bool checksum, Membership& out) {
  if (packet.size() < kIp6Size || packet[0] >> 4 != 6) return false;
  const size_t length = LoadBe16(&packet[4]);
  if (length > packet.size() - kIp6Size) return false;
  const std::span<const uint8_t> source = packet.subspan(8, 16);
  const std::span<const uint8_t> destination = packet.subspan(24, 16);
  out.source = IpAddress::FromWire(source);
  uint8_t protocol = packet[6];
  std::span<const uint8_t> message = packet.subspan(kIp6Size, length);
  bool alert = false;
  if (protocol == kProtocolHopByHop) {
    if (message.size() < 8 || message.size() < (message[1] + size_t{1}) * 8) return false;
    const std::span<const uint8_t> options = message.first((message[1] + size_t{1}) * 8);
    protocol = options[0];
    message = message.subspan(options.size());
    alert = HasRouterAlert(options.subspan(2));
  }
  if (protocol != kProtocolIcmpv6 && protocol != kProtocolPim) return false;
  if (checksum) {
    const uint64_t pseudo =
        PseudoHeaderSum(source, destination, protocol, static_cast<uint32_t>(message.size()));
    if (ChecksumFinish(ChecksumAdd(message, pseudo)) != 0) return false;
  }
  if (protocol == kProtocolPim) {
    out.kind = Membership::Kind::kRouter;
    return message.size() >= 4 && message[0] == kPimHello;
  }
  const uint8_t hop_limit = packet[7];
  return hop_limit == 1 && ParseMld(message, alert, out);
}

void Append(std::vector<uint8_t>& out, std::span<const uint8_t> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// Robustness, interval, no sources, the mark.
void AppendQueryEnd(std::vector<uint8_t>& out, Duration interval) {
  const auto code = static_cast<uint8_t>(std::chrono::duration_cast<seconds>(interval).count());
  Append(out, std::array<uint8_t, 4>{kRobustness, code, 0, 0});
  Append(out, kMark);
}

std::vector<uint8_t> BuildIgmpQuery(const MacAddress& self, Duration response, Duration interval) {
  constexpr size_t kHeader = kIp4Size + 4;  // with the router alert of RFC 2113
  constexpr size_t kLength = kHeader + 12 + kMark.size();
  std::vector<uint8_t> out;
  Append(out, std::array<uint8_t, 6>{0x01, 0, 0x5e, 0, 0, 1});
  Append(out, self.bytes());
  Append(out, std::array<uint8_t, 2>{0x08, 0x00});
  Append(out, std::array<uint8_t, 12>{0x46, 0xc0, 0, kLength, 0, 0, 0x40, 0, 1, kProtocolIgmp});
  Append(out, std::array<uint8_t, 4>{});  // from 0.0.0.0: wins no election against a router
  Append(out, kAllSystems);
  Append(out, std::array<uint8_t, 4>{0x94, 4, 0, 0});
  const auto tenths = std::chrono::duration_cast<milliseconds>(response).count() / 100;
  Append(out, std::array<uint8_t, 8>{kIgmpQuery, static_cast<uint8_t>(tenths)});
  AppendQueryEnd(out, interval);
  const std::span<uint8_t> all(out);
  StoreBe16(&out[kIp + 10], ChecksumFinish(ChecksumAdd(all.subspan(kIp, kHeader))));
  StoreBe16(&out[kIp + kHeader + 2], ChecksumFinish(ChecksumAdd(all.subspan(kIp + kHeader))));
  out.resize(std::max(out.size(), kMinimumFrame));
  return out;
}

std::vector<uint8_t> BuildMldQuery(const MacAddress& self, Duration response, Duration interval) {
  constexpr size_t kOptions = 8;
  constexpr size_t kMessage = 28 + kMark.size();
  const IpAddress source = LinkLocalOf(self).address;
  std::vector<uint8_t> out;
  Append(out, std::array<uint8_t, 6>{0x33, 0x33, 0, 0, 0, 1});
  Append(out, self.bytes());
  Append(out, std::array<uint8_t, 2>{0x86, 0xdd});
  Append(out, std::array<uint8_t, 8>{0x60, 0, 0, 0, 0, kOptions + kMessage, kProtocolHopByHop, 1});
  Append(out, source.wire());
  Append(out, kAllNodes);
  Append(out, std::array<uint8_t, 8>{kProtocolIcmpv6, 0, 5, 2, 0, 0, 1, 0});  // RFC 2711
  const auto ms = std::chrono::duration_cast<milliseconds>(response).count();
  Append(out, std::array<uint8_t, 8>{kMldQuery, 0, 0, 0, static_cast<uint8_t>(ms >> 8),
                                     static_cast<uint8_t>(ms)});
  Append(out, std::array<uint8_t, 16>{});
  AppendQueryEnd(out, interval);
  constexpr size_t kAt = kIp + kIp6Size + kOptions;
  const uint64_t pseudo = PseudoHeaderSum(source.wire(), kAllNodes, kProtocolIcmpv6, kMessage);
  StoreBe16(&out[kAt + 2], ChecksumFinish(ChecksumAdd(std::span(out).subspan(kAt), pseudo)));
  return out;
}

}  // namespace

std::optional<IpAddress> GroupOf(std::span<const uint8_t> frame) {
  if (frame.size() < kIp + kIp4Size) return std::nullopt;
  const uint8_t* mac = frame.data();
  switch (LoadBe16(&frame[12])) {
    case kEtherTypeIpv4: {
      const uint8_t* to = &frame[kIp + 16];
      const bool fits = frame[kIp] >> 4 == 4 && to[0] >> 4 == 14 && mac[0] == 0x01 &&
                        mac[1] == 0x00 && mac[2] == 0x5e && mac[3] == (to[1] & 0x7f) &&
                        mac[4] == to[2] && mac[5] == to[3];
      if (fits) return IpAddress::FromWire({to, 4});
      return std::nullopt;
    }
    case kEtherTypeIpv6: {
      if (frame.size() < kIp + kIp6Size) return std::nullopt;
      const uint8_t* to = &frame[kIp + 24];
      const bool fits = frame[kIp] >> 4 == 6 && to[0] == 0xff && mac[0] == 0x33 && mac[1] == 0x33 &&
                        std::equal(to + 12, to + 16, mac + 2);
      if (fits) return IpAddress::FromWire({to, 16});
      return std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

bool ParseMembership(std::span<const uint8_t> frame, bool checksum, Membership& out) {
  if (frame.size() < kEthernetHeaderSize) return false;
  out = Membership();
  switch (LoadBe16(&frame[12])) {
    case kEtherTypeIpv4:
      return ParseIp4(frame.subspan(kIp), checksum, out);
    case kEtherTypeIpv6:
      return ParseIp6(frame.subspan(kIp), checksum, out);
    default:
      return false;
  }
}

std::vector<uint8_t> BuildQuery(bool v6, const MacAddress& self, Duration response,
                                Duration interval) {
  return v6 ? BuildMldQuery(self, response, interval) : BuildIgmpQuery(self, response, interval);
}

}  // namespace vxvde
