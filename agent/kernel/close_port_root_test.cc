// Real links in temporary namespaces.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "agent/kernel/close_port.h"
#include "plugin/os/background_closer.h"
#include "plugin/os/netlink.h"
#include "plugin/os/port.h"
#include "plugin/os/testing.h"

namespace vxvde {
namespace {

bool Has(const TestNetNs& netns, const std::string& name) {
  return netns.OpenNetlink().GetLink(name).ok();
}

class ClosePortTest : public testing::Test {
 protected:
  // A veth pair with its host end as a port.
  ClosingPort Veth(bool with_link) {
    ConnectVeth(host_, "host0", pod_, "eth0");
    ClosingPort port;
    port.with_link = with_link;
    port.host_end = ValueOrDie(host_.OpenNetlink().GetLink("host0")).index;
    host_.Run([&] { port.io = ValueOrDie(OpenPacketPort(port.host_end)); });
    return port;
  }

  // A persistent tap in the pod, and its queue as a port.
  ClosingPort Tap(bool with_link) {
    UniqueFd tap;
    pod_.Run([&] { tap = ValueOrDie(OpenTap("eth0", /*persistent=*/true)); });
    ClosingPort port;
    port.with_link = with_link;
    port.io = ValueOrDie(OpenTapPort(std::move(tap)));
    return port;
  }

  // Runs it on a background thread, as the agent does, and waits for its completion.
  void Close(ClosingPort port) {
    host_.Run([&] {
      ValueOrDie(BackgroundCloser::Start())->CloseLater([port = std::move(port)]() mutable {
        ClosePort(std::move(port));
      });
    });
  }

  TestNetNs host_;
  TestNetNs pod_;
};

TEST_F(ClosePortTest, AVethPairGoesWithItsPort) {
  Close(Veth(/*with_link=*/true));
  EXPECT_FALSE(Has(host_, "host0"));
  EXPECT_FALSE(Has(pod_, "eth0"));
}

TEST_F(ClosePortTest, ATapGoesWithItsPort) {
  Close(Tap(/*with_link=*/true));
  EXPECT_FALSE(Has(pod_, "eth0"));
}

TEST_F(ClosePortTest, AnInterfaceThatThePluginDeletesIsLeft) {
  Close(Veth(/*with_link=*/false));
  EXPECT_TRUE(Has(host_, "host0"));
  pod_.OpenNetlink().DeleteLink(ValueOrDie(pod_.OpenNetlink().GetLink("eth0")).index).IgnoreError();
  Close(Tap(/*with_link=*/false));
  EXPECT_TRUE(Has(pod_, "eth0"));
}

// The name may already be that of the next ADD.
TEST_F(ClosePortTest, ALinkThatIsGoneIsNotMistakenForTheNextOfItsName) {
  ClosingPort port = Veth(/*with_link=*/true);
  ASSERT_TRUE(host_.OpenNetlink().DeleteLink(port.host_end).ok());
  ConnectVeth(host_, "host0", pod_, "eth0");
  Close(std::move(port));
  EXPECT_TRUE(Has(host_, "host0"));
}

}  // namespace
}  // namespace vxvde
