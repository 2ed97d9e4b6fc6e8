// Bytes written by hand from RFC 826, 4861, 8200, 2131 and 8415, IEEE 802.1Q and 802.2.

#include "plugin/cloud/guard.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "plugin/offload/testing/packets.h"
#include "plugin/wire/announce.h"
#include "plugin/wire/packet.h"

namespace vxvde {
namespace {

using packets::Bytes;

const MacAddress kOwn({0x02, 0x00, 0x5e, 0x10, 0x00, 0x01});
const MacAddress kOther({0x02, 0x00, 0x5e, 0x10, 0x00, 0x02});
const MacAddress kVrrp({0x00, 0x00, 0x5e, 0x00, 0x01, 0x0a});  // RFC 5798, section 7.3

IpAddress Ip(const char* text) { return IpAddress::Parse(text).value(); }
IpPrefix Prefix(const char* text) { return IpPrefix::Parse(text).value(); }

// A pod with a lease of each family.
PortGuard Bound() {
  return {.on = true,
          .macs = {},
          .addresses = {Prefix("192.0.2.7/32"), Prefix("2001:db8::7/128")},
          .reserved = {Prefix("0.0.0.0/0"), Prefix("::/0")}};
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Bytes Of(const MacAddress& mac) { return {mac.bytes().begin(), mac.bytes().end()}; }
Bytes Of(const IpAddress& address) { return {address.wire().begin(), address.wire().end()}; }

Bytes Ethernet(const Bytes& type_and_rest, const MacAddress& source = kOwn,
               const MacAddress& destination = MacAddress::Broadcast()) {
  return Of(destination) + Of(source) + type_and_rest;
}

// RFC 826: hardware Ethernet, protocol IPv4, 6 and 4 bytes, operation, sender, target.
Bytes Arp(uint8_t operation, const MacAddress& sender_mac, const char* sender,
          const char* target = "192.0.2.1") {
  return Bytes{0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, operation} + Of(sender_mac) + Of(Ip(sender)) +
         Of(MacAddress()) + Of(Ip(target));
}

// RFC 8200: version, length, next header, hop limit 255, addresses.
Bytes Ipv6(uint8_t next, const char* source, const Bytes& payload) {
  return Bytes{0x86,
               0xdd,
               0x60,
               0,
               0,
               0,
               static_cast<uint8_t>(payload.size() >> 8),
               static_cast<uint8_t>(payload.size()),
               next,
               255} +
         Of(Ip(source)) + Of(Ip("ff02::1")) + payload;
}
// RFC 4861, section 4.3 and 4.4; `option` 1: source, 2: target link-layer address, 0: none.
Bytes Discovery(uint8_t type, const char* target, uint8_t option, const MacAddress& mac) {
  const Bytes message = Bytes{type, 0, 0, 0, 0x20, 0, 0, 0} + Of(Ip(target));
  return option == 0 ? message : message + Bytes{option, 1} + Of(mac);
}
constexpr uint8_t kIcmp = 58, kUdp = 17, kTcp = 6;

Bytes Udp(uint16_t source, uint16_t destination) {
  return {static_cast<uint8_t>(source >> 8),
          static_cast<uint8_t>(source),
          static_cast<uint8_t>(destination >> 8),
          static_cast<uint8_t>(destination),
          0,
          12,
          0,
          0,
          'd',
          'h',
          'c',
          'p'};
}
// RFC 791. `fragment`: flags and offset; `options`: 4 bytes each, of no-operation.
Bytes Ipv4(uint8_t protocol, const Bytes& payload, uint16_t fragment = 0, uint8_t options = 0) {
  const size_t size = 20 + size_t{options} * 4 + payload.size();
  return Bytes{0x08,
               0x00,
               static_cast<uint8_t>(0x45 + options),
               0,
               static_cast<uint8_t>(size >> 8),
               static_cast<uint8_t>(size),
               0,
               1,
               static_cast<uint8_t>(fragment >> 8),
               static_cast<uint8_t>(fragment),
               64,
               protocol,
               0,
               0} +
         Of(Ip("192.0.2.7")) + Of(Ip("192.0.2.1")) + Bytes(size_t{options} * 4, 1) + payload;
}

Drop Check(const Bytes& type_and_rest, const PortGuard& guard = Bound()) {
  return CheckFromPort(Ethernet(type_and_rest), kOwn, guard);
}

TEST(Guard, OffLetsEverythingPass) {
  const PortGuard off;
  EXPECT_EQ(CheckFromPort(Ethernet(Arp(2, kOther, "192.0.2.1"), kOther), kOwn, off), Drop::kNone);
  EXPECT_EQ(CheckFromPort(Bytes(3), kOwn, off), Drop::kNone);
}

TEST(Guard, TheSourceMacIsThePortsOrOneOfTheList) {
  const Bytes packet = Ipv4(kTcp, Bytes(20));
  EXPECT_EQ(CheckFromPort(Ethernet(packet, kOwn), kOwn, Bound()), Drop::kNone);
  EXPECT_EQ(CheckFromPort(Ethernet(packet, kOther), kOwn, Bound()), Drop::kSpoofedMac);
  EXPECT_EQ(CheckFromPort(Ethernet(packet, MacAddress()), kOwn, Bound()), Drop::kSpoofedMac);
  EXPECT_EQ(CheckFromPort(Ethernet(packet, MacAddress::Broadcast()), kOwn, Bound()),
            Drop::kBadSource);
  PortGuard vrrp = Bound();
  vrrp.macs = {MacPrefix::Parse("00:00:5e:00:01:00/40").value()};
  EXPECT_EQ(CheckFromPort(Ethernet(packet, kVrrp), kOwn, vrrp), Drop::kNone);
  EXPECT_EQ(CheckFromPort(Ethernet(packet, kOther), kOwn, vrrp), Drop::kSpoofedMac);
}

TEST(Guard, ArpSpeaksForTheLeaseAlone) {
  for (const uint8_t operation : {1, 2, 9}) {
    EXPECT_EQ(Check(Arp(operation, kOwn, "192.0.2.7")), Drop::kNone);
    EXPECT_EQ(Check(Arp(operation, kOwn, "192.0.2.1")), Drop::kSpoofedAddress);
    EXPECT_EQ(Check(Arp(operation, kOther, "192.0.2.7")), Drop::kSpoofedMac);
  }
  EXPECT_EQ(Check(Arp(1, kOwn, "0.0.0.0", "192.0.2.7")), Drop::kNone) << "a probe of its own";
  EXPECT_EQ(Check(Arp(1, kOwn, "0.0.0.0", "192.0.2.1")), Drop::kSpoofedAddress)
      << "it would keep others from claiming";
  EXPECT_EQ(CheckFromPort(BuildAnnouncement(kOwn, Ip("192.0.2.7")), kOwn, Bound()), Drop::kNone);
  EXPECT_EQ(CheckFromPort(BuildAnnouncement(kOwn, Ip("192.0.2.8")), kOwn, Bound()),
            Drop::kSpoofedAddress);
}

TEST(Guard, ArpThatHostsMightReadOtherwise) {
  Bytes arp = Arp(2, kOwn, "192.0.2.1");
  arp[3] = 6;  // IEEE 802, which Linux accepts as well
  EXPECT_EQ(Check(arp), Drop::kSpoofedAddress);
  arp = Arp(2, kOwn, "192.0.2.7");
  arp[6] = 8;
  EXPECT_EQ(Check(arp), Drop::kUnreadable) << "other sizes, other places";
  arp = Arp(2, kOwn, "192.0.2.7");
  arp.pop_back();
  EXPECT_EQ(Check(arp), Drop::kUnreadable);
}

TEST(Guard, ListedAddressesMayBeHadToo) {
  PortGuard guard = Bound();
  guard.addresses.push_back(Prefix("192.0.2.200/32"));
  guard.addresses.push_back(Prefix("2001:db8:1::/64"));
  guard.macs = {MacPrefix{.address = kVrrp}};
  EXPECT_EQ(CheckFromPort(Ethernet(Arp(2, kVrrp, "192.0.2.200"), kVrrp), kOwn, guard), Drop::kNone);
  EXPECT_EQ(Check(Arp(2, kOwn, "192.0.2.201"), guard), Drop::kSpoofedAddress);
  EXPECT_EQ(Check(Ipv6(kIcmp, "2001:db8:1::5", Discovery(136, "2001:db8:1::5", 2, kOwn)), guard),
            Drop::kNone);
}

TEST(Guard, WhoHasNoLeaseMayHaveWhatIsNotReserved) {
  PortGuard guard{.on = true, .macs = {}, .addresses = {}, .reserved = {}};
  EXPECT_EQ(Check(Arp(2, kOwn, "192.0.2.1"), guard), Drop::kNone);
  EXPECT_EQ(Check(Arp(2, kOther, "192.0.2.1"), guard), Drop::kSpoofedMac);
  guard.reserved = {Prefix("192.0.2.0/24")};
  EXPECT_EQ(Check(Arp(2, kOwn, "192.0.2.1"), guard), Drop::kSpoofedAddress);
  EXPECT_EQ(Check(Arp(2, kOwn, "198.51.100.1"), guard), Drop::kNone);
}

TEST(Guard, NeighbourDiscoverySpeaksForTheLeaseAlone) {
  const char* const ours = "2001:db8::7";
  const char* const theirs = "2001:db8::1";
  const auto na = [](const char* source, const char* target, uint8_t option,
                     const MacAddress& mac) {
    return Check(Ipv6(kIcmp, source, Discovery(136, target, option, mac)));
  };
  EXPECT_EQ(na(ours, ours, 2, kOwn), Drop::kNone);
  EXPECT_EQ(na(ours, ours, 0, kOwn), Drop::kNone);
  EXPECT_EQ(na(theirs, theirs, 2, kOwn), Drop::kSpoofedAddress);
  EXPECT_EQ(na(ours, theirs, 2, kOwn), Drop::kSpoofedAddress);
  EXPECT_EQ(na(theirs, ours, 2, kOwn), Drop::kSpoofedAddress);
  EXPECT_EQ(na(ours, ours, 2, kOther), Drop::kSpoofedMac);
  const auto ns = [](const char* source, const char* target, uint8_t option,
                     const MacAddress& mac) {
    return Check(Ipv6(kIcmp, source, Discovery(135, target, option, mac)));
  };
  EXPECT_EQ(ns(ours, theirs, 1, kOwn), Drop::kNone) << "who has it?";
  EXPECT_EQ(ns(theirs, ours, 1, kOwn), Drop::kSpoofedAddress);
  EXPECT_EQ(ns(ours, theirs, 1, kOther), Drop::kSpoofedMac);
  EXPECT_EQ(ns("::", ours, 0, kOwn), Drop::kNone) << "is it free?";
  EXPECT_EQ(ns("::", theirs, 0, kOwn), Drop::kSpoofedAddress);
  EXPECT_EQ(CheckFromPort(BuildAnnouncement(kOwn, Ip(ours)), kOwn, Bound()), Drop::kNone);
}

TEST(Guard, LinkLocalAddressesAreMadeByHosts) {
  for (const char* address : {"fe80::5eff:fe10:1", "fe80::1d2c:3b4a:5968:7786"}) {
    EXPECT_EQ(Check(Ipv6(kIcmp, address, Discovery(136, address, 2, kOwn))), Drop::kNone);
    EXPECT_EQ(Check(Ipv6(kIcmp, "::", Discovery(135, address, 0, kOwn))), Drop::kNone);
    EXPECT_EQ(Check(Ipv6(kIcmp, address, Discovery(136, address, 2, kOther))), Drop::kSpoofedMac);
  }
  const Bytes solicitation = {133, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(Check(Ipv6(kIcmp, "fe80::1", solicitation)), Drop::kNone);
  EXPECT_EQ(Check(Ipv6(kIcmp, "::", solicitation)), Drop::kNone);
  EXPECT_EQ(Check(Ipv6(kIcmp, "fe80::1", solicitation + Bytes{1, 1} + Of(kOther))),
            Drop::kSpoofedMac);
}

TEST(Guard, DiscoveryThatIsMalformedIsRefused) {
  const char* const ours = "2001:db8::7";
  const Bytes good = Discovery(136, ours, 2, kOwn);
  Bytes bad = good;
  bad[25] = 0;
  EXPECT_EQ(Check(Ipv6(kIcmp, ours, bad)), Drop::kUnreadable) << "an option without length";
  bad[25] = 2;
  EXPECT_EQ(Check(Ipv6(kIcmp, ours, bad)), Drop::kUnreadable) << "an option beyond the end";
  for (size_t size = 0; size < 24; ++size) {
    bad = Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_EQ(Check(Ipv6(kIcmp, ours, bad)), Drop::kUnreadable) << size;
  }
  EXPECT_EQ(Check(Ipv6(kIcmp, ours, good) + Bytes{2, 1} + Of(kOther)), Drop::kNone)
      << "what is behind the packet is padding";
  EXPECT_EQ(Check(Ipv6(kIcmp, ours, good + Bytes{2, 1} + Of(kOther))), Drop::kSpoofedMac)
      << "every option counts";
}

TEST(Guard, RoutersMustBeAllowed) {
  // RFC 4861, section 4.2: 16 bytes and options.
  const Bytes advertisement =
      Bytes{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0} + Bytes{1, 1} + Of(kOwn);
  const Bytes redirect = Bytes{137, 0, 0, 0, 0, 0, 0, 0} + Of(Ip("fe80::2")) +
                         Of(Ip("2001:db8::1")) + Bytes{2, 1} + Of(kOther);
  EXPECT_EQ(Check(Ipv6(kIcmp, "fe80::1", advertisement)), Drop::kRogueServer);
  EXPECT_EQ(Check(Ipv6(kIcmp, "fe80::1", redirect)), Drop::kRogueServer);
  PortGuard router = Bound();
  router.router = true;
  EXPECT_EQ(Check(Ipv6(kIcmp, "fe80::1", advertisement), router), Drop::kNone);
  EXPECT_EQ(Check(Ipv6(kIcmp, "fe80::1", redirect), router), Drop::kNone);
  EXPECT_EQ(Check(Ipv6(kIcmp, "2001:db8::1", advertisement), router), Drop::kSpoofedAddress);
  Bytes with_other = advertisement;
  std::copy_n(kOther.bytes().begin(), 6, with_other.end() - 6);
  EXPECT_EQ(Check(Ipv6(kIcmp, "fe80::1", with_other), router), Drop::kSpoofedMac);
  EXPECT_EQ(Check(Ipv6(kIcmp, "2001:db8::7", {128, 0, 0, 0, 0, 1, 0, 1})), Drop::kNone) << "ping";
}

TEST(Guard, DhcpServersMustBeAllowed) {
  PortGuard server = Bound();
  server.dhcp_server = true;
  for (const auto& [source, destination] :
       {std::pair<uint16_t, uint16_t>{67, 68}, {67, 67}, {6767, 68}}) {
    EXPECT_EQ(Check(Ipv4(kUdp, Udp(source, destination))), Drop::kRogueServer);
    EXPECT_EQ(Check(Ipv4(kUdp, Udp(source, destination), 0, 10)), Drop::kRogueServer);
    EXPECT_EQ(Check(Ipv4(kUdp, Udp(source, destination), 0x2000)), Drop::kRogueServer);
    EXPECT_EQ(Check(Ipv4(kUdp, Udp(source, destination)), server), Drop::kNone);
  }
  EXPECT_EQ(Check(Ipv4(kUdp, Udp(68, 67))), Drop::kNone) << "a client";
  EXPECT_EQ(Check(Ipv4(kTcp, Udp(67, 68))), Drop::kNone);
  EXPECT_EQ(Check(Ipv4(kUdp, Udp(67, 68), 0x2001)), Drop::kNone) << "no header, but data";
  for (const auto& [source, destination] :
       {std::pair<uint16_t, uint16_t>{547, 546}, {547, 547}, {5470, 546}}) {
    EXPECT_EQ(Check(Ipv6(kUdp, "fe80::1", Udp(source, destination))), Drop::kRogueServer);
    EXPECT_EQ(Check(Ipv6(kUdp, "fe80::1", Udp(source, destination)), server), Drop::kNone);
  }
  EXPECT_EQ(Check(Ipv6(kUdp, "fe80::1", Udp(546, 547))), Drop::kNone);
}

TEST(Guard, ExtensionHeadersAreFollowed) {
  const Bytes na = Discovery(136, "2001:db8::1", 2, kOwn);
  const Bytes options = {kIcmp, 0, 1, 4, 0, 0, 0, 0};  // PadN
  const Bytes longer = Bytes{60, 1} + Bytes(14, 0);    // Pad1
  for (const uint8_t kind : {0, 43, 60, 135, 139, 140}) {
    EXPECT_EQ(Check(Ipv6(kind, "fe80::1", options + na)), Drop::kSpoofedAddress);
  }
  EXPECT_EQ(Check(Ipv6(0, "fe80::1", longer + options + na)), Drop::kSpoofedAddress);
  const Bytes authentication = Bytes{kIcmp, 4} + Bytes(22, 0);  // RFC 4302: in units of 4, minus 2
  EXPECT_EQ(Check(Ipv6(51, "fe80::1", authentication + na)), Drop::kSpoofedAddress);
  EXPECT_EQ(Check(Ipv6(0, "fe80::1", Bytes{kTcp, 0, 1, 4, 0, 0, 0, 0} + Bytes(20))), Drop::kNone);
  // MLD stands behind one (RFC 3810).
  EXPECT_EQ(
      Check(Ipv6(0, "fe80::1", Bytes{kIcmp, 0, 5, 2, 0, 0, 1, 0} + Bytes{143} + Bytes(27, 0))),
      Drop::kNone);
  EXPECT_EQ(Check(Ipv6(60, "fe80::1", Bytes{kIcmp, 9} + Bytes(14, 0) + na)), Drop::kUnreadable);
  Bytes many;
  for (int i = 0; i < 12; ++i) many = many + Bytes{60, 0, 1, 4, 0, 0, 0, 0};
  EXPECT_EQ(Check(Ipv6(60, "fe80::1", many + options + na)), Drop::kUnreadable);
}

TEST(Guard, FragmentsHideNothing) {
  const Bytes na = Discovery(136, "2001:db8::7", 2, kOwn);
  const Bytes first = {kIcmp, 0, 0, 1, 0, 0, 0, 9};
  const Bytes alone = {kIcmp, 0, 0, 0, 0, 0, 0, 9};
  const Bytes later = {kIcmp, 0, 0, 9, 0, 0, 0, 9};
  EXPECT_EQ(Check(Ipv6(44, "2001:db8::7", first + na)), Drop::kUnreadable) << "RFC 6980";
  EXPECT_EQ(Check(Ipv6(44, "2001:db8::7", alone + na)), Drop::kUnreadable);
  EXPECT_EQ(Check(Ipv6(44, "2001:db8::7", later + na)), Drop::kNone);
  const Bytes ping = {128, 0, 0, 0, 0, 1, 0, 1};
  EXPECT_EQ(Check(Ipv6(44, "2001:db8::7", first + ping)), Drop::kNone);
  const Bytes cut = {60, 0, 0, 1, 0, 0, 0, 9};  // the chain goes on in the next one: RFC 7112
  EXPECT_EQ(Check(Ipv6(44, "2001:db8::7", cut)), Drop::kUnreadable);
  EXPECT_EQ(Check(Ipv6(44, "2001:db8::7", Bytes{kUdp, 0, 0, 1, 0, 0, 0, 9} + Udp(547, 546))),
            Drop::kRogueServer);
}

TEST(Guard, TagsAndLlcHeadersHideNothing) {
  const Bytes arp = Arp(2, kOwn, "192.0.2.1");
  const Bytes priority = {0x81, 0x00, 0xe0, 0x00};
  const Bytes service = {0x88, 0xa8, 0x00, 0x00};
  const Bytes snap = {0x00, 0x24, 0xaa, 0xaa, 0x03, 0x00, 0x00, 0x00};
  EXPECT_EQ(Check(priority + arp), Drop::kSpoofedAddress);
  EXPECT_EQ(Check(service + priority + arp), Drop::kSpoofedAddress);
  EXPECT_EQ(Check(snap + arp), Drop::kSpoofedAddress);
  EXPECT_EQ(Check(priority + snap + arp), Drop::kSpoofedAddress);
  EXPECT_EQ(Check(snap + priority + arp), Drop::kSpoofedAddress);
  EXPECT_EQ(Check(priority + priority + priority + priority + Arp(2, kOwn, "192.0.2.7")),
            Drop::kUnreadable);
  EXPECT_EQ(Check(priority), Drop::kUnreadable) << "cut short";
  EXPECT_EQ(Check(Bytes{0x81, 0x00, 0x00, 0x05} + arp), Drop::kNone) << "another network";
  EXPECT_EQ(Check(Bytes{0x00, 0x26, 0x42, 0x42, 0x03} + Bytes(35)), Drop::kNone) << "BPDU";
  EXPECT_EQ(Check(Bytes{0xa6, 0xde} + Bytes(64)), Drop::kNone) << "agno";
}

TEST(Guard, WhatIsNoPacketIsRefused) {
  EXPECT_EQ(CheckFromPort(Bytes(13), kOwn, Bound()), Drop::kUnreadable);
  EXPECT_EQ(Check(Bytes{0x08, 0x00} + Bytes(40)), Drop::kUnreadable) << "no version";
  EXPECT_EQ(Check(Bytes{0x86, 0xdd} + Bytes(60)), Drop::kUnreadable);
  Bytes ip = Ipv4(kUdp, Udp(1, 2));
  ip[2] = 0x44;
  EXPECT_EQ(Check(ip), Drop::kUnreadable) << "a header of 16 bytes";
  ip[2] = 0x4f;
  EXPECT_EQ(Check(ip), Drop::kUnreadable) << "and one beyond the end";
  EXPECT_EQ(Check(Ipv4(kUdp, {0, 67, 0})), Drop::kUnreadable);
}

TEST(Guard, OrdinaryTrafficPasses) {
  for (const bool ipv6 : {false, true}) {
    for (const bool udp : {false, true}) {
      packets::Spec spec;
      spec.ipv6 = ipv6;
      spec.udp = udp;
      spec.payload = packets::Payload(100);
      Bytes frame = packets::Build(spec);
      std::copy_n(kOwn.bytes().begin(), 6, frame.begin() + 6);
      EXPECT_EQ(CheckFromPort(frame, kOwn, Bound()), Drop::kNone);
    }
  }
}

}  // namespace
}  // namespace vxvde
