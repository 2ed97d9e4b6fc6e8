#include "plugin/os/conntrack.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A namespace with a link to nowhere, where each datagram is tracked; those to port 5000 are
// translated.
class ConntrackTest : public testing::Test {
 protected:
  ConntrackTest() {
    netns_.Shell("ip link add d0 type veth peer name d1; ip link set d1 up");
    netns_.SetUp("d0", "192.0.2.1/24");
    netns_.Shell("ip addr add 2001:db8::1/64 dev d0 nodad; ip link set lo up");
    // `dnat ip to` alone has IPv4 tracked, `ct state` both families.
    netns_.Shell(
        "nft 'table inet t { chain c { type nat hook output priority -100; "
        "ct state established accept; udp dport 5000 dnat ip to 192.0.2.7:53; }; }'");
  }
  void Send(const std::string& to, int port) {
    netns_.Shell("bash -c 'echo hello > /dev/udp/" + to + "/" + std::to_string(port) + "'");
  }
  // "DESTINATION PORT TARGET PORT" of each flow that is offered.
  std::vector<std::string> Delete(const std::set<uint16_t>& ports, bool stale) {
    std::vector<std::string> seen;
    netns_.Run([&] {
      const int deleted = ValueOrDie(DeleteUdpFlows(ports, [&](const UdpFlow& flow) {
        seen.push_back(flow.destination.ToString() + " " + std::to_string(flow.port) + " " +
                       flow.target.ToString() + " " + std::to_string(flow.target_port));
        return stale;
      }));
      EXPECT_EQ(deleted, stale ? static_cast<int>(seen.size()) : 0);
    });
    return seen;
  }

  const TestNetNs netns_;
};

TEST_F(ConntrackTest, FlowsOfAPortAreFoundAndDeleted) {
  Send("192.0.2.9", 5000);
  Send("192.0.2.9", 5001);
  Send("2001:db8::9", 5001);
  EXPECT_THAT(Delete({5000}, false), ElementsAre("192.0.2.9 5000 192.0.2.7 53"));
  EXPECT_THAT(Delete({5000}, true), ElementsAre("192.0.2.9 5000 192.0.2.7 53"));
  EXPECT_THAT(Delete({5000}, true), IsEmpty());
  EXPECT_THAT(Delete({5000, 5001, 5002}, true),
              ElementsAre("192.0.2.9 5001 192.0.2.9 5001", "2001:db8::9 5001 2001:db8::9 5001"));
  EXPECT_THAT(Delete({5000, 5001, 5002}, true), IsEmpty());
}

TEST_F(ConntrackTest, NothingIsAskedWithoutPorts) { EXPECT_THAT(Delete({}, true), IsEmpty()); }

}  // namespace
}  // namespace vxvde
