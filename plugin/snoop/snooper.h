// Snooper: which ports of one cloud want which multicast group, learned by listening to what hosts
// and routers say (RFC 4541), and when to ask them. Pure: frames and time in, audiences and
// questions out. Its clock is Tick's: a second more or less does not matter here.
//
// It decides about this node's own ports. What goes to other members goes to all of them, as ever:
// plain ones hear the underlay's one group and know nothing of snooping.
//
// Invariants:
//   I1  A port is left out only when it is known what it wants: it was asked kAsks times since it
//       was added and had time to answer, all its answers found room, and no router is behind it.
//   I2  A group is only ever kept from a port when somebody, here or elsewhere, said that he wants
//       it: who does not speak IGMP or MLD still gets what nobody speaks of.
//   I3  Everybody gets 224.0.0.0/24, IPv6 groups of link-local scope, and what is no IP multicast.
//   I4  Each port is asked at least every kQuiet + kJitter, and an answer counts for longer.
//   I5  Tables are bounded. Where there is no room, the port concerned gets everything.

#ifndef VXVDE_PLUGIN_SNOOP_SNOOPER_H_
#define VXVDE_PLUGIN_SNOOP_SNOOPER_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "plugin/base/ids.h"
#include "plugin/base/ip_address.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/fdb/fdb.h"
#include "plugin/wire/membership.h"

namespace vxvde {

class Snooper {
 public:
  // RFC 3376, section 8, and RFC 3810, section 9.
  static constexpr Duration kQueryInterval = std::chrono::seconds(125);
  static constexpr Duration kResponse = std::chrono::seconds(10);
  // So long after its last question a querier is taken for gone, the RFCs' 255 s; then the agents
  // go on, in the order of their jitter.
  static constexpr Duration kQuiet = std::chrono::seconds(255);
  static constexpr Duration kJitter = std::chrono::seconds(10);
  // Who gives hosts more time to answer is no querier: I4.
  static constexpr Duration kMostResponse = std::chrono::seconds(20);
  // So long after it has come an agent waits for the question of another one.
  static constexpr Duration kListen = std::chrono::seconds(130);
  // That somebody wants a group counts for so long. More than the RFCs' 260 s: I4.
  static constexpr Duration kLife = std::chrono::seconds(280);
  // The first questions, to one port or by a new querier, and those to a port where somebody may
  // have left a group: so many, so far apart, to be answered within a second.
  static constexpr int kAsks = 2;
  static constexpr Duration kBetweenAsks = std::chrono::seconds(2);
  static constexpr Duration kQuickResponse = std::chrono::seconds(1);
  static constexpr Duration kAfterAsks = std::chrono::seconds(2);  // then the answers are there
  static constexpr Duration kLeaveLife = std::chrono::seconds(8);  // unless it is said again

  static constexpr size_t kMostGroups = 4096;
  static constexpr size_t kMostGroupsOfPort = 512;
  static constexpr size_t kMostMemberships = 65'536;

 private:
  struct Member {
    PortId port;
    Instant until;  // unless it is said again
  };
  // A group that somebody has said he wants (I2).
  struct Group {
    std::vector<Member> members;  // sorted by port; some may be over
    Instant elsewhere{};          // until then other members want it
    Instant used;                 // last said, or last frame

    // The first that is not before `port`.
    std::vector<Member>::iterator At(PortId port);
    bool Has(PortId port, Instant now);
  };

 public:
  // `self`: a station, from which questions are asked; agents are told apart by it.
  Snooper(const MacAddress& self, Instant now);

  void AddPort(PortId port);
  void RemovePort(PortId port);

  // Whom a flooded frame is for; valid until the next call of Hear, Tick, AddPort or RemovePort.
  class Audience {
   private:
    friend class Snooper;
    enum class Kind { kAll, kMembers, kRouters };
    Kind kind = Kind::kAll;
    bool v6 = false;
    Group* group = nullptr;
  };
  // `frame` came from `from`, and is to be flooded. Learns what it says. `checksum`: its checksums
  // are complete.
  Audience Hear(std::span<const uint8_t> frame, bool checksum, const Location& from);
  // Is it for this port? Counts if not.
  bool IsFor(const Audience& audience, PortId port);

  // A general query to be sent.
  struct Question {
    bool v6 = false;
    std::optional<PortId> port;  // nullopt: to all ports and all members
    Duration response{};
  };
  // To be called every second. `now` never runs backwards.
  std::vector<Question> Tick(Instant now);

  // Who asks all members in one family. Neither ours nor a `source`: not heard yet.
  struct Querier {
    bool ours = false;
    IpAddress source;  // of its IP packets; 0.0.0.0 of agents in IPv4
    std::optional<MacAddress> mac;
    std::optional<Location> where;
    bool is_agent = false;
    Duration idle{};  // since its last question
  };
  struct GroupRow {
    IpAddress group;
    std::vector<PortId> ports;  // that want it, by number
    bool elsewhere = false;     // another member's station wants it
  };
  struct State {
    std::array<Querier, 2> querier;  // of IGMP, of MLD
    std::vector<GroupRow> groups;    // by address
    std::vector<PortId> routers;     // behind which routers are: they get every group
    std::vector<PortId> unsure;      // that get every group because it is not known what they want
    uint64_t withheld = 0;           // copies of frames that were not sent to a port
  };
  State Snapshot() const;

 private:
  struct Port {
    int asks_left = kAsks;
    Instant next_ask;                    // not before
    std::optional<Instant> known;        // from then on (I1)
    std::array<Instant, 2> router = {};  // until then one is behind it, by family
    Instant overfull = {};               // until then there may be answers without room (I5)
    size_t memberships = 0;
  };
  struct Asker {
    bool ours = false;
    Instant next;        // ours: when to ask; else when the other has been silent for too long
    int quick_left = 0;  // of ours
    std::optional<Querier> other;
    Instant heard;  // the other
  };

  void Learn(const IpAddress& to, const MacAddress& mac, const Location& from);
  void OnQuery(const IpAddress& to, const MacAddress& mac, const Location& from);
  void OnRecord(const Membership::Record& record, const Location& from);
  void OnJoin(Port& port, PortId id, const IpAddress& group);
  void OnLeave(Port& port, PortId id, const IpAddress& group);
  void MarkRouter(const Location& from, bool v6);
  void Ask(Port& port, PortId id, std::vector<Question>& out);
  void AskAll(Asker& asker, bool v6, std::vector<Question>& out);
  void Sweep();
  bool IsSure(const Port& port) const;

  MacAddress self_;
  Duration jitter_;
  Instant now_;  // of the last Tick
  absl::flat_hash_map<PortId, Port> ports_;
  absl::flat_hash_map<IpAddress, Group> groups_;
  std::array<Asker, 2> askers_;
  size_t memberships_ = 0;
  uint64_t withheld_ = 0;
  Instant last_sweep_;
  Membership message_;  // kept for its memory
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_SNOOP_SNOOPER_H_
