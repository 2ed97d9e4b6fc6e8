#include "agent/config/config.h"

#include <fnmatch.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "agent/model/mtu.h"
#include "plugin/base/interface_name.h"
#include "plugin/base/status.h"
#include "plugin/os/files.h"

namespace vxvde {
namespace {

constexpr size_t kMaxConfigSize = 1 << 20;
constexpr int kMaxStorm = 100'000'000;  // frames a second; no sender reaches this

// Reads the document in one pass and collects all mistakes.
class Reader {
 public:
  explicit Reader(const GroupLookup& group_id) : group_id_(group_id) {}

  absl::StatusOr<Config> Read(const YAML::Node& root) {
    Config config;
    if (!root.IsNull()) ReadRoot(root, config);
    if (!mistakes_.empty()) return absl::InvalidArgumentError(absl::StrJoin(mistakes_, "\n"));
    return config;
  }

 private:
  using KeyReader = std::function<void(const YAML::Node& value)>;
  struct Key {
    absl::string_view name;
    KeyReader read;
  };

  void Mistake(const YAML::Node& at, absl::string_view key, absl::string_view what) {
    const int line = at.Mark().line;
    mistakes_.push_back(absl::StrCat(line < 0 ? 1 : line + 1, ": ", key, ": ", what));
  }

  // Passes each value of `map` to the reader of its key. `where` names the map in messages.
  void ReadMap(const YAML::Node& map, absl::string_view where, const std::vector<Key>& keys) {
    if (!map.IsMap()) {
      Mistake(map, where, "must be a map of keys and values");
      return;
    }
    std::set<std::string> seen;
    for (const auto& pair : map) {
      const std::string name = pair.first.IsScalar() ? pair.first.Scalar() : "?";
      const auto key =
          std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == name; });
      if (key == keys.end()) {
        std::vector<absl::string_view> known;
        for (const Key& k : keys) known.push_back(k.name);
        Mistake(
            pair.first, name,
            absl::StrCat("unknown key in ", where, "; use one of: ", absl::StrJoin(known, ", ")));
      } else if (!seen.insert(name).second) {
        Mistake(pair.first, name, "given twice; keep one");
      } else {
        key->read(pair.second);
      }
    }
  }

  std::optional<std::string> Text(const YAML::Node& value, absl::string_view key) {
    if (value.IsNull()) return "";
    if (value.IsScalar() && !absl::StrContains(value.Scalar(), '\0')) return value.Scalar();
    Mistake(value, key, "must be a string");
    return std::nullopt;
  }

  std::optional<int> Number(const YAML::Node& value, absl::string_view key, int least, int most) {
    int number = 0;
    if (value.IsScalar() && absl::SimpleAtoi(value.Scalar(), &number) && number >= least &&
        number <= most) {
      return number;
    }
    Mistake(value, key, absl::StrCat("must be a whole number from ", least, " to ", most));
    return std::nullopt;
  }

  std::optional<bool> Truth(const YAML::Node& value, absl::string_view key) {
    if (value.IsScalar() && value.Scalar() == "true") return true;
    if (value.IsScalar() && value.Scalar() == "false") return false;
    Mistake(value, key, "must be true or false");
    return std::nullopt;
  }

  std::vector<std::string> Texts(const YAML::Node& value, absl::string_view key) {
    std::vector<std::string> texts;
    if (!value.IsSequence()) {
      Mistake(value, key, "must be a list");
      return texts;
    }
    for (const YAML::Node& item : value) {
      const auto text = Text(item, key);
      if (!text.has_value()) continue;
      if (text->empty()) {
        Mistake(item, key, "an entry is empty; remove it");
      } else {
        texts.push_back(*text);
      }
    }
    return texts;
  }

  void ReadRoot(const YAML::Node& root, Config& config) {
    std::optional<bool> confine;
    ReadMap(
        root, "the configuration",
        {
            {"node", [&](const auto& v) { ReadNode(v, config.node); }},
            {"uplink", [&](const auto& v) { ReadUplink(v, config.uplink); }},
            {"unicastPorts", [&](const auto& v) { ReadPorts(v, config.unicast_ports); }},
            {"datapath", [&](const auto& v) { ReadDatapath(v, config.datapath); }},
            {"metrics", [&](const auto& v) { ReadMetrics(v, config.metrics); }},
            {"allowVnl",
             [&](const auto& v) { config.allow_vnl = Truth(v, "allowVnl").value_or(false); }},
            {"confineNamespaces", [&](const auto& v) { confine = Truth(v, "confineNamespaces"); }},
            {"clouds", [&](const auto& v) { ReadClouds(v, config.clouds); }},
        });
    if (confine == true && config.allow_vnl) {
      Mistake(root["confineNamespaces"], "confineNamespaces",
              "true contradicts allowVnl: true, by which a pod may join any cloud; keep one");
    }
    config.confine_namespaces = confine.value_or(!config.clouds.empty() && !config.allow_vnl);
  }

  void ReadNode(const YAML::Node& value, std::string& node) {
    const auto text = Text(value, "node");
    if (!text.has_value()) return;
    const bool fits = text->size() <= 253 && std::all_of(text->begin(), text->end(), [](char c) {
                        return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' ||
                               c == '.' || c == '_';
                      });
    if (!fits) {
      Mistake(value, "node", "must be at most 253 letters, digits, '-', '.' or '_'");
      return;
    }
    node = *text;
  }

  void ReadUplink(const YAML::Node& value, std::string& uplink) {
    const auto text = Text(value, "uplink");
    if (!text.has_value()) return;
    // An empty value selects the default, the route to each cloud's group.
    if (!text->empty() && !IsInterfaceName(*text)) {
      Mistake(value, "uplink",
              absl::StrCat("\"", *text,
                           "\" is not an interface name; use 1 to 15 bytes without '/', ':' and "
                           "spaces"));
      return;
    }
    uplink = *text;
  }

  void ReadPorts(const YAML::Node& value, PortRange& range) {
    const auto text = Text(value, "unicastPorts");
    if (!text.has_value()) return;
    const std::vector<std::string> ends = absl::StrSplit(*text, '-');
    int first = 0;
    int last = 0;
    if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &first) ||
        !absl::SimpleAtoi(ends[1], &last) || first < 1 || last > 65535 || first > last) {
      Mistake(
          value, "unicastPorts",
          absl::StrCat("\"", *text, "\" is not a range of UDP ports; write one as in 14790-15813"));
      return;
    }
    range = {static_cast<uint16_t>(first), static_cast<uint16_t>(last)};
  }

  void ReadDatapath(const YAML::Node& value, Datapath& datapath) {
    const auto text = Text(value, "datapath");
    if (!text.has_value()) return;
    for (const Datapath one : {Datapath::kAuto, Datapath::kKernel, Datapath::kUser}) {
      if (*text != DatapathName(one)) continue;
      datapath = one;
      return;
    }
    Mistake(value, "datapath",
            absl::StrCat("\"", *text, "\" is not a datapath; use auto, kernel or user"));
  }

  void ReadMetrics(const YAML::Node& value, std::string& metrics) {
    const auto text = Text(value, "metrics");
    if (!text.has_value()) return;
    if (!text->empty()) {
      const size_t colon = text->rfind(':');
      int port = 0;
      std::string host = colon == std::string::npos ? "" : text->substr(0, colon);
      if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
        host = host.substr(1, host.size() - 2);
      }
      if (colon == std::string::npos || !absl::SimpleAtoi(text->substr(colon + 1), &port) ||
          port < 0 || port > 65535 || !IpAddress::Parse(host).ok()) {
        Mistake(value, "metrics",
                absl::StrCat("\"", *text,
                             "\" is not an address with a port; write one as in 127.0.0.1:9478 "
                             "or [::1]:9478, or \"\" for no metrics"));
        return;
      }
    }
    metrics = *text;
  }

  void ReadClouds(const YAML::Node& value, std::vector<NamedCloud>& clouds) {
    if (value.IsNull()) return;
    if (!value.IsSequence()) {
      Mistake(value, "clouds", "must be a list");
      return;
    }
    for (const YAML::Node& item : value) {
      const std::optional<NamedCloud> cloud = ReadCloud(item);
      if (!cloud.has_value()) continue;
      for (const NamedCloud& other : clouds) {
        if (other.name == cloud->name) {
          Mistake(item, "name",
                  absl::StrCat("\"", cloud->name, "\" names two clouds; rename one of them"));
        } else if (other.config.key == cloud->config.key) {
          Mistake(item, "vnl",
                  absl::StrCat("\"", cloud->name, "\" is the same cloud as \"", other.name,
                               "\": ", other.config.key.ToString(),
                               "; give it another group, port or vni"));
        }
        for (const IpPrefix& mine : cloud->subnets) {
          for (const IpPrefix& theirs : other.subnets) CheckOverlap(item, mine, theirs, other.name);
        }
      }
      clouds.push_back(*cloud);
    }
    CheckReaches(value, clouds);
  }

  void CheckReaches(const YAML::Node& list, const std::vector<NamedCloud>& clouds) {
    for (const NamedCloud& cloud : clouds) {
      const auto item = std::find_if(list.begin(), list.end(), [&](const YAML::Node& one) {
        return one.IsMap() && one["name"] && one["name"].IsScalar() &&
               one["name"].Scalar() == cloud.name;
      });
      const YAML::Node at = item != list.end() ? (*item)["reaches"] : list;
      for (const std::string& name : cloud.reaches) {
        const auto other = std::find_if(clouds.begin(), clouds.end(),
                                        [&](const NamedCloud& one) { return one.name == name; });
        if (other == clouds.end()) {
          Mistake(at, "reaches",
                  absl::StrCat("there is no cloud \"", name, "\"; use a name of `clouds:`"));
        } else if (name == cloud.name) {
          Mistake(at, "reaches", absl::StrCat("\"", name, "\" is the cloud itself; remove it"));
        } else if (!other->gateway) {
          Mistake(at, "reaches",
                  absl::StrCat("the node cannot route into \"", name,
                               "\", which lacks gateway: true; add that, or remove the entry"));
        }
      }
    }
  }

  // nullopt when the entry has no name or no locator to compare with those of other entries.
  std::optional<NamedCloud> ReadCloud(const YAML::Node& map) {
    NamedCloud cloud;
    std::string vnl;
    ReadMap(
        map, "a cloud",
        {
            {"name", [&](const auto& v) { cloud.name = Text(v, "name").value_or(""); }},
            {"vnl", [&](const auto& v) { vnl = Text(v, "vnl").value_or(""); }},
            {"mtu", [&](const auto& v) { ReadMtu(v, cloud.mtu); }},
            {"subnets", [&](const auto& v) { ReadSubnets(v, cloud.subnets); }},
            {"conflicts", [&](const auto& v) { ReadConflicts(v, cloud.defend); }},
            {"gateway",
             [&](const auto& v) { cloud.gateway = Truth(v, "gateway").value_or(false); }},
            {"masquerade",
             [&](const auto& v) { cloud.masquerade = Truth(v, "masquerade").value_or(false); }},
            {"routed", [&](const auto& v) { cloud.routed = Truth(v, "routed").value_or(false); }},
            {"reaches",
             [&](const auto& v) {
               if (!v.IsNull()) cloud.reaches = Texts(v, "reaches");
             }},
            {"storm", [&](const auto& v) { ReadStorm(v, cloud.storm); }},
            {"snooping",
             [&](const auto& v) { cloud.snooping = Truth(v, "snooping").value_or(true); }},
            {"portSecurity",
             [&](const auto& v) { cloud.port_security = Truth(v, "portSecurity").value_or(true); }},
            {"allowByAnnotation",
             [&](const auto& v) { ReadAllowed(v, cloud.allow_by_annotation); }},
            {"namespaces", [&](const auto& v) { cloud.namespaces = Texts(v, "namespaces"); }},
        });
    if (!map.IsMap()) return std::nullopt;
    if (cloud.gateway && cloud.subnets.empty()) {
      Mistake(map, "gateway",
              "true needs `subnets:` for the node's address; add them, or remove the key");
    }
    if (cloud.masquerade && !cloud.gateway) {
      Mistake(map, "masquerade", "true needs gateway: true; add that, or remove the key");
    }
    if (cloud.routed && !cloud.gateway) {
      Mistake(map, "routed", "true needs gateway: true; add that, or remove the key");
    }
    if (!cloud.reaches.empty() && !cloud.gateway) {
      Mistake(map, "reaches", "needs gateway: true; add that, or remove the key");
    }
    if (!ValidName(cloud.name)) {
      Mistake(map, "name",
              absl::StrCat("\"", cloud.name,
                           "\" cannot name a cloud; use at most 63 letters, digits, '-', '.' or "
                           "'_', beginning with a letter or digit"));
      return std::nullopt;
    }
    if (vnl.empty()) {
      Mistake(map, "vnl",
              absl::StrCat("cloud \"", cloud.name,
                           "\" has no locator; write, for example, vnl: "
                           "vxvde://239.1.2.3/vni=42"));
      return std::nullopt;
    }
    absl::StatusOr<CloudConfig> config = ParseVnl(vnl, group_id_);
    if (!config.ok()) {
      Mistake(map["vnl"], "vnl", config.status().message());
      return std::nullopt;
    }
    cloud.config = *std::move(config);
    return cloud;
  }

  static bool ValidName(const std::string& name) {
    return !name.empty() && name.size() <= 63 &&
           absl::ascii_isalnum(static_cast<unsigned char>(name[0])) &&
           std::all_of(name.begin(), name.end(), [](char c) {
             return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' ||
                    c == '_';
           });
  }

  void ReadMtu(const YAML::Node& value, int& mtu) {
    const auto number = Number(value, "mtu", 0, kMaxPodMtu);
    if (!number.has_value()) return;
    if (*number != 0 && *number < kMinPodMtu) {
      Mistake(value, "mtu",
              absl::StrCat(*number, " is below ", kMinPodMtu,
                           "; use 0 to have the MTU derived from the uplink's"));
      return;
    }
    mtu = *number;
  }

  void ReadStorm(const YAML::Node& value, StormLimits& storm) {
    const auto limit = [&](const YAML::Node& v, const char* key, uint32_t& out) {
      const auto number = Number(v, key, 0, kMaxStorm);
      if (number.has_value()) out = static_cast<uint32_t>(*number);
    };
    ReadMap(value, "storm",
            {
                {"port", [&](const auto& v) { limit(v, "storm.port", storm.port); }},
                {"cloud", [&](const auto& v) { limit(v, "storm.cloud", storm.cloud); }},
            });
  }

  void ReadConflicts(const YAML::Node& value, bool& defend) {
    const auto text = Text(value, "conflicts");
    if (!text.has_value()) return;
    if (*text != "report" && *text != "defend") {
      Mistake(value, "conflicts",
              absl::StrCat("\"", *text, "\" is not a reaction; use report or defend"));
      return;
    }
    defend = *text == "defend";
  }

  void ReadAllowed(const YAML::Node& value, std::vector<Allowed>& list) {
    if (value.IsNull()) return;
    const std::vector<std::string> texts = Texts(value, "allowByAnnotation");
    if (texts.size() > kMaxAllowed) {
      Mistake(value, "allowByAnnotation",
              absl::StrCat(texts.size(), " entries are too many; use at most ", kMaxAllowed));
    }
    for (const std::string& text : texts) {
      const absl::StatusOr<Allowed> one = Allowed::Parse(text);
      if (one.ok()) {
        list.push_back(*one);
      } else {
        Mistake(value, "allowByAnnotation", one.status().message());
      }
    }
  }

  void ReadSubnets(const YAML::Node& value, std::vector<IpPrefix>& subnets) {
    if (value.IsNull()) return;
    for (const std::string& text : Texts(value, "subnets")) {
      const absl::StatusOr<IpPrefix> subnet = IpPrefix::Parse(text);
      if (!subnet.ok()) {
        Mistake(value, "subnets",
                absl::StrCat(subnet.status().message(), "; a subnet is written as 10.42.0.0/16"));
      } else if (!(subnet->Network() == *subnet)) {
        Mistake(value, "subnets",
                absl::StrCat(text, " has host bits; write ", subnet->Network().ToString()));
      } else if (subnet->address.IsMulticast() || subnet->address.IsLoopback() ||
                 subnet->length < 8 || subnet->length > subnet->address.bits() - 2) {
        Mistake(value, "subnets",
                absl::StrCat(text, " cannot hold pods; use a unicast prefix of 8 to ",
                             subnet->address.bits() - 2, " bits"));
      } else {
        for (const IpPrefix& other : subnets) CheckOverlap(value, *subnet, other, "this cloud");
        subnets.push_back(*subnet);
      }
    }
  }

  void CheckOverlap(const YAML::Node& at, const IpPrefix& mine, const IpPrefix& theirs,
                    absl::string_view owner) {
    if (mine.Contains(theirs.address) || theirs.Contains(mine.address)) {
      Mistake(at, "subnets",
              absl::StrCat(mine.ToString(), " overlaps with ", theirs.ToString(), " of ", owner,
                           "; change one of them"));
    }
  }

  const GroupLookup& group_id_;
  std::vector<std::string> mistakes_;
};

// YAML::LoadAll is no alternative: yaml-cpp 0.7 reads "," as an endless series of documents, until
// memory is exhausted.
int CountDocuments(const std::string& yaml, int limit) {
  struct Nothing : YAML::EventHandler {
    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
    void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
    void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  const std::string&) override {}
    void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                         YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                    YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}
  } nothing;
  std::istringstream stream(yaml);
  YAML::Parser parser(stream);
  int count = 0;
  while (count < limit && parser.HandleNextDocument(nothing)) ++count;
  return count;
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigSize, FileKind::kAny);
  if (!text.ok()) return Annotate(text.status(), absl::StrCat("configuration ", path));
  return text;
}

}  // namespace

bool operator==(const NamedCloud& a, const NamedCloud& b) {
  return a.name == b.name && FormatVnl(a.config) == FormatVnl(b.config) && a.mtu == b.mtu &&
         a.subnets == b.subnets && a.defend == b.defend && a.storm == b.storm &&
         a.snooping == b.snooping && a.gateway == b.gateway && a.masquerade == b.masquerade &&
         a.routed == b.routed && a.reaches == b.reaches && a.port_security == b.port_security &&
         a.allow_by_annotation == b.allow_by_annotation && a.namespaces == b.namespaces;
}

const NamedCloud* Config::FindByName(absl::string_view name) const {
  for (const NamedCloud& cloud : clouds) {
    if (cloud.name == name) return &cloud;
  }
  return nullptr;
}

const NamedCloud* Config::FindByKey(const CloudKey& key) const {
  for (const NamedCloud& cloud : clouds) {
    if (cloud.config.key == key) return &cloud;
  }
  return nullptr;
}

absl::string_view DatapathName(Datapath datapath) {
  switch (datapath) {
    case Datapath::kAuto:
      return "auto";
    case Datapath::kKernel:
      return "kernel";
    case Datapath::kUser:
      return "user";
  }
  return "";
}

absl::StatusOr<Config> ParseConfig(const std::string& yaml, const GroupLookup& group_id) {
  try {
    const int documents = CountDocuments(yaml, /*limit=*/2);
    if (documents == 0) return Config{};
    if (documents > 1) {
      return absl::InvalidArgumentError(
          "1: the file has several documents; keep the first one, and remove commas and \"---\" "
          "between documents");
    }
    return Reader(group_id).Read(YAML::Load(yaml));
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(
        absl::StrCat(e.mark.is_null() ? 1 : e.mark.line + 1, ": not YAML: ", e.msg));
  }
}

absl::StatusOr<Config> LoadConfig(const std::string& path, const GroupLookup& group_id) {
  const std::string file = path.empty() ? kDefaultConfigPath : path;
  const absl::StatusOr<std::string> text = ReadWhole(file);
  if (path.empty() && absl::IsNotFound(text.status())) return Config{};
  RETURN_IF_ERROR(text.status());
  absl::StatusOr<Config> config = ParseConfig(*text, group_id);
  if (!config.ok()) {
    std::vector<std::string> lines = absl::StrSplit(config.status().message(), '\n');
    for (std::string& line : lines) line = absl::StrCat(file, ":", line);
    return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
  }
  return config;
}

bool MayUse(const NamedCloud& cloud, const std::string& pod_namespace) {
  return pod_namespace.empty() ||
         std::any_of(cloud.namespaces.begin(), cloud.namespaces.end(),
                     [&](const std::string& glob) {
                       return fnmatch(glob.c_str(), pod_namespace.c_str(), 0) == 0;
                     });
}

std::string NameOfCloud(const Config& config, const CloudConfig& cloud) {
  const NamedCloud* named = config.FindByKey(cloud.key);
  return named != nullptr ? named->name : FormatVnl(cloud);
}

std::string NameOfCloud(const Config& config, const CloudKey& cloud) {
  CloudConfig locator;
  locator.key = cloud;
  return NameOfCloud(config, locator);
}

}  // namespace vxvde
