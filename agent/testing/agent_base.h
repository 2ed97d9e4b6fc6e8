// AgentBase: what every part of an agent is built on, for tests of one part: a loop, a switch, a
// run-dir, the current configuration and the joined clouds, on sockets and links of the test. The
// whole agent is built by agent/node.

#ifndef VXVDE_AGENT_TESTING_AGENT_BASE_H_
#define VXVDE_AGENT_TESTING_AGENT_BASE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/base/log.h"
#include "agent/clouds/joined_clouds.h"
#include "agent/config/current_config.h"
#include "agent/kernel/links.h"
#include "agent/store/store.h"
#include "gtest/gtest.h"
#include "plugin/os/event_loop.h"
#include "plugin/os/task_scope.h"
#include "plugin/switch.h"

namespace vxvde {

struct AgentBase {
  AgentBase(SwitchSockets sockets, Links links_of_test, const std::string& run_dir,
            Config first_config, FastPath* fast = nullptr)
      : log([this](LogLevel, const std::string& line) { lines.push_back(line); }),
        config(std::move(first_config)),
        loop(*EventLoop::Create()),
        the_switch(loop.get(), std::move(sockets), fast),
        store(*Store::Open(run_dir)),
        links(std::move(links_of_test)),
        clouds(&the_switch, &store, &log, &links, &config) {}

  // One turn after another, until `done`. Once for each agent: a loop that was stopped does not run
  // again.
  void RunUntil(const std::function<bool()>& done) {
    bool held = false;
    Timer poll(loop.get());
    poll.Every(std::chrono::milliseconds(1), [&] {
      held = held || done();
      if (held) loop->Stop();
    });
    loop->Run();
    EXPECT_TRUE(held) << "the loop had been stopped before";
  }

  std::vector<std::string> lines;  // of the log
  Log log;
  CurrentConfig config;
  std::unique_ptr<EventLoop> loop;
  Switch the_switch;
  Store store;
  Links links;
  JoinedClouds clouds;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_TESTING_AGENT_BASE_H_
