// The program, run from a shell against a real server with a made-up node.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "agent/status/server.h"
#include "agent/status/testing/fake_node.h"
#include "plugin/base/version.h"

namespace vxvde {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

struct Ran {
  int exit_code = -1;
  std::string output;  // stdout and stderr
};

Ran Shell(const std::string& command) {
  Ran ran;
  FILE* pipe = popen((command + " 2>&1").c_str(), "re");
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) ran.output.append(buffer, n);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) ran.exit_code = WEXITSTATUS(status);
  return ran;
}

class VxvdectlTest : public testing::Test {
 protected:
  VxvdectlTest() {
    char pattern[] = "/tmp/vxvdectl_test.XXXXXX";
    directory_ = mkdtemp(pattern);
    auto server = StatusServer::Start(loop_.loop(), &node_, directory_ + "/status.sock");
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    server_->SetServing(true);
  }
  ~VxvdectlTest() override {
    loop_.Release();
    server_.reset();
    rmdir(directory_.c_str());
  }

  std::string Command(const std::string& arguments) const {
    return absl::StrCat("agent/vxvdectl --run-dir ", directory_, " ", arguments);
  }
  Ran Ctl(const std::string& arguments) const { return Shell(Command(arguments)); }
  Ran Reflect(const std::string& arguments) const {
    return Shell(absl::StrCat("/usr/bin/python3 tests/status/grpc_reflect.py unix:", directory_,
                              "/status.sock ", arguments));
  }

  std::string directory_;
  FakeNode node_;
  LoopThread loop_;
  std::unique_ptr<StatusServer> server_;
};

TEST_F(VxvdectlTest, TablesHaveAHeaderAndTheirRows) {
  Ran ran = Ctl("clouds");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.output, StartsWith("CLOUD  VNL  "));
  EXPECT_THAT(ran.output, HasSubstr("\nblue   vxvde://239.1.2.3/vni=42  eth1"));

  EXPECT_THAT(ran.output, ContainsRegex("\nblue .* eth1 +14790 +kernel "));
  EXPECT_THAT(ran.output, ContainsRegex("\ngreen .* user "));
  EXPECT_THAT(
      Ctl("clouds -o wide").output,
      AllOf(ContainsRegex(" 14790 +31790 +kernel .* group:30,moved:4 +2 +77 +2 +this agent .* 13 "),
            HasSubstr("no eBPF here\n")));

  ran = Ctl("ports");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.output, ContainsRegex("\nblue +1 .* 10.42.0.7/16,2001:db8:42::7/64 +kernel "));
  EXPECT_THAT(ran.output, ContainsRegex("\nblue +3 .* user "));
  EXPECT_THAT(Ctl("ports -o wide").output,
              AllOf(ContainsRegex(" GUARDED +WHY-THIS-DATAPATH"), HasSubstr("tcx program 7"),
                    ContainsRegex(" yes \\+00:00:5e:00:01:0a,\\+10.42.0.200 "), HasSubstr(" no ")));
  EXPECT_THAT(ran.output, HasSubstr("default/web-0"));
  EXPECT_THAT(ran.output, HasSubstr("1.3G"));
  EXPECT_THAT(ran.output, HasSubstr("no route to 239.9.9.9"));
  EXPECT_THAT(Ctl("ports -o wide").output, HasSubstr("1300000000"));
  EXPECT_THAT(Ctl("ports blue").output, Not(HasSubstr("red-net")));

  EXPECT_THAT(Ctl("peers").output, ContainsRegex("\nblue +192.0.2.2:14790 +kernel +2 "));
  EXPECT_THAT(Ctl("peers -o wide").output, ContainsRegex(":14790 +kernel +31790 +2 "));
  EXPECT_THAT(Ctl("peers").output, ContainsRegex("\\[2001:db8::2\\]:40000 +user "));
  EXPECT_THAT(Ctl("peers").output, ContainsRegex("\\[2001:db8::2\\]:40000 .* 250ms +20s\n"));
  EXPECT_THAT(Ctl("fdb").output,
              AllOf(ContainsRegex("\nblue +02:00:5e:10:00:08 +dynamic +peer 192.0.2.2:14790 +3s\n"),
                    ContainsRegex("\nblue +02:00:5e:10:00:03 +static +port 3 c3/eth0 +-\n")));
  EXPECT_THAT(Ctl("groups").output, ContainsRegex("\nblue +233.252.0.1 +- +1,3\n"));
  EXPECT_THAT(Ctl("groups -o wide").output,
              AllOf(HasSubstr("port 1 vx0000000000001,port 3 c3/eth0\n"),
                    ContainsRegex("\nblue +ff0e::101 +yes +-\n")));
  EXPECT_THAT(Ctl("drops").output, ContainsRegex("\nblue +port 1 vx0000000000001 +port-full +5 "));
}

TEST_F(VxvdectlTest, IpamShowsWhoHasWhatAndWhatIsWrong) {
  const Ran ran = Ctl("ipam");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.output, StartsWith("CLOUD  SUBNET  "));
  EXPECT_THAT(ran.output, ContainsRegex("\nblue +10.42.0.0/16 +65k +1 +1 +0 +1 +9  yes\n"));
  EXPECT_THAT(ran.output,
              ContainsRegex("\nblue +10.42.0.7 +leased +default/web-0 +02:00:5e:10:00:01 +2m\n"));
  EXPECT_THAT(ran.output, ContainsRegex("\nblue +10.42.0.7 +default/web-0 +02:00:5e:10:00:01 "
                                        "+02:00:5e:10:00:b0 +peer 192.0.2.2:14790 +12 +2s\n"));
  EXPECT_THAT(Ctl("ipam blue -o json").output,
              HasSubstr("\"otherWhere\": \"peer 192.0.2.2:14790\""));
  EXPECT_THAT(Ctl("ipam green").output, HasSubstr("subnets:"));
  EXPECT_EQ(Ctl("ipam none").exit_code, 1);
}

TEST_F(VxvdectlTest, StatusIsOneScreen) {
  const Ran ran = Ctl("status");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.output, StartsWith("Node n1: vxvde-agent 9.8.7, up 1d1h, loop answered in "));
  EXPECT_THAT(ran.output, HasSubstr("2 clouds, 2 ports, 2 peers, 4 stations, 13 drops, 1 port "));
  EXPECT_THAT(ran.output, HasSubstr("\nDatapath of green is user: no eBPF here\n"));
  EXPECT_THAT(ran.output, HasSubstr("\nCLOUD  VNL  "));
  EXPECT_THAT(ran.output, ContainsRegex("\nCLOUD +PORT  NAME"));
}

TEST_F(VxvdectlTest, AllPagesAreOneList) {
  loop_.Run([&] {
    auto& stations = node_.node.clouds[0].state.stations;
    stations.clear();
    for (int i = 0; i < 2500; ++i) {
      const MacAddress mac({2, 0, 0, 0, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)});
      stations.push_back({mac, PortId{1}, false, {}});
    }
  });
  const Ran ran = Shell(Command("fdb") + " | wc -l");
  EXPECT_EQ(ran.output, "2501\n");
}

TEST_F(VxvdectlTest, JsonAndYamlAreTheWholeReply) {
  const Ran json = Ctl("-o json peers");
  EXPECT_EQ(json.exit_code, 0);
  const Ran asked = Shell(Command("-o json peers") +
                          " | /usr/bin/python3 -c 'import json,sys; l = json.load(sys.stdin); "
                          "print(len(l[\"peers\"]), l[\"peers\"][0][\"address\"], "
                          "l[\"peers\"][1][\"idle\"], l[\"peers\"][1][\"stationCount\"])'");
  EXPECT_EQ(asked.output, "2 192.0.2.2:14790 0.250s 0\n");
  EXPECT_THAT(Ctl("fdb -o yaml").output,  // options may follow the command
              AllOf(StartsWith("entries:\n  - cloud: \"blue\"\n    mac: \"02:00:5e:10:00:01\"\n"),
                    HasSubstr("type: \"STATIC\"")));
  EXPECT_THAT(Ctl("-o yaml status").output, HasSubstr("stationCount: 4\n"));
}

TEST_F(VxvdectlTest, ExplainsTheVerdict) {
  const Ran ran = Ctl("explain blue 02:00:5E:10:00:08 02-00-5e-10-00-01");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.output, StartsWith("In cloud blue, from 02:00:5e:10:00:08 (peer 192.0.2.2:14790) "
                                     "to 02:00:5e:10:00:01:\n  - 02:00:5e:10:00:08 is behind"));
  EXPECT_THAT(ran.output, HasSubstr("\nVerdict: to port 1 vx0000000000001\n"
                                    "Kernel: It is redirected to port 1.\n"));
}

TEST_F(VxvdectlTest, ExitStatusTellsWhatKindOfFailure) {
  const std::string macs = " 02:00:5e:10:00:08 02:00:5e:10:00:01";
  Ran ran = Ctl("explain nothing" + macs);
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.output, HasSubstr("'nothing'"));
  EXPECT_EQ(Ctl("fdb nothing").exit_code, 1);

  EXPECT_EQ(Ctl("").exit_code, 2);
  EXPECT_EQ(Ctl("dance").exit_code, 2);
  EXPECT_EQ(Ctl("-o xml clouds").exit_code, 2);
  EXPECT_EQ(Ctl("clouds extra").exit_code, 2);
  ran = Ctl("explain blue 02:00:5e:10:00 02:00:5e:10:00:01");
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_THAT(ran.output, HasSubstr("02:00:5e:10:00"));

  ran = Shell("agent/vxvdectl --run-dir /nonexistent clouds");
  EXPECT_EQ(ran.exit_code, 3);
  EXPECT_THAT(ran.output, AllOf(HasSubstr("/nonexistent/status.sock"), HasSubstr("--run-dir")));
  server_->SetServing(false);
  EXPECT_EQ(Ctl("clouds").exit_code, 3);
}

TEST_F(VxvdectlTest, ALateAgentIsUnreachable) {
  loop_.Hold();
  const Ran ran = Ctl("status");
  EXPECT_EQ(ran.exit_code, 3);
  EXPECT_THAT(ran.output, HasSubstr("did not answer in time"));
}

TEST_F(VxvdectlTest, HelpAndVersion) {
  EXPECT_EQ(Shell("agent/vxvdectl --version").output, absl::StrCat("vxvdectl ", kVersion, "\n"));
  const Ran help = Shell("agent/vxvdectl --help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* word :
       {"status", "clouds", "ports", "peers", "fdb", "groups", "drops", "watch", "explain", "check",
        "gc", "--run-dir", "--address", "--output", "/run/vxvde", "Exit status"}) {
    EXPECT_THAT(help.output, HasSubstr(word));
  }
}

TEST_F(VxvdectlTest, WatchShowsALineAnEventUntilInterrupted) {
  for (const std::string output : {"table", "json"}) {
    // The shell prints the process to interrupt.
    FILE* pipe = popen(("echo $$; exec " + Command("-o " + output + " watch")).c_str(), "re");
    char buffer[4096];
    const auto line = [&] {
      return std::string(fgets(buffer, sizeof(buffer), pipe) ? buffer : "");
    };
    const pid_t pid = std::stoi(line());
    if (output == "table") {
      EXPECT_THAT(line(), StartsWith("TIME "));
    }
    EXPECT_THAT(line(), HasSubstr("n1"));  // the watch begins here
    loop_.Run([&] {
      SwitchEvent event{SwitchEvent::Kind::kStationAdded};
      event.mac = Mac(8);
      event.port = PortId{1};
      server_->Publish(event, "blue");
    });
    if (output == "table") {
      EXPECT_THAT(line(), ContainsRegex("^[0-9:]+\\.[0-9]+  station added +blue +02:00:5e:10:00:08 "
                                        "at port 1\n$"));
    } else {
      EXPECT_THAT(line(), AllOf(StartsWith("{\"event\":{"), HasSubstr("\"STATION_ADDED\""),
                                testing::EndsWith("}\n")));
    }
    kill(pid, SIGINT);
    EXPECT_EQ(line(), "");
    EXPECT_EQ(pclose(pipe), 0);
  }
}

TEST_F(VxvdectlTest, WatchEndsWithItsAgent) {
  FILE* pipe = popen((Command("watch") + " 2>&1").c_str(), "re");
  char buffer[4096];
  EXPECT_NE(fgets(buffer, sizeof(buffer), pipe), nullptr);  // the header
  EXPECT_NE(fgets(buffer, sizeof(buffer), pipe), nullptr);
  server_->Shutdown();
  std::string rest;
  while (fgets(buffer, sizeof(buffer), pipe) != nullptr) rest += buffer;
  EXPECT_EQ(WEXITSTATUS(pclose(pipe)), 3);
  EXPECT_THAT(rest, HasSubstr("vxvdectl: no answer from the agent"));
}

// A client that has nothing but Python's grpcio: see tests/status/grpc_reflect.py.
TEST_F(VxvdectlTest, ReflectionIsEnoughForAStranger) {
  const Ran services = Reflect("");
  EXPECT_EQ(services.exit_code, 0) << services.output;
  EXPECT_THAT(services.output, HasSubstr("vxvde.v1.Status GetNode ListClouds ListPorts ListPeers "
                                         "ListFdb ListDrops ListGroups GetIpam Watch Explain\n"));
  EXPECT_THAT(Reflect("grpc.health.v1.Health/Check").output, HasSubstr("\"SERVING\""));
  EXPECT_THAT(Reflect("GetNode").output, HasSubstr("\"name\": \"n1\""));
  EXPECT_THAT(Reflect("ListClouds").output, HasSubstr("\"vnl\": \"vxvde://239.1.2.3/vni=42\""));
  EXPECT_THAT(Reflect("ListPorts '{\"cloud\": \"blue\"}'").output, HasSubstr("\"web-0\""));
  EXPECT_THAT(Reflect("ListPeers").output, HasSubstr("\"address\": \"192.0.2.2:14790\""));
  EXPECT_THAT(Reflect("ListFdb '{\"pageSize\": 1}' --all").output,
              AllOf(HasSubstr("02:00:5e:10:00:01"), HasSubstr("02:00:5e:10:00:09")));
  const Ran unknown = Reflect("ListFdb '{\"cloud\": \"none\"}'");
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.output, HasSubstr("NOT_FOUND: no cloud 'none'"));
}

}  // namespace
}  // namespace vxvde
