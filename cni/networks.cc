#include "cni/networks.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cni/json.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr absl::string_view kVnlScheme = "vxvde://";
constexpr char kOwnKeys[] = "name, vnl, interface, ips, mac, allow";

// What an agent's configuration may call a cloud.
bool IsCloudName(absl::string_view text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  });
}

absl::Status SetPlace(absl::string_view place, WantedNetwork& network) {
  if (absl::StartsWith(place, kVnlScheme)) {
    network.vnl = std::string(place);
    return absl::OkStatus();
  }
  if (!IsCloudName(place)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Show(Json(std::string(place))), " is neither a cloud's name nor vxvde://..."));
  }
  network.cloud = std::string(place);
  return absl::OkStatus();
}

absl::Status SetInterface(const std::string& ifname, WantedNetwork& network) {
  if (!IsInterfaceName(ifname)) {
    return absl::InvalidArgumentError(
        absl::StrCat("interface ", Show(Json(ifname)),
                     " is not 1 to 15 bytes without '/', ':' and spaces, nor . or .."));
  }
  network.ifname = ifname;
  return absl::OkStatus();
}

absl::Status SetMac(const Json& entry, WantedNetwork& network) {
  const Json* value = Find(entry, "mac");
  if (value == nullptr || *value == "") return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, AsString(*value, "mac"));
  ASSIGN_OR_RETURN(network.mac, ParseStationMac(text));
  return absl::OkStatus();
}

absl::Status SetIps(const Json& entry, WantedNetwork& network) {
  const Json* value = Find(entry, "ips");
  if (value == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*value, "ips"));
  std::vector<RequestedIp> ips;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const RequestedIp ip, ParseRequestedIp(text));
    if (!ip.length) {
      return absl::InvalidArgumentError(absl::StrCat("ips: ", text, " has no prefix length; write ",
                                                     text, ip.address.is_v4() ? "/24" : "/64",
                                                     " or whatever its subnet has"));
    }
    ips.push_back(ip);
  }
  network.ips = std::move(ips);
  return absl::OkStatus();
}

// NPWG: gateways; a default route through each, on this interface.
absl::Status SetDefaultRoute(const Json& entry, WantedNetwork& network) {
  const Json* value = Find(entry, "default-route");
  if (value == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*value, "default-route"));
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const IpAddress gateway, IpAddress::Parse(text));
    ResultRoute route;
    ASSIGN_OR_RETURN(route.destination, IpPrefix::Parse(gateway.is_v4() ? "0.0.0.0/0" : "::/0"));
    route.gateway = gateway;
    network.routes.push_back(std::move(route));
  }
  return absl::OkStatus();
}

// {name|vnl, interface, ips, mac, allow}
absl::Status ReadOwn(const Json& entry, WantedNetwork& network) {
  for (const auto& [key, value] : entry.items()) {
    if (absl::c_linear_search(std::array{"name", "vnl", "interface", "ips", "mac", "allow"}, key))
      continue;
    return absl::InvalidArgumentError(
        absl::StrCat("unknown key ", Show(Json(key)), "; there are ", kOwnKeys));
  }
  const Json* name = Find(entry, "name");
  const Json* vnl = Find(entry, "vnl");
  if ((name == nullptr) == (vnl == nullptr)) {
    return absl::InvalidArgumentError("it needs either a \"name\" or a \"vnl\"");
  }
  ASSIGN_OR_RETURN(const std::string place,
                   AsString(name != nullptr ? *name : *vnl, name != nullptr ? "name" : "vnl"));
  if ((vnl != nullptr) != absl::StartsWith(place, kVnlScheme)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Show(Json(place)),
                     name != nullptr ? " is no name: call it \"vnl\"" : " is no vxvde://..."));
  }
  RETURN_IF_ERROR(SetPlace(place, network));
  if (const Json* value = Find(entry, "interface"); value != nullptr && *value != "") {
    ASSIGN_OR_RETURN(const std::string ifname, AsString(*value, "interface"));
    RETURN_IF_ERROR(SetInterface(ifname, network));
  }
  RETURN_IF_ERROR(SetMac(entry, network));
  if (const Json* allow = Find(entry, "allow")) {
    ASSIGN_OR_RETURN(network.allow, AsStrings(*allow, "allow"));
  }
  return SetIps(entry, network);
}

// What is wrong in an entry that may be for us. Its name and interface are good.
absl::Status ReadNpwgDetails(const Json& entry, WantedNetwork& network) {
  for (const auto& [key, value] : entry.items()) {
    if (absl::c_linear_search(
            std::array{"name", "namespace", "interface", "ips", "mac", "default-route"}, key) ||
        value.is_null() || value.empty() || value == "") {
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat(Show(Json(key)), " is not supported for a cloud"));
  }
  RETURN_IF_ERROR(SetMac(entry, network));
  RETURN_IF_ERROR(SetIps(entry, network));
  return SetDefaultRoute(entry, network);
}

// {name, namespace, interface, ips, mac, default-route, ...}. False: it is another plugin's.
absl::StatusOr<bool> ReadNpwg(const Json& entry, WantedNetwork& network) {
  const Json* name = Find(entry, "name");
  if (name == nullptr || !name->is_string()) {
    return absl::InvalidArgumentError("it has no \"name\"");
  }
  network.maybe_foreign = true;
  network.cloud = name->get_ref<const std::string&>();
  if (const Json* value = Find(entry, "interface"); value != nullptr && *value != "") {
    ASSIGN_OR_RETURN(const std::string ifname, AsString(*value, "interface"));
    RETURN_IF_ERROR(SetInterface(ifname, network));
  }
  network.problem = ReadNpwgDetails(entry, network);
  return IsCloudName(network.cloud);
}

// Collects what all annotations ask for, then gives names.
class Reader {
 public:
  explicit Reader(std::set<std::string> taken) : taken_(std::move(taken)) {}

  absl::Status Read(absl::string_view annotation, absl::string_view text) {
    npwg_ = annotation == kNpwgAnnotation;
    annotation_ = annotation;
    text = absl::StripAsciiWhitespace(text);
    if (text.empty()) return absl::OkStatus();
    return text[0] == '[' || text[0] == '{' ? ReadList(text) : ReadText(text);
  }

  std::vector<WantedNetwork> Finish() {
    int number = 0;
    for (WantedNetwork& network : networks_) {
      while (network.ifname.empty()) {
        std::string name = absl::StrCat("net", ++number);
        if (taken_.insert(name).second) network.ifname = std::move(name);
      }
    }
    return std::move(networks_);
  }

 private:
  // cloud[@ifname] or vxvde://...[@ifname]; NPWG: [namespace/]name[@ifname].
  absl::Status ReadText(absl::string_view text) {
    for (absl::string_view entry : absl::StrSplit(text, ',')) {
      entry = absl::StripAsciiWhitespace(entry);
      Json json = Json::object();
      const size_t at = entry.rfind('@');
      absl::string_view place = entry.substr(0, at);
      if (npwg_ && absl::StrContains(place, '/')) place.remove_prefix(place.find('/') + 1);
      json[!npwg_ && absl::StartsWith(place, kVnlScheme) ? "vnl" : "name"] = std::string(place);
      absl::Status status = absl::OkStatus();
      if (entry.empty()) status = absl::InvalidArgumentError("an entry is empty");
      if (at != absl::string_view::npos) {
        json["interface"] = std::string(entry.substr(at + 1));
        if (at + 1 == entry.size()) {
          status = absl::InvalidArgumentError("there is no interface name after the '@'");
        }
      }
      RETURN_IF_ERROR(
          Add(absl::StrCat("entry ", Show(Json(std::string(entry)))), json, std::move(status)));
    }
    return absl::OkStatus();
  }

  absl::Status ReadList(absl::string_view text) {
    // Wrapped, as JSON is read as an object here.
    const absl::StatusOr<Json> object =
        ParseObject(absl::StrCat("{\"list\":", text, "}"), "not JSON");
    if (!object.ok()) return Blame("", object.status());
    const Json* list = Find(*object, "list");
    if (object->size() != 1 || list == nullptr || !list->is_array()) {
      return Blame("", absl::InvalidArgumentError("neither names and commas nor a JSON list"));
    }
    size_t number = 0;
    for (const Json& entry : *list) {
      const std::string which = absl::StrCat("entry ", ++number);
      const Json* name = Find(entry, "name");
      if (name == nullptr) name = Find(entry, "vnl");
      RETURN_IF_ERROR(
          Add(name == nullptr ? which : absl::StrCat(which, " (", Show(*name), ")"), entry,
              entry.is_object()
                  ? absl::OkStatus()
                  : absl::InvalidArgumentError(absl::StrCat("not an object but ", Show(entry)))));
    }
    return absl::OkStatus();
  }

  // `error`: what was wrong already.
  absl::Status Add(const std::string& which, const Json& entry, const absl::Status& error) {
    if (!error.ok()) return Blame(which, error);
    WantedNetwork network;
    network.asked_by = absl::StrCat("annotation ", annotation_, ", ", which);
    if (npwg_) {
      const absl::StatusOr<bool> maybe_ours = ReadNpwg(entry, network);
      if (!maybe_ours.ok()) return Blame(which, maybe_ours.status());
      if (!*maybe_ours) {
        // Its interface is somebody else's from now on.
        if (!network.ifname.empty()) taken_.insert(network.ifname);
        return absl::OkStatus();
      }
    } else if (const absl::Status status = ReadOwn(entry, network); !status.ok()) {
      return Blame(which, status);
    }
    if (!network.ifname.empty() && !taken_.insert(network.ifname).second) {
      const absl::Status twice = absl::InvalidArgumentError(
          absl::StrCat("the pod has an interface ", network.ifname, " already; name another"));
      if (!network.maybe_foreign) return Blame(which, twice);
      network.problem.Update(twice);
    }
    if (networks_.size() == kMaxNetworks) {
      return Blame(which, absl::InvalidArgumentError(
                              absl::StrCat("a pod may ask for at most ", kMaxNetworks)));
    }
    networks_.push_back(std::move(network));
    return absl::OkStatus();
  }

  absl::Status Blame(const std::string& which, const absl::Status& status) const {
    return absl::InvalidArgumentError(absl::StrCat(
        "annotation ", annotation_, which.empty() ? "" : ", ", which, ": ", status.message()));
  }

  std::set<std::string> taken_;
  std::vector<WantedNetwork> networks_;
  absl::string_view annotation_;
  bool npwg_ = false;
};

}  // namespace

absl::StatusOr<PodNetworks> ParsePodNetworks(const std::map<std::string, std::string>& annotations,
                                             std::set<std::string> taken) {
  PodNetworks networks;
  if (const auto it = annotations.find(kCloudAnnotation); it != annotations.end()) {
    const absl::string_view place = absl::StripAsciiWhitespace(it->second);
    if (!place.empty()) {
      WantedNetwork& first = networks.first.emplace();
      first.asked_by = absl::StrCat("annotation ", kCloudAnnotation);
      RETURN_IF_ERROR(Annotate(SetPlace(place, first), first.asked_by));
    }
  }
  if (const auto it = annotations.find(kAllowAnnotation); it != annotations.end()) {
    for (const absl::string_view one : absl::StrSplit(it->second, ',')) {
      const absl::string_view text = absl::StripAsciiWhitespace(one);
      if (!text.empty()) networks.allow.emplace_back(text);
    }
  }
  Reader reader(std::move(taken));
  for (const char* key : {kNetworksAnnotation, kNpwgAnnotation}) {
    const auto it = annotations.find(key);
    if (it != annotations.end()) RETURN_IF_ERROR(reader.Read(key, it->second));
  }
  networks.others = reader.Finish();
  return networks;
}

}  // namespace vxvde
