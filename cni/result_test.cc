// Results and errors in each version. The expected JSON follows the specification's "Result"
// sections, and is compared as JSON, regardless of the order of keys.

#include "cni/result.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "cni/json.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

IpPrefix P(const char* text) { return *IpPrefix::Parse(text); }
IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

CniResult Full() {
  CniResult result;
  result.interfaces = {
      {.name = "vx0123456789abc", .mac = "02:00:5e:10:00:01", .mtu = 1450, .sandbox = ""},
      {.name = "eth0", .mac = "02:00:5e:10:00:02", .mtu = 1450, .sandbox = "/run/netns/pod"}};
  result.addresses = {{.address = P("192.0.2.7/24"), .gateway = Ip("192.0.2.1"), .interface = 1},
                      {.address = P("2001:db8::7/64"), .gateway = std::nullopt, .interface = 1}};
  result.routes.resize(2);
  result.routes[0].destination = P("0.0.0.0/0");
  result.routes[0].gateway = Ip("192.0.2.1");
  result.routes[1].destination = P("2001:db8:1::/48");
  result.routes[1].mtu = 1280;
  result.routes[1].advmss = 1220;
  result.routes[1].priority = 10;
  result.routes[1].table = 100;
  result.routes[1].scope = 253;
  result.dns = {.nameservers = {"192.0.2.53"},
                .domain = "example.org",
                .search = {"example.org", "example.net"},
                .options = {"ndots:2"}};
  return result;
}

constexpr char kDns[] = R"("dns": {"nameservers": ["192.0.2.53"], "domain": "example.org",
    "search": ["example.org", "example.net"], "options": ["ndots:2"]})";

void ExpectJson(const std::string& text, const std::string& expected) {
  EXPECT_EQ(Json::parse(text), Json::parse(expected)) << text;
}

TEST(FormatResult, E10_UpTo020OneAddressPerFamily) {
  for (const SpecVersion version : {SpecVersion::k010, SpecVersion::k020}) {
    ExpectJson(FormatResult(Full(), version), R"({"cniVersion": ")" +
                                                  std::string(ToString(version)) + R"(",
        "ip4": {"ip": "192.0.2.7/24", "gateway": "192.0.2.1",
                "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}]},
        "ip6": {"ip": "2001:db8::7/64", "routes": [{"dst": "2001:db8:1::/48"}]},)" +
                                                  kDns + "}");
  }
}

TEST(FormatResult, E10_From030To040WithTheFamily) {
  for (const SpecVersion version : {SpecVersion::k030, SpecVersion::k031, SpecVersion::k040}) {
    ExpectJson(FormatResult(Full(), version), R"({"cniVersion": ")" +
                                                  std::string(ToString(version)) + R"(",
        "interfaces": [
          {"name": "vx0123456789abc", "mac": "02:00:5e:10:00:01"},
          {"name": "eth0", "mac": "02:00:5e:10:00:02", "sandbox": "/run/netns/pod"}],
        "ips": [
          {"version": "4", "address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 1},
          {"version": "6", "address": "2001:db8::7/64", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}, {"dst": "2001:db8:1::/48"}],)" +
                                                  kDns + "}");
  }
}

TEST(FormatResult, E10_From100WithoutIt) {
  ExpectJson(FormatResult(Full(), SpecVersion::k100), std::string(R"({"cniVersion": "1.0.0",
        "interfaces": [
          {"name": "vx0123456789abc", "mac": "02:00:5e:10:00:01"},
          {"name": "eth0", "mac": "02:00:5e:10:00:02", "sandbox": "/run/netns/pod"}],
        "ips": [
          {"address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 1},
          {"address": "2001:db8::7/64", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}, {"dst": "2001:db8:1::/48"}],)") +
                                                          kDns + "}");
}

TEST(FormatResult, E10_From110WithMtuAndRouteDetails) {
  ExpectJson(FormatResult(Full(), SpecVersion::k110), std::string(R"({"cniVersion": "1.1.0",
        "interfaces": [
          {"name": "vx0123456789abc", "mac": "02:00:5e:10:00:01", "mtu": 1450},
          {"name": "eth0", "mac": "02:00:5e:10:00:02", "mtu": 1450, "sandbox": "/run/netns/pod"}],
        "ips": [
          {"address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 1},
          {"address": "2001:db8::7/64", "interface": 1}],
        "routes": [
          {"dst": "0.0.0.0/0", "gw": "192.0.2.1"},
          {"dst": "2001:db8:1::/48", "mtu": 1280, "advmss": 1220, "priority": 10, "table": 100, "scope": 253}],)") +
                                                          kDns + "}");
}

TEST(FormatResult, LayerTwoOnlyHasNoAddresses) {
  CniResult result = Full();
  result.addresses.clear();
  result.routes.clear();
  result.dns = Dns();
  ExpectJson(FormatResult(result, SpecVersion::k020), R"({"cniVersion": "0.2.0"})");
  ExpectJson(FormatResult(result, SpecVersion::k100), R"({"cniVersion": "1.0.0", "interfaces": [
      {"name": "vx0123456789abc", "mac": "02:00:5e:10:00:01"},
      {"name": "eth0", "mac": "02:00:5e:10:00:02", "sandbox": "/run/netns/pod"}]})");
}

TEST(FormatResult, InvalidUtf8IsReplaced) {
  CniResult result = Full();
  result.interfaces[1].sandbox = "/run/\xff";
  EXPECT_THAT(FormatResult(result, SpecVersion::k100), HasSubstr("/run/\xef\xbf\xbd"));
}

TEST(ParseIpamResult, ReadsBothShapesAlike) {
  CniResult expected;
  expected.addresses = {
      {.address = P("192.0.2.7/24"), .gateway = Ip("192.0.2.1"), .interface = std::nullopt},
      {.address = P("2001:db8::7/64"), .gateway = std::nullopt, .interface = std::nullopt}};
  expected.routes.resize(2);
  expected.routes[0].destination = P("0.0.0.0/0");
  expected.routes[0].gateway = Ip("192.0.2.1");
  expected.routes[1].destination = P("2001:db8:1::/48");
  expected.dns.nameservers = {"192.0.2.53"};
  const std::string dns = R"("dns": {"nameservers": ["192.0.2.53"]}})";

  const auto old = ParseIpamResult(R"({"cniVersion": "0.2.0",
      "ip4": {"ip": "192.0.2.7/24", "gateway": "192.0.2.1",
              "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}]},
      "ip6": {"ip": "2001:db8::7/64", "routes": [{"dst": "2001:db8:1::/48"}]},)" +
                                   dns);
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(*old, expected);
  for (const char* head : {R"({"cniVersion": "0.3.1", )", R"({"cniVersion": "0.4.0", )",
                           R"({"cniVersion": "1.0.0", )", R"({"cniVersion": "1.1.0", )", "{"}) {
    const auto now = ParseIpamResult(head + std::string(R"(
      "ips": [{"version": "4", "address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 3},
              {"version": "6", "address": "2001:db8::7/64", "gateway": null}],
      "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}, {"dst": "2001:db8:1::/48", "gw": ""}],)") +
                                     dns);
    ASSERT_TRUE(now.ok()) << now.status();
    EXPECT_EQ(*now, expected);
  }
}

TEST(ParseIpamResult, Reads110RouteDetails) {
  const auto result = ParseIpamResult(R"({"cniVersion": "1.1.0", "ips": [], "routes": [
      {"dst": "2001:db8:1::/48", "mtu": 1280, "advmss": 1220, "priority": 10, "table": 100, "scope": 253}]})");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->routes, ElementsAre(Full().routes[1]));
}

TEST(ParseIpamResult, RefusesInvalidResults) {
  for (const char* text :
       {"", "null", "[]", "{", R"({"cniVersion": "9.0.0"})", R"({"cniVersion": 1})",
        R"({"ips": {}})", R"({"ips": [{}]})", R"({"ips": [{"address": "192.0.2.7"}]})",
        R"({"ips": [{"address": "192.0.2.7/33"}]})", R"({"ips": ["192.0.2.7/24"]})",
        R"({"ips": [{"address": "192.0.2.7/24", "gateway": "x"}]})", R"({"ip4": {"ip": 4}})",
        R"({"ip4": []})", R"({"routes": [{"dst": "x"}]})",
        R"({"routes": [{"dst": "::/0", "mtu": -1}]})",
        R"({"routes": [{"dst": "::/0", "scope": 256}]})", R"({"dns": {"nameservers": "x"}})"}) {
    EXPECT_FALSE(ParseIpamResult(text).ok()) << text;
  }
  EXPECT_EQ(ToCniError(ParseIpamResult("{").status()).code, 6u);
}

TEST(Error, E1_IsWhatTheSpecificationSays) {
  ExpectJson(FormatError({.code = 7, .msg = "m", .details = "d"}, SpecVersion::k100),
             R"({"cniVersion": "1.0.0", "code": 7, "msg": "m", "details": "d"})");
  ExpectJson(FormatError({.code = 11, .msg = "m", .details = ""}, SpecVersion::k110),
             R"({"cniVersion": "1.1.0", "code": 11, "msg": "m"})");
}

TEST(Error, OfAnotherPluginIsRead) {
  const auto error =
      ParseError(R"({"cniVersion": "0.4.0", "code": 11, "msg": "full", "details": "d"})");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, 11u);
  EXPECT_EQ(error->msg, "full");
  EXPECT_EQ(error->details, "d");
  for (const char* text :
       {"", "{}", "{\"msg\": \"x\"}", "{\"code\": 0}", "{\"code\": \"7\"}", "[7]"}) {
    EXPECT_FALSE(ParseError(text)) << text;
  }
}

TEST(Error, IsCarriedInAStatus) {
  const CniError error = ToCniError(CniStatus(107, "no\nway", "ask\nsomebody"));
  EXPECT_EQ(error.code, 107u);
  EXPECT_EQ(error.msg, "no\nway");
  EXPECT_EQ(error.details, "ask\nsomebody");
  EXPECT_EQ(ToCniError(absl::UnavailableError("x")).code, 11u);
  EXPECT_EQ(ToCniError(absl::NotFoundError("x")).code, 999u);
  EXPECT_EQ(ToCniError(WithCode(absl::NotFoundError("x"), 7)).code, 7u);
  EXPECT_EQ(ToCniError(WithCode(CniStatus(2, "x"), 7)).code, 2u);
}

TEST(Error, JoinedNamesAll) {
  EXPECT_TRUE(JoinErrors({}).ok());
  const CniError error = ToCniError(
      JoinErrors({CniStatus(102, "a", "da"), absl::NotFoundError("b"), CniStatus(7, "c", "dc")}));
  EXPECT_EQ(error.code, 102u);
  EXPECT_EQ(error.msg, "a; b; c");
  EXPECT_EQ(error.details, "da; dc");
}

TEST(FormatVersions, V1_ListsAll) {
  ExpectJson(FormatVersions(SpecVersion::k040), R"({"cniVersion": "0.4.0", "supportedVersions":
      ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]})");
}

TEST(ExtendResult, A4_KeepsUnknownFieldsAndContinuesTheIndexes) {
  CniResult more;
  more.interfaces = {{.name = "vx0", .mac = "", .mtu = 1450, .sandbox = ""},
                     {.name = "net1", .mac = "", .mtu = 1450, .sandbox = "/n"}};
  ResultAddress address;
  address.address = *IpPrefix::Parse("192.0.2.7/24");
  address.interface = 1;
  more.addresses = {address};
  const std::string previous =
      R"({"a": 1, "cniVersion": "0.4.0", "dns": {"b": 2}, "interfaces": [{"name": "eth0", "c": 3}]})";
  ASSERT_TRUE(CheckPreviousResult(previous).ok());
  EXPECT_EQ(ExtendResult(previous, more, SpecVersion::k040),
            R"({"a":1,"cniVersion":"0.4.0","dns":{"b":2},)"
            R"("interfaces":[{"c":3,"name":"eth0"},{"name":"vx0"},{"name":"net1","sandbox":"/n"}],)"
            R"("ips":[{"address":"192.0.2.7/24","interface":2,"version":"4"}]})");
  EXPECT_EQ(ExtendResult(R"({"ips": null})", more, SpecVersion::k110),
            R"({"cniVersion":"1.1.0","interfaces":[{"mtu":1450,"name":"vx0"},)"
            R"({"mtu":1450,"name":"net1","sandbox":"/n"}],)"
            R"("ips":[{"address":"192.0.2.7/24","interface":1}]})");
  EXPECT_EQ(ExtendResult(R"({"ip4":{"ip":"192.0.2.1/24"}})", more, SpecVersion::k020),
            R"({"cniVersion":"0.2.0","ip4":{"ip":"192.0.2.1/24"}})");
}

}  // namespace
}  // namespace vxvde
