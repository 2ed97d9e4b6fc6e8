// Parsing splits the text, removes quotes, collects each option once, and reads the values in a
// fixed order. Formatting chooses the shortest equivalent.

#include "plugin/vnl/vnl.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/interface_name.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr absl::string_view kScheme = "vxvde://";
// Longer than any sensible locator; keeps messages short.
constexpr size_t kMaxVnlSize = 1024;
constexpr int kMaxTableSize = 1 << 20;
constexpr uint64_t kMaxExpirySeconds = std::numeric_limits<int32_t>::max();

constexpr std::array<absl::string_view, 11> kOptionNames = {
    "port", "vni", "grp", "ttl", "rcvbuf", "v4", "v6", "hashsize", "expiretime", "if", "bind"};

struct Option {
  std::string name;
  std::optional<std::string> value;  // none without "="
};

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(text), "\"");
}

absl::Status Wrong(absl::string_view option, absl::string_view value, absl::string_view remedy) {
  return absl::InvalidArgumentError(
      absl::StrCat("option ", option, " has the value ", Quoted(value), ": ", remedy));
}

// Splits at "/" outside quotes and removes the quotes. As in a shell: '...' and "..." keep
// everything but their own mark, \ keeps the next character.
absl::StatusOr<std::vector<std::string>> SplitParts(absl::string_view text) {
  std::vector<std::string> parts(1);
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        parts.back() += c;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '\\') {
      if (++i == text.size()) {
        return absl::InvalidArgumentError("it ends in a backslash: remove it, or write two");
      }
      parts.back() += text[i];
    } else if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  if (quote != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a quote is not closed: add ", absl::string_view(&quote, 1)));
  }
  return parts;
}

// A suggestion for an unknown name, for a message. The reference implementation accepts any
// abbreviation.
std::string Suggestion(absl::string_view name) {
  for (const absl::string_view known : kOptionNames) {
    if (!name.empty() && known.substr(0, name.size()) == absl::AsciiStrToLower(name)) {
      return absl::StrCat("write ", known);
    }
  }
  return "the options are port= vni= grp= ttl= rcvbuf= v4 v6 hashsize= expiretime= if= bind=";
}

class Options {
 public:
  absl::Status Add(absl::string_view part) {
    if (part.empty()) return absl::OkStatus();  // "//" and a "/" at the end have no meaning
    const size_t equals = part.find('=');
    const absl::string_view name = part.substr(0, equals);
    if (std::find(kOptionNames.begin(), kOptionNames.end(), name) == kOptionNames.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown option ", Quoted(part), ": ", Suggestion(name)));
    }
    if (Has(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("option ", name, " is given twice, now as ", Quoted(part), ": keep one"));
    }
    const bool is_flag = name == "v4" || name == "v6";
    const bool has_value = equals != absl::string_view::npos;
    if (is_flag && has_value) {
      return Wrong(name, part.substr(equals + 1),
                   absl::StrCat("the option takes no value, write /", name));
    }
    if (!is_flag && (!has_value || equals + 1 == part.size())) {
      return Wrong(name, "", absl::StrCat("write /", name, "=VALUE, or remove the option"));
    }
    Option option{std::string(name), std::nullopt};
    if (has_value) option.value = std::string(part.substr(equals + 1));
    options_.push_back(std::move(option));
    return absl::OkStatus();
  }

  bool Has(absl::string_view name) const { return Find(name) != nullptr; }

  // The value of an option that requires one.
  const std::string* Value(absl::string_view name) const {
    const Option* option = Find(name);
    return option == nullptr ? nullptr : &*option->value;
  }

 private:
  const Option* Find(absl::string_view name) const {
    for (const Option& option : options_) {
      if (option.name == name) return &option;
    }
    return nullptr;
  }

  std::vector<Option> options_;
};

bool IsDigits(absl::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == absl::string_view::npos;
}

// Decimal only: the reference reads 010 as 10 in one option and as 8 in another, so it is refused.
std::optional<uint64_t> Number(absl::string_view text) {
  uint64_t value = 0;
  if (!IsDigits(text) || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  if (!absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

// Reads the value of option `name`, within [low, high]. Leaves `out` unchanged if it is absent.
template <typename T>
absl::Status ReadNumber(const Options& options, absl::string_view name, uint64_t low, uint64_t high,
                        T& out) {
  const std::string* text = options.Value(name);
  if (text == nullptr) return absl::OkStatus();
  const std::optional<uint64_t> value = Number(*text);
  if (!value.has_value() || *value < low || *value > high) {
    return Wrong(name, *text, absl::StrCat("write a number from ", low, " to ", high));
  }
  out = static_cast<T>(*value);
  return absl::OkStatus();
}

absl::Status ReadReceiveBuffer(const Options& options, int& out) {
  const std::string* text = options.Value("rcvbuf");
  if (text == nullptr) return absl::OkStatus();
  absl::string_view digits = *text;
  int shift = 0;
  switch (absl::ascii_toupper(digits.back())) {
    case 'K':
      shift = 10;
      break;
    case 'M':
      shift = 20;
      break;
    case 'G':
      shift = 30;
      break;
  }
  if (shift != 0) digits.remove_suffix(1);
  const std::optional<uint64_t> value = Number(digits);
  constexpr uint64_t kMax = std::numeric_limits<int>::max();
  if (!value.has_value() || *value == 0 || *value > kMax >> shift) {
    return Wrong("rcvbuf", *text, "write bytes from 1 to 2147483647, or as in 64K, 4M, 1G");
  }
  out = static_cast<int>(*value << shift);
  return absl::OkStatus();
}

// The value of vni= or grp=: a number, or the name of a group, which stands for its id.
absl::Status ReadId(const Options& options, absl::string_view name, const GroupLookup& group_id,
                    std::optional<uint32_t>& out) {
  const std::string* text = options.Value(name);
  if (text == nullptr) return absl::OkStatus();
  if (IsDigits(*text)) {
    uint32_t value = 0;
    RETURN_IF_ERROR(ReadNumber(options, name, 0, Vni::kMax, value));
    out = value;
    return absl::OkStatus();
  }
  const std::optional<uint32_t> id = group_id ? group_id(*text) : std::nullopt;
  if (!id.has_value()) {
    return Wrong(name, *text,
                 absl::StrCat("this host has no group of that name; write a number from 0 to ",
                              Vni::kMax, " or the name of a group"));
  }
  if (*id > Vni::kMax) {
    return Wrong(name, *text,
                 absl::StrCat("the id of that group, ", *id, ", does not fit 24 bits; write ",
                              *id & Vni::kMax, " as other members do, which keep 24 bits of it"));
  }
  out = *id;
  return absl::OkStatus();
}

absl::StatusOr<IpAddress> ReadGroup(absl::string_view text, const Options& options) {
  const bool v4 = options.Has("v4");
  const bool v6 = options.Has("v6");
  if (v4 && v6) {
    return absl::InvalidArgumentError("options v4 and v6 exclude each other: keep one");
  }
  if (text.empty()) return IpAddress::Parse(v6 ? kDefaultGroupV6 : kDefaultGroup);

  const absl::StatusOr<IpAddress> group = IpAddress::Parse(text);
  if (!group.ok() || !group->IsMulticast()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the group ", Quoted(text), " is not a multicast address: write one as in 239.1.2.3 or ",
        "ff05:56de::1 (no brackets; a port goes into /port=, an interface into /if=)"));
  }
  if ((v4 && group->is_v6()) || (v6 && group->is_v4())) {
    return absl::InvalidArgumentError(absl::StrCat("option ", v4 ? "v4" : "v6",
                                                   " contradicts the group ", Quoted(text),
                                                   ": remove one of them"));
  }
  return *group;
}

// `group` with its last three bytes replaced (option grp=).
IpAddress WithLowBytes(const IpAddress& group, uint32_t id) {
  std::array<uint8_t, 16> bytes = {};
  const std::span<const uint8_t> wire = group.wire();
  std::copy(wire.begin(), wire.end(), bytes.begin());
  const std::span<uint8_t> out = std::span(bytes).first(wire.size());
  for (size_t i = 1; i <= 3; ++i, id >>= 8) out[out.size() - i] = static_cast<uint8_t>(id);
  return IpAddress::FromWire(out);
}

uint32_t LowBytes(const IpAddress& group) {
  const std::span<const uint8_t> low = group.wire().last(3);
  return static_cast<uint32_t>(low[0]) << 16 | static_cast<uint32_t>(low[1]) << 8 | low[2];
}

absl::Status ReadBind(const Options& options, const IpAddress& group,
                      std::optional<IpAddress>& out) {
  const std::string* text = options.Value("bind");
  if (text == nullptr) return absl::OkStatus();
  const absl::StatusOr<IpAddress> address = IpAddress::Parse(*text);
  if (!address.ok() || address->IsMulticast() || address->IsUnspecified()) {
    return Wrong("bind", *text, "write an IP address of this host, or remove the option");
  }
  if (address->is_v6() != group.is_v6()) {
    return Wrong("bind", *text,
                 absl::StrCat("the group ", group.ToString(), " needs an address of IPv",
                              group.is_v6() ? 6 : 4));
  }
  out = *address;
  return absl::OkStatus();
}

absl::StatusOr<CloudConfig> ParseParts(absl::string_view text, const GroupLookup& group_id) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts, SplitParts(text));
  Options options;
  for (size_t i = 1; i < parts.size(); ++i) RETURN_IF_ERROR(options.Add(parts[i]));

  CloudConfig config;
  ASSIGN_OR_RETURN(config.key.group, ReadGroup(parts[0], options));
  config.key.port = kDefaultGroupPort;
  RETURN_IF_ERROR(ReadNumber(options, "port", 1, 65535, config.key.port));

  std::optional<uint32_t> vni, grp;
  RETURN_IF_ERROR(ReadId(options, "vni", group_id, vni));
  RETURN_IF_ERROR(ReadId(options, "grp", group_id, grp));
  if (grp.has_value()) config.key.group = WithLowBytes(config.key.group, *grp);
  // vni= takes precedence over grp=; both have been checked.
  config.key.vni = *Vni::Make(vni.value_or(grp.value_or(kDefaultVni)));

  RETURN_IF_ERROR(ReadNumber(options, "ttl", 1, 255, config.ttl));
  RETURN_IF_ERROR(ReadNumber(options, "hashsize", 1, kMaxTableSize, config.table_size));
  int64_t expiry = kDefaultExpiry.count();
  RETURN_IF_ERROR(ReadNumber(options, "expiretime", 1, kMaxExpirySeconds, expiry));
  config.expiry = std::chrono::seconds(expiry);
  RETURN_IF_ERROR(ReadReceiveBuffer(options, config.receive_buffer));
  if (const std::string* name = options.Value("if"); name != nullptr) {
    if (!IsInterfaceName(*name)) {
      return Wrong("if", *name, "write the name of an interface, 1 to 15 characters");
    }
    config.interface = *name;
  }
  RETURN_IF_ERROR(ReadBind(options, config.key.group, config.bind));
  return config;
}

std::string Escaped(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'' || c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string WithUnit(int bytes) {
  if (bytes % (1 << 30) == 0) return absl::StrCat(bytes >> 30, "G");
  if (bytes % (1 << 20) == 0) return absl::StrCat(bytes >> 20, "M");
  if (bytes % (1 << 10) == 0) return absl::StrCat(bytes >> 10, "K");
  return absl::StrCat(bytes);
}

// Group and VNI have several forms: the group in full, or a default, or either with its last three
// bytes taken from grp=.
std::string FormatGroup(const IpAddress& group, Vni vni) {
  const IpAddress cleared = WithLowBytes(group, 0);
  const uint32_t low = LowBytes(group);
  std::optional<std::string> best;
  const auto consider = [&](const IpAddress& base, absl::string_view text) {
    for (const bool use_grp : {false, true}) {
      if ((use_grp ? WithLowBytes(base, low) : base) != group) continue;
      std::string way(text);
      if (use_grp) absl::StrAppend(&way, "/grp=", low);
      if (vni.value() != (use_grp ? low : kDefaultVni)) absl::StrAppend(&way, "/vni=", vni.value());
      if (!best.has_value() || way.size() < best->size()) best = std::move(way);
    }
  };
  consider(*IpAddress::Parse(kDefaultGroup), "");
  consider(*IpAddress::Parse(kDefaultGroupV6), "/v6");
  consider(group, group.ToString());
  consider(cleared, cleared.ToString());
  return *std::move(best);
}

}  // namespace

absl::StatusOr<CloudConfig> ParseVnl(absl::string_view vnl, const GroupLookup& group_id) {
  if (vnl.size() > kMaxVnlSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("a locator of ", vnl.size(), " bytes: write at most ", kMaxVnlSize));
  }
  const std::string where = absl::StrCat("locator ", Quoted(vnl));
  if (vnl.substr(0, kScheme.size()) != kScheme) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": write vxvde://[GROUP][/OPTION[=VALUE]]..."));
  }
  absl::StatusOr<CloudConfig> config = ParseParts(vnl.substr(kScheme.size()), group_id);
  if (!config.ok()) return Annotate(config.status(), where);
  return config;
}

std::string FormatVnl(const CloudConfig& config) {
  std::string vnl = absl::StrCat(kScheme, FormatGroup(config.key.group, config.key.vni));
  if (config.key.port != kDefaultGroupPort) absl::StrAppend(&vnl, "/port=", config.key.port);
  if (config.ttl != kDefaultTtl) absl::StrAppend(&vnl, "/ttl=", config.ttl);
  if (config.expiry != kDefaultExpiry) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(config.expiry);
    absl::StrAppend(&vnl, "/expiretime=", seconds.count());
  }
  if (config.table_size != kDefaultTableSize) {
    absl::StrAppend(&vnl, "/hashsize=", config.table_size);
  }
  if (config.receive_buffer != 0) {
    absl::StrAppend(&vnl, "/rcvbuf=", WithUnit(config.receive_buffer));
  }
  if (!config.interface.empty()) absl::StrAppend(&vnl, "/if=", Escaped(config.interface));
  if (config.bind.has_value()) absl::StrAppend(&vnl, "/bind=", config.bind->ToString());
  return vnl;
}

}  // namespace vxvde
