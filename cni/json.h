// JSON values that configurations and results have in common. Pure.
//
// nlohmann/json.hpp costs seconds to compile, so it is visible in cni/ only. Keys of one document
// are read where that document is (request.cc, networks.cc, netavark.cc, result.cc). Errors are
// InvalidArgument and name the key and the value. A key whose value is null counts as absent (A9).
// Specification: CNI SPEC 1.1.0 for the shapes of DNS and routes.

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

// kCniBadJson if `text` is not a JSON object, or is nested deeper than 100. `what` begins the
// message.
absl::StatusOr<Json> ParseObject(absl::string_view text, absl::string_view what);

// nullptr if `object` is not an object or does not have the key.
const Json* Find(const Json& object, absl::string_view key);
// The same regardless of case; an exact match takes precedence.
const Json* FindNoCase(const Json& object, absl::string_view key);

// A short text for any value, for messages.
std::string Show(const Json& value);

absl::StatusOr<std::string> AsString(const Json& value, absl::string_view key);
absl::StatusOr<std::vector<std::string>> AsStrings(const Json& value, absl::string_view key);
absl::StatusOr<bool> AsBool(const Json& value, absl::string_view key);
absl::StatusOr<uint32_t> AsNumber(const Json& value, absl::string_view key, uint32_t max);

// {nameservers, domain, search, options}
absl::StatusOr<Dns> AsDns(const Json& value);
// [{dst, gw, mtu, advmss, priority, table, scope}]
absl::StatusOr<std::vector<ResultRoute>> AsRoutes(const Json& value);

// A plugin's whole result, in version 0.3.0 or later.
absl::StatusOr<CniResult> AsResult(const Json& value);

}  // namespace vxvde

#endif  // VXVDE_CNI_JSON_H_
