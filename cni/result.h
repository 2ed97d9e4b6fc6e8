// CNI results and errors <-> JSON, in every version of the specification. Pure.
//
// netavark's answers are in netavark.h. Specification: CNI SPEC 1.1.0, 1.0.0, 0.4.0, 0.3.1, 0.3.0,
// 0.2.0 and 0.1.0, "Result Types" ("Result" before 1.0) (E10).

#ifndef VXVDE_CNI_RESULT_H_
#define VXVDE_CNI_RESULT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cni/error.h"
#include "plugin/base/ip_address.h"

namespace vxvde {

enum class SpecVersion { k010, k020, k030, k031, k040, k100, k110 };
inline constexpr std::array<absl::string_view, 7> kSpecVersions = {
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
inline constexpr SpecVersion kLatestSpecVersion = SpecVersion::k110;

std::optional<SpecVersion> ParseSpecVersion(absl::string_view text);
inline absl::string_view ToString(SpecVersion version) {
  return kSpecVersions[static_cast<size_t>(version)];
}

struct ResultInterface {
  std::string name;
  std::string mac;
  uint32_t mtu = 0;     // 0: not given
  std::string sandbox;  // path of the namespace; empty: the host's

  bool operator==(const ResultInterface&) const = default;
};

struct ResultAddress {
  IpPrefix address;
  std::optional<IpAddress> gateway;
  std::optional<size_t> interface;  // index into `interfaces`

  bool operator==(const ResultAddress&) const = default;
};

struct ResultRoute {
  IpPrefix destination;
  std::optional<IpAddress> gateway;
  std::optional<uint32_t> mtu;
  std::optional<uint32_t> advmss;
  std::optional<uint32_t> priority;
  std::optional<uint32_t> table;
  std::optional<uint8_t> scope;

  // In the table that packets use by default.
  bool IsDefault() const;
  bool operator==(const ResultRoute&) const = default;
};

struct Dns {
  std::vector<std::string> nameservers;
  std::string domain;
  std::vector<std::string> search;
  std::vector<std::string> options;

  bool empty() const {
    return nameservers.empty() && domain.empty() && search.empty() && options.empty();
  }
  bool operator==(const Dns&) const = default;
};

struct CniResult {
  std::vector<ResultInterface> interfaces;
  std::vector<ResultAddress> addresses;
  std::vector<ResultRoute> routes;
  Dns dns;

  bool operator==(const CniResult&) const = default;
};

// One line of JSON. Versions up to 0.2.0 have one address of each family, the first, and no
// interfaces.
std::string FormatResult(const CniResult& result, SpecVersion version);

// Can `previous` be extended? kCniInvalidConfig if it is not an object, or a list in it is not one.
absl::Status CheckPreviousResult(absl::string_view previous);
// Appends `more` to `previous`, which passed CheckPreviousResult, and keeps unknown fields (A4).
// Versions up to 0.2.0 cannot express more: the answer is `previous`.
std::string ExtendResult(absl::string_view previous, const CniResult& more, SpecVersion version);

// `previous`, which passed CheckPreviousResult, without the default routes of `family`.
std::string WithoutDefaultRoutes(absl::string_view previous, int family);

// The answer of an IPAM plugin, in any version; the two shapes are told apart by their keys.
// Interfaces, which an IPAM plugin should omit, are ignored. kCniBadJson if it is not a JSON
// object, kCniInternal if a value does not conform to the specification.
absl::StatusOr<CniResult> ParseIpamResult(absl::string_view json);

std::string FormatError(const CniError& error, SpecVersion version);
// nullopt if `json` is not an error object: {"code": N != 0, "msg": "...", ...}.
std::optional<CniError> ParseError(absl::string_view json);

// The answer to VERSION, written in `version`.
std::string FormatVersions(SpecVersion version);

}  // namespace vxvde

#endif  // VXVDE_CNI_RESULT_H_
