// Ids such as E1 and A7 are requirements in docs/RUNTIMES.md. Inputs are those of CNI SPEC 1.1.0
// and CONVENTIONS.md, and those that libcni, containerd and podman were seen to send.

#include "cni/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cni/error.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Environment AddEnvironment() {
  return {{"CNI_COMMAND", "ADD"},
          {"CNI_CONTAINERID", "c1"},
          {"CNI_NETNS", "/run/netns/pod"},
          {"CNI_IFNAME", "eth0"},
          {"CNI_PATH", "/opt/cni/bin:/usr/lib/cni"}};
}

constexpr char kMinimal[] = R"({"cniVersion": "1.0.0", "name": "blue", "type": "vxvde"})";

// The minimal configuration with `more` after its last key.
std::string With(const std::string& more) {
  return R"({"cniVersion": "1.0.0", "name": "blue", "type": "vxvde", )" + more + "}";
}

// The configuration for a pod with `annotations`, after `more`, which ends with a comma.
std::string Annotated(const std::string& annotations, const std::string& more = "") {
  return With(more + R"("runtimeConfig": {"io.kubernetes.cri.pod-annotations": {)" + annotations +
              "}}");
}

// The command is CNI_COMMAND's.
absl::StatusOr<Request> Parse(const Environment& environment, const std::string& config) {
  const absl::StatusOr<std::optional<Command>> command = ParseCommand(environment);
  if (!command.ok()) return command.status();
  return ParseRequest(command->value(), environment, config);
}

template <typename T>
T Parsed(const Environment& environment, const std::string& config) {
  absl::StatusOr<Request> request = Parse(environment, config);
  EXPECT_TRUE(request.ok()) << request.status() << " for " << config;
  T* const parsed = request.ok() ? std::get_if<T>(&*request) : nullptr;
  EXPECT_NE(parsed, nullptr) << "a request of another type";
  return parsed != nullptr ? std::move(*parsed) : T();
}

AddRequest ParsedAdd(const Environment& environment, const std::string& config) {
  return Parsed<AddRequest>(environment, config);
}

// The main attachment of an ADD.
Attachment ParsedMain(const Environment& environment, const std::string& config) {
  const AddRequest request = ParsedAdd(environment, config);
  EXPECT_FALSE(request.attachments.empty());
  return request.attachments.empty() ? Attachment() : request.attachments[0];
}

CniError Refused(const Environment& environment, const std::string& config) {
  const absl::StatusOr<Request> request = Parse(environment, config);
  EXPECT_FALSE(request.ok()) << config;
  return request.ok() ? CniError() : ToCniError(request.status());
}

TEST(Request, MinimalAddHasTheDefaults) {
  const AddRequest request = ParsedAdd(AddEnvironment(), kMinimal);
  EXPECT_EQ(request.network.name, "blue");
  EXPECT_EQ(request.network.version, SpecVersion::k100);
  EXPECT_EQ(request.network.agent, "/run/vxvde/handoff.sock");
  EXPECT_FALSE(request.network.ipam);
  EXPECT_EQ(request.container.id, "c1");
  EXPECT_EQ(request.container.netns, "/run/netns/pod");
  EXPECT_EQ(request.container.ifname, "eth0");
  EXPECT_FALSE(request.own_netns_allowed);
  EXPECT_EQ(request.caller, Caller::kCni);
  EXPECT_EQ(request.mode, LinkMode::kVeth);
  ASSERT_EQ(request.attachments.size(), 1u);
  const Attachment& eth0 = request.attachments[0];
  EXPECT_EQ(eth0.ifname, "eth0");
  EXPECT_EQ(eth0.address_source, AddressSource::kAgent);
  EXPECT_EQ(eth0.cloud, CloudChoice());
  EXPECT_EQ(eth0.mtu, 0u);
  EXPECT_FALSE(eth0.mac);
  EXPECT_THAT(eth0.ips, IsEmpty());
}

TEST(Request, ReadsThePluginsSection) {
  const std::string config =
      With(R"("vnl": "vxvde://239.1.2.3/vni=42", "mode": "tap", "mtu": 1400, "agent": "/a/b.sock",
              "ipam": {"type": "host-local"}, "dns": {"nameservers": ["192.0.2.53"]},
              "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1"}],
              "allow": ["00:00:5e:00:01:0a", "router"])");
  const AddRequest request = ParsedAdd(AddEnvironment(), config);
  EXPECT_EQ(request.mode, LinkMode::kTap);
  EXPECT_EQ(request.network.agent, "/a/b.sock");
  ASSERT_TRUE(request.network.ipam);
  EXPECT_EQ(request.network.ipam->type, "host-local");
  EXPECT_THAT(request.network.ipam->path, ElementsAre("/opt/cni/bin", "/usr/lib/cni"));
  EXPECT_EQ(request.network.ipam->config, config);
  EXPECT_EQ(request.network.ipam->version, SpecVersion::k100);
  ASSERT_EQ(request.attachments.size(), 1u);
  const Attachment& eth0 = request.attachments[0];
  EXPECT_EQ(eth0.address_source, AddressSource::kIpamPlugin);
  EXPECT_EQ(eth0.cloud.vnl, "vxvde://239.1.2.3/vni=42");
  EXPECT_EQ(eth0.mtu, 1400u);
  EXPECT_THAT(eth0.dns.nameservers, ElementsAre("192.0.2.53"));
  ASSERT_EQ(eth0.routes.size(), 1u);
  EXPECT_EQ(eth0.routes[0].destination.ToString(), "198.51.100.0/24");
  EXPECT_THAT(eth0.allow, ElementsAre("00:00:5e:00:01:0a", "router"));
  EXPECT_THAT(eth0.allow_by_annotation, IsEmpty());
  EXPECT_TRUE(eth0.default_route_wanted);
}

TEST(Request, M1_AKeyDeclinesTheDefaultRoute) {
  EXPECT_FALSE(
      ParsedMain(AddEnvironment(), With(R"("noDefaultRoute": true)")).default_route_wanted);
  EXPECT_TRUE(
      ParsedMain(AddEnvironment(), With(R"("noDefaultRoute": false)")).default_route_wanted);
}

TEST(Request, E2_NoCommandIsAbout) {
  EXPECT_FALSE(ParseCommand({})->has_value());
  EXPECT_FALSE(ParseCommand({{"CNI_COMMAND", ""}})->has_value());
}

TEST(Request, E2_UnknownCommandIsCode4) {
  for (const char* command : {"add", "Check", "FROB"}) {
    const CniError error = Refused({{"CNI_COMMAND", command}}, kMinimal);
    EXPECT_EQ(error.code, 4u) << command;
    EXPECT_THAT(error.msg, HasSubstr(command));
  }
}

TEST(Request, E3_AddNamesAllThatIsMissing) {
  const CniError error = Refused({{"CNI_COMMAND", "ADD"}, {"CNI_IFNAME", ""}}, kMinimal);
  EXPECT_EQ(error.code, 4u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("CNI_CONTAINERID"), HasSubstr("CNI_NETNS"),
                               HasSubstr("CNI_IFNAME"), Not(HasSubstr("CNI_PATH"))));
}

TEST(Request, E3_DelNeedsNoNamespace) {
  const CniError error = Refused({{"CNI_COMMAND", "DEL"}}, kMinimal);
  EXPECT_EQ(error.code, 4u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("CNI_CONTAINERID"), HasSubstr("CNI_IFNAME"),
                               Not(HasSubstr("CNI_NETNS"))));
  const Environment environment = {
      {"CNI_COMMAND", "DEL"}, {"CNI_CONTAINERID", "c1"}, {"CNI_IFNAME", "eth0"}};
  EXPECT_EQ(Parsed<DelRequest>(environment, kMinimal).container.netns, "");
}

TEST(Request, E3_PathIsNeededOnlyToDelegate) {
  Environment environment = AddEnvironment();
  environment.erase("CNI_PATH");
  EXPECT_TRUE(Parse(environment, kMinimal).ok());
  EXPECT_TRUE(Parse(environment, With(R"("ipam": {})")).ok());
  const CniError error = Refused(environment, With(R"("ipam": {"type": "host-local"})"));
  EXPECT_EQ(error.code, 4u);
  EXPECT_THAT(error.msg, HasSubstr("CNI_PATH"));
}

TEST(Request, E3_StatusAndVersionNeedNothingElse) {
  EXPECT_EQ(Parsed<StatusRequest>({{"CNI_COMMAND", "STATUS"}}, kMinimal).network.name, "blue");
  EXPECT_EQ(Parsed<VersionRequest>({{"CNI_COMMAND", "VERSION"}}, "").version, SpecVersion::k110);
}

struct Refusal {
  const char* name;
  const char* key;  // of the environment that is changed; nullptr: none
  std::string value;
  std::string config;
  uint32_t code;
  std::string msg;  // is part of the message
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class RequestRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(RequestRefusal, HasCodeAndValue) {
  Environment environment = AddEnvironment();
  if (GetParam().key != nullptr) environment[GetParam().key] = GetParam().value;
  const CniError error = Refused(environment, GetParam().config);
  EXPECT_EQ(error.code, GetParam().code) << error.msg;
  EXPECT_THAT(error.msg, HasSubstr(GetParam().msg));
}

INSTANTIATE_TEST_SUITE_P(
    E4, RequestRefusal,
    testing::ValuesIn(std::vector<Refusal>{
        {"ContainerIdWithSlash", "CNI_CONTAINERID", "a/b", kMinimal, 4, "a/b"},
        {"ContainerIdBeginsWithDot", "CNI_CONTAINERID", ".a", kMinimal, 4, ".a"},
        {"ContainerIdWithNewline", "CNI_CONTAINERID", "a\n", kMinimal, 4, "CNI_CONTAINERID"},
        {"IfNameOf16Bytes", "CNI_IFNAME", "abcdefghijklmnop", kMinimal, 4, "abcdefghijklmnop"},
        {"IfNameDot", "CNI_IFNAME", ".", kMinimal, 4, "CNI_IFNAME"},
        {"IfNameDotDot", "CNI_IFNAME", "..", kMinimal, 4, "CNI_IFNAME"},
        {"IfNameWithSlash", "CNI_IFNAME", "a/b", kMinimal, 4, "a/b"},
        {"IfNameWithColon", "CNI_IFNAME", "a:b", kMinimal, 4, "a:b"},
        {"IfNameWithSpace", "CNI_IFNAME", "a b", kMinimal, 4, "a b"},
        {"IfNameWithEscape", "CNI_IFNAME", "a\x1b[1m", kMinimal, 4, "control characters"},
    }),
    testing::PrintToStringParamName());

INSTANTIATE_TEST_SUITE_P(
    E5, RequestRefusal,
    testing::ValuesIn(std::vector<Refusal>{
        {"Empty", nullptr, "", "", 6, "standard input"},
        {"Truncated", nullptr, "", R"({"name": "bl)", 6, "parse error"},
        {"NotUtf8", nullptr, "", "{\"name\": \"\xff\"}", 6, "standard input"},
        {"NotAnObject", nullptr, "", R"(["name"])", 6, "not a JSON object"},
        {"UnknownVersion", nullptr, "", R"({"cniVersion": "9.0.0", "name": "b"})", 1, "9.0.0"},
        {"VersionIsANumber", nullptr, "", R"({"cniVersion": 1, "name": "b"})", 7, "cniVersion"},
        {"NoName", nullptr, "", R"({"cniVersion": "1.0.0"})", 7, "name"},
        {"NullName", nullptr, "", R"({"name": null})", 7, "name"},
        {"NameWithSlash", nullptr, "", R"({"name": "a/b"})", 7, "a/b"},
        {"EmptyName", nullptr, "", R"({"name": ""})", 7, "name"},
        {"NameIsANumber", nullptr, "", R"({"name": 7})", 7, "name"},
        {"UnknownMode", nullptr, "", With(R"("mode": "macvtap")"), 2, R"("mode": "macvtap")"},
        {"ModeIsANumber", nullptr, "", With(R"("mode": 1)"), 7, "mode"},
        {"NegativeMtu", nullptr, "", With(R"("mtu": -1)"), 7, "-1"},
        {"FractionalMtu", nullptr, "", With(R"("mtu": 1400.5)"), 7, "1400.5"},
        {"HugeMtu", nullptr, "", With(R"("mtu": 65536)"), 7, "65536"},
        {"MtuAsText", nullptr, "", With(R"("mtu": "1400")"), 7, "1400"},
        {"CloudAndVnl", nullptr, "", With(R"("cloud": "blue", "vnl": "vxvde://")"), 7,
         R"("cloud": "blue" and "vnl": "vxvde://")"},
        {"CloudIsAnObject", nullptr, "", With(R"("cloud": {})"), 7, "cloud"},
        {"IpamIsText", nullptr, "", With(R"("ipam": "host-local")"), 7, "ipam"},
        {"IpamWithoutType", nullptr, "", With(R"("ipam": {"subnet": "192.0.2.0/24"})"), 7, "type"},
        {"IpamTypeIsAPath", nullptr, "", With(R"("ipam": {"type": "../sh"})"), 7, "../sh"},
        {"IpamTypeIsAFolder", nullptr, "", With(R"("ipam": {"type": ".."})"), 7, ".."},
        {"RelativeAgent", nullptr, "", With(R"("agent": "run/x")"), 7, "run/x"},
        {"AgentPathTooLong", nullptr, "", With("\"agent\": \"/" + std::string(107, 'a') + "\""), 7,
         "107 bytes"},
        {"PreviousResultIsNoObject", nullptr, "", With(R"("prevResult": [])"), 7, "prevResult"},
        {"PreviousInterfacesAreNoList", nullptr, "", With(R"("prevResult": {"interfaces": {}})"), 7,
         "prevResult.interfaces"},
        {"AnnotationsAreNoObject", nullptr, "",
         With(R"("runtimeConfig": {"io.kubernetes.cri.pod-annotations": "x"})"), 7,
         "pod-annotations"},
        {"AnnotationIsNoString", nullptr, "", Annotated(R"("vxvde.io/networks": 7)"), 7,
         "vxvde.io/networks"},
        {"AnnotationIsWrong", nullptr, "", Annotated(R"("vxvde.io/networks": "blue@eth0")"), 7,
         "already has an interface eth0"},
        {"CloudOfAChainedFirst", nullptr, "",
         Annotated(R"("vxvde.io/cloud": "blue")", R"("prevResult": {}, )"), 7, "vxvde.io/cloud"},
        {"NameOfAPreviousInterface", nullptr, "",
         Annotated(R"("vxvde.io/networks": "blue@net1")",
                   R"("prevResult": {"interfaces": [{"name": "net1", "sandbox": "/x"}]}, )"),
         7, "already has an interface net1"},
        {"ChainedInAnOldVersion", nullptr, "",
         R"({"cniVersion": "0.2.0", "name": "blue", "type": "vxvde", "prevResult": {},
             "runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"vxvde.io/networks": "b"}}})",
         7, "0.3.0"},
        {"RouteWithoutDestination", nullptr, "", With(R"("routes": [{"gw": "192.0.2.1"}])"), 7,
         "dst"},
        {"RouteOfTwoFamilies", nullptr, "",
         With(R"("routes": [{"dst": "2001:db8::/32", "gw": "192.0.2.1"}])"), 7, "families"},
        {"NoDefaultRouteIsAText", nullptr, "", With(R"("noDefaultRoute": "yes")"), 7,
         "noDefaultRoute"},
        {"DnsIsAList", nullptr, "", With(R"("dns": [])"), 7, "dns"},
        {"RangesWithoutAnIpamPlugin", nullptr, "",
         With(R"("runtimeConfig": {"ipRanges": [[{"subnet": "10.1.0.0/16"}]]})"), 2, "ipRanges"},
        {"PortMappingWithoutHostPort", nullptr, "",
         With(R"("runtimeConfig": {"portMappings": [{"containerPort": 80}]})"), 7, "hostPort"},
        {"PortMappingToPort0", nullptr, "",
         With(R"("runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 0}]})"), 7,
         "containerPort 0"},
        {"PortMappingOfIcmp", nullptr, "",
         With(
             R"("runtimeConfig": {"portMappings":
                [{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}]})"),
         7, "icmp"},
        {"PortMappingAtAName", nullptr, "",
         With(
             R"("runtimeConfig": {"portMappings":
                [{"hostPort": 1, "containerPort": 1, "hostIP": "here"}]})"),
         7, "here"},
        {"RateWithoutBurst", nullptr, "",
         With(R"("runtimeConfig": {"Bandwidth": {"IngressRate": 1}})"), 7, "ingressBurst"},
        {"BurstWithoutRate", nullptr, "",
         With(R"("runtimeConfig": {"bandwidth": {"egressBurst": 1}})"), 7, "egressRate"},
        {"NegativeRate", nullptr, "", With(R"("runtimeConfig": {"bandwidth": {"egressRate": -1}})"),
         7, "-1"},
        {"IngressRateOfATap", nullptr, "", With(R"("mode": "tap", "runtimeConfig": {"bandwidth":
                {"ingressRate": 9, "ingressBurst": 9}})"),
         2, "tap"},
    }),
    testing::PrintToStringParamName());

INSTANTIATE_TEST_SUITE_P(
    A7, RequestRefusal,
    testing::ValuesIn(std::vector<Refusal>{
        {"UnknownArgument", "CNI_ARGS", "COLOUR=blue", kMinimal, 4, "COLOUR"},
        {"IgnoreUnknownIsFalse", "CNI_ARGS", "IgnoreUnknown=0;COLOUR=b", kMinimal, 4, "COLOUR"},
        {"ArgumentWithoutValue", "CNI_ARGS", "MAC", kMinimal, 4, "MAC"},
        {"BadMacArgument", "CNI_ARGS", "MAC=02:00", kMinimal, 4, "02:00"},
        {"GroupMac", "CNI_ARGS", "MAC=01:00:5e:00:00:01", kMinimal, 4, "01:00:5e:00:00:01"},
        {"BadMac", nullptr, "", With(R"("runtimeConfig": {"mac": "xx"})"), 7, "xx"},
        {"BadIpArgument", "CNI_ARGS", "IP=192.0.2.300", With(R"("ipam": {})"), 4, "192.0.2.300"},
        {"BadIp", nullptr, "", With(R"("ipam": {}, "runtimeConfig": {"ips": ["192.0.2.7/33"]})"), 7,
         "192.0.2.7/33"},
        {"IpsIsText", nullptr, "", With(R"("runtimeConfig": {"ips": "192.0.2.7"})"), 7, "ips"},
        {"BareIpWithoutIpam", "CNI_ARGS", "IP=192.0.2.7", With(R"("ipam": {})"), 7,
         "192.0.2.7 has no prefix length"},
    }),
    testing::PrintToStringParamName());

// The kernel makes "eth0" of it.
TEST(Request, E4_APatternIsNoNameOfANewInterface) {
  Environment environment = AddEnvironment();
  environment["CNI_IFNAME"] = "eth%d";
  const CniError error = Refused(environment, kMinimal);
  EXPECT_EQ(error.code, 4u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("eth%d"), HasSubstr("pattern")));
  environment["CNI_COMMAND"] = "DEL";
  EXPECT_EQ(Parsed<DelRequest>(environment, kMinimal).container.ifname, "eth%d");
}

TEST(Request, E5_VersionRefusalListsBothSides) {
  const CniError error = Refused(AddEnvironment(), R"({"cniVersion": "9.0.0", "name": "b"})");
  EXPECT_THAT(error.details, AllOf(HasSubstr("9.0.0"), HasSubstr("0.1.0"), HasSubstr("1.1.0")));
}

TEST(Request, E5_NoVersionIs010) {
  EXPECT_EQ(ParsedAdd(AddEnvironment(), R"({"name": "blue"})").network.version, SpecVersion::k010);
}

TEST(Request, E6_OverrideAllowsThePluginsOwnNamespace) {
  Environment environment = AddEnvironment();
  for (const auto& [value, allowed] : std::vector<std::pair<std::string, bool>>{
           {"1", true}, {"true", true}, {"0", false}, {"", false}}) {
    environment["CNI_NETNS_OVERRIDE"] = value;
    EXPECT_EQ(ParsedAdd(environment, kMinimal).own_netns_allowed, allowed) << value;
  }
}

TEST(Request, M2_NetworksByAnnotation) {
  const AddRequest request =
      ParsedAdd(AddEnvironment(),
                With(R"("cloud": "red", "mode": "tap", "mtu": 1400, "ipam": {}, "runtimeConfig": {
        "IO.Kubernetes.CRI.Pod-Annotations": {"example.com/x": 7, "vxvde.io/cloud": "white",
          "vxvde.io/networks": "[{\"name\": \"blue\", \"ips\": [\"192.0.2.7/24\"]}]",
          "k8s.v1.cni.cncf.io/networks": "green"}, "mac": "02:00:5e:10:00:02"})"));
  EXPECT_FALSE(request.previous_result);
  EXPECT_EQ(request.mode, LinkMode::kTap);
  const std::vector<Attachment>& all = request.attachments;
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].ifname, "eth0");
  EXPECT_EQ(all[0].cloud, (CloudChoice{.name = "white", .vnl = ""}));
  EXPECT_EQ(all[0].asked_by, "annotation vxvde.io/cloud");
  EXPECT_EQ(all[0].mtu, 1400u);
  EXPECT_TRUE(all[0].mac);
  EXPECT_EQ(all[1].ifname, "net1");
  EXPECT_EQ(all[1].cloud.name, "blue");
  EXPECT_EQ(all[1].mtu, 0u) << "the cloud's";
  EXPECT_FALSE(all[1].mac);
  EXPECT_EQ(all[1].address_source, AddressSource::kCaller);
  EXPECT_THAT(all[1].ips, ElementsAre(RequestedIp{IpAddress::V4(192, 0, 2, 7), 24}));
  EXPECT_EQ(all[2].ifname, "net2");
  EXPECT_EQ(all[2].cloud.name, "green");
  EXPECT_TRUE(all[2].maybe_foreign);
  EXPECT_EQ(all[2].address_source, AddressSource::kAgent);
}

TEST(Request, AllowIsOfOneInterface) {
  const AddRequest request =
      ParsedAdd(AddEnvironment(), With(R"("allow": ["router"], "runtimeConfig": {
        "io.kubernetes.cri.pod-annotations": {"vxvde.io/allow": "10.42.0.200",
          "vxvde.io/networks": "[{\"name\": \"blue\", \"allow\": [\"all\"]}, {\"name\": \"red\"}]"}})"));
  const std::vector<Attachment>& all = request.attachments;
  ASSERT_EQ(all.size(), 3u);
  EXPECT_THAT(all[0].allow, ElementsAre("router"));
  EXPECT_THAT(all[0].allow_by_annotation, ElementsAre("10.42.0.200"));
  EXPECT_THAT(all[1].allow, IsEmpty()) << "it concerns the first";
  EXPECT_THAT(all[1].allow_by_annotation, ElementsAre("all"));
  EXPECT_THAT(all[2].allow_by_annotation, IsEmpty());

  const absl::StatusOr<Request> chained =
      Parse(AddEnvironment(), Annotated(R"("vxvde.io/allow": "router")", R"("prevResult": {}, )"));
  EXPECT_THAT(std::string(chained.status().message()),
              AllOf(HasSubstr("annotation vxvde.io/allow: "), HasSubstr("eth0")));
}

TEST(Request, A4_ChainedAttachesNetworksOfAnnotationsOnly) {
  Environment environment = AddEnvironment();
  environment["CNI_ARGS"] = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;IP=192.0.2.9";
  const AddRequest request = ParsedAdd(
      environment, Annotated(R"("vxvde.io/networks": "blue")",
                             R"("prevResult": {"colour": "red", "interfaces": [{"name": "vethX"},
                   {"name": "net1", "sandbox": "/run/netns/pod"}]}, )"));
  ASSERT_TRUE(request.previous_result);
  EXPECT_THAT(*request.previous_result, HasSubstr(R"("colour":"red")"));
  EXPECT_EQ(request.pod.name_space, "shop");
  ASSERT_EQ(request.attachments.size(), 1u);
  EXPECT_EQ(request.attachments[0].ifname, "net2");
  EXPECT_THAT(request.attachments[0].ips, IsEmpty()) << "the address is for the first interface";
  EXPECT_THAT(request.notes, IsEmpty());
  const AddRequest none = ParsedAdd(AddEnvironment(), With(R"("cloud": "blue", "prevResult": {})"));
  EXPECT_TRUE(none.attachments.empty());
  EXPECT_THAT(none.notes, ElementsAre(HasSubstr("\"cloud\"")));
}

TEST(Request, E8_OtherPluginsKeysPass) {
  EXPECT_TRUE(Parse(AddEnvironment(), With(R"("bridge": "br0", "isGateway": {"a": [1]})")).ok());
}

TEST(Request, E10_KnowsEveryVersion) {
  for (const char* version : {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const std::string config = R"({"name": "blue", "cniVersion": ")" + std::string(version) + "\"}";
    EXPECT_EQ(ToString(ParsedAdd(AddEnvironment(), config).network.version), version);
  }
}

TEST(Request, A7_RuntimeConfigBeforeArgsBeforeEnvironment) {
  Environment environment = AddEnvironment();
  environment["CNI_ARGS"] = "IP=192.0.2.3/24;MAC=02:00:5e:10:00:03";
  const std::string args =
      R"("args": {"cni": {"ips": ["192.0.2.2/24"], "mac": "02:00:5e:10:00:02"}})";
  const std::string runtime =
      R"("runtimeConfig": {"ips": ["192.0.2.1/24"], "mac": "02:00:5e:10:00:01"})";
  const std::string ipam = R"("ipam": {}, )";

  const Attachment third = ParsedMain(environment, With(R"("ipam": {})"));
  EXPECT_EQ(third.mac->ToString(), "02:00:5e:10:00:03");
  EXPECT_THAT(third.ips, ElementsAre(RequestedIp{IpAddress::V4(192, 0, 2, 3), 24}));
  const Attachment second = ParsedMain(environment, With(ipam + args));
  EXPECT_EQ(second.mac->ToString(), "02:00:5e:10:00:02");
  EXPECT_THAT(second.ips, ElementsAre(RequestedIp{IpAddress::V4(192, 0, 2, 2), 24}));
  const Attachment first = ParsedMain(environment, With(ipam + args + ", " + runtime));
  EXPECT_EQ(first.mac->ToString(), "02:00:5e:10:00:01");
  EXPECT_THAT(first.ips, ElementsAre(RequestedIp{IpAddress::V4(192, 0, 2, 1), 24}));
}

TEST(Request, A7_TheIpamPluginCompletesBareAddresses) {
  Environment environment = AddEnvironment();
  environment["CNI_ARGS"] = "IP=192.0.2.3,2001:db8::3";
  const Attachment eth0 = ParsedMain(environment, With(R"("ipam": {"type": "host-local"})"));
  ASSERT_EQ(eth0.ips.size(), 2u);
  EXPECT_EQ(eth0.ips[0], (RequestedIp{IpAddress::V4(192, 0, 2, 3), std::nullopt}));
  EXPECT_EQ(eth0.ips[1].address.ToString(), "2001:db8::3");
}

// containerd passes Go field names; the order of CNI_ARGS is random.
TEST(Request, A9_ContainerdsAdd) {
  Environment environment = AddEnvironment();
  environment["CNI_ARGS"] =
      "K8S_POD_UID=u-1;K8S_POD_INFRA_CONTAINER_ID=c1;IgnoreUnknown=1;K8S_POD_NAME=web;"
      "OTHER=x;K8S_POD_NAMESPACE=shop";
  const AddRequest request = ParsedAdd(
      environment,
      With(R"("ipam": {}, "runtimeConfig": {"IPs": ["192.0.2.9/24"], "MAC": "02:00:5e:10:00:09",
        "MTU": 1300, "portMappings": [], "bandwidth": null,
        "DNS": {"Servers": ["192.0.2.53"], "Searches": ["example.org"], "Options": ["ndots:5"]},
        "io.kubernetes.cri.pod-annotations": null})"));
  EXPECT_EQ(request.pod.name_space, "shop");
  EXPECT_EQ(request.pod.name, "web");
  EXPECT_EQ(request.pod.uid, "u-1");
  ASSERT_EQ(request.attachments.size(), 1u);
  const Attachment& eth0 = request.attachments[0];
  EXPECT_EQ(eth0.mac->ToString(), "02:00:5e:10:00:09");
  EXPECT_EQ(eth0.mtu, 1300u);
  EXPECT_THAT(eth0.ips, ElementsAre(RequestedIp{IpAddress::V4(192, 0, 2, 9), 24}));
  EXPECT_THAT(eth0.dns.nameservers, ElementsAre("192.0.2.53"));
  EXPECT_THAT(eth0.dns.search, ElementsAre("example.org"));
  EXPECT_THAT(eth0.dns.options, ElementsAre("ndots:5"));
}

// containerd's keys, then podman's.
TEST(Request, A9_PortsAndBandwidth) {
  Attachment eth0 = ParsedMain(AddEnvironment(), With(R"("runtimeConfig": {
        "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP", "HostIP": ""},
                         {"HostPort": 53, "ContainerPort": 5353, "Protocol": "udp",
                          "HostIP": "192.0.2.1"}],
        "bandwidth": {"IngressRate": 20000000, "IngressBurst": 4294967295}})"));
  EXPECT_THAT(eth0.ports, ElementsAre(PublishedPort{8080, 80, "tcp", std::nullopt},
                                      PublishedPort{53, 5353, "udp", IpAddress::V4(192, 0, 2, 1)}));
  EXPECT_EQ(eth0.bandwidth.ingress, (BitRate{20'000'000, 4294967295}));
  EXPECT_FALSE(eth0.bandwidth.egress);
  eth0 = ParsedMain(AddEnvironment(), With(R"("mode": "tap", "runtimeConfig": {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": ""}],
        "bandwidth": {"ingressRate": 0, "ingressBurst": 0,
                      "egressRate": 1000000, "egressBurst": 80000}})"));
  EXPECT_THAT(eth0.ports, ElementsAre(PublishedPort{8080, 80, "tcp", std::nullopt}));
  EXPECT_FALSE(eth0.bandwidth.ingress);
  EXPECT_EQ(eth0.bandwidth.egress, (BitRate{1'000'000, 80'000}));
}

// They concern the interface that the runtime knows.
TEST(Request, M2_PortsAndBandwidthAreOfTheFirstInterface) {
  const AddRequest request = ParsedAdd(AddEnvironment(), With(R"("runtimeConfig": {
        "portMappings": [{"hostPort": 8080, "containerPort": 80}],
        "bandwidth": {"egressRate": 1000000, "egressBurst": 80000},
        "io.kubernetes.cri.pod-annotations": {"vxvde.io/networks": "green"}})"));
  const std::vector<Attachment>& all = request.attachments;
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].ports.size(), 1u);
  EXPECT_TRUE(all[0].bandwidth.egress);
  EXPECT_TRUE(all[1].ports.empty());
  EXPECT_FALSE(all[1].bandwidth.egress);
}

TEST(Request, A9_PodmansNameIsNoPod) {
  Environment environment = AddEnvironment();
  environment["CNI_ARGS"] = "IgnoreUnknown=1;K8S_POD_NAME=box;MAC=02:00:5e:10:00:01";
  const AddRequest request = ParsedAdd(
      environment,
      With(R"("runtimeConfig": {"aliases": {"blue": ["box"]}, "mac": null, "ips": null})"));
  EXPECT_EQ(request.pod.name, "");
  ASSERT_EQ(request.attachments.size(), 1u);
  EXPECT_EQ(request.attachments[0].mac->ToString(), "02:00:5e:10:00:01");
}

TEST(Request, D1_DelIgnoresKeysThatOnlyAddNeeds) {
  Environment environment = AddEnvironment();
  environment["CNI_COMMAND"] = "DEL";
  environment["CNI_ARGS"] = "nonsense";
  const DelRequest request =
      Parsed<DelRequest>(environment, With(R"("mtu": -5, "mode": "frob", "cloud": "a",
      "vnl": "b", "prevResult": {"x": 1}, "ipam": {"type": "host-local"})"));
  ASSERT_TRUE(request.network.ipam);
  EXPECT_EQ(request.network.ipam->type, "host-local");
}

TEST(Request, S1_StatusIsOfTheCloudThatTheSectionNames) {
  const auto cloud = [](const std::string& section) {
    return Parsed<StatusRequest>({{"CNI_COMMAND", "STATUS"}, {"CNI_PATH", "/opt/cni/bin"}}, section)
        .cloud;
  };
  EXPECT_EQ(cloud(With(R"("cloud": "blue")"))->name, "blue");
  EXPECT_EQ(cloud(With(R"("vnl": "vxvde://239.1.2.3")"))->vnl, "vxvde://239.1.2.3");
  EXPECT_EQ(cloud(With(R"("ipam": {"type": "host-local"})")), CloudChoice()) << "the default cloud";
  EXPECT_EQ(cloud(With(R"("ipam": {})")), CloudChoice());
  EXPECT_EQ(cloud(With(R"("capabilities": {"io.kubernetes.cri.pod-annotations": true})")),
            std::nullopt)
      << "behind another plugin";
}

TEST(Request, V1_AnswersInTheVersionOfTheConfiguration) {
  const Environment environment = {{"CNI_COMMAND", "VERSION"}};
  EXPECT_EQ(Parsed<VersionRequest>(environment, R"({"cniVersion": "0.4.0"})").version,
            SpecVersion::k040);
  EXPECT_EQ(Parsed<VersionRequest>(environment, R"({"cniVersion": "9.0.0"})").version,
            SpecVersion::k110);
  EXPECT_EQ(Parsed<VersionRequest>(environment, "no JSON").version, SpecVersion::k110);
}

TEST(ConfigInVersion, ChangesNothingElse) {
  const auto config =
      ConfigInVersion(R"({"name": "b", "ipam": {"ranges": [[{"n": 1.5}]]}, "cniVersion": "1.1.0"})",
                      SpecVersion::k100);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, R"({"cniVersion":"1.0.0","ipam":{"ranges":[[{"n":1.5}]]},"name":"b"})");
  EXPECT_FALSE(ConfigInVersion("[]", SpecVersion::k100).ok());
}

// Debian 12's static reads the result in CHECK.
TEST(ConfigInVersion, ThePreviousResultFollows) {
  const auto config = ConfigInVersion(
      R"({"cniVersion": "1.1.0", "prevResult": {"cniVersion": "1.1.0", "ips": []}})",
      SpecVersion::k100);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, R"({"cniVersion":"1.0.0","prevResult":{"cniVersion":"1.0.0","ips":[]}})");
}

TEST(Request, DeepNestingIsHarmless) {
  const std::string deep(200000, '[');
  EXPECT_EQ(Refused(AddEnvironment(), deep).code, 6u);
  const std::string closed = deep + std::string(200000, ']');
  EXPECT_EQ(Refused(AddEnvironment(), With("\"other\": " + closed)).code, 6u);
  const std::string some = std::string(90, '[') + std::string(90, ']');
  EXPECT_TRUE(Parse(AddEnvironment(), With("\"other\": " + some)).ok());
}

Environment Asking(const char* command) {
  Environment environment = AddEnvironment();
  environment["CNI_COMMAND"] = command;
  return environment;
}

TEST(Request, C1_CheckNeedsThePreviousResult) {
  EXPECT_EQ(Refused(Asking("CHECK"), kMinimal).code, 7u);
  EXPECT_EQ(Refused(Asking("CHECK"), With(R"("prevResult": null)")).code, 7u);
  EXPECT_EQ(Refused(Asking("CHECK"), With(R"("prevResult": [])")).code, 7u);
  EXPECT_EQ(Refused(Asking("CHECK"), With(R"("prevResult": {"ips": [{"address": "x"}]})")).code,
            7u);
  const CniError old = Refused(Asking("CHECK"), R"({"cniVersion": "0.3.1", "name": "blue"})");
  EXPECT_EQ(old.code, 1u);
  EXPECT_THAT(old.msg, AllOf(HasSubstr("0.3.1"), HasSubstr("CHECK")));
  EXPECT_THAT(Refused({{"CNI_COMMAND", "CHECK"}}, kMinimal).msg, HasSubstr("CNI_NETNS"));

  const CniResult previous =
      Parsed<CheckRequest>(Asking("CHECK"), With(R"("prevResult": {"interfaces": [{"name": "eth0",
          "mac": "02:00:5e:10:00:01", "mtu": 1450, "sandbox": "/run/netns/pod", "socketPath": ""}],
          "ips": [{"interface": 0, "address": "192.0.2.7/24"}, {"address": "192.0.2.8/24"}],
          "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}]})"))
          .previous;
  ASSERT_EQ(previous.interfaces.size(), 1u);
  EXPECT_EQ(previous.interfaces[0].mtu, 1450u);
  EXPECT_EQ(previous.interfaces[0].sandbox, "/run/netns/pod");
  ASSERT_EQ(previous.addresses.size(), 2u);
  EXPECT_EQ(previous.addresses[0].interface, 0u);
  EXPECT_FALSE(previous.addresses[1].interface);
  EXPECT_EQ(previous.routes.size(), 1u);
}

TEST(Request, G1_GcNeedsTheListOfWhatRemains) {
  const Environment gc = {{"CNI_COMMAND", "GC"}};
  const auto with = [](const std::string& more) {
    return R"({"cniVersion": "1.1.0", "name": "blue")" + more + "}";
  };
  for (const char* more :
       {"", R"(, "cni.dev/valid-attachments": {})", R"(, "cni.dev/valid-attachments": [1])",
        R"(, "cni.dev/valid-attachments": [{"containerID": "c1"}])",
        R"(, "cni.dev/attachments": [{"containerID": 1, "ifname": "eth0"}])"}) {
    EXPECT_EQ(Refused(gc, with(more)).code, 7u) << more;
  }
  EXPECT_EQ(Refused(gc, kMinimal).code, 1u) << "1.0.0 has no GC";
  EXPECT_THAT(Parsed<GcRequest>(gc, with(R"(, "cni.dev/valid-attachments": [])")).valid, IsEmpty());
  // libcni 1.3, GCNetworkList without arguments.
  EXPECT_THAT(Parsed<GcRequest>(gc, with(R"(, "cni.dev/valid-attachments": null)")).valid,
              IsEmpty());
  EXPECT_THAT(Parsed<GcRequest>(
                  gc, with(R"(, "cni.dev/attachments": [{"containerID": "c1", "ifname": "eth0"}])"))
                  .valid,
              ElementsAre(ValidAttachment{"c1", "eth0"}));
  EXPECT_THAT(
      Parsed<GcRequest>(gc, with(R"(, "cni.dev/attachments": [], "cni.dev/valid-attachments":
                          [{"containerID": "c2", "ifname": "eth0"}])"))
          .valid,
      ElementsAre(ValidAttachment{"c2", "eth0"}));
}

TEST(Request, G1_TheIpamPluginGetsTheListOfWhatRemains) {
  const absl::StatusOr<std::string> config =
      ConfigWithValid(R"({"name":"blue","cni.dev/valid-attachments":[]})", {{"c1", "eth0"}});
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(*config, R"({"cni.dev/attachments":[{"containerID":"c1","ifname":"eth0"}],)"
                     R"("cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}],)"
                     R"("name":"blue"})");
}

}  // namespace
}  // namespace vxvde
