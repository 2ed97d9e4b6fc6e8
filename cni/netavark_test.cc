// Requests of podman 5 and netavark 1.14, and the answers to them. Ids such as N1 are requirements
// in docs/RUNTIMES.md.

#include "cni/netavark.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "cni/error.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A value of `json` in compact text, for comparing without a JSON library.
std::string Create(const std::string& fields) {
  const absl::StatusOr<CreatedNetwork> network = CreateNetwork(
      R"({"name":"blue","id":"2f259bab","driver":"vxvde",)" + fields + R"("created":"now"})");
  return network.ok() ? network->json : "ERROR " + std::string(network.status().message());
}

// N3: name, id and driver come back unchanged, unknown fields as they are, defaults filled in.
TEST(CreateNetworkTest, KeepsUnknownFieldsAndFillsInDefaults) {
  const absl::StatusOr<CreatedNetwork> network = CreateNetwork(
      R"({"name":"blue","id":"2f259bab","driver":"vxvde","created":"2026-01-01T00:00:00Z",)"
      R"("labels":{"team":"a"},"ipv6_enabled":false,"internal":false,"dns_enabled":true,)"
      R"("ipam_options":{"driver":"host-local"},"a later field":[1,null]})");
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(
      network->json,
      R"({"a later field":[1,null],"created":"2026-01-01T00:00:00Z","dns_enabled":false,)"
      R"("driver":"vxvde","id":"2f259bab","internal":false,"ipam_options":{"driver":"host-local"},)"
      R"("ipv6_enabled":false,"labels":{"team":"a"},"name":"blue",)"
      R"("options":{"mode":"veth","vnl":"vxvde://"}})");
  EXPECT_THAT(network->notes, IsEmpty());
}

TEST(CreateNetworkTest, KeepsOptionsThatAreGiven) {
  EXPECT_THAT(Create(R"("options":{"vnl":"vxvde://239.1.2.3/vni=42","mode":"tap","mtu":"1400",)"
                     R"("agent":"/run/user/0/a.sock","metric":"7"},)"),
              HasSubstr(R"("options":{"agent":"/run/user/0/a.sock","metric":"7","mode":"tap",)"
                        R"("mtu":"1400",)"
                        R"("vnl":"vxvde://239.1.2.3/vni=42"})"));
  EXPECT_THAT(Create(R"("options":{"cloud":"blue"},)"),
              HasSubstr(R"("options":{"cloud":"blue","mode":"veth"})"));
  EXPECT_THAT(Create(R"("options":null,)"), HasSubstr(R"("vnl":"vxvde://")"));
}

// N6: only a gateway that the user named gets a default route; podman later fills in one of its
// own.
TEST(CreateNetworkTest, ADefaultRouteNeedsANamedGateway) {
  EXPECT_THAT(Create(R"("subnets":[{"subnet":"192.0.2.0/24"}],)"),
              HasSubstr(R"("no_default_route":"true")"));
  EXPECT_THAT(Create(R"("subnets":[{"subnet":"192.0.2.0/24","gateway":"192.0.2.1"}],)"),
              AllOf(HasSubstr(R"("no_default_route":"false")"),
                    HasSubstr(R"("subnets":[{"gateway":"192.0.2.1","subnet":"192.0.2.0/24"}])")));
  EXPECT_THAT(
      Create(R"("subnets":[{"subnet":"192.0.2.0/24"}],"options":{"no_default_route":"false"},)"),
      HasSubstr(R"("no_default_route":"false")"));
  EXPECT_THAT(
      Create(R"("subnets":[{"subnet":"192.0.2.0/24"}],"options":{"noDefaultRoute":"false"},)"),
      AllOf(HasSubstr(R"("noDefaultRoute":"false")"), Not(HasSubstr("no_default_route"))));
}

// N6: the answer has the effective settings, not the requested ones.
TEST(CreateNetworkTest, AnswersHonestly) {
  EXPECT_THAT(Create(R"("dns_enabled":true,)"), HasSubstr(R"("dns_enabled":false)"));
  EXPECT_THAT(Create(R"("internal":true,)"), HasSubstr(R"("internal":true)"));
  EXPECT_THAT(Create(R"("subnets":[{"subnet":"2001:db8::/64"}],)"),
              HasSubstr(R"("ipv6_enabled":true)"));
  const absl::StatusOr<CreatedNetwork> network =
      CreateNetwork(R"({"name":"b","id":"2","driver":"vxvde","network_interface":"eth7",)"
                    R"("ipv6_enabled":true,"subnets":[{"subnet":"192.0.2.0/24"}]})");
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_THAT(network->json, AllOf(HasSubstr(R"("ipv6_enabled":false)"),
                                   HasSubstr(R"("network_interface":"eth7")")));
  EXPECT_THAT(network->notes, ElementsAre(HasSubstr("IPv6"), HasSubstr("eth7")));
}

TEST(CreateNetworkTest, RefusesAndNamesTheError) {
  for (const auto& [fields, word] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"("options":{"colour":"red"},)", "\"colour\" is unknown"},
           {R"("options":{"vnl":"vxvde://","cloud":"blue"},)", "exclude each other"},
           {R"("options":{"vnl":"http://x"},)", "vnl=http://x"},
           {R"("options":{"vnl":"vxvde://239.1.2.3/speed=9"},)", "speed"},
           {R"("options":{"cloud":""},)", "cloud="},
           {R"("options":{"mode":"bridge"},)", "mode=bridge"},
           {R"("options":{"mtu":"big"},)", "mtu=big"},
           {R"("options":{"mtu":"65536"},)", "mtu=65536"},
           {R"("options":{"mtu":1400},)", "option mtu"},
           {R"("options":{"agent":"here"},)", "agent=here"},
           {R"("options":{"no_default_route":"perhaps"},)", "no_default_route=perhaps"},
           {R"("options":{"metric":"-1"},)", "metric=-1"},
           {R"("options":{"ports":"all"},)", "ports=all"},
           {R"("options":["mtu"],)", "options: not an object"},
           {R"("subnets":{},)", "subnets: not a list"},
           {R"("subnets":[{"gateway":"192.0.2.1"}],)", "subnet is missing"},
           {R"("subnets":[{"subnet":"192.0.2.0"}],)", "192.0.2.0"},
           {R"("subnets":[{"subnet":"239.1.0.0/16"}],)", "239.1.0.0/16"},
           {R"("subnets":[{"subnet":"192.0.2.0/24","gateway":"198.51.100.1"}],)", "198.51.100.1"},
           {R"("subnets":[{"subnet":"192.0.2.0/24","lease_range":{"end_ip":"192.0.3.9"}}],)",
            "192.0.3.9"},
           {R"("subnets":[{"subnet":"192.0.2.0/24"},{"subnet":"192.0.2.128/25"}],)", "overlap"},
           {R"("routes":[{"destination":"198.51.100.0/24"}],)", "198.51.100.0/24"},
           {R"("routes":[{"destination":"198.51.100.0/24","gateway":"2001:db8::1"}],)", "family"},
           {R"("ipam_options":{"driver":"dhcp"},)", "dhcp"},
           {R"("ipam_options":{"driver":"none"},"subnets":[{"subnet":"192.0.2.0/24"}],)",
            "192.0.2.0/24"},
           {R"("network_dns_servers":["192.0.2.53"],)", "192.0.2.53"},
           {R"("internal":true,"subnets":[{"subnet":"192.0.2.0/24","gateway":"192.0.2.1"}],)",
            "internal"},
           {R"("internal":"yes",)", "internal"},
           {R"("dns_enabled":1,)", "dns_enabled"},
       }) {
    EXPECT_THAT(Create(fields), AllOf(testing::StartsWith("ERROR "), HasSubstr(word))) << fields;
  }
  for (const char* network :
       {"", "[]", "{", R"({"name":"b","id":"1"})", R"({"name":"b","driver":"vxvde"})",
        R"({"id":"1","driver":"vxvde"})", R"({"name":"a/b","id":"1","driver":"vxvde"})"}) {
    EXPECT_FALSE(CreateNetwork(network).ok()) << network;
  }
}

// The input as netavark 1.14 writes it, with `from` replaced by `to`.
std::string Exec(const std::string& from = "", const std::string& to = "") {
  std::string text =
      R"({"container_id":"752947ff91f9","container_name":"web","port_mappings":null,)"
      R"("network":{"dns_enabled":false,"driver":"vxvde","id":"2f259bab","internal":false,)"
      R"("ipv6_enabled":true,"name":"blue","network_interface":null,)"
      R"("options":{"vnl":"vxvde://239.1.2.3","mode":"veth","no_default_route":"true"},)"
      R"("ipam_options":{"driver":"host-local"},)"
      R"("subnets":[{"gateway":"192.0.2.1","lease_range":null,"subnet":"192.0.2.0/24"},)"
      R"({"gateway":"2001:db8::1","lease_range":null,"subnet":"2001:db8::/64"}],)"
      R"("routes":null,"network_dns_servers":null},)"
      R"("network_options":{"aliases":["752947ff91f9"],"interface_name":"eth0",)"
      R"("static_ips":["192.0.2.7","2001:db8::7"],"static_mac":"02:00:5e:10:00:07",)"
      R"("options":null}})";
  if (from.empty()) return text;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

// The one attachment of a setup.
Attachment Main(const absl::StatusOr<AddRequest>& request) {
  EXPECT_TRUE(request.ok()) << request.status();
  if (!request.ok()) return {};
  EXPECT_EQ(request->attachments.size(), 1u);
  return request->attachments[0];
}

RequestedIp Ip(const char* address, uint8_t length) { return {*IpAddress::Parse(address), length}; }

// N4: interface_name exactly; each address with the length of its subnet; static_mac.
TEST(ParseSetupTest, TakesNamesAddressesAndMac) {
  const absl::StatusOr<AddRequest> request = ParseSetup("/run/netns/n", Exec());
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->caller, Caller::kNetavark);
  EXPECT_EQ(request->container.id, "752947ff91f9");
  EXPECT_EQ(request->container.ifname, "eth0");
  EXPECT_EQ(request->container.netns, "/run/netns/n");
  EXPECT_EQ(request->network.name, "blue");
  EXPECT_EQ(request->network.agent, "/run/vxvde/handoff.sock");
  EXPECT_FALSE(request->network.ipam);
  const Attachment eth0 = Main(request);
  EXPECT_EQ(eth0.ifname, "eth0");
  EXPECT_EQ(eth0.cloud.vnl, "vxvde://239.1.2.3");
  EXPECT_EQ(eth0.address_source, AddressSource::kCaller);
  EXPECT_THAT(eth0.ips, ElementsAre(Ip("192.0.2.7", 24), Ip("2001:db8::7", 64)));
  EXPECT_EQ(eth0.mac->ToString(), "02:00:5e:10:00:07");
  EXPECT_THAT(eth0.routes, IsEmpty());
}

// N6: without subnets the agent allocates; IPAM driver "none" means no addresses.
TEST(ParseSetupTest, WithoutSubnetsTheAgentAllocates) {
  const std::string names =
      R"({"container_id":"c","network":{"name":"blue"NETWORK},"network_options":)"
      R"({"interface_name":"eth0","static_ips":null}})";
  const auto kind = [&](const std::string& network) {
    std::string text = names;
    text.replace(text.find("NETWORK"), 7, network);
    return Main(ParseSetup("/n", text)).address_source;
  };
  EXPECT_EQ(kind(""), AddressSource::kAgent);
  EXPECT_EQ(kind(R"(,"subnets":[])"), AddressSource::kAgent);
  EXPECT_EQ(kind(R"(,"ipam_options":{"driver":"none"})"), AddressSource::kCaller);

  // `podman network reload` passes the addresses of the first setup.
  const Attachment again = Main(
      ParseSetup("/n", R"({"container_id":"c","network":{"name":"blue"},"network_options":)"
                       R"({"interface_name":"eth0","static_ips":["192.0.2.7","2001:db8::7"]}})"));
  EXPECT_EQ(again.address_source, AddressSource::kAgent);
  EXPECT_THAT(again.ips, ElementsAre(RequestedIp{*IpAddress::Parse("192.0.2.7"), std::nullopt},
                                     RequestedIp{*IpAddress::Parse("2001:db8::7"), std::nullopt}));
}

TEST(ParseSetupTest, DefaultRoutesGoThroughNamedGateways) {
  const std::string wanted = R"("no_default_route":"false")";
  const std::vector<ResultRoute> routes =
      Main(ParseSetup("/n", Exec(R"("no_default_route":"true")", wanted))).routes;
  ASSERT_EQ(routes.size(), 2u);
  EXPECT_EQ(routes[0].destination.ToString(), "0.0.0.0/0");
  EXPECT_EQ(routes[0].gateway->ToString(), "192.0.2.1");
  EXPECT_EQ(routes[0].priority, 200u) << "after those of netavark's bridges";
  EXPECT_EQ(routes[1].destination.ToString(), "::/0");
  EXPECT_EQ(routes[1].gateway->ToString(), "2001:db8::1");

  const std::string spelt = R"("noDefaultRoute":"true")";
  EXPECT_FALSE(
      Main(ParseSetup("/n", Exec(R"("no_default_route":"true")", spelt))).default_route_wanted);

  std::string internal = Exec(R"("no_default_route":"true")", wanted);
  internal.replace(internal.find(R"("internal":false)"), 16, R"("internal":true)");
  EXPECT_THAT(Main(ParseSetup("/n", internal)).routes, IsEmpty());
  std::string v4 = Exec(R"("no_default_route":"true")", wanted + R"(,"metric":"9")");
  v4.replace(v4.find(R"(,"2001:db8::7")"), 14, "");
  const std::vector<ResultRoute> only_v4 = Main(ParseSetup("/n", v4)).routes;
  ASSERT_EQ(only_v4.size(), 1u) << "no IPv6 address, no route";
  EXPECT_EQ(only_v4[0].priority, 9u);
}

TEST(ParseSetupTest, StaticRoutes) {
  const std::vector<ResultRoute> routes =
      Main(ParseSetup("/n",
                      Exec(R"("routes":null)", R"("routes":[{"gateway":"192.0.2.9","destination":)"
                                               R"("198.51.100.0/24","metric":300}])")))
          .routes;
  ASSERT_EQ(routes.size(), 1u);
  EXPECT_EQ(routes[0].destination.ToString(), "198.51.100.0/24");
  EXPECT_EQ(routes[0].gateway->ToString(), "192.0.2.9");
  EXPECT_EQ(routes[0].priority, 300u);
}

TEST(ParseSetupTest, OptionsOfTheContainerTakePrecedence) {
  const std::string none = R"("options":null}})";
  const auto with = [&](const std::string& options) {
    return ParseSetup("/n", Exec(none, R"("options":{)" + options + "}}}"));
  };
  const absl::StatusOr<AddRequest> request =
      with(R"("mode":"tap","mtu":"1300","agent":"/run/b.sock")");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->mode, LinkMode::kTap);
  EXPECT_EQ(request->network.agent, "/run/b.sock");
  EXPECT_EQ(Main(request).mtu, 1300u);
  EXPECT_EQ(Main(with(R"("cloud":"green")")).cloud, (CloudChoice{.name = "green", .vnl = ""}));
  EXPECT_THAT(Main(with(R"("allow":"00:00:5e:00:01:0a 10.42.0.200;router")")).allow,
              ElementsAre("00:00:5e:00:01:0a", "10.42.0.200", "router"));
  EXPECT_THAT(with(R"("foo":"bar")").status().message(), HasSubstr("\"foo\" is unknown"));
}

// N6: the plugin publishes the ports of -p, unless an option says otherwise.
TEST(ParseSetupTest, PortMappings) {
  const auto with = [](const std::string& mappings, const std::string& options = "") {
    std::string exec = Exec(R"("port_mappings":null)", R"("port_mappings":[)" + mappings + "]");
    if (!options.empty())
      exec.replace(exec.find(R"("options":null)"), 14, R"("options":)" + options);
    return ParseSetup("/n", exec);
  };
  const std::string web =
      R"({"container_port":80,"host_ip":"","host_port":8080,"protocol":"tcp","range":1})";
  const Attachment two = Main(with(
      web + R"(,{"container_port":1000,"host_ip":"192.0.2.1","host_port":2000,"protocol":"udp",)"
            R"("range":3})"));
  const IpAddress here = IpAddress::V4(192, 0, 2, 1);
  EXPECT_THAT(two.ports, ElementsAre(PublishedPort{8080, 80, "tcp", std::nullopt},
                                     PublishedPort{2000, 1000, "udp", here},
                                     PublishedPort{2001, 1001, "udp", here},
                                     PublishedPort{2002, 1002, "udp", here}));
  EXPECT_TRUE(Main(with(web, R"({"ports":"ignore"})")).ports.empty());
  EXPECT_THAT(FormatNetavarkError(with(web, R"({"ports":"refuse"})").status()),
              AllOf(HasSubstr("8080:80/tcp"), HasSubstr("ports=ignore")));
  EXPECT_TRUE(with("").ok());
  for (const char* wrong : {R"({"container_port":80,"host_port":0,"protocol":"tcp","range":1})",
                            R"({"container_port":80,"host_port":65535,"protocol":"tcp","range":2})",
                            R"({"container_port":80,"host_port":1,"protocol":"tcp","range":1025})",
                            R"({"container_port":80,"host_port":1,"protocol":"icmp","range":1})"}) {
    EXPECT_FALSE(with(wrong).ok()) << wrong;
  }
}

TEST(ParseSetupTest, RefusesAndNamesTheError) {
  for (const auto& [from, to, word] :
       std::initializer_list<std::tuple<const char*, const char*, const char*>>{
           {R"("752947ff91f9","container_name")", R"("../x","container_name")", "../x"},
           {R"("container_id")", R"("id")", "container_id is missing"},
           {R"("name":"blue")", R"("name":"a/b")", "a/b"},
           {R"("network":{)", R"("net":{)", "network is missing"},
           {R"("network_options")", R"("options")", "network_options is missing"},
           {R"("interface_name":"eth0")", R"("interface_name":"sixteen-letters-")",
            "sixteen-letters-"},
           {R"("interface_name":"eth0")", R"("interface_name":null)", "interface_name"},
           {R"("192.0.2.7")", R"("198.51.100.7")", "198.51.100.7"},
           {R"("192.0.2.7")", R"("seven")", "seven"},
           {R"(["192.0.2.7","2001:db8::7"])", "null", "192.0.2.0/24"},
           {"02:00:5e:10:00:07", "02:00:5e", "02:00:5e"},
           {"02:00:5e:10:00:07", "01:00:5e:10:00:07", "01:00:5e:10:00:07"},
           {R"("mode":"veth")", R"("mode":"bridge")", "mode=bridge"},
       }) {
    const absl::StatusOr<AddRequest> request = ParseSetup("/n", Exec(from, to));
    ASSERT_FALSE(request.ok()) << to;
    EXPECT_THAT(FormatNetavarkError(request.status()), HasSubstr(word)) << to;
  }
  EXPECT_FALSE(ParseSetup("", Exec()).ok()) << "no namespace";
}

// N5: only the names of the attachment must be valid.
TEST(ParseTeardownTest, NeedsTheNamesOnly) {
  const absl::StatusOr<DelRequest> request = ParseTeardown(
      "", R"({"container_id":"c1","port_mappings":7,"network":{"name":"blue","subnets":"?",)"
          R"("options":{"colour":"red","agent":"/run/a.sock"}},)"
          R"("network_options":{"interface_name":"eth1","static_ips":["x"],"static_mac":"y"}})");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->network.name, "blue");
  EXPECT_EQ(request->container.ifname, "eth1");
  EXPECT_EQ(request->network.agent, "/run/a.sock");
  EXPECT_FALSE(request->network.ipam) << "no IPAM plugin is run";
  EXPECT_FALSE(ParseTeardown("/n", "{}").ok());
}

// N4: by hand, from netavark's plugin-API.md.
TEST(StatusBlockTest, IsWhatNetavarkReads) {
  CniResult result;
  result.interfaces = {{.name = "vxabc", .mac = "02:00:00:00:00:01", .mtu = 1450, .sandbox = ""},
                       {.name = "eth0", .mac = "02:00:5e:10:00:07", .mtu = 1450, .sandbox = "/n"}};
  result.addresses = {{*IpPrefix::Parse("192.0.2.7/24"), std::nullopt, 1},
                      {*IpPrefix::Parse("2001:db8::7/64"), std::nullopt, 1}};
  ResultRoute route;
  route.destination = *IpPrefix::Parse("0.0.0.0/0");
  route.gateway = *IpAddress::Parse("192.0.2.1");
  result.routes = {route};
  EXPECT_EQ(FormatStatusBlock(result),
            R"({"dns_search_domains":[],"dns_server_ips":[],"interfaces":{"eth0":{)"
            R"("mac_address":"02:00:5e:10:00:07","subnets":[)"
            R"({"gateway":"192.0.2.1","ipnet":"192.0.2.7/24"},{"ipnet":"2001:db8::7/64"}]}}})");
  result.addresses.clear();
  result.routes.clear();
  EXPECT_THAT(FormatStatusBlock(result), HasSubstr(R"("subnets":[])"));
}

// N2
TEST(NetavarkErrorTest, IsOneJsonObject) {
  EXPECT_EQ(FormatNetavarkError(CniStatus(11, "the agent is \"down\"", "start it")),
            R"({"error":"the agent is \"down\"; start it"})");
  EXPECT_EQ(FormatNetavarkError(absl::InternalError("\xff")), "{\"error\":\"\xef\xbf\xbd\"}");
}

TEST(NetavarkInfoTest, SaysTheApiVersion) {
  EXPECT_EQ(FormatNetavarkInfo(), R"({"api_version":"1.0.0","version":"0.1.0"})");
}

}  // namespace
}  // namespace vxvde
