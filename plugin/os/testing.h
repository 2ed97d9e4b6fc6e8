// Temporary network namespaces for tests. They have no name and end with the process, even if it
// crashes, so nothing has to be cleaned up. Requires root.

#ifndef VXVDE_PLUGIN_OS_TESTING_H_
#define VXVDE_PLUGIN_OS_TESTING_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "plugin/base/ids.h"
#include "plugin/os/fd.h"
#include "plugin/os/netlink.h"

namespace vxvde {

// A new network namespace with lo up. A failure fails the test.
class TestNetNs {
 public:
  TestNetNs();

  const UniqueFd& fd() const { return fd_; }
  // For programs: nsenter --net=PATH. Valid during the lifetime of this object.
  std::string path() const;

  // Runs `function` on a thread of its own, inside.
  void Run(absl::FunctionRef<void()> function) const;
  // Runs `command` (sh) inside. Fails the test, with its output, unless it exits with 0.
  void Shell(const std::string& command) const;
  // The same; what it prints on its standard output.
  std::string Output(const std::string& command) const;
  Netlink OpenNetlink() const;
  // Brings the link up with an address (IPv6: usable at once) and returns its index.
  IfIndex SetUp(const std::string& link, const std::string& prefix) const;
  // Waits until frames pass, which takes both ends of a veth pair to be up and a moment more.
  void WaitUntilRunning(IfIndex link) const;
  // A counter of /proc/net/snmp (of both families for TCP), e.g. "Tcp", "InCsumErrors".
  uint64_t Snmp(const std::string& protocol, const std::string& counter) const;

 private:
  UniqueFd fd_;
};

// A veth pair between two namespaces, both ends down.
void ConnectVeth(const TestNetNs& a, const std::string& name_a, const TestNetNs& b,
                 const std::string& name_b, int mtu = 1500);

// Runs `function` on a thread in which the system call `number` (SYS_...) fails with `error`, as it
// would on another machine.
void RunWithFailing(int number, int error, absl::FunctionRef<void()> function);

// Waits until `condition` holds, 10 s at most; the caller reports false as a failure.
bool WaitFor(absl::FunctionRef<bool()> condition);

// The value of `result`, or an abort with its status: for the set-up of a test.
template <typename T>
T ValueOrDie(absl::StatusOr<T> result);

[[noreturn]] void DieOf(const absl::Status& status);

template <typename T>
T ValueOrDie(absl::StatusOr<T> result) {
  if (!result.ok()) DieOf(result.status());
  return *std::move(result);
}

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_TESTING_H_
