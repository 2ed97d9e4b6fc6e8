#include "plugin/snoop/snooper.h"

#include <algorithm>
#include <utility>

namespace vxvde {
namespace {

constexpr Duration kSweepPeriod = std::chrono::seconds(10);

// RFC 4541, section 2.1.2 (2) and section 3: other groups go to every port (I3).
bool MayBeWithheld(const IpAddress& group) {
  const auto wire = group.wire();
  if (group.is_v6()) return wire[0] == 0xff && (wire[1] & 0x0f) > 2;
  return wire[0] >> 4 == 14 && !(wire[0] == 224 && wire[1] == 0 && wire[2] == 0);
}

bool IsAllHosts(const IpAddress& group) {
  static constexpr std::array<uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                                        0,    0,    0, 0, 0, 0, 0, 1};
  return group.is_v6() ? group == IpAddress::FromWire(kAllNodes)
                       : group == IpAddress::V4(224, 0, 0, 1);
}

// Keeps agents that heard the same last query from sending the next one at once.
Duration JitterOf(const MacAddress& self) {
  const int number = self.bytes()[4] << 8 | self.bytes()[5];
  return std::chrono::milliseconds(number % 10'000);
}

}  // namespace

static_assert(Snooper::kQuiet + Snooper::kMaxResponse < Snooper::kLife);
static_assert(Snooper::kQuiet + Snooper::kJitter + 2 * Snooper::kBetweenQueries +
                  Snooper::kQuickResponse <
              Snooper::kLife);

Snooper::Snooper(const MacAddress& self, Instant now)
    : self_(self), jitter_(JitterOf(self)), now_(now), last_sweep_(now) {
  for (Querier& querier : queriers_) querier.next = now + kListen + jitter_;
}

std::vector<Snooper::Member>::iterator Snooper::Group::At(PortId port) {
  return std::lower_bound(members.begin(), members.end(), port,
                          [](const Member& member, PortId id) { return member.port < id; });
}

bool Snooper::Group::Has(PortId port, Instant now) {
  const auto at = At(port);
  return at != members.end() && at->port == port && at->until > now;
}

void Snooper::AddPort(PortId port) { ports_.try_emplace(port); }

void Snooper::RemovePort(PortId port) {
  ports_.erase(port);
  for (auto& [address, group] : groups_) {
    memberships_ -= std::erase_if(group.members, [&](const Member& m) { return m.port == port; });
  }
}

// ---------------------------------------------------------------- frames

Snooper::Recipients Snooper::Hear(std::span<const uint8_t> frame, bool checksum,
                                  const Location& from) {
  Recipients out;
  const std::optional<IpAddress> to = GroupOf(frame);
  if (!to.has_value()) return out;
  out.v6 = to->is_v6();
  if (ParseMembership(frame, checksum, message_)) {
    Learn(*to, MacAddress::FromWire(frame.data() + MacAddress::kSize), from);
    // RFC 4541, section 2.1.1 (1): a host that hears a report of an old version suppresses its own.
    // Many reports would also go to all hosts.
    if (message_.kind == Membership::Kind::kReport) out.kind = Recipients::Kind::kRouters;
    return out;
  }
  if (!MayBeWithheld(*to)) return out;
  const auto found = groups_.find(*to);
  if (found == groups_.end()) return out;
  found->second.used = now_;
  out.kind = Recipients::Kind::kMembers;
  out.group = &found->second;
  return out;
}

bool Snooper::IsFor(const Recipients& recipients, PortId id) {
  if (recipients.kind == Recipients::Kind::kAll) return true;
  const auto found = ports_.find(id);
  if (found == ports_.end()) return true;
  const Port& port = found->second;
  bool wanted = port.router[recipients.v6] > now_;
  if (recipients.kind == Recipients::Kind::kMembers && !wanted) {
    wanted = !IsSure(port) || recipients.group->Has(id, now_);
  }
  if (!wanted) ++withheld_;
  return wanted;
}

bool Snooper::IsSure(const Port& port) const {
  return port.known.has_value() && now_ >= *port.known && now_ >= port.overfull;
}

// ---------------------------------------------------------------- reports

void Snooper::Learn(const IpAddress& to, const MacAddress& mac, const Location& from) {
  switch (message_.kind) {
    case Membership::Kind::kQuery:
      OnQuery(to, mac, from);
      return;
    case Membership::Kind::kReport:
      for (const Membership::Record& record : message_.records) OnRecord(record, from);
      return;
    case Membership::Kind::kRouter:
      MarkRouter(from, to.is_v6());
      return;
  }
}

// Of two agents that send queries, the one with the lower address continues. Any other querier is a
// router, for which all agents stop. Counts only a query that reaches all hosts and that they
// answer soon: I4.
void Snooper::OnQuery(const IpAddress& to, const MacAddress& mac, const Location& from) {
  const Membership& query = message_;
  if (mac == self_) return;
  if (!query.of_agent) {
    // From another snooping switch: RFC 4541, section 2.1.1 (1) (b).
    if (query.source.IsUnspecified()) return;
    MarkRouter(from, to.is_v6());
  }
  if (query.group.has_value() || !IsAllHosts(to) || query.response > kMaxResponse) return;
  Querier& querier = queriers_[to.is_v6()];
  if (querier.ours && query.of_agent && mac > self_) return;
  querier.ours = false;
  querier.next = now_ + kQuiet + jitter_;
  querier.other = SnoopState::Querier{
      .source = query.source, .mac = mac, .where = from, .is_agent = query.of_agent, .idle = {}};
  querier.heard = now_;
}

void Snooper::MarkRouter(const Location& from, bool v6) {
  const auto* id = std::get_if<PortId>(&from);
  if (id == nullptr) return;
  if (const auto port = ports_.find(*id); port != ports_.end()) {
    port->second.router[v6] = now_ + kQuiet;
  }
}

void Snooper::OnRecord(const Membership::Record& record, const Location& from) {
  if (!MayBeWithheld(record.group)) return;
  if (const auto* id = std::get_if<PortId>(&from)) {
    const auto port = ports_.find(*id);
    if (port == ports_.end()) return;
    if (record.joined) {
      OnJoin(port->second, *id, record.group);
    } else {
      OnLeave(port->second, *id, record.group);
    }
    return;
  }
  if (!record.joined) return;
  auto group = groups_.find(record.group);
  if (group == groups_.end()) {
    // The other half is for the ports: a group that is not recorded only reaches more of them.
    if (groups_.size() >= kMaxGroups / 2) return;
    group = groups_.try_emplace(record.group).first;
  }
  group->second.used = now_;
  group->second.elsewhere = now_ + kLife;
}

void Snooper::OnJoin(Port& port, PortId id, const IpAddress& address) {
  auto group = groups_.find(address);
  if (group != groups_.end()) {
    group->second.used = now_;
    const auto member = group->second.At(id);
    if (member != group->second.members.end() && member->port == id) {
      member->until = now_ + kLife;
      return;
    }
  }
  const bool has_room = port.memberships < kMaxGroupsOfPort && memberships_ < kMaxMemberships &&
                        (group != groups_.end() || groups_.size() < kMaxGroups);
  if (!has_room) {
    port.overfull = now_ + kLife;
    return;
  }
  if (group == groups_.end()) group = groups_.try_emplace(address).first;
  group->second.used = now_;
  group->second.members.insert(group->second.At(id), {id, now_ + kLife});
  ++port.memberships;
  ++memberships_;
}

// Another host behind the port may still want the group: a general query covers all groups.
void Snooper::OnLeave(Port& port, PortId id, const IpAddress& address) {
  const auto group = groups_.find(address);
  if (group == groups_.end()) return;
  const auto member = group->second.At(id);
  if (member == group->second.members.end() || member->port != id) return;
  member->until = std::min(member->until, now_ + kLeaveLife);
  port.queries_left = kQueries;
}

// ---------------------------------------------------------------- queries

std::vector<Snooper::Query> Snooper::Tick(Instant now) {
  now_ = now;
  if (now - last_sweep_ >= kSweepPeriod) Sweep();
  std::vector<Query> out;
  for (auto& [id, port] : ports_) QueryPort(port, id, out);
  for (const bool v6 : {false, true}) QueryAll(queriers_[v6], v6, out);
  return out;
}

void Snooper::QueryPort(Port& port, PortId id, std::vector<Query>& out) {
  if (port.queries_left == 0 || now_ < port.next_query) return;
  for (const bool v6 : {false, true}) {
    // A router receives everything anyway, and in MLD this agent's address might win the election.
    if (port.router[v6] > now_) continue;
    out.push_back({.v6 = v6, .port = id, .response = kQuickResponse});
  }
  port.next_query = now_ + kBetweenQueries;
  if (--port.queries_left == 0 && !port.known.has_value()) port.known = now_ + kAfterQueries;
}

void Snooper::QueryAll(Querier& querier, bool v6, std::vector<Query>& out) {
  if (now_ < querier.next) return;
  if (!querier.ours) {
    querier.ours = true;
    querier.other.reset();
    querier.quick_left = kQueries;
  }
  const bool quick = querier.quick_left > 0;
  out.push_back({.v6 = v6, .port = std::nullopt, .response = quick ? kQuickResponse : kResponse});
  if (quick) --querier.quick_left;
  querier.next = now_ + (querier.quick_left > 0 ? kBetweenQueries : kQueryInterval);
}

void Snooper::Sweep() {
  last_sweep_ = now_;
  absl::erase_if(groups_, [&](auto& item) {
    Group& group = item.second;
    std::erase_if(group.members, [&](const Member& member) {
      if (member.until > now_) return false;
      --memberships_;
      if (const auto port = ports_.find(member.port); port != ports_.end()) {
        --port->second.memberships;
      }
      return true;
    });
    return group.members.empty() && group.used + kLife <= now_;
  });
}

// ---------------------------------------------------------------- for people

SnoopState Snooper::Snapshot() const {
  SnoopState out{.querier = {}, .groups = {}, .routers = {}, .unsure = {}, .withheld = withheld_};
  for (size_t i = 0; i < queriers_.size(); ++i) {
    const Querier& querier = queriers_[i];
    if (querier.other.has_value()) {
      out.querier[i] = *querier.other;
      out.querier[i].idle = now_ - querier.heard;
    }
    out.querier[i].ours = querier.ours;
  }
  for (const auto& [address, group] : groups_) {
    SnoopState::GroupRow row{.group = address, .ports = {}, .elsewhere = group.elsewhere > now_};
    for (const Member& member : group.members) {
      if (member.until > now_) row.ports.push_back(member.port);
    }
    out.groups.push_back(std::move(row));
  }
  std::sort(out.groups.begin(), out.groups.end(),
            [](const SnoopState::GroupRow& a, const SnoopState::GroupRow& b) {
              return a.group < b.group;
            });
  for (const auto& [id, port] : ports_) {
    if (port.router[false] > now_ || port.router[true] > now_) out.routers.push_back(id);
    if (!IsSure(port)) out.unsure.push_back(id);
  }
  std::sort(out.routers.begin(), out.routers.end());
  std::sort(out.unsure.begin(), out.unsure.end());
  return out;
}

}  // namespace vxvde
