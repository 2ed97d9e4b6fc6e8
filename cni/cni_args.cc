#include "cni/cni_args.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cni/error.h"

namespace vxvde {

absl::StatusOr<CniArgs> ParseCniArgs(absl::string_view text) {
  CniArgs args;
  bool ignore_unknown = false;
  std::vector<std::string> unknown;
  for (const absl::string_view pair : absl::StrSplit(text, ';', absl::SkipEmpty())) {
    const size_t equals = pair.find('=');
    if (equals == absl::string_view::npos) {
      return CniStatus(kCniInvalidEnvironment,
                       absl::StrCat("CNI_ARGS: \"", pair, "\" is not KEY=VALUE"));
    }
    const absl::string_view key = pair.substr(0, equals);
    const std::string value(pair.substr(equals + 1));
    if (key == "IgnoreUnknown") {
      ignore_unknown = value == "1" || absl::EqualsIgnoreCase(value, "true");
    } else if (key == "MAC") {
      args.mac = value;
    } else if (key == "IP") {
      args.ips = absl::StrSplit(value, ',', absl::SkipWhitespace());
      for (std::string& ip : args.ips) absl::StripAsciiWhitespace(&ip);
    } else if (key == "K8S_POD_NAMESPACE") {
      args.pod_namespace = value;
    } else if (key == "K8S_POD_NAME") {
      args.pod_name = value;
    } else if (key == "K8S_POD_UID") {
      args.pod_uid = value;
    } else if (key != "K8S_POD_INFRA_CONTAINER_ID") {  // the same as CNI_CONTAINERID
      unknown.emplace_back(key);
    }
  }
  if (!unknown.empty() && !ignore_unknown) {
    return CniStatus(kCniInvalidEnvironment,
                     absl::StrCat("CNI_ARGS: unknown key ", absl::StrJoin(unknown, ", ")),
                     "add IgnoreUnknown=1 if it is meant for another plugin");
  }
  return args;
}

}  // namespace vxvde
