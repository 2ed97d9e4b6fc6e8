// Locators: the examples of docs/PROTOCOL.md, each refusal, and the round trip.

#include "plugin/vnl/vnl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace vxvde {
namespace {

using absl::string_view;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

std::optional<uint32_t> Groups(string_view name) {
  if (name == "staff") return 50;
  if (name == "directory") return 0x1000007;  // of a directory service: more than 24 bits
  return std::nullopt;
}

absl::StatusOr<CloudConfig> Parse(string_view vnl) { return ParseVnl(vnl, Groups); }

// The lines of all blocks "```NAME", without what follows " # ".
std::vector<std::string> DocumentLines(const std::string& name) {
  std::ifstream file("docs/PROTOCOL.md");
  EXPECT_TRUE(file) << "docs/PROTOCOL.md is not beside the test";
  std::vector<std::string> lines;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("```", 0) == 0) {
      inside = line == "```" + name;
    } else if (inside) {
      lines.push_back(line.substr(0, line.find("  # ")));
    }
  }
  return lines;
}

TEST(ParseVnl, TheDocumentsExamplesNameTheseClouds) {
  const std::vector<std::string> lines = DocumentLines("vnl");
  EXPECT_GT(lines.size(), 10u);
  for (const std::string& line : lines) {
    std::istringstream words(line);
    std::string vnl, key;
    ASSERT_TRUE(words >> vnl >> key) << line;
    const auto config = Parse(vnl);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->key.ToString(), key) << vnl;
  }
}

TEST(ParseVnl, TheDocumentsRefusalsAreRefused) {
  const std::vector<std::string> lines = DocumentLines("vnl-refused");
  EXPECT_GT(lines.size(), 20u);
  for (const std::string& line : lines) {
    std::istringstream words(line);
    std::string vnl;
    ASSERT_TRUE(words >> vnl) << line;
    const absl::Status status = Parse(vnl).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << vnl << ": " << status;
  }
}

TEST(ParseVnl, Defaults) {
  const auto config = Parse("vxvde://");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->key.group, IpAddress::V4(239, 0, 0, 1));
  EXPECT_EQ(config->key.port, 14789);
  EXPECT_EQ(config->key.vni.value(), 1u);
  EXPECT_EQ(config->ttl, 1);
  EXPECT_EQ(config->expiry, seconds(128));
  EXPECT_EQ(config->table_size, 1024);
  EXPECT_EQ(config->receive_buffer, 0);
  EXPECT_EQ(config->interface, "");
  EXPECT_FALSE(config->bind.has_value());
}

TEST(ParseVnl, ReadsEveryOption) {
  const auto config = Parse(
      "vxvde://ff15::3/v6/port=12345/vni=42/ttl=255/rcvbuf=3M/hashsize=16/expiretime=1/if=eth1"
      "/bind=2001:db8::1");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->key.ToString(), "[ff15::3]:12345/42");
  EXPECT_EQ(config->ttl, 255);
  EXPECT_EQ(config->receive_buffer, 3 << 20);
  EXPECT_EQ(config->table_size, 16);
  EXPECT_EQ(config->expiry, seconds(1));
  EXPECT_EQ(config->interface, "eth1");
  EXPECT_EQ(config->bind, IpAddress::Parse("2001:db8::1").value());
}

TEST(ParseVnl, GroupNamesStandForTheirIds) {
  EXPECT_EQ(Parse("vxvde:///vni=staff")->key.ToString(), "239.0.0.1:14789/50");
  EXPECT_EQ(Parse("vxvde:///grp=staff")->key.ToString(), "239.0.0.50:14789/50");
  EXPECT_EQ(Parse("vxvde:///grp=staff/vni=7")->key.ToString(), "239.0.0.50:14789/7");
  EXPECT_EQ(Parse("vxvde:///grp=7/vni=staff")->key.ToString(), "239.0.0.7:14789/50");
  EXPECT_THAT(std::string(Parse("vxvde:///grp=directory").status().message()),
              HasSubstr("write 7 "));
  // Digits are a number, whatever groups exist; without a lookup there are no groups.
  EXPECT_EQ(ParseVnl("vxvde:///vni=50", nullptr)->key.vni.value(), 50u);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseVnl("vxvde:///vni=staff", nullptr).status()));
}

TEST(ParseVnl, ReceiveBufferTakesUnits) {
  EXPECT_EQ(Parse("vxvde:///rcvbuf=1")->receive_buffer, 1);
  EXPECT_EQ(Parse("vxvde:///rcvbuf=64k")->receive_buffer, 64 << 10);
  EXPECT_EQ(Parse("vxvde:///rcvbuf=1G")->receive_buffer, 1 << 30);
  EXPECT_EQ(Parse("vxvde:///rcvbuf=2147483647")->receive_buffer, std::numeric_limits<int>::max());
  for (const char* value : {"2G", "2147483648", "4194304K", "K", "1T", "1KK", "-1", "0K", "1 K"}) {
    EXPECT_FALSE(Parse(std::string("vxvde:///rcvbuf=") + value).ok()) << value;
  }
}

TEST(ParseVnl, QuotesAndEscapes) {
  EXPECT_EQ(Parse("vxvde:///if=a\\'b")->interface, "a'b");
  EXPECT_EQ(Parse("vxvde:///if=\"a'b\"")->interface, "a'b");
  EXPECT_EQ(Parse("vxvde:///if='a\\b'")->interface, "a\\b");
  EXPECT_EQ(Parse("vxvde:///'if'=eth'1'")->interface, "eth1");
  EXPECT_FALSE(Parse("vxvde:///if=a\\/b").ok());  // one value, with a slash: not an interface
  EXPECT_FALSE(Parse("vxvde:///if='a/b'").ok());
  EXPECT_FALSE(Parse("vxvde:///if=a\\").ok());
}

// The message contains option and value as written, and a remedy.
TEST(ParseVnl, MessagesNameOptionValueAndRemedy) {
  struct Case {
    const char* vnl;
    std::vector<std::string> says;
  };
  const Case cases[] = {
      {"vxlan://239.1.2.3", {"vxlan://239.1.2.3", "write vxvde://"}},
      {"vxvde://10.1.2.3", {"\"10.1.2.3\"", "multicast", "239.1.2.3"}},
      {"vxvde://[ff05:56de::1]", {"\"[ff05:56de::1]\"", "no brackets"}},
      {"vxvde://239.1.2.3:5", {"\"239.1.2.3:5\"", "/port="}},
      {"vxvde://ff02::1%eth0", {"\"ff02::1%eth0\"", "/if="}},
      {"vxvde://239.1.2.3/v6", {"v6", "\"239.1.2.3\"", "remove"}},
      {"vxvde://ff05:56de::1/v4", {"v4", "\"ff05:56de::1\"", "remove"}},
      {"vxvde:///v4/v6", {"v4", "v6", "keep one"}},
      {"vxvde:///v6=1", {"v6", "\"1\"", "write /v6"}},
      {"vxvde:///ttl=0", {"ttl", "\"0\"", "1 to 255"}},
      {"vxvde:///ttl=256", {"ttl", "\"256\"", "1 to 255"}},
      {"vxvde:///ttl=-1", {"ttl", "\"-1\"", "1 to 255"}},
      {"vxvde:///ttl=08", {"ttl", "\"08\"", "1 to 255"}},
      {"vxvde:///ttl", {"ttl", "/ttl=VALUE"}},
      {"vxvde:///ttl=", {"ttl", "/ttl=VALUE"}},
      {"vxvde:///port=0", {"port", "\"0\"", "1 to 65535"}},
      {"vxvde:///port=65536", {"port", "\"65536\"", "1 to 65535"}},
      {"vxvde:///port=99999999999999999999", {"port", "1 to 65535"}},
      {"vxvde:///vni=16777216", {"vni", "\"16777216\"", "0 to 16777215"}},
      {"vxvde:///vni=nobody-s", {"vni", "\"nobody-s\"", "name of a group"}},
      {"vxvde:///grp=16777216", {"grp", "\"16777216\"", "0 to 16777215"}},
      {"vxvde:///hashsize=1048577", {"hashsize", "\"1048577\"", "1 to 1048576"}},
      {"vxvde:///expiretime=0", {"expiretime", "\"0\"", "1 to 2147483647"}},
      {"vxvde:///if=0123456789abcdef", {"if", "\"0123456789abcdef\"", "1 to 15"}},
      {"vxvde:///if=a b", {"if", "\"a b\"", "name of an interface"}},
      {"vxvde:///bind=x", {"bind", "\"x\"", "IP address"}},
      {"vxvde:///bind=239.0.0.1", {"bind", "\"239.0.0.1\"", "of this host"}},
      {"vxvde:///bind=0.0.0.0", {"bind", "\"0.0.0.0\"", "remove the option"}},
      {"vxvde:///bind=2001:db8::1", {"bind", "\"2001:db8::1\"", "IPv4"}},
      {"vxvde:///v6/bind=192.0.2.1", {"bind", "\"192.0.2.1\"", "IPv6"}},
      {"vxvde:///exp=60", {"\"exp=60\"", "write expiretime"}},
      {"vxvde:///PORT=60", {"\"PORT=60\"", "write port"}},
      {"vxvde:///foo=1", {"\"foo=1\"", "port= vni= grp="}},
      {"vxvde:///=1", {"\"=1\"", "port= vni= grp="}},
      {"vxvde:///vni=1/vni=1", {"vni", "twice", "keep one"}},
      {"vxvde:///if='x", {"not closed", "add '"}},
  };
  for (const Case& c : cases) {
    const absl::Status status = Parse(c.vnl).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.vnl << ": " << status;
    for (const std::string& text : c.says) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(text)) << c.vnl;
    }
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::CHexEscape(c.vnl)));
  }
}

TEST(ParseVnl, HostileTextIsRefusedAndShownEscaped) {
  EXPECT_FALSE(Parse(string_view("vxvde://239.0.0.1\0", 18)).ok());
  EXPECT_FALSE(Parse(string_view("vxvde:///if=a\0b", 15)).ok());
  const std::string status = Parse("vxvde:///\x1b[31m").status().ToString();
  EXPECT_THAT(status, Not(HasSubstr("\x1b")));
  const absl::Status length = Parse("vxvde://" + std::string(100000, 'x')).status();
  EXPECT_TRUE(absl::IsInvalidArgument(length));
  EXPECT_LT(length.message().size(), 200u);
}

TEST(FormatVnl, WritesTheShortestLocator) {
  struct Case {
    const char* vnl;
    const char* shortest;
  };
  const Case cases[] = {
      {"vxvde://", "vxvde://"},
      {"vxvde://239.0.0.1/v4/port=14789/vni=1/ttl=1/hashsize=1024/expiretime=128", "vxvde://"},
      {"vxvde://ff05:56de::1", "vxvde:///v6"},
      {"vxvde://239.1.2.3/vni=42", "vxvde://239.1.2.3/vni=42"},
      {"vxvde://239.1.2.3/vni=66051", "vxvde:///grp=66051"},  // 0x010203
      {"vxvde://239.0.3.232/vni=1000", "vxvde:///grp=1000"},
      {"vxvde://224.0.3.232/vni=1000", "vxvde://224.0.0.0/grp=1000"},
      {"vxvde://ff05:56de::3e8/vni=1000", "vxvde:///v6/grp=1000"},
      {"vxvde://ff05:56de::3e8/vni=2", "vxvde:///v6/grp=1000/vni=2"},
      {"vxvde:///v6/grp=1/vni=2", "vxvde:///v6/vni=2"},
      {"vxvde:///vni=staff", "vxvde:///vni=50"},
      {"vxvde:///rcvbuf=65536", "vxvde:///rcvbuf=64K"},
      {"vxvde:///rcvbuf=1073741824", "vxvde:///rcvbuf=1G"},
      {"vxvde:///rcvbuf=65537", "vxvde:///rcvbuf=65537"},
      {"vxvde:///if=\"a'\"b", "vxvde:///if=a\\'b"},
      {"vxvde:///bind=192.0.2.1/if=eth1/rcvbuf=1M/hashsize=2/expiretime=3/ttl=4/port=5/vni=6",
       "vxvde:///vni=6/port=5/ttl=4/expiretime=3/hashsize=2/rcvbuf=1M/if=eth1/bind=192.0.2.1"},
  };
  for (const Case& c : cases) {
    const auto config = Parse(c.vnl);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_LE(FormatVnl(*config).size(), string_view(c.vnl).size());
    EXPECT_EQ(FormatVnl(*config), c.shortest);
  }
}

void ExpectSame(const CloudConfig& a, const CloudConfig& b, const std::string& vnl) {
  EXPECT_EQ(a.key, b.key) << vnl;
  EXPECT_EQ(a.ttl, b.ttl) << vnl;
  EXPECT_EQ(a.expiry, b.expiry) << vnl;
  EXPECT_EQ(a.table_size, b.table_size) << vnl;
  EXPECT_EQ(a.receive_buffer, b.receive_buffer) << vnl;
  EXPECT_EQ(a.interface, b.interface) << vnl;
  EXPECT_EQ(a.bind, b.bind) << vnl;
}

TEST(FormatVnl, AnyConfigComesBackFromItsLocator) {
  std::mt19937 random(14789);
  const auto pick = [&](auto... values) {
    const decltype((values + ...)) all[] = {values...};
    return all[random() % sizeof...(values)];
  };
  for (int round = 0; round < 5000; ++round) {
    CloudConfig config;
    std::array<uint8_t, 16> bytes = {};
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random() % 3 == 0 ? random() : 0);
    const bool v6 = random() % 2 == 0;
    bytes[0] = v6 ? 0xff : static_cast<uint8_t>(0xe0 | (bytes[0] & 0xf));
    config.key.group = random() % 4 == 0
                           ? IpAddress::Parse(v6 ? kDefaultGroupV6 : kDefaultGroup).value()
                           : IpAddress::FromWire(std::span(bytes).first(v6 ? 16 : 4));
    config.key.port = static_cast<uint16_t>(pick(1u, 14789u, 65535u, random() % 65535 + 1));
    // grp= can express the low bytes of the group in one option.
    const std::span<const uint8_t> low = config.key.group.wire().last(3);
    const uint32_t own = static_cast<uint32_t>(low[0]) << 16 | low[1] << 8 | low[2];
    config.key.vni = Vni::Make(pick(0u, 1u, own, own, Vni::kMax, random() & Vni::kMax)).value();
    config.ttl = pick(1, 2, 64, 255);
    config.expiry = seconds(pick(1, 60, 128, 2147483647));
    config.table_size = pick(1, 1024, 1 << 20);
    config.receive_buffer = pick(0, 1, 1024, 1025, 1 << 20, 1 << 30, 2147483647);
    const char* const names[] = {"", "eth1", "a'b", "\\", "\"\"", "a=b", "veth-0123456789"};
    config.interface = names[random() % std::size(names)];
    if (random() % 3 == 0) {
      config.bind = IpAddress::Parse(v6 ? "2001:db8::1" : "192.0.2.1").value();
    }

    const std::string vnl = FormatVnl(config);
    const auto again = Parse(vnl);
    ASSERT_TRUE(again.ok()) << again.status();
    ExpectSame(*again, config, vnl);
    ASSERT_EQ(FormatVnl(*again), vnl);
    ASSERT_FALSE(HasFailure());
  }
}

TEST(CloudKey, ToStringTellsCloudsApart) {
  EXPECT_EQ(Parse("vxvde:///v6/vni=3")->key.ToString(), "[ff05:56de::1]:14789/3");
  EXPECT_NE(Parse("vxvde:///vni=3")->key, Parse("vxvde:///vni=4")->key);
  EXPECT_EQ(Parse("vxvde:///ttl=3")->key, Parse("vxvde:///if=eth1")->key);
}

}  // namespace
}  // namespace vxvde
