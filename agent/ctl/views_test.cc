#include "agent/ctl/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace vxvde {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(Watch, LinesStandUnderTheHeader) {
  EXPECT_EQ(WatchHeader(), "TIME          EVENT          CLOUD         WHAT\n");
  v1::WatchResponse response;
  v1::Event* event = response.mutable_event();
  event->mutable_time()->set_seconds(3661);
  event->mutable_time()->set_nanos(5000000);
  event->set_type(v1::Event::STATION_MOVED);
  event->set_cloud("blue");
  event->set_mac("02:00:5e:10:00:08");
  event->set_peer("192.0.2.2:14790");
  EXPECT_EQ(WatchLine(response, absl::UTCTimeZone()),
            "01:01:01.005  station moved  blue          02:00:5e:10:00:08 at peer "
            "192.0.2.2:14790\n");
  response.set_lost(3);
  EXPECT_EQ(WatchLine(response, absl::UTCTimeZone()),
            "-             lost           -             3 events, because they came too fast\n");
}

TEST(Watch, EveryEventHasAName) {
  for (int type = v1::Event::CLOUD_JOINED; type <= v1::Event::Type_MAX; ++type) {
    v1::WatchResponse response;
    if (!v1::Event::Type_IsValid(type)) continue;
    response.mutable_event()->set_type(static_cast<v1::Event::Type>(type));
    EXPECT_THAT(WatchLine(response, absl::UTCTimeZone()), testing::Not(HasSubstr("?")));
  }
}

TEST(Explain, ShowsEachVerdict) {
  v1::ExplainResponse response;
  response.set_cloud("blue");
  response.set_source("02:00:5e:10:00:01");
  response.set_destination("ff:ff:ff:ff:ff:ff");
  response.mutable_from()->set_port(1);
  response.add_reasons("It is a broadcast.");
  response.set_action(v1::ExplainResponse::FLOOD);
  EXPECT_EQ(ExplainView(response),
            "In cloud blue, from 02:00:5e:10:00:01 (unknown; assumed to be at port 1) to "
            "ff:ff:ff:ff:ff:ff:\n"
            "  - It is a broadcast.\n"
            "Verdict: flood, to all other ports and to the group\n");
  response.set_action(v1::ExplainResponse::DROP);
  response.mutable_drop()->set_reason("hairpin");
  response.mutable_drop()->set_text("Not ours.");
  EXPECT_THAT(ExplainView(response), EndsWith("Verdict: drop, hairpin: Not ours.\n"));
  response.set_action(v1::ExplainResponse::TO_PEER);
  response.mutable_to()->set_peer("192.0.2.2:14790");
  EXPECT_THAT(ExplainView(response), EndsWith("Verdict: to peer 192.0.2.2:14790\n"));
  response.set_fast("It is left to the agent.");
  EXPECT_THAT(ExplainView(response), EndsWith("14790\nKernel: It is left to the agent.\n"));
}

TEST(Status, SaysWhyItIsEmpty) {
  v1::Node node;
  node.set_name("n1");
  EXPECT_THAT(StatusView(node, {}, {}, false), HasSubstr("No cloud is joined"));
}

TEST(Status, NamesTheProgramThatObstructsAPort) {
  v1::ListPortsResponse ports;
  v1::Port& port = *ports.add_ports();
  port.set_id(3);
  port.set_name("vx1");
  port.set_datapath("user");
  port.set_datapath_reason("tcx program 7 comes first");
  const auto line = HasSubstr("Datapath of port 3 vx1 is user: tcx program 7 comes first\n");
  EXPECT_THAT(StatusView({}, {}, ports, false), Not(line)) << "other reasons are in the wide view";
  port.set_obstructed(true);
  EXPECT_THAT(StatusView({}, {}, ports, false), line);
}

TEST(Yaml, KeepsTextText) {
  v1::FdbEntry entry;
  entry.set_mac("12:34:56:00:00:01");  // a number of base 60 without quotes
  entry.set_cloud("yes \"no\"");
  const std::string yaml = YamlOf(entry);
  EXPECT_THAT(yaml, HasSubstr("mac: \"12:34:56:00:00:01\"\n"));
  EXPECT_THAT(yaml, HasSubstr("cloud: \"yes \\\"no\\\"\"\n"));
}

TEST(Json, IsOneLineWhenAsked) {
  v1::Drop drop;
  drop.set_count(18446744073709551615u);
  EXPECT_EQ(JsonOf(drop, false),
            "{\"reason\":\"\",\"text\":\"\",\"count\":\"18446744073709551615\"}\n");
  EXPECT_THAT(JsonOf(drop, true), StartsWith("{\n \"reason\": \"\",\n"));
}

}  // namespace
}  // namespace vxvde
