// Scrapes the real HTTP server, and compares the result with docs/OPERATIONS.md.

#include "agent/status/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "agent/status/testing/fake_node.h"
#include "plugin/base/version.h"

namespace vxvde {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Get(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string reply;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) reply.append(buffer, n);
  close(fd);
  return reply;
}

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() {
    auto server = MetricsServer::Start(loop_.loop(), &node_, "127.0.0.1:0");
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  FakeNode node_;
  LoopThread loop_;
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsTest, ShowsTheNode) {
  const std::string text = Get(server_->port());
  EXPECT_THAT(text, HasSubstr("200 OK"));
  for (const std::string line : {
           "vxvde_up 1",
           "vxvde_uptime_seconds 90061.5",
           "vxvde_attachment_problems 1",
           "vxvde_nftables_problem{part=\"firewall\",reason=\"refused\"} 1",
           "vxvde_nftables_problem{part=\"watch\",reason=\"\"} 0",
           "vxvde_cloud_info{cloud=\"blue\",vnl=\"vxvde://239.1.2.3/vni=42\",datapath=\"kernel\"} "
           "1",
           "vxvde_ports{cloud=\"blue\"} 2",
           "vxvde_ports{cloud=\"green\"} 0",
           "vxvde_peers{cloud=\"blue\"} 2",
           "vxvde_stations{cloud=\"blue\"} 4",
           "vxvde_station_moves_total{cloud=\"blue\"} 1",
           "vxvde_mac_conflicts_total{cloud=\"blue\"} 2",
           "vxvde_stations_not_learned_total{cloud=\"blue\"} 3",
           "vxvde_station_holds_total{cloud=\"blue\"} 4",
           "vxvde_peers_not_kept_total{cloud=\"blue\"} 5",
           "vxvde_port_blocked{cloud=\"blue\",port=\"vx0000000000001\"} 0",
           "vxvde_port_blocked{cloud=\"blue\",port=\"c3/eth0\"} 1",
           "vxvde_group_frames_total{cloud=\"blue\",direction=\"from_group\"} 10",
           "vxvde_group_bytes_total{cloud=\"blue\",direction=\"to_group\"} 2000",
           "vxvde_group_problem{cloud=\"blue\"} 1",
           "vxvde_group_problem{cloud=\"green\"} 0",
           "vxvde_group_rejoins_total{cloud=\"blue\"} 6",
           "vxvde_fastpath_ports{cloud=\"blue\"} 1",
           "vxvde_fastpath_peers{cloud=\"blue\"} 1",
           "vxvde_fastpath_slow_total{cloud=\"blue\",reason=\"group\"} 30",
           "vxvde_fastpath_slow_total{cloud=\"blue\",reason=\"odd\"} 0",
           "vxvde_fastpath_obstructed{cloud=\"blue\",where=\"uplink\"} 0",
           "vxvde_fastpath_obstructed{cloud=\"blue\",where=\"port\"} 1",
           "vxvde_fastpath_obstructed{cloud=\"green\",where=\"port\"} 0",
           "vxvde_multicast_groups{cloud=\"blue\"} 2",
           "vxvde_multicast_unsure_ports{cloud=\"blue\"} 2",
           "vxvde_multicast_withheld_total{cloud=\"blue\"} 77",
           "vxvde_port_frames_total{cloud=\"blue\",port=\"vx0000000000001\",direction=\"from_pod\"}"
           " "
           "100",
           "vxvde_port_bytes_total{cloud=\"blue\",port=\"vx0000000000001\",direction=\"to_pod\"} "
           "1300000000",
           "vxvde_drops_total{cloud=\"blue\",reason=\"wrong-vni\"} 7",
           "vxvde_drops_total{cloud=\"blue\",reason=\"short-datagram\"} 0",
           "vxvde_drops_total{cloud=\"blue\",port=\"vx0000000000001\",reason=\"port-full\"} 5",
           "vxvde_ipam_addresses{cloud=\"blue\",subnet=\"10.42.0.0/16\",use=\"leased\"} 1",
           "vxvde_ipam_addresses{cloud=\"blue\",subnet=\"10.42.0.0/16\",use=\"spare\"} 1",
           "vxvde_ipam_others{cloud=\"blue\",subnet=\"10.42.0.0/16\"} 9",
           "vxvde_ipam_claims_total{cloud=\"blue\"} 5",
           "vxvde_ipam_taken_total{cloud=\"blue\"} 2",
           "vxvde_ipam_exhausted_total{cloud=\"blue\"} 1",
           "vxvde_address_conflicts_total{cloud=\"blue\"} 4",
           "vxvde_address_conflicts{cloud=\"blue\"} 1",
           "# TYPE vxvde_drops_total counter",
           "# TYPE vxvde_ports gauge",
       }) {
    EXPECT_THAT(text, HasSubstr(line + "\n"));
  }
  EXPECT_THAT(text, HasSubstr(absl::StrCat("vxvde_build_info{version=\"", kVersion, "\"} 1")));
  EXPECT_THAT(text, Not(HasSubstr("reason=\"none\"")));
  EXPECT_THAT(text, Not(HasSubstr("vxvde_fastpath_ports{cloud=\"green\"}")));
  EXPECT_THAT(text, Not(HasSubstr("vxvde_multicast_groups{cloud=\"green\"}")));
}

TEST_F(MetricsTest, AHeldLoopIsDown) {
  loop_.Hold();
  const std::string text = Get(server_->port());
  EXPECT_THAT(text, HasSubstr("\nvxvde_up 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("vxvde_ports{")));
}

TEST_F(MetricsTest, ATakenAddressIsAStatus) {
  const std::string listen = absl::StrCat("127.0.0.1:", server_->port());
  const auto second = MetricsServer::Start(loop_.loop(), &node_, listen);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(listen));
  EXPECT_FALSE(MetricsServer::Start(loop_.loop(), &node_, "nonsense").ok());
}

TEST_F(MetricsTest, EndsWithoutAnotherPollOfItsServer) {
  Get(server_->port());
  const Instant start = Clock::now();
  server_.reset();
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(1));
}

std::string Operations() {
  std::ifstream file("docs/OPERATIONS.md");
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(MetricsTest, EachIsInTheManual) {
  const std::string manual = Operations();
  std::set<std::string> names;
  for (const absl::string_view line : absl::StrSplit(Get(server_->port()), '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() > 2 && words[1] == "TYPE" && absl::StartsWith(words[2], "vxvde_")) {
      names.insert(words[2]);
    }
  }
  EXPECT_GE(names.size(), 15u);
  for (const std::string& name : names) {
    EXPECT_THAT(manual, HasSubstr(absl::StrCat("| `", name)));
  }
}

TEST(DropsInTheManual, EachHasItsRow) {
  const std::string manual = Operations();
  for (size_t i = 1; i < kDropReasons; ++i) {  // 0 is not a drop
    EXPECT_THAT(manual, HasSubstr(absl::StrCat("\n| `", DropName(static_cast<Drop>(i)), "` |")));
  }
}

TEST(SlowReasonsInTheManual, EachHasItsRow) {
  std::string manual = Operations();
  manual = manual.substr(manual.find("\n## Datapath\n"));
  manual.resize(manual.find("\n## Metrics\n"));
  for (size_t i = 0; i < kSlowReasons; ++i) {
    EXPECT_THAT(manual, HasSubstr(absl::StrCat("\n| `", SlowName(static_cast<Slow>(i)), "` |")));
  }
}

}  // namespace
}  // namespace vxvde
