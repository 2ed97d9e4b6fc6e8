// GroupWatch: decides whether the cloud's multicast works on the underlay. Pure.
//
// A member sees two signs of it. The kernel returns the datagrams that the member sends to the
// group, as long as it has joined on the uplink. And agents send a Hello to the group every 30 s:
// if one is silent there while it answers by unicast, its multicast does not arrive. The usual
// reason is a switch that snoops IGMP or MLD on a network without a querier: some minutes after the
// join it forgets the member. Joining again helps for some more minutes.
//
// Agents are known by the MAC in their Hello: one with two addresses may use either.

#ifndef VXVDE_PLUGIN_CLOUD_GROUP_WATCH_H_
#define VXVDE_PLUGIN_CLOUD_GROUP_WATCH_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "plugin/base/ids.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"

namespace vxvde {

class GroupWatch {
 public:
  // Three Hellos and a little more.
  static constexpr Duration kSilence = std::chrono::seconds(95);
  // An agent whose group Hello is missing for this long is asked by unicast, this often.
  static constexpr Duration kAskAfter = std::chrono::seconds(65);
  static constexpr Duration kAskPeriod = std::chrono::seconds(10);
  static constexpr size_t kMaxAsked = 64;  // in one turn
  // An agent that is silent by unicast too is forgotten after this.
  static constexpr Duration kForget = std::chrono::seconds(128);
  static constexpr size_t kMaxAgents = 1024;  // further ones are not watched
  // The pause after a join, doubled each time up to kMaxRejoin while nothing is heard.
  static constexpr Duration kRejoin = std::chrono::seconds(60);
  static constexpr Duration kMaxRejoin = std::chrono::minutes(16);

  explicit GroupWatch(Instant now) { Reset(now); }

  // Starts again, on another uplink.
  void Reset(Instant now);

  // A datagram was sent to the group; came back from it; came from another member by the group.
  void Sent(Instant now) { sent_ = now; }
  void Echo(Instant now) { echo_ = now; }
  void Heard(Instant now) { heard_ = now; }
  // A Hello came, by the group or by unicast, from an agent that repeats its Hello.
  void Hello(const MacAddress& agent, const Peer& from, bool by_group, Instant now);
  void Left(const Peer& peer);

  struct Advice {
    std::vector<Peer> ask;  // by unicast, for a Hello
    bool rejoin = false;
    bool changed = false;  // Problem() has come or gone
  };
  // To be called every second.
  Advice Tick(Instant now);

  // One sentence; empty: no problem is known.
  std::string Problem(Instant now) const;
  uint64_t rejoins() const { return rejoins_; }

 private:
  struct Agent {
    Peer peer;
    Instant heard;
    Instant by_group;  // the last group Hello, or the first of any kind
    Instant asked{};
  };
  bool NoEcho(Instant now) const { return sent_ > echo_ && now - echo_ >= kSilence; }

  absl::flat_hash_map<MacAddress, Agent> agents_;
  Instant sent_;
  Instant echo_;
  Instant heard_;
  Instant next_join_;
  Duration pause_{};
  size_t unheard_ = 0;       // agents
  bool had_agents_ = false;  // since Reset, and they did not leave
  bool bad_ = false;
  uint64_t rejoins_ = 0;
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_CLOUD_GROUP_WATCH_H_
