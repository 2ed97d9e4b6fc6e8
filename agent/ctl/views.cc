#include "agent/ctl/views.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/ctl/table.h"

namespace vxvde {
namespace {

constexpr Table::Align kRight = Table::Align::kRight;

Duration ToDuration(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + std::chrono::nanoseconds(duration.nanos());
}

std::string Number(uint64_t value, bool exact) {
  return exact ? absl::StrCat(value) : HumanNumber(value);
}

// "3 clouds"
std::string Plural(uint64_t count, absl::string_view one) {
  return absl::StrCat(count, " ", one, count == 1 ? "" : "s");
}

// A table whose columns and cells are listed once each, in the same place of the code.
class Rows {
 public:
  explicit Rows(bool wide) : wide_(wide) {}

  void Next() {
    if (!cells_.empty()) rows_.push_back(std::move(cells_));
    cells_.clear();
  }
  std::string Render() {
    Next();
    Table table(std::move(columns_));
    for (auto& row : rows_) table.Add(std::move(row));
    return table.Render();
  }

  bool wide() const { return wide_; }
  void Column(const char* title, Table::Align align = Table::Align::kLeft) {
    columns_.push_back({title, align});
  }
  void WideColumn(const char* title, Table::Align align = Table::Align::kLeft) {
    if (wide_) Column(title, align);
  }
  void Cell(std::string text) { cells_.push_back(std::move(text)); }
  void WideCell(std::string text) {
    if (wide_) Cell(std::move(text));
  }
  void Count(uint64_t value) { Cell(Number(value, wide_)); }
  void Age(const google::protobuf::Duration& age) { Cell(HumanDuration(ToDuration(age))); }

 private:
  const bool wide_;
  std::vector<Table::Column> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::string> cells_;
};

// The Kubernetes name if there is one, else the container id, shortened as runtimes do.
std::string PodName(const v1::Attachment& attachment, bool wide) {
  if (attachment.mode() == "node") return "(node)";
  if (!attachment.pod_namespace().empty()) {
    return absl::StrCat(attachment.pod_namespace(), "/", attachment.pod_name());
  }
  if (!attachment.pod_name().empty()) return attachment.pod_name();
  return wide ? attachment.container_id() : attachment.container_id().substr(0, 12);
}

// A container's id is shortened as runtimes do; "namespace/name" is not.
std::string OwnerText(const std::string& owner, bool wide) {
  return wide || absl::StrContains(owner, '/') ? owner : owner.substr(0, 12);
}

std::string PortName(uint32_t id, const std::string& name) {
  return name.empty() ? absl::StrCat("port ", id) : absl::StrCat("port ", id, " ", name);
}

std::string FastPort(uint32_t port) { return port == 0 ? "" : absl::StrCat(port); }

// "group:12,unknown:3"
std::string SlowText(const v1::Cloud& cloud) {
  std::vector<std::string> met;
  for (const v1::SlowFrames& slow : cloud.slow()) {
    if (slow.count() != 0) met.push_back(absl::StrCat(slow.reason(), ":", slow.count()));
  }
  return absl::StrJoin(met, ",");
}

std::string LocationText(const v1::Location& location) {
  if (!location.peer().empty()) return absl::StrCat("peer ", location.peer());
  if (location.port() == 0) return "an unknown port";
  return PortName(location.port(), location.port_name());
}

const char* EventName(v1::Event::Type type) {
  switch (type) {
    case v1::Event::CLOUD_JOINED:
      return "cloud joined";
    case v1::Event::CLOUD_LEFT:
      return "cloud left";
    case v1::Event::PORT_ADDED:
      return "port added";
    case v1::Event::PORT_REMOVED:
      return "port removed";
    case v1::Event::PORT_FAILED:
      return "port failed";
    case v1::Event::PEER_SEEN:
      return "peer seen";
    case v1::Event::PEER_GONE:
      return "peer gone";
    case v1::Event::STATION_ADDED:
      return "station added";
    case v1::Event::STATION_MOVED:
      return "station moved";
    case v1::Event::STATION_GONE:
      return "station gone";
    case v1::Event::STATION_HELD:
      return "station held";
    case v1::Event::PORT_BLOCKED:
      return "port blocked";
    case v1::Event::STORM:
      return "storm";
    case v1::Event::GROUP_UNHEARD:
      return "group unheard";
    case v1::Event::GROUP_HEARD:
      return "group heard";
    default:
      return "?";  // an event that only a newer agent knows
  }
}

std::string WatchRow(absl::string_view time, absl::string_view event, absl::string_view cloud,
                     absl::string_view what) {
  const auto pad = [](absl::string_view text, size_t width) {
    return absl::StrCat(text, std::string(width - std::min(width, text.size()), ' '), "  ");
  };
  return absl::StrCat(pad(time, 12), pad(event, 13), pad(cloud, 12), what);
}

// "no", or "yes" followed by the exceptions.
std::string GuardText(const v1::Port& port) {
  if (!port.guarded()) return "no";
  if (port.attachment().allow().empty()) return "yes";
  return absl::StrCat("yes +", absl::StrJoin(port.attachment().allow(), ",+"));
}

}  // namespace

std::string CloudsView(const v1::ListCloudsResponse& list, bool wide) {
  Rows rows(wide);
  rows.Column("CLOUD");
  rows.Column("VNL");
  rows.WideColumn("GROUP");
  rows.WideColumn("VNI", kRight);
  rows.Column("UPLINK");
  rows.WideColumn("UPLINK-MTU", kRight);
  rows.Column("UDP-PORT", kRight);
  rows.WideColumn("FAST-PORT", kRight);
  rows.Column("DATAPATH");
  rows.Column("PORTS", kRight);
  rows.Column("PEERS", kRight);
  rows.Column("STATIONS", kRight);
  rows.WideColumn("FRAMES-FROM-GROUP", kRight);
  rows.WideColumn("FRAMES-TO-GROUP", kRight);
  rows.WideColumn("MOVES", kRight);
  rows.WideColumn("CONFLICTS", kRight);
  rows.WideColumn("NOT-LEARNED", kRight);
  rows.WideColumn("HOLDS", kRight);
  rows.WideColumn("LEFT-BY-KERNEL", kRight);
  rows.WideColumn("GROUPS", kRight);
  rows.WideColumn("WITHHELD", kRight);
  rows.WideColumn("UNSURE-PORTS", kRight);
  rows.WideColumn("IGMP-QUERIER");
  rows.WideColumn("MLD-QUERIER");
  rows.WideColumn("REJOINS", kRight);
  rows.Column("DROPS", kRight);
  rows.Column("AGE", kRight);
  rows.WideColumn("WHY-THIS-DATAPATH");
  for (const v1::Cloud& cloud : list.clouds()) {
    rows.Next();
    rows.Cell(cloud.name());
    rows.Cell(cloud.vnl());
    rows.WideCell(cloud.group());
    rows.WideCell(absl::StrCat(cloud.vni()));
    rows.Cell(cloud.uplink());
    rows.WideCell(absl::StrCat(cloud.uplink_mtu()));
    rows.Cell(absl::StrCat(cloud.unicast_port()));
    rows.WideCell(FastPort(cloud.fast_port()));
    rows.Cell(cloud.datapath());
    rows.Count(cloud.port_count());
    rows.Count(cloud.peer_count());
    rows.Count(cloud.station_count());
    rows.WideCell(absl::StrCat(cloud.from_group().frames()));
    rows.WideCell(absl::StrCat(cloud.to_group().frames()));
    rows.WideCell(absl::StrCat(cloud.moves()));
    rows.WideCell(absl::StrCat(cloud.conflicts()));
    rows.WideCell(absl::StrCat(cloud.not_learned()));
    rows.WideCell(absl::StrCat(cloud.holds()));
    rows.WideCell(SlowText(cloud));
    const v1::Snooping& snooping = cloud.snooping();
    rows.WideCell(cloud.has_snooping() ? absl::StrCat(snooping.group_count()) : "off");
    rows.WideCell(cloud.has_snooping() ? absl::StrCat(snooping.withheld()) : "");
    rows.WideCell(cloud.has_snooping() ? absl::StrCat(snooping.unsure_port_count()) : "");
    rows.WideCell(snooping.igmp_querier());
    rows.WideCell(snooping.mld_querier());
    rows.WideCell(absl::StrCat(cloud.rejoins()));
    rows.Count(cloud.drop_count());
    rows.Age(cloud.age());
    rows.WideCell(cloud.datapath_reason());
  }
  return rows.Render();
}

std::string PortsView(const v1::ListPortsResponse& list, bool wide) {
  const bool problems = std::any_of(list.ports().begin(), list.ports().end(),
                                    [](const v1::Port& port) { return !port.problem().empty(); });
  Rows rows(wide);
  rows.Column("CLOUD");
  rows.Column("PORT", kRight);
  rows.Column("NAME");
  rows.Column("POD");
  rows.Column("IFNAME");
  rows.Column("MAC");
  rows.Column("ADDRESSES");
  rows.Column("DATAPATH");
  rows.WideColumn("MODE");
  rows.WideColumn("MTU", kRight);
  rows.WideColumn("NETWORK");
  rows.WideColumn("NETNS");
  rows.WideColumn("BLOCKS", kRight);
  rows.WideColumn("FRAMES-FROM-POD", kRight);
  rows.WideColumn("FRAMES-TO-POD", kRight);
  rows.Column(wide ? "BYTES-FROM-POD" : "FROM-POD", kRight);
  rows.Column(wide ? "BYTES-TO-POD" : "TO-POD", kRight);
  rows.Column("DROPS", kRight);
  rows.Column("AGE", kRight);
  rows.WideColumn("GUARDED");
  rows.WideColumn("WHY-THIS-DATAPATH");
  if (problems) rows.Column("PROBLEM");
  for (const v1::Port& port : list.ports()) {
    const v1::Attachment& attachment = port.attachment();
    const bool attached = port.id() != 0;
    rows.Next();
    rows.Cell(port.cloud());
    rows.Cell(attached ? absl::StrCat(port.id()) : "");
    rows.Cell(port.name());
    rows.Cell(PodName(attachment, wide));
    rows.Cell(attachment.ifname());
    rows.Cell(port.mac());
    rows.Cell(absl::StrJoin(attachment.addresses(), ","));
    rows.Cell(port.datapath());
    rows.WideCell(attachment.mode());
    rows.WideCell(attached ? absl::StrCat(port.mtu()) : "");
    rows.WideCell(attachment.network());
    rows.WideCell(attachment.netns());
    rows.WideCell(absl::StrCat(port.block_count()));
    rows.WideCell(absl::StrCat(port.from_pod().frames()));
    rows.WideCell(absl::StrCat(port.to_pod().frames()));
    rows.Count(port.from_pod().bytes());
    rows.Count(port.to_pod().bytes());
    rows.Count(port.drop_count());
    rows.Cell(attached ? HumanDuration(ToDuration(port.age())) : "");
    rows.WideCell(attached ? GuardText(port) : "");
    rows.WideCell(port.datapath_reason());
    if (problems) rows.Cell(port.problem());
  }
  return rows.Render();
}

std::string PeersView(const v1::ListPeersResponse& list, bool wide) {
  Rows rows(wide);
  rows.Column("CLOUD");
  rows.Column("PEER");
  rows.Column("DATAPATH");
  rows.WideColumn("FAST-PORT", kRight);
  rows.Column("STATIONS", kRight);
  rows.WideColumn("FRAMES-FROM-PEER", kRight);
  rows.WideColumn("FRAMES-TO-PEER", kRight);
  rows.Column(wide ? "BYTES-FROM-PEER" : "FROM-PEER", kRight);
  rows.Column(wide ? "BYTES-TO-PEER" : "TO-PEER", kRight);
  rows.Column("IDLE", kRight);
  rows.Column("AGE", kRight);
  for (const v1::Peer& peer : list.peers()) {
    rows.Next();
    rows.Cell(peer.cloud());
    rows.Cell(peer.address());
    rows.Cell(peer.fast_port() != 0 ? "kernel" : "user");
    rows.WideCell(FastPort(peer.fast_port()));
    rows.Count(peer.station_count());
    rows.WideCell(absl::StrCat(peer.from_peer().frames()));
    rows.WideCell(absl::StrCat(peer.to_peer().frames()));
    rows.Count(peer.from_peer().bytes());
    rows.Count(peer.to_peer().bytes());
    rows.Age(peer.idle());
    rows.Age(peer.age());
  }
  return rows.Render();
}

std::string FdbView(const v1::ListFdbResponse& list, bool wide) {
  Rows rows(wide);
  rows.Column("CLOUD");
  rows.Column("MAC");
  rows.Column("TYPE");
  rows.Column("BEHIND");
  rows.Column("IDLE", kRight);
  for (const v1::FdbEntry& entry : list.entries()) {
    const bool dynamic = entry.type() == v1::FdbEntry::DYNAMIC;
    rows.Next();
    rows.Cell(entry.cloud());
    rows.Cell(entry.mac());
    rows.Cell(entry.held() ? "held" : dynamic ? "dynamic" : "static");
    rows.Cell(LocationText(entry.location()));
    rows.Cell(dynamic ? HumanDuration(ToDuration(entry.idle())) : "");
  }
  return rows.Render();
}

std::string GroupsView(const v1::ListGroupsResponse& list, bool wide) {
  Rows rows(wide);
  rows.Column("CLOUD");
  rows.Column("GROUP");
  rows.Column("ELSEWHERE");
  rows.Column("PORTS");
  for (const v1::MulticastGroup& group : list.groups()) {
    std::vector<std::string> ports;
    for (const v1::Location& port : group.ports()) {
      ports.push_back(wide ? PortName(port.port(), port.port_name()) : absl::StrCat(port.port()));
    }
    rows.Next();
    rows.Cell(group.cloud());
    rows.Cell(group.group());
    rows.Cell(group.elsewhere() ? "yes" : "");
    rows.Cell(absl::StrJoin(ports, ","));
  }
  return rows.Render();
}

std::string DropsView(const v1::ListDropsResponse& list, bool wide) {
  Rows rows(wide);
  rows.Column("CLOUD");
  rows.Column("WHERE");
  rows.Column("REASON");
  rows.Column("COUNT", kRight);
  rows.Column("MEANING");
  for (const v1::DropEntry& entry : list.drops()) {
    rows.Next();
    rows.Cell(entry.cloud());
    rows.Cell(entry.port() == 0 ? "cloud" : PortName(entry.port(), entry.port_name()));
    rows.Cell(entry.drop().reason());
    rows.Count(entry.drop().count());
    rows.Cell(entry.drop().text());
  }
  return rows.Render();
}

std::string IpamView(const v1::Ipam& ipam, bool wide) {
  if (ipam.pools().empty() && ipam.addresses().empty()) {
    return "The agent assigns no addresses: no joined cloud has `subnets:` in the agent's "
           "configuration.\n";
  }
  Rows pools(wide);
  pools.Column("CLOUD");
  pools.Column("SUBNET");
  pools.Column("USABLE", kRight);
  pools.Column("LEASED", kRight);
  pools.Column("OCCUPIED", kRight);
  pools.Column("KEPT", kRight);
  pools.Column("SPARE", kRight);
  pools.Column("OTHERS", kRight);
  pools.Column("EXHAUSTED");
  for (const v1::AddressPool& pool : ipam.pools()) {
    pools.Next();
    pools.Cell(pool.cloud());
    pools.Cell(pool.subnet());
    pools.Count(pool.usable());
    pools.Count(pool.leased());
    pools.Count(pool.occupied());
    pools.Count(pool.kept());
    pools.Count(pool.spare());
    pools.Count(pool.others());
    pools.Cell(pool.exhausted() ? "yes" : "no");
  }

  Rows held(wide);
  held.Column("CLOUD");
  held.Column("ADDRESS");
  held.Column("USE");
  held.Column("OWNER");
  held.Column("MAC");
  held.WideColumn("LEASE");
  held.Column("AGE", kRight);
  for (const v1::HeldAddress& one : ipam.addresses()) {
    held.Next();
    held.Cell(one.cloud());
    held.Cell(one.address());
    held.Cell(absl::AsciiStrToLower(v1::HeldAddress::Use_Name(one.use())));
    held.Cell(OwnerText(one.owner(), wide));
    held.Cell(one.mac());
    held.WideCell(one.lease());
    held.Age(one.age());
  }
  if (ipam.conflicts().empty()) return absl::StrCat(pools.Render(), "\n", held.Render());

  Rows conflicts(wide);
  conflicts.Column("CONFLICT");
  conflicts.Column("ADDRESS");
  conflicts.Column("OWNER");
  conflicts.Column("MAC");
  conflicts.Column("OTHER-MAC");
  conflicts.Column("OTHER-AT");
  conflicts.Column("TIMES", kRight);
  conflicts.WideColumn("FIRST", kRight);
  conflicts.Column("LAST", kRight);
  for (const v1::AddressConflict& one : ipam.conflicts()) {
    conflicts.Next();
    conflicts.Cell(one.cloud());
    conflicts.Cell(one.address());
    conflicts.Cell(OwnerText(one.owner(), wide));
    conflicts.Cell(one.mac());
    conflicts.Cell(one.other_mac());
    conflicts.Cell(one.other_where());
    conflicts.Count(one.count());
    conflicts.WideCell(HumanDuration(ToDuration(one.first())));
    conflicts.Age(one.last());
  }
  return absl::StrCat(pools.Render(), "\n", conflicts.Render(), "\n", held.Render());
}

std::string StatusView(const v1::Node& node, const v1::ListCloudsResponse& clouds,
                       const v1::ListPortsResponse& ports, bool wide) {
  std::string out =
      absl::StrCat("Node ", Printable(node.name()), ": vxvde-agent ", Printable(node.version()),
                   ", up ", HumanDuration(ToDuration(node.uptime())), ", loop answered in ",
                   HumanDuration(ToDuration(node.loop_delay())), "\n");
  absl::StrAppend(&out, "  ", Plural(node.cloud_count(), "cloud"), ", ",
                  Plural(node.port_count(), "port"), ", ", Plural(node.peer_count(), "peer"), ", ",
                  Plural(node.station_count(), "station"), ", ", Plural(node.drop_count(), "drop"));
  if (node.problem_count() != 0) {
    absl::StrAppend(&out, ", ", Plural(node.problem_count(), "port"), " with a PROBLEM");
  }
  absl::StrAppend(&out, "\n\n");
  std::string slower;
  if (!node.warning().empty()) {
    absl::StrAppend(&slower, "Warning: ", Printable(node.warning()), "\n");
  }
  for (const v1::Cloud& cloud : clouds.clouds()) {
    if (cloud.datapath_reason().empty()) continue;
    absl::StrAppend(&slower, "Datapath of ", Printable(cloud.name()), " is ",
                    Printable(cloud.datapath()), ": ", Printable(cloud.datapath_reason()), "\n");
  }
  for (const v1::Port& port : ports.ports()) {
    if (!port.obstructed()) continue;
    absl::StrAppend(&slower, "Datapath of ", Printable(PortName(port.id(), port.name())), " is ",
                    Printable(port.datapath()), ": ", Printable(port.datapath_reason()), "\n");
  }
  for (const v1::Cloud& cloud : clouds.clouds()) {
    if (cloud.group_problem().empty()) continue;
    absl::StrAppend(&slower, "Multicast of ", Printable(cloud.name()),
                    " fails on the network: ", Printable(cloud.group_problem()), "\n");
  }
  if (!slower.empty()) absl::StrAppend(&out, slower, "\n");
  if (clouds.clouds().empty() && ports.ports().empty()) {
    return absl::StrCat(out, "No cloud is joined: the agent joins a cloud with its first pod.\n");
  }
  return absl::StrCat(out, CloudsView(clouds, wide), "\n", PortsView(ports, wide));
}

std::string ExplainView(const v1::ExplainResponse& explanation) {
  std::string out =
      absl::StrCat("In cloud ", explanation.cloud(), ", from ", explanation.source(), " (",
                   explanation.source_known() ? "" : "unknown; assumed to be at ",
                   LocationText(explanation.from()), ") to ", explanation.destination(), ":\n");
  for (const std::string& reason : explanation.reasons()) {
    absl::StrAppend(&out, "  - ", reason, "\n");
  }
  absl::StrAppend(&out, "Verdict: ");
  switch (explanation.action()) {
    case v1::ExplainResponse::DROP:
      absl::StrAppend(&out, "drop, ", explanation.drop().reason(), ": ", explanation.drop().text());
      break;
    case v1::ExplainResponse::TO_PORT:
    case v1::ExplainResponse::TO_PEER:
      absl::StrAppend(&out, "to ", LocationText(explanation.to()));
      break;
    case v1::ExplainResponse::FLOOD:
      absl::StrAppend(&out, explanation.from().peer().empty()
                                ? "flood, to all other ports and to the group"
                                : "flood, to all ports");
      break;
    default:  // an action that only a newer agent knows
      absl::StrAppend(&out, "?");
  }
  absl::StrAppend(&out, "\n");
  if (!explanation.fast().empty()) absl::StrAppend(&out, "Kernel: ", explanation.fast(), "\n");
  return out;
}

std::string WatchHeader() { return WatchRow("TIME", "EVENT", "CLOUD", "WHAT") + "\n"; }

std::string WatchLine(const v1::WatchResponse& response, absl::TimeZone zone) {
  if (response.kind_case() == v1::WatchResponse::kNode) {
    const v1::Node& node = response.node();
    return Printable(
               WatchRow("now", "node", "-",
                        absl::StrCat(node.name(), " with ", Plural(node.cloud_count(), "cloud"),
                                     ", ", Plural(node.port_count(), "port"), ", ",
                                     Plural(node.peer_count(), "peer"), ", ",
                                     Plural(node.station_count(), "station")))) +
           "\n";
  }
  if (response.kind_case() == v1::WatchResponse::kLost) {
    return WatchRow(
               "-", "lost", "-",
               absl::StrCat(Plural(response.lost(), "event"), ", because they came too fast")) +
           "\n";
  }
  const v1::Event& event = response.event();
  const absl::Time time =
      absl::FromUnixSeconds(event.time().seconds()) + absl::Nanoseconds(event.time().nanos());
  std::vector<std::string> what;
  if (!event.mac().empty()) what.push_back(event.mac());
  if (event.port() != 0) what.push_back(absl::StrCat("port ", event.port()));
  if (!event.peer().empty()) what.push_back(absl::StrCat("peer ", event.peer()));
  if (!event.text().empty()) what.push_back(event.text());
  return Printable(WatchRow(absl::FormatTime("%H:%M:%E3S", time, zone), EventName(event.type()),
                            event.cloud(), absl::StrJoin(what, " at "))) +
         "\n";
}

}  // namespace vxvde
