#include "cni/capabilities.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

using Finder = const Json* (*)(const Json& object, absl::string_view key);

absl::StatusOr<uint16_t> AsPort(const Json& mapping, Finder find, const char* key) {
  const Json* value = find(mapping, key);
  if (value == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("port mapping ", Show(mapping), ": ", key, " is missing"));
  }
  ASSIGN_OR_RETURN(const uint32_t port, AsNumber(*value, key, 65535));
  if (port == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("port mapping ", Show(mapping), ": ", key, " 0 is not a port"));
  }
  return static_cast<uint16_t>(port);
}

// The callers' forms differ only in the keys' names.
absl::StatusOr<PublishedPort> AsMapping(const Json& mapping, Finder find, const char* host_port,
                                        const char* container_port, const char* host_ip) {
  if (!mapping.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("port mapping ", Show(mapping), ": not an object"));
  }
  PublishedPort port;
  ASSIGN_OR_RETURN(port.host_port, AsPort(mapping, find, host_port));
  ASSIGN_OR_RETURN(port.container_port, AsPort(mapping, find, container_port));
  if (const Json* protocol = find(mapping, "protocol"); protocol != nullptr && *protocol != "") {
    ASSIGN_OR_RETURN(const std::string text, AsString(*protocol, "protocol"));
    port.protocol = absl::AsciiStrToLower(text);
    if (port.protocol != "tcp" && port.protocol != "udp" && port.protocol != "sctp") {
      return absl::InvalidArgumentError(absl::StrCat("port mapping ", Show(mapping), ": protocol ",
                                                     Show(*protocol), " is not tcp, udp or sctp"));
    }
  }
  if (const Json* ip = find(mapping, host_ip); ip != nullptr && *ip != "") {
    ASSIGN_OR_RETURN(const std::string text, AsString(*ip, host_ip));
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
    if (!address.ok()) {
      return Annotate(address.status(), absl::StrCat("port mapping ", Show(mapping)));
    }
    port.host_ip = *address;
  }
  return port;
}

absl::Status TooMany(absl::string_view key) {
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": more than ", kMaxPublishedPorts, " ports"));
}

// A negative number and a fraction are not `unsigned` in nlohmann's JSON.
absl::StatusOr<uint64_t> AsBits(const Json& value, const char* key) {
  const Json* bits = FindNoCase(value, key);
  if (bits == nullptr) return 0;
  if (bits->is_number_unsigned()) return bits->get<uint64_t>();
  return absl::InvalidArgumentError(
      absl::StrCat("bandwidth: ", key, " ", Show(*bits), " is not a whole number of bits"));
}

absl::StatusOr<std::optional<BitRate>> AsBitRate(const Json& value, const char* rate_key,
                                                 const char* burst_key) {
  BitRate found;
  ASSIGN_OR_RETURN(found.rate, AsBits(value, rate_key));
  ASSIGN_OR_RETURN(found.burst, AsBits(value, burst_key));
  if (found.rate == 0 && found.burst == 0) return std::nullopt;
  if (found.rate == 0 || found.burst == 0) {
    return absl::InvalidArgumentError(absl::StrCat("bandwidth: ", rate_key, " ", found.rate,
                                                   " and ", burst_key, " ", found.burst,
                                                   ": give both"));
  }
  return found;
}

}  // namespace

absl::StatusOr<std::vector<PublishedPort>> AsPortMappings(const Json& list) {
  if (!list.is_array()) {
    return absl::InvalidArgumentError(absl::StrCat("portMappings: not a list but ", Show(list)));
  }
  if (list.size() > kMaxPublishedPorts) return TooMany("portMappings");
  std::vector<PublishedPort> ports;
  for (const Json& mapping : list) {
    ASSIGN_OR_RETURN(PublishedPort port,
                     AsMapping(mapping, FindNoCase, "hostPort", "containerPort", "hostIP"));
    ports.push_back(std::move(port));
  }
  return ports;
}

absl::StatusOr<std::vector<PublishedPort>> AsPortRanges(const Json& list) {
  std::vector<PublishedPort> ports;
  for (const Json& mapping : list) {
    ASSIGN_OR_RETURN(PublishedPort port,
                     AsMapping(mapping, Find, "host_port", "container_port", "host_ip"));
    uint32_t range = 1;
    if (const Json* value = Find(mapping, "range")) {
      ASSIGN_OR_RETURN(range, AsNumber(*value, "range", 65535));
    }
    if (range == 0) range = 1;
    if (port.host_port + range - 1 > 65535 || port.container_port + range - 1 > 65535) {
      return absl::InvalidArgumentError(
          absl::StrCat("port mapping ", Show(mapping), ": its range ends after port 65535"));
    }
    if (ports.size() + range > kMaxPublishedPorts) return TooMany("port_mappings");
    for (; range > 0; --range) {
      ports.push_back(port);
      ++port.host_port;
      ++port.container_port;
    }
  }
  return ports;
}

absl::StatusOr<Bandwidth> AsBandwidth(const Json& value) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("bandwidth: not an object but ", Show(value)));
  }
  Bandwidth bandwidth;
  ASSIGN_OR_RETURN(bandwidth.ingress, AsBitRate(value, "ingressRate", "ingressBurst"));
  ASSIGN_OR_RETURN(bandwidth.egress, AsBitRate(value, "egressRate", "egressBurst"));
  return bandwidth;
}

}  // namespace vxvde
