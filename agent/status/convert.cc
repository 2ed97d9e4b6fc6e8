#include "agent/status/convert.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/util/time_util.h"
#include "plugin/base/status.h"

namespace vxvde {

void Set(google::protobuf::Duration* out, Duration value) {
  *out = google::protobuf::util::TimeUtil::NanosecondsToDuration(
      std::chrono::duration_cast<std::chrono::nanoseconds>(value).count());
}

namespace {

using vxvde::Set;

// ---- values ----------------------------------------------------------------------------

void Set(v1::Traffic* out, const FlowCounters& value) {
  out->set_frames(value.frames);
  out->set_bytes(value.bytes);
}

void Set(v1::Drop* out, Drop reason, uint64_t count) {
  out->set_reason(std::string(DropName(reason)));
  out->set_text(std::string(DropText(reason)));
  out->set_count(count);
}

uint64_t AllDrops(const CloudInfo& cloud) {
  uint64_t sum = cloud.state.drops.Total();
  for (const PortSnapshot& port : cloud.state.ports) sum += port.drops.Total();
  return sum;
}

const PortSnapshot* FindPort(const CloudInfo& cloud, PortId id) {
  const auto& ports = cloud.state.ports;
  const auto it = std::lower_bound(ports.begin(), ports.end(), id,
                                   [](const PortSnapshot& port, PortId i) { return port.id < i; });
  return it != ports.end() && it->id == id ? &*it : nullptr;
}

// `cloud`: supplies the port's name; may be null.
void Set(v1::Location* out, const Location& value, const CloudInfo* cloud) {
  if (const Peer* peer = std::get_if<Peer>(&value)) {
    out->set_peer(peer->ToString());
    return;
  }
  const PortId id = std::get<PortId>(value);
  out->set_port(static_cast<uint32_t>(id));
  const PortSnapshot* port = cloud == nullptr ? nullptr : FindPort(*cloud, id);
  if (port != nullptr) out->set_port_name(port->options.name);
}

// ---- pages -----------------------------------------------------------------------------
//
// The key of a row is a string of bytes that sorts as the rows do. A token contains the list and
// the filter that it belongs to, and the key of the last row that was sent. The next page starts
// behind that key, even if its row no longer exists.

std::string BigEndian(uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

std::string Bytes(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

// Names are free of NUL, so "a" sorts before "ab" regardless of the bytes that follow.
std::string Key(const std::string& cloud, const std::string& rest) {
  return absl::StrCat(cloud, absl::string_view("\0", 1), rest);
}

std::string TokenPrefix(absl::string_view list, absl::string_view cloud) {
  return absl::StrCat(list, absl::string_view("\0", 1), cloud, absl::string_view("\0", 1));
}

size_t PageSize(int32_t asked) {
  return asked == 0 ? kDefaultPageSize : static_cast<size_t>(std::min(asked, kMaxPageSize));
}

// The rows [first, last). The token is empty if no row follows.
struct Page {
  size_t first = 0;
  size_t last = 0;
  std::string next_token;
};

// `rows` in the order of their keys; `key(row)` is a std::string.
template <typename Row, typename KeyOf>
absl::StatusOr<Page> Paginate(const std::vector<Row>& rows, absl::string_view list,
                              absl::string_view cloud, int32_t page_size,
                              const std::string& page_token, KeyOf key) {
  if (page_size < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_size ", page_size, ": must be 0 (", kDefaultPageSize, ") or more"));
  }
  const size_t size = PageSize(page_size);
  const std::string prefix = TokenPrefix(list, cloud);

  Page page;
  if (!page_token.empty()) {
    std::string token;
    if (!absl::WebSafeBase64Unescape(page_token, &token) || !token.starts_with(prefix)) {
      return absl::InvalidArgumentError(
          "page_token does not belong to this request: give next_page_token of the page before, "
          "and the same filter");
    }
    const std::string after = token.substr(prefix.size());
    const auto it =
        std::upper_bound(rows.begin(), rows.end(), after,
                         [&](const std::string& k, const Row& row) { return k < key(row); });
    page.first = static_cast<size_t>(it - rows.begin());
  }
  page.last = page.first + std::min(size, rows.size() - page.first);
  if (page.last < rows.size()) {
    page.next_token = absl::WebSafeBase64Escape(absl::StrCat(prefix, key(rows[page.last - 1])));
  }
  return page;
}

// ---- rows ------------------------------------------------------------------------------

using Clouds = std::vector<const CloudInfo*>;

// Sorted by name. `filter` is a name or a canonical locator; empty selects all.
absl::StatusOr<Clouds> Select(const NodeSnapshot& node, const std::string& filter) {
  Clouds clouds;
  for (const CloudInfo& cloud : node.clouds) {
    if (filter.empty() || cloud.name == filter || cloud.vnl == filter) clouds.push_back(&cloud);
  }
  if (clouds.empty() && !filter.empty()) {
    const std::string names = absl::StrJoin(
        node.clouds, ", ",
        [](std::string* out, const CloudInfo& cloud) { absl::StrAppend(out, cloud.name); });
    return absl::NotFoundError(
        absl::StrCat("no cloud '", filter, "' is joined on this node; joined: ",
                     names.empty() ? "none (the agent joins a cloud with its first port)" : names));
  }
  std::sort(clouds.begin(), clouds.end(),
            [](const CloudInfo* a, const CloudInfo* b) { return a->name < b->name; });
  return clouds;
}

std::string QuerierText(const SnoopState::Querier& querier) {
  if (querier.ours) return "this agent";
  if (!querier.mac.has_value()) return "";
  std::string where;
  if (const auto* port = std::get_if<PortId>(&*querier.where)) {
    where = absl::StrCat("port ", static_cast<uint32_t>(*port));
  } else {
    where = absl::StrCat("peer ", std::get<Peer>(*querier.where).ToString());
  }
  return querier.is_agent ? absl::StrCat("agent ", querier.mac->ToString(), " (", where, ")")
                          : absl::StrCat("router ", querier.source.ToString(), " (", where, ")");
}

void Set(v1::Snooping* out, const SnoopState& state) {
  out->set_group_count(static_cast<uint32_t>(state.groups.size()));
  out->set_igmp_querier(QuerierText(state.querier[0]));
  out->set_mld_querier(QuerierText(state.querier[1]));
  out->set_unsure_port_count(static_cast<uint32_t>(state.unsure.size()));
  out->set_router_port_count(static_cast<uint32_t>(state.routers.size()));
  out->set_withheld(state.withheld);
}

v1::Cloud ToCloud(const CloudInfo& cloud) {
  const CloudSnapshot& state = cloud.state;
  const CloudOptions& options = state.options;
  v1::Cloud out;
  out.set_name(cloud.name);
  out.set_vnl(cloud.vnl);
  out.set_group(options.config.key.group.ToString());
  out.set_group_port(options.config.key.port);
  out.set_vni(options.config.key.vni.value());
  out.set_uplink(options.uplink_name);
  out.set_uplink_mtu(static_cast<uint32_t>(options.uplink_mtu));
  out.set_unicast_port(options.unicast_port);
  out.set_datapath(cloud.datapath);
  out.set_datapath_reason(cloud.datapath_reason);
  out.set_obstructed(state.obstructed);
  Set(out.mutable_age(), state.age);
  out.set_port_count(static_cast<uint32_t>(state.ports.size()));
  out.set_peer_count(static_cast<uint32_t>(state.peers.size()));
  out.set_station_count(static_cast<uint32_t>(state.station_count));
  Set(out.mutable_from_group(), state.from_group);
  Set(out.mutable_to_group(), state.to_group);
  out.set_moves(state.moves);
  out.set_conflicts(state.conflicts);
  out.set_not_learned(state.not_learned);
  out.set_holds(state.holds);
  out.set_peers_not_kept(state.peers_not_kept);
  out.set_drop_count(AllDrops(cloud));
  out.set_fast_port(state.fast_port);
  for (size_t i = 0; state.fast_port != 0 && i < kSlowReasons; ++i) {
    v1::SlowFrames* slow = out.add_slow();
    slow->set_reason(std::string(SlowName(static_cast<Slow>(i))));
    slow->set_count(state.slow[i]);
  }
  out.set_group_problem(state.group_problem);
  out.set_rejoins(state.rejoins);
  if (state.snooping.has_value()) Set(out.mutable_snooping(), *state.snooping);
  return out;
}

// The reason why `port` of `cloud` is not in the kernel datapath; empty if it is.
std::string WhyNotFast(const CloudInfo& cloud, const PortSnapshot& port) {
  if (port.fast) return "";
  if (!port.why_not_fast.empty()) return port.why_not_fast;
  if (cloud.state.fast_port == 0) return cloud.datapath_reason;
  return "the port is new: the kernel datapath takes over in a moment";
}

// A problem of `port` for operators; empty if there is none.
std::string ProblemOf(const PortSnapshot& port) {
  if (port.blocked <= Duration{}) return "";
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(port.blocked).count();
  return absl::StrCat("in a loop: nothing is flooded to or from it for ", seconds,
                      " s; remove the bridge behind it");
}

// A port, an attachment, or both.
struct PortRow {
  std::string cloud;
  const CloudInfo* info = nullptr;  // set with `port`
  const PortSnapshot* port = nullptr;
  const AttachmentInfo* attachment = nullptr;

  std::string SortKey() const {
    const uint64_t id = port == nullptr ? 0 : static_cast<uint64_t>(port->id);
    return Key(cloud, BigEndian(id, 4) + (attachment == nullptr ? "" : attachment->id));
  }
};

std::vector<PortRow> PortRows(const NodeSnapshot& node, const Clouds& clouds, bool all_clouds) {
  const auto attachment_of = [&](const CloudKey& cloud, PortId port) -> const AttachmentInfo* {
    for (const AttachmentInfo& attachment : node.attachments) {
      if (attachment.port == port && attachment.cloud == cloud) return &attachment;
    }
    return nullptr;
  };
  std::vector<PortRow> rows;
  for (const CloudInfo* cloud : clouds) {
    const CloudKey& key = cloud->state.options.config.key;
    for (const PortSnapshot& port : cloud->state.ports) {
      rows.push_back({cloud->name, cloud, &port, attachment_of(key, port.id)});
    }
  }
  for (const AttachmentInfo& attachment : node.attachments) {
    if (attachment.port != PortId::kNone) continue;
    const auto it = std::find_if(clouds.begin(), clouds.end(), [&](const CloudInfo* cloud) {
      return cloud->state.options.config.key == attachment.cloud;
    });
    if (it != clouds.end()) {
      rows.push_back({(*it)->name, *it, nullptr, &attachment});
    } else if (all_clouds) {  // the cloud could not be joined, so it has no name here
      rows.push_back({attachment.cloud.ToString(), nullptr, nullptr, &attachment});
    }
  }
  std::sort(rows.begin(), rows.end(),
            [](const PortRow& a, const PortRow& b) { return a.SortKey() < b.SortKey(); });
  return rows;
}

v1::Port ToPort(const PortRow& row) {
  v1::Port out;
  out.set_cloud(row.cloud);
  if (row.port != nullptr) {
    out.set_id(static_cast<uint32_t>(row.port->id));
    out.set_name(row.port->options.name);
    out.set_mac(row.port->options.mac.ToString());
    out.set_mtu(static_cast<uint32_t>(row.port->options.mtu));
    Set(out.mutable_age(), row.port->age);
    Set(out.mutable_from_pod(), row.port->from_pod);
    Set(out.mutable_to_pod(), row.port->to_pod);
    out.set_drop_count(row.port->drops.Total());
    out.set_datapath(row.port->fast ? "kernel" : "user");
    out.set_datapath_reason(WhyNotFast(*row.info, *row.port));
    out.set_obstructed(row.port->obstructed);
    out.set_guarded(row.port->options.guard.on);
    out.set_problem(ProblemOf(*row.port));
    if (row.port->blocked > Duration{}) Set(out.mutable_blocked(), row.port->blocked);
    out.set_block_count(row.port->blocks);
  }
  if (row.attachment != nullptr) {
    const AttachmentInfo& from = *row.attachment;
    if (row.port == nullptr) {
      out.set_name(from.host_ifname.empty() ? absl::StrCat(from.container_id, "/", from.ifname)
                                            : from.host_ifname);
    }
    // A node's own port may be open and its rules refused.
    if (out.problem().empty()) out.set_problem(from.problem);
    v1::Attachment* to = out.mutable_attachment();
    to->set_id(from.id);
    to->set_network(from.network);
    to->set_container_id(from.container_id);
    to->set_ifname(from.ifname);
    to->set_pod_namespace(from.pod_namespace);
    to->set_pod_name(from.pod_name);
    to->set_caller(from.caller);
    to->set_mode(from.mode);
    to->set_host_ifname(from.host_ifname);
    to->set_netns(from.netns);
    for (const IpPrefix& address : from.addresses) to->add_addresses(address.ToString());
    for (const std::string& one : from.allow) to->add_allow(one);
  }
  return out;
}

struct PeerRow {
  const CloudInfo* cloud;
  const PeerSnapshot* peer;

  std::string SortKey() const {
    const Peer& p = peer->peer;
    return Key(cloud->name, absl::StrCat(BigEndian(p.address.is_v6(), 1), Bytes(p.address.wire()),
                                         BigEndian(p.port, 2)));
  }
};

v1::Peer ToPeer(const PeerRow& row) {
  v1::Peer out;
  out.set_cloud(row.cloud->name);
  out.set_address(row.peer->peer.ToString());
  out.set_station_count(static_cast<uint32_t>(row.peer->stations));
  Set(out.mutable_from_peer(), row.peer->from_peer);
  Set(out.mutable_to_peer(), row.peer->to_peer);
  Set(out.mutable_age(), row.peer->age);
  Set(out.mutable_idle(), row.peer->idle);
  out.set_fast_port(row.peer->fast_port);
  return out;
}

struct StationRow {
  const CloudInfo* cloud;
  const StationSnapshot* station;

  std::string SortKey() const { return Key(cloud->name, Bytes(station->mac.bytes())); }
};

v1::FdbEntry ToFdbEntry(const StationRow& row) {
  v1::FdbEntry out;
  out.set_cloud(row.cloud->name);
  out.set_mac(row.station->mac.ToString());
  Set(out.mutable_location(), row.station->where, row.cloud);
  out.set_type(row.station->is_static ? v1::FdbEntry::STATIC : v1::FdbEntry::DYNAMIC);
  Set(out.mutable_idle(), row.station->idle);
  out.set_held(row.station->held);
  return out;
}

struct GroupRow {
  const CloudInfo* cloud;
  const SnoopState::GroupRow* group;

  std::string SortKey() const {
    const IpAddress& address = group->group;
    return Key(cloud->name, absl::StrCat(BigEndian(address.is_v6(), 1), Bytes(address.wire())));
  }
};

v1::MulticastGroup ToGroup(const GroupRow& row) {
  v1::MulticastGroup out;
  out.set_cloud(row.cloud->name);
  out.set_group(row.group->group.ToString());
  for (const PortId port : row.group->ports) Set(out.add_ports(), port, row.cloud);
  out.set_elsewhere(row.group->elsewhere);
  return out;
}

struct DropRow {
  const CloudInfo* cloud;
  const PortSnapshot* port;  // null: counted at the cloud
  Drop reason;
  uint64_t count;

  std::string SortKey() const {
    const uint64_t id = port == nullptr ? 0 : static_cast<uint64_t>(port->id);
    return Key(cloud->name, BigEndian(id, 4) + BigEndian(static_cast<uint64_t>(reason), 1));
  }
};

std::vector<DropRow> DropRows(const Clouds& clouds) {
  std::vector<DropRow> rows;
  const auto add = [&](const CloudInfo* cloud, const PortSnapshot* port, const DropCounters& from) {
    for (size_t i = 1; i < kDropReasons; ++i) {  // 0 is not a drop
      if (from.count[i] != 0) rows.push_back({cloud, port, static_cast<Drop>(i), from.count[i]});
    }
  };
  for (const CloudInfo* cloud : clouds) {
    add(cloud, nullptr, cloud->state.drops);
    for (const PortSnapshot& port : cloud->state.ports) add(cloud, &port, port.drops);
  }
  return rows;
}

v1::DropEntry ToDropEntry(const DropRow& row) {
  v1::DropEntry out;
  out.set_cloud(row.cloud->name);
  if (row.port != nullptr) {
    out.set_port(static_cast<uint32_t>(row.port->id));
    out.set_port_name(row.port->options.name);
  }
  Set(out.mutable_drop(), row.reason, row.count);
  return out;
}

// One page of `rows`. `to` converts each row, and `add` returns the message to fill.
template <typename Response, typename Request, typename Row, typename Add>
absl::StatusOr<Response> PageOf(const std::vector<Row>& rows, const Request& request,
                                absl::string_view cloud, Add add) {
  ASSIGN_OR_RETURN(const Page page,
                   Paginate(rows, Response::descriptor()->name(), cloud, request.page_size(),
                            request.page_token(), [](const Row& row) { return row.SortKey(); }));
  Response response;
  for (size_t i = page.first; i < page.last; ++i) add(&response, rows[i]);
  response.set_next_page_token(page.next_token);
  return response;
}

struct CloudRow {
  const CloudInfo* cloud;

  std::string SortKey() const { return cloud->name; }
};

}  // namespace

v1::Node ToNode(const NodeSnapshot& node, Duration loop_delay) {
  uint32_t ports = 0, peers = 0, stations = 0, problems = 0;
  uint64_t drops = 0;
  for (const CloudInfo& cloud : node.clouds) {
    ports += static_cast<uint32_t>(cloud.state.ports.size());
    peers += static_cast<uint32_t>(cloud.state.peers.size());
    stations += static_cast<uint32_t>(cloud.state.station_count);
    drops += AllDrops(cloud);
  }
  for (const AttachmentInfo& attachment : node.attachments) {
    if (attachment.port == PortId::kNone) ++problems;
  }
  v1::Node out;
  out.set_name(node.node);
  out.set_version(node.version);
  Set(out.mutable_uptime(), node.uptime);
  Set(out.mutable_loop_delay(), loop_delay);
  out.set_cloud_count(static_cast<uint32_t>(node.clouds.size()));
  out.set_port_count(ports);
  out.set_peer_count(peers);
  out.set_station_count(stations);
  out.set_problem_count(problems);
  out.set_drop_count(drops);
  out.set_warning(node.warning);
  out.set_not_ready(node.not_ready);
  return out;
}

absl::StatusOr<v1::ListCloudsResponse> ToResponse(const NodeSnapshot& node,
                                                  const v1::ListCloudsRequest& request) {
  ASSIGN_OR_RETURN(const Clouds clouds, Select(node, ""));
  std::vector<CloudRow> rows;
  for (const CloudInfo* cloud : clouds) rows.push_back({cloud});
  return PageOf<v1::ListCloudsResponse>(rows, request, "",
                                        [](v1::ListCloudsResponse* out, const CloudRow& row) {
                                          *out->add_clouds() = ToCloud(*row.cloud);
                                        });
}

absl::StatusOr<v1::ListPortsResponse> ToResponse(const NodeSnapshot& node,
                                                 const v1::ListPortsRequest& request) {
  ASSIGN_OR_RETURN(const Clouds clouds, Select(node, request.cloud()));
  return PageOf<v1::ListPortsResponse>(
      PortRows(node, clouds, request.cloud().empty()), request, request.cloud(),
      [](v1::ListPortsResponse* out, const PortRow& row) { *out->add_ports() = ToPort(row); });
}

absl::StatusOr<v1::ListPeersResponse> ToResponse(const NodeSnapshot& node,
                                                 const v1::ListPeersRequest& request) {
  ASSIGN_OR_RETURN(const Clouds clouds, Select(node, request.cloud()));
  std::vector<PeerRow> rows;
  for (const CloudInfo* cloud : clouds) {
    for (const PeerSnapshot& peer : cloud->state.peers) rows.push_back({cloud, &peer});
  }
  return PageOf<v1::ListPeersResponse>(
      rows, request, request.cloud(),
      [](v1::ListPeersResponse* out, const PeerRow& row) { *out->add_peers() = ToPeer(row); });
}

absl::StatusOr<v1::ListFdbResponse> ToResponse(const NodeSnapshot& node,
                                               const v1::ListFdbRequest& request) {
  ASSIGN_OR_RETURN(const Clouds clouds, Select(node, request.cloud()));
  std::vector<StationRow> rows;
  for (const CloudInfo* cloud : clouds) {
    for (const StationSnapshot& station : cloud->state.stations) rows.push_back({cloud, &station});
  }
  return PageOf<v1::ListFdbResponse>(rows, request, request.cloud(),
                                     [](v1::ListFdbResponse* out, const StationRow& row) {
                                       *out->add_entries() = ToFdbEntry(row);
                                     });
}

// ToResponse reports errors of the request.
void AddStations(const NodeView& view, const v1::ListFdbRequest& request, NodeSnapshot& node) {
  if (request.page_size() < 0) return;
  std::string token;
  (void)absl::WebSafeBase64Unescape(request.page_token(), &token);
  const std::string prefix =
      TokenPrefix(v1::ListFdbResponse::descriptor()->name(), request.cloud());
  const std::string after = token.starts_with(prefix) ? token.substr(prefix.size()) : "";
  // One more than the page holds, to detect a following page.
  size_t left = PageSize(request.page_size()) + 1;
  for (CloudInfo& cloud : node.clouds) {
    const bool wanted =
        request.cloud().empty() || request.cloud() == cloud.name || request.cloud() == cloud.vnl;
    const std::string first = Key(cloud.name, "");
    std::optional<MacAddress> behind;
    if (after.starts_with(first) && after.size() == first.size() + 6) {
      std::array<uint8_t, 6> bytes;
      std::copy(after.end() - 6, after.end(), bytes.begin());
      behind = MacAddress(bytes);
    } else if (first < after) {
      continue;
    }
    if (!wanted || left == 0) continue;
    cloud.state.stations = view.Stations(cloud.state.options.config.key, behind, left);
    left -= std::min(left, cloud.state.stations.size());
  }
}

absl::StatusOr<v1::ListGroupsResponse> ToResponse(const NodeSnapshot& node,
                                                  const v1::ListGroupsRequest& request) {
  ASSIGN_OR_RETURN(const Clouds clouds, Select(node, request.cloud()));
  std::vector<GroupRow> rows;
  for (const CloudInfo* cloud : clouds) {
    if (!cloud->state.snooping.has_value()) continue;
    for (const SnoopState::GroupRow& group : cloud->state.snooping->groups) {
      rows.push_back({cloud, &group});
    }
  }
  return PageOf<v1::ListGroupsResponse>(
      rows, request, request.cloud(),
      [](v1::ListGroupsResponse* out, const GroupRow& row) { *out->add_groups() = ToGroup(row); });
}

absl::StatusOr<v1::ListDropsResponse> ToResponse(const NodeSnapshot& node,
                                                 const v1::ListDropsRequest& request) {
  ASSIGN_OR_RETURN(const Clouds clouds, Select(node, request.cloud()));
  return PageOf<v1::ListDropsResponse>(
      DropRows(clouds), request, request.cloud(),
      [](v1::ListDropsResponse* out, const DropRow& row) { *out->add_drops() = ToDropEntry(row); });
}

v1::ExplainResponse ToResponse(const Explanation& explanation, const NodeSnapshot& node,
                               const std::string& cloud, const MacAddress& source,
                               const MacAddress& destination) {
  const auto it = std::find_if(node.clouds.begin(), node.clouds.end(), [&](const CloudInfo& info) {
    return info.name == cloud || info.vnl == cloud;
  });
  const CloudInfo* info = it == node.clouds.end() ? nullptr : &*it;

  v1::ExplainResponse out;
  out.set_cloud(info == nullptr ? cloud : info->name);
  out.set_source(source.ToString());
  out.set_destination(destination.ToString());
  switch (explanation.verdict.action) {
    case Verdict::Action::kDrop:
      out.set_action(v1::ExplainResponse::DROP);
      Set(out.mutable_drop(), explanation.verdict.drop, 0);
      break;
    case Verdict::Action::kToPort:
      out.set_action(v1::ExplainResponse::TO_PORT);
      Set(out.mutable_to(), explanation.verdict.port, info);
      break;
    case Verdict::Action::kToPeer:
      out.set_action(v1::ExplainResponse::TO_PEER);
      Set(out.mutable_to(), explanation.verdict.peer, info);
      break;
    case Verdict::Action::kFlood:
      out.set_action(v1::ExplainResponse::FLOOD);
      break;
  }
  Set(out.mutable_from(), explanation.from, info);
  out.set_source_known(explanation.source_known);
  out.set_destination_known(explanation.destination_known);
  for (const std::string& reason : explanation.reasons) out.add_reasons(reason);
  out.set_fast(explanation.fast);
  return out;
}

}  // namespace vxvde
