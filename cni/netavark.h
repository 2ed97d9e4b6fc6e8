// netavark's side of the plugin: what podman asks -> Request and JSON answers. Pure.
//
// podman runs `vxvde create` when a network is made; netavark runs `vxvde setup NETNS` and
// `vxvde teardown NETNS` for a container, and does no addressing, firewall or DNS for us: podman
// has chosen the addresses when the network has subnets. Adding and removing are those of
// commands.h. Source: netavark's plugin-API.md, API version 1.0.0.

#ifndef VXVDE_CNI_NETAVARK_H_
#define VXVDE_CNI_NETAVARK_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cni/request.h"
#include "cni/result.h"

namespace vxvde {

struct CreatedNetwork {
  std::string json;                // the network, for standard output
  std::vector<std::string> notes;  // for people: what was asked for and will not be so
};

// `network` as podman wants to keep it: checked, with defaults filled in; fields that we do not
// know come back unchanged.
absl::StatusOr<CreatedNetwork> CreateNetwork(absl::string_view network);

// `input` is the standard input of setup and teardown. The command is kAdd.
absl::StatusOr<Request> ParseSetup(absl::string_view netns, absl::string_view input);

// The command is kDel. Needs only what names the attachment; everything else in `input` may be
// wrong, so that nothing keeps a container from being removed (N5).
absl::StatusOr<Request> ParseTeardown(absl::string_view netns, absl::string_view input);

// netavark's StatusBlock. The gateway of an address is that of the default route of its family.
std::string FormatStatusBlock(const CniResult& result);

std::string FormatNetavarkError(const absl::Status& error);
std::string FormatNetavarkInfo();

}  // namespace vxvde

#endif  // VXVDE_CNI_NETAVARK_H_
