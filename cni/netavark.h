// netavark's plugin protocol: its JSON <-> AddRequest, DelRequest and answers. Pure.
//
// podman runs `vxvde create` when a network is created; netavark runs `vxvde setup NETNS` and
// `vxvde teardown NETNS` for a container. netavark does no addressing, firewall or DNS for a
// plugin; podman chooses the addresses if the network has subnets. This room only reads and writes
// JSON: setup and teardown are the same commands as CNI's ADD and DEL (commands.h). Specification:
// netavark's plugin-API.md, API version 1.0.0.

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
  std::vector<std::string> notes;  // for the log: settings that have no effect
};

// Validates `network` and fills in defaults; podman stores the answer. Unknown fields come back
// unchanged (N3).
absl::StatusOr<CreatedNetwork> CreateNetwork(absl::string_view network);

// `input` is the standard input of setup and teardown.
absl::StatusOr<AddRequest> ParseSetup(absl::string_view netns, absl::string_view input);

// Reads only the names of the attachment, so that an error elsewhere in `input` does not prevent
// the removal of a container (N5).
absl::StatusOr<DelRequest> ParseTeardown(absl::string_view netns, absl::string_view input);

// netavark's StatusBlock. The gateway of a subnet is that of the default route of its family.
std::string FormatStatusBlock(const CniResult& result);

std::string FormatNetavarkError(const absl::Status& error);
std::string FormatNetavarkInfo();

}  // namespace vxvde

#endif  // VXVDE_CNI_NETAVARK_H_
