#include "agent/status/convert.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "agent/status/testing/fake_node.h"
#include "google/protobuf/text_format.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// `message` must equal `text` (text format).
template <typename Message>
void ExpectProto(const Message& message, const std::string& text) {
  Message expected;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &expected)) << text;
  google::protobuf::util::MessageDifferencer differencer;
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differencer.Compare(expected, message)) << difference;
}

template <typename Request>
auto List(const NodeSnapshot& node, const Request& request) {
  auto response = ToResponse(node, request);
  EXPECT_TRUE(response.ok()) << response.status();
  return *std::move(response);
}

template <typename Request>
Request Pages(int size, const std::string& token = "", const std::string& cloud = "") {
  Request request;
  request.set_page_size(size);
  request.set_page_token(token);
  request.set_cloud(cloud);
  return request;
}

TEST(Node, CountsWhatTheNodeHolds) {
  ExpectProto(ToNode(SampleNode(), 1500ms), R"(
    name: "n1" version: "9.8.7"
    uptime { seconds: 90061 nanos: 500000000 }
    loop_delay { seconds: 1 nanos: 500000000 }
    cloud_count: 2 port_count: 2 peer_count: 2 station_count: 4 problem_count: 1
    drop_count: 13)");
}

TEST(Clouds, ShowEveryField) {
  const auto response = List(SampleNode(), v1::ListCloudsRequest());
  ASSERT_THAT(response.clouds(), SizeIs(2));
  EXPECT_EQ(response.next_page_token(), "");
  EXPECT_EQ(response.clouds(1).name(), "green");
  EXPECT_EQ(response.clouds(1).datapath(), "user");
  EXPECT_EQ(response.clouds(1).datapath_reason(), "no eBPF here");
  EXPECT_THAT(response.clouds(1).slow(), IsEmpty());
  ExpectProto(response.clouds(0), R"(
    name: "blue" vnl: "vxvde://239.1.2.3/vni=42"
    group: "239.1.2.3" group_port: 14789 vni: 42
    uplink: "eth1" uplink_mtu: 1500 unicast_port: 14790
    datapath: "kernel" fast_port: 31790
    slow { reason: "group" count: 30 } slow { reason: "unknown" }
    slow { reason: "moved" count: 4 } slow { reason: "kind" } slow { reason: "too-big" }
    slow { reason: "slow-port" } slow { reason: "same-port" } slow { reason: "odd" }
    slow { reason: "guarded" }
    age { seconds: 3600 }
    port_count: 2 peer_count: 2 station_count: 4
    from_group { frames: 10 bytes: 1000 } to_group { frames: 20 bytes: 2000 }
    moves: 1 conflicts: 2 not_learned: 3 drop_count: 13 holds: 4 peers_not_kept: 5
    group_problem: "nobody is heard" rejoins: 6
    snooping { group_count: 2 igmp_querier: "this agent"
      mld_querier: 'router fe80::1 (peer 192.0.2.2:14790)'
      unsure_port_count: 2 router_port_count: 1 withheld: 77 })");
}

TEST(Ports, ShowWhoIsBehindThemAndWhatIsNotAttached) {
  const auto response = List(SampleNode(), v1::ListPortsRequest());
  ASSERT_THAT(response.ports(), SizeIs(3));
  ExpectProto(response.ports(0), R"(
    cloud: "239.9.9.9:14789/9" name: "vx0000000000009" problem: "no route to 239.9.9.9"
    attachment {
      id: "0000000000009" network: "red-net" container_id: "c9" ifname: "net1"
      mode: "veth" host_ifname: "vx0000000000009" caller: "netavark"
    })");
  ExpectProto(response.ports(1), R"(
    cloud: "blue" id: 1 name: "vx0000000000001" mac: "02:00:5e:10:00:01" mtu: 1450
    age { seconds: 120 }
    from_pod { frames: 100 bytes: 150000 } to_pod { frames: 200 bytes: 1300000000 }
    drop_count: 6 datapath: "kernel" guarded: true
    attachment {
      id: "0000000000001" network: "blue-net" container_id: "c1" ifname: "eth0"
      pod_namespace: "default" pod_name: "web-0" mode: "veth" host_ifname: "vx0000000000001"
      netns: "/run/netns/c1" addresses: "10.42.0.7/16" addresses: "2001:db8:42::7/64"
      allow: "00:00:5e:00:01:0a" allow: "10.42.0.200" caller: "cni"
    })");
  EXPECT_EQ(response.ports(2).id(), 3u);
  EXPECT_EQ(response.ports(2).attachment().container_id(), "c3");
  EXPECT_EQ(response.ports(2).blocked().seconds(), 21);
  EXPECT_EQ(response.ports(2).block_count(), 2u);
  EXPECT_THAT(response.ports(2).problem(), HasSubstr("in a loop"));
  EXPECT_THAT(response.ports(2).problem(), HasSubstr("for 22 s"));
}

TEST(Ports, SayWhyTheyAreNotFast) {
  NodeSnapshot node = SampleNode();
  CloudInfo& blue = node.clouds[0];
  const auto reason = [&](int row) {
    return List(node, v1::ListPortsRequest()).ports(row).datapath_reason();
  };
  EXPECT_EQ(List(node, v1::ListPortsRequest()).ports(0).datapath(), "");  // not attached
  EXPECT_EQ(List(node, v1::ListPortsRequest()).ports(2).datapath(), "user");
  EXPECT_EQ(reason(2), "tcx program 7");
  blue.state.ports[0].fast = false;
  EXPECT_THAT(reason(1), HasSubstr("in a moment"));
  blue.state.fast_port = 0;
  blue.datapath_reason = "no eBPF here";
  EXPECT_EQ(reason(1), "no eBPF here");
  EXPECT_EQ(reason(2), "tcx program 7");
}

TEST(Ports, FilterLeavesOtherCloudsOut) {
  const auto response = List(SampleNode(), Pages<v1::ListPortsRequest>(0, "", "blue"));
  ASSERT_THAT(response.ports(), SizeIs(2));
  EXPECT_EQ(response.ports(0).id(), 1u);
  EXPECT_EQ(response.ports(1).id(), 3u);
}

TEST(Peers, ShowEveryField) {
  const auto response = List(SampleNode(), v1::ListPeersRequest());
  ASSERT_THAT(response.peers(), SizeIs(2));
  ExpectProto(response.peers(0), R"(
    cloud: "blue" address: "192.0.2.2:14790" station_count: 2 fast_port: 31790
    from_peer { frames: 1 bytes: 60 } to_peer { frames: 2 bytes: 120 }
    age { seconds: 30 } idle { seconds: 3 })");
  EXPECT_EQ(response.peers(1).address(), "[2001:db8::2]:40000");
  EXPECT_EQ(response.peers(1).idle().nanos(), 250000000);
}

TEST(FdbList, SaysWhereStationsAre) {
  const auto response = List(SampleNode(), v1::ListFdbRequest());
  ASSERT_THAT(response.entries(), SizeIs(4));
  ExpectProto(response.entries(0), R"(
    cloud: "blue" mac: "02:00:5e:10:00:01" type: STATIC
    location { port: 1 port_name: "vx0000000000001" } idle {})");
  ExpectProto(response.entries(2), R"(
    cloud: "blue" mac: "02:00:5e:10:00:08" type: DYNAMIC
    location { peer: "192.0.2.2:14790" } idle { seconds: 3 })");
  EXPECT_TRUE(response.entries(3).held());
}

TEST(Drops, ListsThoseThatWereMet) {
  const auto response = List(SampleNode(), v1::ListDropsRequest());
  ASSERT_THAT(response.drops(), SizeIs(3));
  EXPECT_EQ(response.drops(0).port(), 0u);
  EXPECT_EQ(response.drops(0).drop().reason(), "wrong-vni");
  EXPECT_EQ(response.drops(0).drop().count(), 7u);
  EXPECT_EQ(response.drops(0).drop().text(), std::string(DropText(Drop::kWrongVni)));
  EXPECT_EQ(response.drops(1).drop().reason(), "too-big");
  EXPECT_EQ(response.drops(1).port_name(), "vx0000000000001");
  EXPECT_EQ(response.drops(2).drop().reason(), "port-full");
  EXPECT_EQ(response.drops(2).drop().count(), 5u);
}

TEST(Groups, SayWhoWantsThem) {
  const auto response = List(SampleNode(), v1::ListGroupsRequest());
  ASSERT_THAT(response.groups(), SizeIs(2));
  EXPECT_EQ(response.groups(0).cloud(), "blue");
  EXPECT_EQ(response.groups(0).group(), "233.252.0.1");
  ASSERT_THAT(response.groups(0).ports(), SizeIs(2));
  EXPECT_EQ(response.groups(0).ports(0).port(), 1u);
  EXPECT_EQ(response.groups(0).ports(0).port_name(), "vx0000000000001");
  EXPECT_FALSE(response.groups(0).elsewhere());
  EXPECT_EQ(response.groups(1).group(), "ff0e::101");
  EXPECT_THAT(response.groups(1).ports(), IsEmpty());
  EXPECT_TRUE(response.groups(1).elsewhere());

  const auto clouds = List(SampleNode(), v1::ListCloudsRequest());
  const v1::Snooping& snooping = clouds.clouds(0).snooping();
  EXPECT_EQ(snooping.group_count(), 2u);
  EXPECT_EQ(snooping.igmp_querier(), "this agent");
  EXPECT_EQ(snooping.mld_querier(), "router fe80::1 (peer 192.0.2.2:14790)");
  EXPECT_EQ(snooping.unsure_port_count(), 2u);
  EXPECT_EQ(snooping.router_port_count(), 1u);
  EXPECT_EQ(snooping.withheld(), 77u);
  EXPECT_FALSE(clouds.clouds(1).has_snooping());
}

TEST(Filter, TakesTheLocatorToo) {
  const auto request = Pages<v1::ListFdbRequest>(0, "", "vxvde://239.1.2.3/vni=42");
  EXPECT_THAT(List(SampleNode(), request).entries(), SizeIs(4));
  EXPECT_THAT(List(SampleNode(), Pages<v1::ListFdbRequest>(0, "", "green")).entries(), IsEmpty());
}

TEST(Filter, UnknownCloudIsNamedBesideTheKnownOnes) {
  const auto response = ToResponse(SampleNode(), Pages<v1::ListFdbRequest>(0, "", "bleu"));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("'bleu'"));
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("blue, green"));
}

// Every list, with one row a page: each row appears once, in the order of the whole list.
template <typename Request, typename Rows>
void ExpectPagesAddUp(Rows rows) {
  const NodeSnapshot node = SampleNode();
  std::vector<std::string> whole;
  for (const auto& row : rows(List(node, Request()))) whole.push_back(row.SerializeAsString());
  ASSERT_THAT(whole, SizeIs(testing::Gt(1u)));

  std::vector<std::string> paged;
  Request request;
  request.set_page_size(1);
  do {
    const auto response = List(node, request);
    ASSERT_THAT(rows(response), SizeIs(1));
    paged.push_back(rows(response)[0].SerializeAsString());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty() && paged.size() <= whole.size());
  EXPECT_EQ(paged, whole);
}

TEST(Paging, AddsUp) {
  ExpectPagesAddUp<v1::ListCloudsRequest>([](const auto& response) { return response.clouds(); });
  ExpectPagesAddUp<v1::ListPortsRequest>([](const auto& response) { return response.ports(); });
  ExpectPagesAddUp<v1::ListPeersRequest>([](const auto& response) { return response.peers(); });
  ExpectPagesAddUp<v1::ListFdbRequest>([](const auto& response) { return response.entries(); });
  ExpectPagesAddUp<v1::ListGroupsRequest>([](const auto& response) { return response.groups(); });
  ExpectPagesAddUp<v1::ListDropsRequest>([](const auto& response) { return response.drops(); });
}

// Pages of stations. Only the stations that a page needs are requested.
TEST(Paging, OfStationsAddsUpWithWhatIsAskedForEachPage) {
  FakeNode view;
  view.node.clouds[1].state.stations = {{Mac(2), PortId{7}, false, 1s}, {Mac(7), PortId{7}, true}};
  for (const char* filter : {"", "blue", "vxvde://239.1.2.4"}) {
    const auto whole = List(view.node, Pages<v1::ListFdbRequest>(0, "", filter));
    for (int size = 1; size <= 7; ++size) {
      v1::ListFdbResponse all;
      auto request = Pages<v1::ListFdbRequest>(size, "", filter);
      do {
        NodeSnapshot node = view.Snapshot();
        AddStations(view, request, node);
        size_t asked = 0;
        for (const CloudInfo& cloud : node.clouds) asked += cloud.state.stations.size();
        EXPECT_LE(asked, static_cast<size_t>(size) + 1);
        const auto page = List(node, request);
        all.MergeFrom(page);
        request.set_page_token(page.next_page_token());
      } while (!request.page_token().empty() && all.entries_size() < 100);
      all.clear_next_page_token();
      EXPECT_EQ(all.SerializeAsString(), whole.SerializeAsString()) << filter << " by " << size;
    }
  }
}

TEST(Paging, GoesOnWhenTheLastRowHasGone) {
  NodeSnapshot node = SampleNode();
  const auto first = List(node, Pages<v1::ListFdbRequest>(2));
  ASSERT_EQ(first.entries(1).mac(), Mac(3).ToString());
  auto& stations = node.clouds[0].state.stations;
  stations.erase(stations.begin() + 1);

  const auto second = List(node, Pages<v1::ListFdbRequest>(2, first.next_page_token()));
  ASSERT_THAT(second.entries(), SizeIs(2));
  EXPECT_EQ(second.entries(0).mac(), Mac(8).ToString());
  EXPECT_EQ(second.next_page_token(), "");
}

TEST(Paging, SizeZeroIsTheDefaultAndLargeOnesAreCut) {
  NodeSnapshot node = SampleNode();
  auto& stations = node.clouds[0].state.stations;
  stations.clear();
  for (int i = 0; i < kMaxPageSize + 1; ++i) {
    const MacAddress mac({2, 0, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)});
    stations.push_back({mac, PortId{1}, false, 1s});
  }
  EXPECT_THAT(List(node, Pages<v1::ListFdbRequest>(0)).entries(), SizeIs(kDefaultPageSize));
  const auto most = List(node, Pages<v1::ListFdbRequest>(1 << 30));
  EXPECT_THAT(most.entries(), SizeIs(kMaxPageSize));
  EXPECT_NE(most.next_page_token(), "");
}

TEST(Paging, RefusesWhatDoesNotBelongToTheRequest) {
  const NodeSnapshot node = SampleNode();
  const std::string token = List(node, Pages<v1::ListFdbRequest>(1)).next_page_token();
  const auto code = [&](const auto& request) { return ToResponse(node, request).status().code(); };
  EXPECT_EQ(code(Pages<v1::ListFdbRequest>(1, token)), absl::StatusCode::kOk);
  EXPECT_EQ(code(Pages<v1::ListFdbRequest>(-1)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Pages<v1::ListFdbRequest>(1, "%%%")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Pages<v1::ListFdbRequest>(1, "AAAA")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Pages<v1::ListFdbRequest>(1, token, "blue")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Pages<v1::ListPeersRequest>(1, token)), absl::StatusCode::kInvalidArgument);
}

TEST(Events, HaveAllTheirParts) {
  SwitchEvent event{SwitchEvent::Kind::kStationMoved};
  event.peer = Peer{IpAddress::V4(192, 0, 2, 2), 14790};
  event.mac = Mac(8);
  ExpectProto(ToEvent(event, "blue", 1700000000s + 1ms), R"(
    time { seconds: 1700000000 nanos: 1000000 }
    type: STATION_MOVED cloud: "blue" peer: "192.0.2.2:14790" mac: "02:00:5e:10:00:08")");

  SwitchEvent failed{SwitchEvent::Kind::kPortFailed};
  failed.port = PortId{3};
  ExpectProto(ToEvent(failed, "blue", 1s), R"(
    time { seconds: 1 } type: PORT_FAILED cloud: "blue" port: 3)");
}

TEST(Ipam, ShowsPoolsAddressesAndConflictsWithTheirOwners) {
  const absl::StatusOr<v1::Ipam> ipam = ToResponse(SampleNode(), v1::GetIpamRequest());
  ASSERT_TRUE(ipam.ok()) << ipam.status();
  ExpectProto(*ipam, R"(
    pools { cloud: "blue" subnet: "10.42.0.0/16" usable: 65534 leased: 1 occupied: 1 spare: 1
            others: 9 exhausted: true }
    addresses { cloud: "blue" address: "10.42.0.7" use: LEASED lease: "0000000000001"
                owner: "default/web-0" mac: "02:00:5e:10:00:01" age { seconds: 120 } }
    addresses { cloud: "blue" address: "10.42.0.8" use: OCCUPIED lease: "0000000000003"
                owner: "c3" mac: "02:00:5e:10:00:03" age { seconds: 60 } }
    addresses { cloud: "blue" address: "10.42.0.9" use: SPARE mac: "02:00:5e:10:00:a0"
                age { seconds: 5 } }
    conflicts { cloud: "blue" address: "10.42.0.7" lease: "0000000000001" owner: "default/web-0"
                mac: "02:00:5e:10:00:01" other_mac: "02:00:5e:10:00:b0"
                other_where: "peer 192.0.2.2:14790" count: 12
                first { seconds: 90 } last { seconds: 2 } }
    counters { cloud: "blue" claims: 5 taken: 2 exhausted: 1 conflicts: 4 })");

  v1::GetIpamRequest request;
  request.set_cloud("green");
  EXPECT_EQ(ToResponse(SampleNode(), request)->pools_size(), 0);
  request.set_cloud("vxvde://239.1.2.3/vni=42");
  EXPECT_EQ(ToResponse(SampleNode(), request)->pools_size(), 1);
  request.set_cloud("none");
  EXPECT_EQ(ToResponse(SampleNode(), request).status().code(), absl::StatusCode::kNotFound);
}

TEST(Explain, NamesTheCloudAndThePlaces) {
  const NodeSnapshot node = SampleNode();
  Explanation explanation;
  explanation.verdict.action = Verdict::Action::kToPeer;
  explanation.verdict.peer = Peer{IpAddress::V4(192, 0, 2, 2), 14790};
  explanation.from = PortId{1};
  explanation.source_known = true;
  explanation.reasons = {"One.", "Two."};
  explanation.fast = "Three.";
  ExpectProto(ToResponse(explanation, node, "vxvde://239.1.2.3/vni=42", Mac(1), Mac(8)), R"(
    cloud: "blue" source: "02:00:5e:10:00:01" destination: "02:00:5e:10:00:08"
    action: TO_PEER to { peer: "192.0.2.2:14790" }
    from { port: 1 port_name: "vx0000000000001" }
    source_known: true reasons: "One." reasons: "Two." fast: "Three.")");

  explanation.verdict = {Verdict::Action::kDrop, Drop::kHairpin, PortId::kNone, {}};
  const auto drop = ToResponse(explanation, node, "blue", Mac(1), Mac(8));
  EXPECT_EQ(drop.action(), v1::ExplainResponse::DROP);
  EXPECT_EQ(drop.drop().reason(), "hairpin");
  EXPECT_FALSE(drop.has_to());
}

}  // namespace
}  // namespace vxvde
