// Runs an IPAM plugin: finds it in CNI_PATH and passes it this process's environment and
// configuration. The only file of cni/ that runs a program.
//
// It does not interpret the lease beyond its syntax: add.cc does. Specification: CNI SPEC 1.1.0,
// section 4, "Plugin Delegation" (P1).

#ifndef VXVDE_CNI_IPAM_H_
#define VXVDE_CNI_IPAM_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cni/request.h"
#include "cni/result.h"

namespace vxvde {

// Does the plugin ask on the cloud, by the pod's interface? Then that has to exist and to carry
// frames while the plugin runs.
inline bool AsksOnLink(const IpamDelegate& delegate) { return delegate.type == "dhcp"; }

// An error of the plugin keeps its code, message and details.
class IpamPlugin {
 public:
  virtual ~IpamPlugin() = default;
  virtual absl::StatusOr<CniResult> Add(const IpamDelegate& delegate,
                                        const Container& container) = 0;
  virtual absl::Status Delete(const IpamDelegate& delegate, const Container& container) = 0;
  // OK for a plugin that is older than the command: CHECK exists since 0.4.0, STATUS and GC since
  // 1.1.0. Such plugins answer with code 1, 3 or 4.
  virtual absl::Status Check(const IpamDelegate& delegate, const Container& container) = 0;
  virtual absl::Status CheckStatus(const IpamDelegate& delegate) = 0;
  virtual absl::Status CollectGarbage(const IpamDelegate& delegate) = 0;
};

// SIGPIPE must be ignored: a plugin may exit without reading its input.
class ExecIpamPlugin : public IpamPlugin {
 public:
  // `environment` is that of this process. The plugin's differs in CNI_COMMAND, and names the
  // container of the call, which during GC is not this process's.
  explicit ExecIpamPlugin(Environment environment) : environment_(std::move(environment)) {}

  absl::StatusOr<CniResult> Add(const IpamDelegate& delegate, const Container& container) override;
  absl::Status Delete(const IpamDelegate& delegate, const Container& container) override;
  absl::Status Check(const IpamDelegate& delegate, const Container& container) override;
  absl::Status CheckStatus(const IpamDelegate& delegate) override;
  absl::Status CollectGarbage(const IpamDelegate& delegate) override;

 private:
  // Returns the plugin's standard output if it succeeds. A plugin that does not know 1.1.0 (Debian
  // 12's) is called again with 1.0.0, which is the same for IPAM. `container` is nullptr for STATUS
  // and GC.
  absl::StatusOr<std::string> Run(absl::string_view command, const IpamDelegate& delegate,
                                  const Container* container) const;
  absl::StatusOr<std::string> RunOnce(absl::string_view command, const IpamDelegate& delegate,
                                      const Container* container) const;

  // OK when the plugin is older than `command`.
  absl::Status RunIfKnown(absl::string_view command, const IpamDelegate& delegate,
                          const Container* container) const;

  Environment environment_;
};

}  // namespace vxvde

#endif  // VXVDE_CNI_IPAM_H_
