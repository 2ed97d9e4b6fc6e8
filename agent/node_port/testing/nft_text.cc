#include "agent/node_port/testing/nft_text.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace vxvde {
namespace {

std::string ProtocolText(uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_SCTP:
      return "sctp";
    case IPPROTO_ICMP:
      return "icmp";
    case IPPROTO_ICMPV6:
      return "icmpv6";
  }
  return absl::StrCat(static_cast<int>(protocol));
}

uint32_t Number(const NftValue& value) {
  uint32_t number = 0;
  std::memcpy(&number, value.data(), std::min(value.size(), sizeof(number)));
  return number;
}

std::string Braced(std::vector<std::string> elements) {
  std::sort(elements.begin(), elements.end());
  return absl::StrCat("{ ", absl::StrJoin(elements, ", "), " }");
}

std::string PriorityText(const NftHook& hook) {
  if (hook.priority == kNftRaw) return "raw";
  if (hook.priority == kNftFilter) return "filter";
  if (hook.priority == kNftDstnat && hook.point == NftHookPoint::kPrerouting) return "dstnat";
  if (hook.priority == kNftSrcnat) return "srcnat";
  if (hook.priority == kNftSrcnat + 10) return "srcnat + 10";
  return absl::StrCat(hook.priority);
}

std::string HookText(NftFamily family, NftHookPoint point) {
  if (family == NftFamily::kArp) return point == NftHookPoint::kArpInput ? "input" : "output";
  constexpr const char* kNames[] = {"prerouting", "input", "forward", "output", "postrouting"};
  return kNames[static_cast<uint32_t>(point)];
}

// Prints one rule. nft leaves conditions out that the next one implies: `udp dport` is of UDP.
class RulePrinter {
 public:
  std::string Print(const NftRule& rule) {
    for (const NftRule::Statement& statement : rule.statements) {
      std::visit([&](const auto& one) { Append(one); }, statement);
    }
    Flush();
    return absl::StrJoin(words_, " ");
  }

 private:
  std::string Take(std::string& implied) {
    std::string taken;
    std::swap(taken, implied);
    return taken;
  }
  void Flush() {
    if (!family_.empty()) words_.push_back(absl::StrCat("meta nfproto ", Take(family_)));
    if (!protocol_.empty()) words_.push_back(absl::StrCat("meta l4proto ", Take(protocol_)));
  }

  std::string FieldText(NftField field) {
    switch (field) {
      case NftField::kInputName:
        return "iifname";
      case NftField::kOutputName:
        return "oifname";
      case NftField::kInputKind:
        return "meta iifkind";
      case NftField::kInputGroup:
        return "iifgroup";
      case NftField::kOutputGroup:
        return "oifgroup";
      case NftField::kFamily:
        return "meta nfproto";
      case NftField::kProtocol:
        return "meta l4proto";
      case NftField::kSourceV4:
      case NftField::kSourceV6:
        return absl::StrCat(AddressFamily(), " saddr");
      case NftField::kDestinationV4:
      case NftField::kDestinationV6:
        return absl::StrCat(AddressFamily(), " daddr");
      case NftField::kSourcePort:
        return absl::StrCat(protocol_.empty() ? "th" : Take(protocol_), " sport");
      case NftField::kDestinationPort:
        return absl::StrCat(protocol_.empty() ? "th" : Take(protocol_), " dport");
      case NftField::kIcmpType:
        Take(family_);
        return absl::StrCat(Take(protocol_), " type");
      case NftField::kConntrackState:
        return "ct state";
      case NftField::kConntrackStatus:
        return "ct status";
      case NftField::kSourceKind:
        return "fib saddr type";
      case NftField::kDestinationKind:
        return "fib daddr type";
    }
    return "";
  }
  std::string AddressFamily() { return Take(family_) == "ipv6" ? "ip6" : "ip"; }

  static std::string ValueText(NftField field, const NftValue& value) {
    switch (field) {
      case NftField::kInputName:
      case NftField::kOutputName:
      case NftField::kInputKind:
        return absl::StrCat("\"", reinterpret_cast<const char*>(value.data()), "\"");
      case NftField::kProtocol:
        return ProtocolText(value[0]);
      case NftField::kSourceV4:
      case NftField::kDestinationV4:
      case NftField::kSourceV6:
      case NftField::kDestinationV6:
        return IpAddress::FromWire(value).ToString();
      case NftField::kSourcePort:
      case NftField::kDestinationPort:
        return absl::StrCat(value[0] << 8 | value[1]);
      case NftField::kIcmpType:
        return value[0] == 5 ? "redirect" : value[0] == 137 ? "nd-redirect" : "?";
      case NftField::kConntrackState:
        return "established,related";
      case NftField::kConntrackStatus:
        return "dnat";
      case NftField::kSourceKind:
      case NftField::kDestinationKind:
        return Number(value) == 2 ? "local" : "?";
      default:
        return absl::StrCat(Number(value));
    }
  }

  // `what` of a field, after the conditions that it does not imply.
  void AppendField(NftField field, const std::string& what) {
    const std::string name = FieldText(field);
    Flush();
    words_.push_back(absl::StrCat(name, " ", what));
  }

  void Append(const NftCompare& one) {
    if (one.field == NftField::kFamily && one.equal) {
      family_ = one.value[0] == AF_INET6 ? "ipv6" : "ipv4";
    } else if (one.field == NftField::kProtocol && one.equal) {
      protocol_ = ProtocolText(one.value[0]);
    } else {
      AppendField(one.field, absl::StrCat(one.equal ? "" : "!= ", ValueText(one.field, one.value)));
    }
  }
  void Append(const NftMasked& one) {
    if (!one.equal) return AppendField(one.field, ValueText(one.field, one.mask));
    int length = 0;
    for (const uint8_t byte : one.mask) length += __builtin_popcount(byte);
    AppendField(one.field, absl::StrCat(ValueText(one.field, one.value), "/", length));
  }
  void Append(const NftRange& one) {
    AppendField(one.field,
                absl::StrCat(ValueText(one.field, one.first), "-", ValueText(one.field, one.last)));
  }
  void Append(const NftLookup& one) {
    std::vector<std::string> elements;
    for (const std::vector<NftValue>& values : one.elements) {
      std::vector<std::string> parts;
      for (size_t i = 0; i < values.size(); ++i) {
        parts.push_back(ValueText(one.fields[i], values[i]));
      }
      elements.push_back(absl::StrJoin(parts, " . "));
    }
    std::vector<std::string> names;
    for (const NftField field : one.fields) names.push_back(FieldText(field));
    Flush();
    words_.push_back(absl::StrCat(absl::StrJoin(names, " . "),
                                  one.inside ? " " : " != ", Braced(std::move(elements))));
  }
  void Append(const NftWithin& one) {
    std::vector<std::string> elements;
    for (const IpPrefix& prefix : one.prefixes) elements.push_back(prefix.ToString());
    AppendField(one.field, Braced(std::move(elements)));
  }
  void Append(const NftCounter&) { AppendWord("counter"); }
  void Append(const NftMasquerade&) { AppendWord("masquerade"); }
  void Append(const NftDnat& one) {
    std::vector<std::string> elements;
    for (const auto& [port, target] : one.targets) {
      elements.push_back(absl::StrCat(port, " : ", target.first.ToString(), " . ", target.second));
    }
    const std::string port = FieldText(NftField::kDestinationPort);
    AppendWord(absl::StrCat("dnat ", one.family == AF_INET6 ? "ip6" : "ip", " to ", port, " map ",
                            Braced(std::move(elements))));
  }
  void Append(const NftVerdict& one) {
    switch (one.code) {
      case NftVerdict::kAccept:
        return AppendWord("accept");
      case NftVerdict::kDrop:
        return AppendWord("drop");
      case NftVerdict::kReturn:
        return AppendWord("return");
      case NftVerdict::kJump:
        return AppendWord(absl::StrCat("jump ", one.chain));
    }
  }
  void AppendWord(const std::string& word) {
    Flush();
    words_.push_back(word);
  }

  std::vector<std::string> words_;
  std::string family_;  // conditions that are not printed yet
  std::string protocol_;
};

}  // namespace

std::string NftText(const NftTable& table) {
  if (table.chains.empty()) return "";
  std::vector<std::string> chains;
  for (const NftChain& chain : table.chains) {
    std::string text = absl::StrCat("\tchain ", chain.name, " {\n");
    if (chain.hook.has_value()) {
      absl::StrAppend(&text, "\t\ttype ", chain.hook->type, " hook ",
                      HookText(table.family, chain.hook->point), " priority ",
                      PriorityText(*chain.hook), "; policy accept;\n");
    }
    for (const NftRule& rule : chain.rules) {
      absl::StrAppend(&text, "\t\t", RulePrinter().Print(rule), "\n");
    }
    chains.push_back(absl::StrCat(text, "\t}\n"));
  }
  return absl::StrCat("table ", table.ToString(), " {\n", absl::StrJoin(chains, "\n"), "}\n");
}

std::string WithSortedElements(absl::string_view listing) {
  std::vector<std::string> lines;
  // nft breaks long lists of elements.
  const std::string whole = absl::StrReplaceAll(listing, {{",\n", ", "}});
  for (std::string& line : std::vector<std::string>(absl::StrSplit(whole, '\n'))) {
    const size_t begin = line.find("{ ");
    const size_t end = line.find(" }");
    if (begin != std::string::npos && end != std::string::npos) {
      std::vector<std::string> elements =
          absl::StrSplit(line.substr(begin + 2, end - begin - 2), ", ");
      for (std::string& element : elements) {
        element = std::string(absl::StripAsciiWhitespace(element));
      }
      // A line may contain two lists: the next turn sorts the rest.
      line = absl::StrCat(line.substr(0, begin), Braced(std::move(elements)),
                          WithSortedElements(line.substr(end + 2)));
    }
    lines.push_back(std::move(line));
  }
  return absl::StrJoin(lines, "\n");
}

}  // namespace vxvde
