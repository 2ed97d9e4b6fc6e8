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
constexpr std::array kOwnKeys = {"name", "vnl", "interface", "ips", "mac", "allow"};
constexpr std::array kNpwgKeys = {"name", "namespace", "interface",    "ips",
                                  "mac",  "cni-args",  "default-route"};

// As in the agent's configuration.
bool IsCloudName(absl::string_view text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  });
}

absl::StatusOr<CloudChoice> ParsePlace(absl::string_view place) {
  if (absl::StartsWith(place, kVnlScheme)) {
    return CloudChoice{.name = "", .vnl = std::string(place)};
  }
  if (IsCloudName(place)) return CloudChoice{.name = std::string(place), .vnl = ""};
  return absl::InvalidArgumentError(
      absl::StrCat(Show(Json(std::string(place))),
                   " is neither the name of a cloud nor a locator (vxvde://...)"));
}

// `interface` of an entry of either list.
absl::Status SetInterface(const Json& entry, Attachment& attachment) {
  const Json* value = Find(entry, "interface");
  if (value == nullptr || *value == "") return absl::OkStatus();
  ASSIGN_OR_RETURN(attachment.ifname, AsString(*value, "interface"));
  return CheckNewInterfaceName("interface", attachment.ifname);
}

absl::Status SetMac(const Json& entry, Attachment& attachment) {
  const Json* value = Find(entry, "mac");
  if (value == nullptr || *value == "") return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, AsString(*value, "mac"));
  ASSIGN_OR_RETURN(attachment.mac, ParseStationMac(text));
  return absl::OkStatus();
}

// Without the key, the agent allocates; [] is layer 2 only. The agent also supplies the length of
// addresses that have none.
absl::Status SetIps(const Json& entry, Attachment& attachment) {
  const Json* value = Find(entry, "ips");
  if (value == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*value, "ips"));
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const RequestedIp ip, ParseRequestedIp(text));
    attachment.ips.push_back(ip);
    if (ip.length.has_value() == attachment.ips[0].length.has_value()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("ips: one of ", texts[0], " and ", text,
                     " has a prefix length; write it for all, or for none to get that of the "
                     "cloud's subnet"));
  }
  const bool complete = attachment.ips.empty() || attachment.ips[0].length;
  attachment.address_source = complete ? AddressSource::kCaller : AddressSource::kAgent;
  return absl::OkStatus();
}

// NPWG: a list of gateways. The interface gets the pod's default route through each, and no other
// interface has one.
absl::Status SetDefaultRoute(const Json& entry, Attachment& attachment) {
  const Json* value = Find(entry, "default-route");
  if (value == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, AsStrings(*value, "default-route"));
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const IpAddress gateway, IpAddress::Parse(text));
    ResultRoute route;
    ASSIGN_OR_RETURN(route.destination, IpPrefix::Parse(gateway.is_v4() ? "0.0.0.0/0" : "::/0"));
    route.gateway = gateway;
    attachment.routes.push_back(std::move(route));
    attachment.replaces_default_route = true;
  }
  return absl::OkStatus();
}

// {name|vnl, interface, ips, mac, allow}
absl::Status ReadOwn(const Json& entry, Attachment& attachment) {
  for (const auto& [key, value] : entry.items()) {
    if (absl::c_linear_search(kOwnKeys, key)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("unknown key ", Show(Json(key)), "; use ", absl::StrJoin(kOwnKeys, ", ")));
  }
  const Json* name = Find(entry, "name");
  const Json* vnl = Find(entry, "vnl");
  if ((name == nullptr) == (vnl == nullptr)) {
    return absl::InvalidArgumentError("either a \"name\" or a \"vnl\" is needed");
  }
  ASSIGN_OR_RETURN(const std::string place,
                   AsString(name != nullptr ? *name : *vnl, name != nullptr ? "name" : "vnl"));
  if ((vnl != nullptr) != absl::StartsWith(place, kVnlScheme)) {
    return absl::InvalidArgumentError(absl::StrCat(
        Show(Json(place)), name != nullptr ? " is a locator, not a name: use the key \"vnl\""
                                           : " is not a locator (vxvde://...)"));
  }
  ASSIGN_OR_RETURN(attachment.cloud, ParsePlace(place));
  RETURN_IF_ERROR(SetInterface(entry, attachment));
  RETURN_IF_ERROR(SetMac(entry, attachment));
  if (const Json* allow = Find(entry, "allow")) {
    ASSIGN_OR_RETURN(attachment.allow_by_annotation, AsStrings(*allow, "allow"));
  }
  return SetIps(entry, attachment);
}

// Of an entry whose name and interface are valid: the rest.
absl::Status ReadNpwgDetails(const Json& entry, Attachment& attachment) {
  for (const auto& [key, value] : entry.items()) {
    if (absl::c_linear_search(kNpwgKeys, key) || value.is_null() || value.empty() || value == "") {
      continue;
    }
    if (key == "infiniband-guid") {
      attachment.notes.push_back(absl::StrCat("infiniband-guid ", Show(value),
                                              " has no effect: the interface is Ethernet"));
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat(Show(Json(key)), " is not supported for a cloud"));
  }
  // Arguments for any plugin (CONVENTIONS, "args.cni"): those of other plugins are ignored.
  const Json none = Json::object();
  const Json* args = Find(entry, "cni-args");
  if (args == nullptr) args = &none;
  if (!args->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("cni-args: not an object but ", Show(*args)));
  }
  RETURN_IF_ERROR(SetMac(*args, attachment));
  RETURN_IF_ERROR(SetMac(entry, attachment));
  RETURN_IF_ERROR(SetIps(Find(entry, "ips") != nullptr ? entry : *args, attachment));
  return SetDefaultRoute(entry, attachment);
}

// {name, namespace, interface, ips, mac, default-route, ...}. False: the name cannot be a cloud's,
// so the entry is for another plugin.
absl::StatusOr<bool> ReadNpwg(const Json& entry, Attachment& attachment) {
  const Json* name = Find(entry, "name");
  if (name == nullptr || !name->is_string()) {
    return absl::InvalidArgumentError("\"name\" is missing");
  }
  attachment.maybe_foreign = true;
  attachment.cloud.name = name->get_ref<const std::string&>();
  RETURN_IF_ERROR(SetInterface(entry, attachment));
  attachment.problem = ReadNpwgDetails(entry, attachment);
  return IsCloudName(attachment.cloud.name);
}

// Collects the entries of all annotations, then names the interfaces.
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

  std::vector<Attachment> Finish() {
    int number = 0;
    for (Attachment& attachment : attachments_) {
      while (attachment.ifname.empty()) {
        std::string name = absl::StrCat("net", ++number);
        if (taken_.insert(name).second) attachment.ifname = std::move(name);
      }
    }
    return std::move(attachments_);
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
      if (entry.empty()) status = absl::InvalidArgumentError("the entry is empty");
      if (at != absl::string_view::npos) {
        json["interface"] = std::string(entry.substr(at + 1));
        if (at + 1 == entry.size()) {
          status = absl::InvalidArgumentError("the interface name after '@' is missing");
        }
      }
      RETURN_IF_ERROR(
          Add(absl::StrCat("entry ", Show(Json(std::string(entry)))), json, std::move(status)));
    }
    return absl::OkStatus();
  }

  absl::Status ReadList(absl::string_view text) {
    // ParseObject reads objects only, so the list is wrapped in one.
    const absl::StatusOr<Json> object =
        ParseObject(absl::StrCat("{\"list\":", text, "}"), "not JSON");
    if (!object.ok()) return Blame("", object.status());
    const Json* list = Find(*object, "list");
    if (object->size() != 1 || list == nullptr || !list->is_array()) {
      return Blame("", absl::InvalidArgumentError(
                           "neither a list of names, separated by commas, nor a JSON list"));
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

  // `error`: an error in the entry's own syntax.
  absl::Status Add(const std::string& which, const Json& entry, const absl::Status& error) {
    if (!error.ok()) return Blame(which, error);
    Attachment attachment;
    attachment.asked_by = absl::StrCat("annotation ", annotation_, ", ", which);
    if (npwg_) {
      const absl::StatusOr<bool> maybe_ours = ReadNpwg(entry, attachment);
      if (!maybe_ours.ok()) return Blame(which, maybe_ours.status());
      if (!*maybe_ours) {
        // The other plugin makes that interface.
        if (!attachment.ifname.empty()) taken_.insert(attachment.ifname);
        return absl::OkStatus();
      }
    } else if (const absl::Status status = ReadOwn(entry, attachment); !status.ok()) {
      return Blame(which, status);
    }
    if (!attachment.ifname.empty() && !taken_.insert(attachment.ifname).second) {
      const absl::Status twice = absl::InvalidArgumentError(absl::StrCat(
          "the pod already has an interface ", attachment.ifname, "; use another name"));
      if (!attachment.maybe_foreign) return Blame(which, twice);
      attachment.problem.Update(twice);
    }
    if (attachments_.size() == kMaxNetworks) {
      return Blame(which,
                   absl::InvalidArgumentError(absl::StrCat("a pod may have at most ", kMaxNetworks,
                                                           " interfaces by annotation")));
    }
    attachments_.push_back(std::move(attachment));
    return absl::OkStatus();
  }

  absl::Status Blame(const std::string& which, const absl::Status& status) const {
    return absl::InvalidArgumentError(absl::StrCat(
        "annotation ", annotation_, which.empty() ? "" : ", ", which, ": ", status.message()));
  }

  std::set<std::string> taken_;
  std::vector<Attachment> attachments_;
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
      PodNetworks::First& first = networks.first.emplace();
      first.asked_by = absl::StrCat("annotation ", kCloudAnnotation);
      const absl::StatusOr<CloudChoice> cloud = ParsePlace(place);
      if (!cloud.ok()) return Annotate(cloud.status(), first.asked_by);
      first.cloud = *cloud;
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
