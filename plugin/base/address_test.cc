// The text and kernel forms of MacAddress, IpAddress, IpPrefix, Vni and Peer.

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>

#include "absl/hash/hash_testing.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"

namespace vxvde {
namespace {

using absl::string_view;

IpAddress Ip(string_view text) { return IpAddress::Parse(text).value(); }

TEST(MacAddress, ReadsBothSeparatorsAndCasesAndWritesOne) {
  const MacAddress mac({0x02, 0x00, 0x5e, 0x10, 0xab, 0xff});
  for (const char* text : {"02:00:5e:10:ab:ff", "02-00-5E-10-AB-FF", "02:00:5E:10:aB:Ff"}) {
    const auto parsed = MacAddress::Parse(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, mac);
  }
  EXPECT_EQ(mac.ToString(), "02:00:5e:10:ab:ff");
  EXPECT_EQ(MacAddress::FromWire(mac.bytes().data()), mac);
}

TEST(MacAddress, RefusesAllElseAndNamesIt) {
  for (const string_view text :
       {string_view(""), string_view("02:00:5e:10:ab"), string_view("02:00:5e:10:ab:ff:"),
        string_view("02:00:5e:10:ab:fg"), string_view("02:00-5e:10:ab:ff"),
        string_view("0200.5e10.abff.12"), string_view(" 2:00:5e:10:ab:ff"),
        string_view("02:00:5e:10:ab:f\0", 17), string_view("+2:00:5e:10:ab:ff"),
        string_view("02:00:5e:10:ab:ff\n")}) {
    const auto parsed = MacAddress::Parse(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  }
  EXPECT_NE(MacAddress::Parse("nonsense").status().message().find("nonsense"), string_view::npos);
}

TEST(MacAddress, KnowsGroupsAndStations) {
  EXPECT_TRUE(MacAddress::Broadcast().IsGroup());
  EXPECT_TRUE(MacAddress::Broadcast().IsBroadcast());
  const MacAddress multicast({0x33, 0x33, 0, 0, 0, 1});
  EXPECT_TRUE(multicast.IsGroup());
  EXPECT_FALSE(multicast.IsBroadcast());
  EXPECT_FALSE(multicast.IsStation());
  EXPECT_FALSE(MacAddress().IsStation());
  EXPECT_TRUE(MacAddress({2, 0, 0, 0, 0, 0}).IsStation());
}

TEST(MacPrefix, StandsForAllThatBeginsSo) {
  const auto vrrp = MacPrefix::Parse("00:00:5e:00:01:00/40");
  ASSERT_TRUE(vrrp.ok()) << vrrp.status();
  EXPECT_TRUE(vrrp->Contains(MacAddress({0, 0, 0x5e, 0, 1, 0xff})));
  EXPECT_FALSE(vrrp->Contains(MacAddress({0, 0, 0x5e, 0, 2, 0})));
  EXPECT_EQ(vrrp->ToString(), "00:00:5e:00:01:00/40");
  const MacPrefix one = MacPrefix::Parse("00-00-5E-00-01-0A").value();
  EXPECT_EQ(one.ToString(), "00:00:5e:00:01:0a");
  EXPECT_EQ(MacPrefix::Parse("00:00:5e:00:01:0a/48").value(), one);
  EXPECT_TRUE(one.Contains(one.address));
  EXPECT_FALSE(one.Contains(MacAddress({0, 0, 0x5e, 0, 1, 0x0b})));
  EXPECT_TRUE(vrrp->Contains(one));
  EXPECT_FALSE(one.Contains(*vrrp));
  const MacPrefix all = MacPrefix::Parse("00:00:00:00:00:00/0").value();
  EXPECT_TRUE(all.Contains(MacAddress::Broadcast()));
  EXPECT_TRUE(all.Contains(*vrrp));
}

TEST(MacPrefix, RefusesAllElseAndNamesIt) {
  for (const char* text :
       {"", "/40", "00:00:5e:00:01:00/", "00:00:5e:00:01:00/49", "00:00:5e:00:01:00/+4",
        "00:00:5e:00:01:00/-1", "00:00:5e:00:01:00/ 4", "00:00:5e:00:01:00/040",
        "00:00:5e:00:01:01/40", "80:00:00:00:00:00/0"}) {
    const auto parsed = MacPrefix::Parse(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
    EXPECT_NE(parsed.status().message().find(text), string_view::npos) << parsed.status();
  }
}

// The examples of RFC 5952, sections 4 and 5.
TEST(IpAddress, WritesIpv6AsRfc5952Says) {
  const std::array<std::pair<const char*, const char*>, 8> cases = {{
      {"2001:0db8::0001", "2001:db8::1"},
      {"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
      {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
      {"2001:DB8::AAAA", "2001:db8::aaaa"},
      {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
      {"0:0:0:0:0:0:0:0", "::"},
  }};
  for (const auto& [text, canonical] : cases) {
    const auto ip = IpAddress::Parse(text);
    ASSERT_TRUE(ip.ok()) << ip.status();
    EXPECT_TRUE(ip->is_v6());
    EXPECT_EQ(ip->ToString(), canonical);
  }
}

TEST(IpAddress, ReadsIpv4) {
  EXPECT_EQ(Ip("192.0.2.1"), IpAddress::V4(192, 0, 2, 1));
  EXPECT_EQ(Ip("192.0.2.1").ToString(), "192.0.2.1");
  EXPECT_EQ(Ip("192.0.2.1").wire().size(), 4u);
  EXPECT_EQ(Ip("192.0.2.1").bits(), 32);
  EXPECT_NE(Ip("0.0.0.0"), Ip("::"));
}

TEST(IpAddress, RefusesAllElseAndNamesIt) {
  for (const string_view text :
       {string_view(""), string_view("192.0.2"), string_view("192.0.2.256"),
        string_view("192.0.2.1/24"), string_view(" 192.0.2.1"), string_view("192.0.2.01"),
        string_view("192.0.2.1\0", 10), string_view("fe80::1%eth0"), string_view("[::1]"),
        string_view(":::"), string_view("1::2::3"), string_view("example.net"),
        string_view("0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(IpAddress::Parse(text).status())) << text;
  }
  EXPECT_NE(IpAddress::Parse("nonsense").status().message().find("nonsense"), string_view::npos);
}

TEST(IpAddress, KnowsItsKind) {
  EXPECT_TRUE(Ip("224.0.0.0").IsMulticast());
  EXPECT_TRUE(Ip("239.255.255.255").IsMulticast());
  EXPECT_FALSE(Ip("240.0.0.0").IsMulticast());
  EXPECT_FALSE(Ip("223.255.255.255").IsMulticast());
  EXPECT_TRUE(Ip("ff05:56de::1").IsMulticast());
  EXPECT_FALSE(Ip("fe80::1").IsMulticast());
  EXPECT_TRUE(Ip("0.0.0.0").IsUnspecified());
  EXPECT_TRUE(Ip("::").IsUnspecified());
  EXPECT_FALSE(Ip("::1").IsUnspecified());
  EXPECT_TRUE(Ip("127.1.2.3").IsLoopback());
  EXPECT_TRUE(Ip("::1").IsLoopback());
  EXPECT_FALSE(Ip("::").IsLoopback());
  EXPECT_FALSE(Ip("1::1").IsLoopback());
  EXPECT_TRUE(Ip("169.254.1.1").IsLinkLocal());
  EXPECT_TRUE(Ip("fe80::1").IsLinkLocal());
  EXPECT_TRUE(Ip("febf::1").IsLinkLocal());
  EXPECT_FALSE(Ip("fec0::1").IsLinkLocal());
}

TEST(IpAddress, FromWireTakesTwoSizes) {
  const std::array<uint8_t, 16> bytes = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0,
                                         0,    0,    0,    0,    0, 0, 0, 1};
  EXPECT_EQ(IpAddress::FromWire(bytes), Ip("2001:db8::1"));
  EXPECT_EQ(IpAddress::FromWire(std::span(bytes).first(4)), Ip("32.1.13.184"));
  EXPECT_EQ(IpAddress::FromWire(std::span(bytes).first(5)), Ip("0.0.0.0"));
  EXPECT_EQ(IpAddress::FromWire({}), Ip("0.0.0.0"));
}

TEST(IpPrefix, MasksAndContains) {
  const auto prefix = IpPrefix::Parse("10.42.200.7/18");
  ASSERT_TRUE(prefix.ok()) << prefix.status();
  EXPECT_EQ(prefix->ToString(), "10.42.200.7/18");  // host bits are kept
  EXPECT_EQ(prefix->Network().ToString(), "10.42.192.0/18");
  EXPECT_TRUE(prefix->Contains(Ip("10.42.255.255")));
  EXPECT_FALSE(prefix->Contains(Ip("10.42.191.255")));
  EXPECT_FALSE(prefix->Contains(Ip("::")));

  const auto all = IpPrefix::Parse("0.0.0.0/0");
  ASSERT_TRUE(all.ok());
  EXPECT_TRUE(all->Contains(Ip("255.255.255.255")));
  EXPECT_FALSE(all->Contains(Ip("::1")));

  const auto v6 = IpPrefix::Parse("fd42::1234:5/121");
  ASSERT_TRUE(v6.ok());
  EXPECT_EQ(v6->Network().ToString(), "fd42::1234:0/121");
  EXPECT_TRUE(v6->Contains(Ip("fd42::1234:7f")));
  EXPECT_FALSE(v6->Contains(Ip("fd42::1234:80")));
  EXPECT_EQ(IpPrefix::Parse("2001:db8::1/128")->Network().ToString(), "2001:db8::1/128");
}

TEST(IpPrefix, RefusesAllElse) {
  for (const char* text : {"", "/", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1",
                           "10.0.0.1/+8", "10.0.0.1/ 8", "10.0.0.1/08", "10.0.0.1/8/8",
                           "10.0.0.1/255.0.0.0", "2001:db8::/129", "2001:db8::/1000", "x/8"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(IpPrefix::Parse(text).status())) << text;
  }
}

TEST(Sockaddr, RoundTripsBothFamilies) {
  for (const char* text : {"192.0.2.1", "2001:db8::1", "fe80::1"}) {
    sockaddr_storage storage;
    const socklen_t size = ToSockaddr(Ip(text), 14789, 7, storage);
    EXPECT_EQ(size, Ip(text).is_v6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
    IpAddress ip;
    uint16_t port = 0;
    ASSERT_TRUE(FromSockaddr(storage, ip, port));
    EXPECT_EQ(ip, Ip(text));
    EXPECT_EQ(port, 14789);
  }
}

TEST(Sockaddr, OnlyAddressesOfALinkCarryItsScope) {
  const auto scope = [](const char* text) {
    sockaddr_storage storage;
    ToSockaddr(Ip(text), 1, 7, storage);
    sockaddr_in6 v6;
    std::memcpy(&v6, &storage, sizeof(v6));
    return v6.sin6_scope_id;
  };
  EXPECT_EQ(scope("fe80::1"), 7u);
  EXPECT_EQ(scope("ff02::1"), 7u);
  EXPECT_EQ(scope("ff05:56de::1"), 0u);
  EXPECT_EQ(scope("2001:db8::1"), 0u);
}

TEST(Sockaddr, MappedIpv6ComesBackAsIpv4AndOtherFamiliesNotAtAll) {
  sockaddr_storage storage;
  ToSockaddr(Ip("::ffff:192.0.2.1"), 5, 0, storage);
  IpAddress ip;
  uint16_t port = 0;
  ASSERT_TRUE(FromSockaddr(storage, ip, port));
  EXPECT_EQ(ip, IpAddress::V4(192, 0, 2, 1));

  storage.ss_family = AF_UNIX;
  EXPECT_FALSE(FromSockaddr(storage, ip, port));
}

TEST(Vni, HoldsTwentyFourBits) {
  EXPECT_EQ(Vni::Make(0xffffff)->value(), 0xffffffu);
  EXPECT_FALSE(Vni::Make(0x1000000).has_value());
  EXPECT_EQ(Vni().value(), 0u);
}

TEST(Peer, BracketsIpv6) {
  EXPECT_EQ((Peer{Ip("192.0.2.1"), 14790}.ToString()), "192.0.2.1:14790");
  EXPECT_EQ((Peer{Ip("2001:db8::1"), 14790}.ToString()), "[2001:db8::1]:14790");
}

TEST(Values, HashAsTheyCompare) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {MacAddress(), MacAddress::Broadcast(), MacAddress({1, 2, 3, 4, 5, 6})}));
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {Ip("0.0.0.0"), Ip("::"), Ip("192.0.2.1"), Ip("2001:db8::1")}));
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {Peer{Ip("192.0.2.1"), 1}, Peer{Ip("192.0.2.1"), 2}, Peer{Ip("192.0.2.2"), 1}}));
}

// RFC 4291, appendix A: 34-56-78-9A-BC-DE becomes 36-56-78-FF-FE-9A-BC-DE.
TEST(IpPrefix, TheLinkLocalAddressOfAMac) {
  EXPECT_EQ(LinkLocalOf(*MacAddress::Parse("34:56:78:9a:bc:de")).ToString(),
            "fe80::3656:78ff:fe9a:bcde/64");
}

}  // namespace
}  // namespace vxvde
