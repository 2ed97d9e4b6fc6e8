#include "agent/store/store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"
#include "plugin/os/fd.h"
#include "plugin/os/files.h"

namespace vxvde {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr size_t kMaxFile = 1 << 20;
constexpr char kIpv4[] = "ipv4";  // of "host_family"
constexpr char kIpv6[] = "ipv6";

// CRC-32 of IEEE 802.3, as eight hexadecimal digits.
std::string Checksum(absl::string_view text) {
  uint32_t crc = ~0u;
  for (const char c : text) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
  }
  return absl::StrCat(absl::Hex(~crc, absl::kZeroPad8));
}

std::string DumpPlain(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

// The checksum covers all bytes before it, so that versions without checksums read the file as
// before.
absl::Status TakeChecksum(Json& json) {
  const auto found = json.find("checksum");
  if (found == json.end()) return absl::OkStatus();  // from an agent that did not write checksums
  const Json said = *found;
  json.erase(found);
  const std::string is = Checksum(DumpPlain(json));
  if (said == is) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"checksum\" is not ", is, ": the file was changed or torn"));
}

absl::StatusOr<Json> ParseObject(absl::string_view text) {
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  const auto version = json.find("version");
  if (version == json.end() || *version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat("\"version\" is not ", kVersion));
  }
  RETURN_IF_ERROR(TakeChecksum(json));
  return json;
}

absl::StatusOr<std::string> Text(const Json& object, const char* key) {
  const auto value = object.find(key);
  if (value == object.end() || !value->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing or not a string"));
  }
  const auto& text = value->get_ref<const std::string&>();
  if (absl::StrContains(text, '\0')) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" contains a NUL"));
  }
  return text;
}

absl::StatusOr<int64_t> Number(const Json& object, const char* key, int64_t least, int64_t most) {
  const auto value = object.find(key);
  // A negative number is not "unsigned"; one beyond 64 bits is a float.
  if (value == object.end() || !value->is_number_unsigned() ||
      value->get<uint64_t>() < static_cast<uint64_t>(least) ||
      value->get<uint64_t>() > static_cast<uint64_t>(most)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", key, "\" is missing or not a number from ", least, " to ", most));
  }
  return value->get<int64_t>();
}

absl::StatusOr<PortMapping> ParseMapping(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("a port mapping is not an object");
  PortMapping mapping;
  ASSIGN_OR_RETURN(const int64_t host_port, Number(json, "host_port", 1, 65535));
  ASSIGN_OR_RETURN(const int64_t container_port, Number(json, "container_port", 1, 65535));
  mapping.host_port = static_cast<uint16_t>(host_port);
  mapping.container_port = static_cast<uint16_t>(container_port);
  ASSIGN_OR_RETURN(mapping.protocol, Text(json, "protocol"));
  if (mapping.protocol != "tcp" && mapping.protocol != "udp" && mapping.protocol != "sctp") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"protocol\" ", mapping.protocol, " is none of tcp, udp and sctp"));
  }
  ASSIGN_OR_RETURN(const std::string host_ip, Text(json, "host_ip"));
  if (!host_ip.empty()) {
    ASSIGN_OR_RETURN(mapping.host_ip, IpAddress::Parse(host_ip));
  } else if (json.contains("host_family")) {
    ASSIGN_OR_RETURN(const std::string family, Text(json, "host_family"));
    if (family != kIpv4 && family != kIpv6) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"host_family\" ", family, " is neither ", kIpv4, " nor ", kIpv6));
    }
    mapping.host_ip = family == kIpv6 ? IpAddress::AnyV6() : IpAddress();
  }
  return mapping;
}

absl::StatusOr<std::vector<Allowed>> AllowedOf(const Json& list) {
  if (!list.is_array()) return absl::InvalidArgumentError("\"allow\" is not a list");
  std::vector<std::string> texts;
  for (const Json& one : list) {
    if (!one.is_string())
      return absl::InvalidArgumentError("an entry of \"allow\" is not a string");
    texts.push_back(one.get<std::string>());
  }
  return ParseAllowed(texts);
}

std::string Dump(Json json) {
  json["checksum"] = Checksum(DumpPlain(json));
  return DumpPlain(json) + "\n";
}

// Left by an agent that was killed in ReplaceFile.
void RemovePartialFiles(const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (!absl::EndsWith(name, absl::StrCat(".json", kPartialSuffix))) continue;
    RemoveFile(absl::StrCat(folder, "/", name)).IgnoreError();  // it is never read
  }
}

// Loads each file of `folder` that `parse` accepts and whose name `file_of` confirms. Sets the
// others aside. An error other than InvalidArgument may be temporary, so it ends the load.
template <typename Record, typename FileOf>
absl::Status LoadAll(const std::string& folder, absl::StatusOr<Record> (*parse)(absl::string_view),
                     const FileOf& file_of, std::vector<Record>& records,
                     std::vector<std::string>& problems) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".json")) continue;
    const std::string path = absl::StrCat(folder, "/", name);
    absl::StatusOr<std::string> text = ReadFile(path, kMaxFile);
    if (!text.ok() && !absl::IsInvalidArgument(text.status())) return text.status();
    absl::StatusOr<Record> record =
        text.ok() ? parse(*text) : absl::StatusOr<Record>(text.status());
    if (record.ok() && name != file_of(*record)) {
      record =
          absl::InvalidArgumentError(absl::StrCat("contains the record of ", file_of(*record)));
    }
    if (record.ok()) {
      records.push_back(*std::move(record));
    } else {
      problems.push_back(SetAside(path, record.status()));
    }
  }
  return absl::OkStatus();
}

std::string RecordFile(const AttachmentRecord& record) { return absl::StrCat(record.id, ".json"); }

// A lease may have any name; a file may not.
std::string LeaseFile(const std::string& lease) {
  return absl::StrCat(NameHash("lease", lease, ""), ".json");
}

absl::StatusOr<std::vector<IpPrefix>> Addresses(const Json& json) {
  const auto addresses = json.find("addresses");
  if (addresses == json.end() || !addresses->is_array()) {
    return absl::InvalidArgumentError("\"addresses\" is missing or not a list");
  }
  std::vector<IpPrefix> prefixes;
  for (const Json& address : *addresses) {
    if (!address.is_string()) return absl::InvalidArgumentError("an address is not a string");
    ASSIGN_OR_RETURN(const IpPrefix prefix, IpPrefix::Parse(address.get_ref<const std::string&>()));
    prefixes.push_back(prefix);
  }
  return prefixes;
}

absl::StatusOr<MacAddress> Mac(const Json& json) {
  ASSIGN_OR_RETURN(const std::string text, Text(json, "mac"));
  ASSIGN_OR_RETURN(const MacAddress mac, MacAddress::Parse(text));
  if (!mac.IsStation()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"mac\" ", text, " cannot be the address of a station"));
  }
  return mac;
}

Json CloudToJson(const CloudKey& key) {
  return {{"group", key.group.ToString()}, {"port", key.port}, {"vni", key.vni.value()}};
}

absl::StatusOr<CloudKey> CloudFromJson(const Json& cloud) {
  if (!cloud.is_object()) return absl::InvalidArgumentError("a cloud is not an object");
  CloudKey key;
  ASSIGN_OR_RETURN(const std::string group, Text(cloud, "group"));
  ASSIGN_OR_RETURN(key.group, IpAddress::Parse(group));
  ASSIGN_OR_RETURN(const int64_t port, Number(cloud, "port", 1, 65535));
  key.port = static_cast<uint16_t>(port);
  ASSIGN_OR_RETURN(const int64_t vni, Number(cloud, "vni", 0, Vni::kMax));
  key.vni = *Vni::Make(static_cast<uint32_t>(vni));
  return key;
}

}  // namespace

std::string FormatRecord(const AttachmentRecord& record) {
  Json json;
  json["version"] = kVersion;
  json["id"] = record.id;
  json["network"] = record.network;
  json["container_id"] = record.container_id;
  json["ifname"] = record.ifname;
  json["main_ifname"] = record.main_ifname;
  json["pod_namespace"] = record.pod_namespace;
  json["pod_name"] = record.pod_name;
  json["pod_uid"] = record.pod_uid;
  json["caller"] = record.caller;
  json["mode"] = record.tap ? "tap" : "veth";
  json["netns"] = record.netns;
  json["netns_id"] = record.netns_id;
  json["host_ifname"] = record.host_ifname;
  json["mac"] = record.mac.ToString();
  json["mtu"] = record.mtu;
  json["addresses"] = Json::array();
  for (const IpPrefix& address : record.addresses) json["addresses"].push_back(address.ToString());
  json["port_mappings"] = Json::array();
  for (const PortMapping& mapping : record.port_mappings) {
    // An agent before 0.2.0 takes an unspecified address for an address of the node. It takes an
    // empty text for all addresses, and skips a key that it does not know.
    const bool any = !mapping.host_ip.has_value() || mapping.host_ip->IsUnspecified();
    json["port_mappings"].push_back({{"host_port", mapping.host_port},
                                     {"container_port", mapping.container_port},
                                     {"protocol", mapping.protocol},
                                     {"host_ip", any ? "" : mapping.host_ip->ToString()}});
    if (any && mapping.host_ip.has_value()) {
      json["port_mappings"].back()["host_family"] = mapping.host_ip->is_v6() ? kIpv6 : kIpv4;
    }
  }
  json["node_port"] = record.node_port;
  json["allow"] = FormatAllowed(record.allow);
  json["vnl"] = record.vnl;
  json["unicast_port"] = record.unicast_port;
  return Dump(std::move(json));
}

absl::StatusOr<AttachmentRecord> ParseRecord(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  AttachmentRecord record;
  ASSIGN_OR_RETURN(record.id, Text(json, "id"));
  ASSIGN_OR_RETURN(record.network, Text(json, "network"));
  ASSIGN_OR_RETURN(record.container_id, Text(json, "container_id"));
  ASSIGN_OR_RETURN(record.ifname, Text(json, "ifname"));
  if (record.id != AttachmentId(record.network, record.container_id, record.ifname)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"id\" ", record.id, " is not that of its network, container and interface"));
  }
  record.main_ifname = record.ifname;
  if (json.contains("main_ifname")) {  // 0.1.0 had one network in an ADD
    ASSIGN_OR_RETURN(record.main_ifname, Text(json, "main_ifname"));
  }
  ASSIGN_OR_RETURN(record.pod_namespace, Text(json, "pod_namespace"));
  ASSIGN_OR_RETURN(record.pod_name, Text(json, "pod_name"));
  ASSIGN_OR_RETURN(record.pod_uid, Text(json, "pod_uid"));
  if (json.contains("caller")) {  // records of 0.1.0 have none: all are CNI's
    ASSIGN_OR_RETURN(record.caller, Text(json, "caller"));
  }
  if (record.caller != "cni" && record.caller != "netavark") {
    return absl::InvalidArgumentError(
        absl::StrCat("\"caller\" ", record.caller, " is neither cni nor netavark"));
  }
  ASSIGN_OR_RETURN(const std::string mode, Text(json, "mode"));
  if (mode != "veth" && mode != "tap") {
    return absl::InvalidArgumentError(absl::StrCat("\"mode\" ", mode, " is neither veth nor tap"));
  }
  record.tap = mode == "tap";
  ASSIGN_OR_RETURN(record.netns, Text(json, "netns"));
  ASSIGN_OR_RETURN(record.host_ifname, Text(json, "host_ifname"));
  if (record.host_ifname != (record.tap ? "" : HostIfName(record.id))) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"host_ifname\" ", record.host_ifname, " is not that of ", record.id));
  }
  ASSIGN_OR_RETURN(record.mac, Mac(json));
  ASSIGN_OR_RETURN(const int64_t mtu, Number(json, "mtu", 1, 65535));
  record.mtu = static_cast<int>(mtu);
  ASSIGN_OR_RETURN(record.addresses, Addresses(json));
  // Older records do not have the following five keys.
  if (const auto mappings = json.find("port_mappings"); mappings != json.end()) {
    if (!mappings->is_array()) return absl::InvalidArgumentError("\"port_mappings\" is not a list");
    for (const Json& one : *mappings) {
      ASSIGN_OR_RETURN(PortMapping mapping, ParseMapping(one));
      record.port_mappings.push_back(std::move(mapping));
    }
  }
  if (const auto node_port = json.find("node_port"); node_port != json.end()) {
    if (!node_port->is_boolean())
      return absl::InvalidArgumentError("\"node_port\" is not a boolean");
    record.node_port = node_port->get<bool>();
  }
  if (const auto allow = json.find("allow"); allow != json.end()) {
    ASSIGN_OR_RETURN(record.allow, AllowedOf(*allow));
  }
  if (json.contains("netns_id")) {
    ASSIGN_OR_RETURN(record.netns_id, Text(json, "netns_id"));
  }
  if (json.contains("unicast_port")) {
    ASSIGN_OR_RETURN(const int64_t unicast_port, Number(json, "unicast_port", 0, 65535));
    record.unicast_port = static_cast<uint16_t>(unicast_port);
  }
  ASSIGN_OR_RETURN(record.vnl, Text(json, "vnl"));
  return record;
}

std::string FormatUnicastPorts(const UnicastPorts& ports) {
  Json json;
  json["version"] = kVersion;
  json["clouds"] = Json::array();
  for (const auto& [key, unicast_port] : ports) {
    json["clouds"].push_back(CloudToJson(key));
    json["clouds"].back()["unicast_port"] = unicast_port;
  }
  return Dump(std::move(json));
}

absl::StatusOr<UnicastPorts> ParseUnicastPorts(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  const auto clouds = json.find("clouds");
  if (clouds == json.end() || !clouds->is_array()) {
    return absl::InvalidArgumentError("\"clouds\" is missing or not a list");
  }
  UnicastPorts ports;
  for (const Json& cloud : *clouds) {
    ASSIGN_OR_RETURN(const CloudKey key, CloudFromJson(cloud));
    ASSIGN_OR_RETURN(const int64_t unicast_port, Number(cloud, "unicast_port", 1, 65535));
    ports[key] = static_cast<uint16_t>(unicast_port);
  }
  return ports;
}

std::string FormatLease(const LeaseRecord& record) {
  Json json;
  json["version"] = kVersion;
  json["lease"] = record.lease;
  json["cloud"] = CloudToJson(record.cloud);
  json["owner"] = record.owner;
  json["mac"] = record.mac.ToString();
  json["addresses"] = Json::array();
  for (const IpPrefix& address : record.addresses) json["addresses"].push_back(address.ToString());
  return Dump(std::move(json));
}

absl::StatusOr<LeaseRecord> ParseLease(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  LeaseRecord record;
  ASSIGN_OR_RETURN(record.lease, Text(json, "lease"));
  const auto cloud = json.find("cloud");
  if (cloud == json.end()) return absl::InvalidArgumentError("\"cloud\" is missing");
  ASSIGN_OR_RETURN(record.cloud, CloudFromJson(*cloud));
  ASSIGN_OR_RETURN(record.owner, Text(json, "owner"));
  ASSIGN_OR_RETURN(record.mac, Mac(json));
  ASSIGN_OR_RETURN(record.addresses, Addresses(json));
  return record;
}

absl::StatusOr<Store> Store::Open(const std::string& run_dir) {
  for (const char* name : {"/attachments", "/copies", "/planned", "/ended", "/leases"}) {
    const std::string folder = absl::StrCat(run_dir, name);
    RETURN_IF_ERROR(MakeFolder(folder, 0700));
    RemovePartialFiles(folder);
  }
  RemovePartialFiles(run_dir);
  return Store(run_dir);
}

std::string Store::RecordPath(const std::string& id) const {
  return absl::StrCat(run_dir_, "/attachments/", id, ".json");
}

std::string Store::CopyPath(const std::string& id) const {
  return absl::StrCat(run_dir_, "/copies/", id, ".json");
}

std::string Store::PlanPath(const std::string& id) const {
  return absl::StrCat(run_dir_, "/planned/", id);
}

std::string Store::EndedPath(const std::string& id) const {
  return absl::StrCat(run_dir_, "/ended/", id, ".json");
}

std::string Store::LeasePath(const std::string& lease) const {
  return absl::StrCat(run_dir_, "/leases/", LeaseFile(lease));
}

absl::Status Store::SaveLease(const LeaseRecord& record) {
  return ReplaceFile(LeasePath(record.lease), FormatLease(record));
}

absl::Status Store::RemoveLease(const std::string& lease) { return RemoveFile(LeasePath(lease)); }

absl::StatusOr<Store::Leases> Store::LoadLeases() {
  Leases leases;
  RETURN_IF_ERROR(LoadAll(
      absl::StrCat(run_dir_, "/leases"), ParseLease,
      [](const LeaseRecord& record) { return LeaseFile(record.lease); }, leases.records,
      leases.problems));
  return leases;
}

absl::Status Store::Plan(const std::string& id) {
  const UniqueFd file(
      open(PlanPath(id).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  return file ? absl::OkStatus() : ErrnoStatus(errno, absl::StrCat("create ", PlanPath(id)));
}

absl::Status Store::Unplan(const std::string& id) { return RemoveFile(PlanPath(id)); }

// The order of the two files, here and below, ensures that a copy without a record and without a
// plan always belongs to a record that was lost.
absl::Status Store::Save(const AttachmentRecord& record) {
  const std::string text = FormatRecord(record);
  RETURN_IF_ERROR(ReplaceFile(CopyPath(record.id), text));
  absl::Cleanup remove = [&] { unlink(CopyPath(record.id).c_str()); };
  RETURN_IF_ERROR(ReplaceFile(RecordPath(record.id), text));
  std::move(remove).Cancel();
  // Harmless: the record takes precedence over the plan.
  Unplan(record.id).IgnoreError();
  return absl::OkStatus();
}

absl::Status Store::End(const std::string& id) {
  RETURN_IF_ERROR(RemoveFile(CopyPath(id)));
  const std::string path = RecordPath(id);
  if (rename(path.c_str(), EndedPath(id).c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, absl::StrCat("move ", path));
  }
  return absl::OkStatus();
}

absl::Status Store::Remove(const std::string& id) {
  RETURN_IF_ERROR(RemoveFile(CopyPath(id)));
  RETURN_IF_ERROR(RemoveFile(RecordPath(id)));
  RETURN_IF_ERROR(Unplan(id));
  return RemoveEnded(id);
}

absl::Status Store::RemoveEnded(const std::string& id) { return RemoveFile(EndedPath(id)); }

absl::Status Store::SavePorts(const UnicastPorts& ports) {
  return ReplaceFile(absl::StrCat(run_dir_, "/clouds.json"), FormatUnicastPorts(ports));
}

absl::Status Store::MatchCopies(Contents& contents) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names,
                   ListFolder(absl::StrCat(run_dir_, "/planned")));
  std::set<std::string> planned;
  for (const std::string& name : names) {
    if (IsAttachmentId(name)) planned.insert(name);
  }
  std::vector<AttachmentRecord> list;
  RETURN_IF_ERROR(
      LoadAll(absl::StrCat(run_dir_, "/copies"), ParseRecord, RecordFile, list, contents.problems));
  std::map<std::string, AttachmentRecord> copies;
  for (AttachmentRecord& copy : list) {
    std::string id = copy.id;
    copies.emplace(std::move(id), std::move(copy));
  }
  for (const AttachmentRecord& record : contents.records) {
    const auto copy = copies.find(record.id);
    const bool same = copy != copies.end() && copy->second == record;
    // Older agents wrote no copies.
    if (!same) RETURN_IF_ERROR(ReplaceFile(CopyPath(record.id), FormatRecord(record)));
    if (copy != copies.end()) copies.erase(copy);
    if (planned.erase(record.id) != 0) RETURN_IF_ERROR(Unplan(record.id));
  }
  std::set<std::string> ended;
  for (const AttachmentRecord& record : contents.ended) ended.insert(record.id);
  for (auto& [id, copy] : copies) {
    if (planned.contains(id) || ended.contains(id)) {  // killed between two files
      RETURN_IF_ERROR(RemoveFile(CopyPath(id)));
      continue;
    }
    RETURN_IF_ERROR(ReplaceFile(RecordPath(id), FormatRecord(copy)));
    contents.rebuilt.push_back(id);
    contents.records.push_back(std::move(copy));
  }
  std::sort(contents.records.begin(), contents.records.end(),
            [](const AttachmentRecord& a, const AttachmentRecord& b) { return a.id < b.id; });
  contents.planned.assign(planned.begin(), planned.end());
  return absl::OkStatus();
}

absl::StatusOr<Store::Contents> Store::Load() {
  Contents contents;
  RETURN_IF_ERROR(LoadAll(absl::StrCat(run_dir_, "/attachments"), ParseRecord, RecordFile,
                          contents.records, contents.problems));
  RETURN_IF_ERROR(LoadAll(absl::StrCat(run_dir_, "/ended"), ParseRecord, RecordFile, contents.ended,
                          contents.problems));
  RETURN_IF_ERROR(MatchCopies(contents));

  const std::string ports_path = absl::StrCat(run_dir_, "/clouds.json");
  const absl::StatusOr<std::string> text = ReadFile(ports_path, kMaxFile);
  if (absl::IsNotFound(text.status())) return contents;
  if (!text.ok() && !absl::IsInvalidArgument(text.status())) return text.status();
  absl::StatusOr<UnicastPorts> ports =
      text.ok() ? ParseUnicastPorts(*text) : absl::StatusOr<UnicastPorts>(text.status());
  if (ports.ok()) {
    contents.ports = *std::move(ports);
  } else {
    contents.problems.push_back(SetAside(ports_path, ports.status()));
  }
  return contents;
}

}  // namespace vxvde
