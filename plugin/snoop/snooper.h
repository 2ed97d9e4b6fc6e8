// Snooper: knows the ports of one cloud that want a multicast group. It snoops IGMP and MLD (RFC
// 4541), and decides when to send queries. Pure: frames and time in, recipients and queries out.
// Its clock is that of Tick(), to a second.
//
// It decides about the ports of this node. Other members receive every group, because all of them
// are in the one group of the underlay.
//
// Invariants:
//   I1  A group is withheld from a port only when the port's memberships are known: it has been
//       sent kQueries queries and had time to answer, all its reports found room, and no router is
//       behind it.
//   I2  A group is withheld from a port only when a host, here or elsewhere, has reported it: hosts
//       that do not speak IGMP or MLD still get groups that no host reports.
//   I3  Every port receives 224.0.0.0/24, IPv6 groups of link-local scope, and frames that are not
//       IP multicast.
//   I4  Each port is queried at least every kQuiet + kJitter, and a report counts for longer.
//   I5  Tables are bounded. A port whose reports find no room receives everything.

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
#include "plugin/base/location.h"
#include "plugin/base/mac_address.h"
#include "plugin/base/time.h"
#include "plugin/snoop/snoop_state.h"
#include "plugin/wire/membership.h"

namespace vxvde {

class Snooper {
 public:
  // RFC 3376, section 8, and RFC 3810, section 9.
  static constexpr Duration kQueryInterval = std::chrono::seconds(125);
  static constexpr Duration kResponse = std::chrono::seconds(10);
  // After this long without a query (the RFCs' 255 s) the querier counts as gone, and agents take
  // over, in the order of their jitter.
  static constexpr Duration kQuiet = std::chrono::seconds(255);
  static constexpr Duration kJitter = std::chrono::seconds(10);
  // A querier that gives hosts more time to answer is ignored: I4.
  static constexpr Duration kMaxResponse = std::chrono::seconds(20);
  // A new agent waits this long for another agent's query.
  static constexpr Duration kListen = std::chrono::seconds(130);
  // A membership counts for this long. More than the RFCs' 260 s: I4.
  static constexpr Duration kLife = std::chrono::seconds(280);
  // Queries to a new port, by a new querier, and to a port where a host may have left a group:
  // their number, interval, and the time to answer them.
  static constexpr int kQueries = 2;
  static constexpr Duration kBetweenQueries = std::chrono::seconds(2);
  static constexpr Duration kQuickResponse = std::chrono::seconds(1);
  static constexpr Duration kAfterQueries = std::chrono::seconds(2);  // by then all have answered
  static constexpr Duration kLeaveLife = std::chrono::seconds(8);     // unless it is reported again

  static constexpr size_t kMaxGroups = 4096;
  static constexpr size_t kMaxGroupsOfPort = 512;
  static constexpr size_t kMaxMemberships = 65'536;

 private:
  struct Member {
    PortId port;
    Instant until;  // unless it is reported again
  };
  // A group that a host has reported (I2).
  struct Group {
    std::vector<Member> members;  // sorted by port; some may have expired
    Instant elsewhere{};          // until then hosts at other members want it
    Instant used;                 // last report, or last frame

    // The first member whose port is not below `port`.
    std::vector<Member>::iterator At(PortId port);
    bool Has(PortId port, Instant now);
  };

 public:
  // `self` is a station: the source of queries, which tells agents apart.
  Snooper(const MacAddress& self, Instant now);

  void AddPort(PortId port);
  void RemovePort(PortId port);

  // The ports that receive a flooded frame; valid until the next call of Hear, Tick, AddPort or
  // RemovePort.
  class Recipients {
   private:
    friend class Snooper;
    enum class Kind { kAll, kMembers, kRouters };
    Kind kind = Kind::kAll;
    bool v6 = false;
    Group* group = nullptr;
  };
  // Returns the recipients of `frame`, which came from `from`, and learns from it if it is IGMP or
  // MLD. `checksum`: its checksums are complete.
  Recipients Hear(std::span<const uint8_t> frame, bool checksum, const Location& from);
  // The port is one of them. If not, counts a frame as withheld.
  bool IsFor(const Recipients& recipients, PortId port);

  // A general query to send.
  struct Query {
    bool v6 = false;
    std::optional<PortId> port;  // nullopt: to all ports and all members
    Duration response{};
  };
  // To be called every second. `now` never runs backwards.
  std::vector<Query> Tick(Instant now);

  SnoopState Snapshot() const;

 private:
  struct Port {
    int queries_left = kQueries;
    Instant next_query;                  // not before
    std::optional<Instant> known;        // from then on (I1)
    std::array<Instant, 2> router = {};  // until then one is behind it, by family
    Instant overfull = {};               // until then there may be answers without room (I5)
    size_t memberships = 0;
  };
  struct Querier {
    bool ours = false;
    Instant next;        // own: the time to query; otherwise the end of waiting for the other
    int quick_left = 0;  // own queries at the short interval
    std::optional<SnoopState::Querier> other;
    Instant heard;  // the other's last query
  };

  void Learn(const IpAddress& to, const MacAddress& mac, const Location& from);
  void OnQuery(const IpAddress& to, const MacAddress& mac, const Location& from);
  void OnRecord(const Membership::Record& record, const Location& from);
  void OnJoin(Port& port, PortId id, const IpAddress& group);
  void OnLeave(Port& port, PortId id, const IpAddress& group);
  void MarkRouter(const Location& from, bool v6);
  void QueryPort(Port& port, PortId id, std::vector<Query>& out);
  void QueryAll(Querier& querier, bool v6, std::vector<Query>& out);
  void Sweep();
  bool IsSure(const Port& port) const;

  MacAddress self_;
  Duration jitter_;
  Instant now_;  // of the last Tick
  absl::flat_hash_map<PortId, Port> ports_;
  absl::flat_hash_map<IpAddress, Group> groups_;
  std::array<Querier, 2> queriers_;
  size_t memberships_ = 0;
  uint64_t withheld_ = 0;
  Instant last_sweep_;
  Membership message_;  // kept to reuse its memory
};

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_SNOOP_SNOOPER_H_
