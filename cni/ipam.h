// Delegation to an IPAM plugin: found in CNI_PATH, run with our environment and our
// configuration, as the specification says. The only place of this room that runs a program.
// Source: CNI SPEC 1.1.0, section 4, "Plugin Delegation".

#ifndef VXVDE_CNI_IPAM_H_
#define VXVDE_CNI_IPAM_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cni/request.h"
#include "cni/result.h"

namespace vxvde {

// `request.ipam.kind` is kDelegate for every call. An error of the plugin comes back with
// its own code, message and details.
class IpamPlugin {
 public:
  virtual ~IpamPlugin() = default;
  virtual absl::StatusOr<CniResult> Add(const Request& request) = 0;
  virtual absl::Status Delete(const Request& request) = 0;
  // OK from plugins that are older than STATUS (their codes are 1, 3 and 4).
  virtual absl::Status CheckStatus(const Request& request) = 0;
  // The same of CHECK, which came with 0.4.0, and of GC, which came with 1.1.0.
  virtual absl::Status Check(const Request& request) = 0;
  virtual absl::Status CollectGarbage(const Request& request) = 0;
};

// SIGPIPE must be ignored: a plugin need not read its input.
class ExecIpamPlugin : public IpamPlugin {
 public:
  // `environment` is this process's, whole; in the plugin's CNI_COMMAND differs, and the
  // attachment is that of the request, which GC has found.
  explicit ExecIpamPlugin(Environment environment) : environment_(std::move(environment)) {}

  absl::StatusOr<CniResult> Add(const Request& request) override;
  absl::Status Delete(const Request& request) override;
  absl::Status CheckStatus(const Request& request) override;
  absl::Status Check(const Request& request) override;
  absl::Status CollectGarbage(const Request& request) override;

 private:
  // Standard output of the plugin, once it has ended well. A plugin of the time before 1.1.0
  // (Debian 12's) is asked again in 1.0.0, which is the same for IPAM.
  absl::StatusOr<std::string> Run(absl::string_view command, const Request& request) const;
  absl::StatusOr<std::string> RunWith(absl::string_view command, const Request& request,
                                      absl::string_view config) const;

  // OK when the plugin is older than `command`.
  absl::Status RunIfKnown(absl::string_view command, const Request& request) const;

  Environment environment_;
};

}  // namespace vxvde

#endif  // VXVDE_CNI_IPAM_H_
