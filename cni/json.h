// JSON values that configurations and results share. Pure; of this room only.
//
// Errors are InvalidArgument and name the key and the value. A key whose value is
// null is treated as absent.

#ifndef VXVDE_CNI_JSON_H_
#define VXVDE_CNI_JSON_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cni/result.h"
#include "nlohmann/json.hpp"

namespace vxvde {

using Json = nlohmann::json;

// kCniBadJson when `text` is no JSON object, or nested deeper than 100; `what` begins the message.
absl::StatusOr<Json> ParseObject(absl::string_view text, absl::string_view what);

// nullptr when `object` is no object, or has no such key.
const Json* Find(const Json& object, absl::string_view key);
// The same without regard to case; an exact match wins.
const Json* FindNoCase(const Json& object, absl::string_view key);

// A short text of any value, for messages.
std::string Show(const Json& value);

absl::StatusOr<std::string> AsString(const Json& value, absl::string_view key);
absl::StatusOr<std::vector<std::string>> AsStrings(const Json& value, absl::string_view key);
absl::StatusOr<uint32_t> AsNumber(const Json& value, absl::string_view key, uint32_t max);

// {nameservers, domain, search, options}
absl::StatusOr<Dns> AsDns(const Json& value);
// [{dst, gw, mtu, advmss, priority, table, scope}]
absl::StatusOr<std::vector<ResultRoute>> AsRoutes(const Json& value);

// A plugin's whole result, of a version from 0.3.0.
absl::StatusOr<CniResult> AsResult(const Json& value);

}  // namespace vxvde

#endif  // VXVDE_CNI_JSON_H_
