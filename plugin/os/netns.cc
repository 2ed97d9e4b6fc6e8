// Network namespaces; the contract is in netns.h.

#include "plugin/os/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <thread>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {

absl::StatusOr<UniqueFd> OpenNetNs(const std::string& path) {
  // O_NONBLOCK: the path comes from outside, and opening a FIFO would block for ever.
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    const int error = errno == ENOTDIR ? ENOENT : errno;
    return ErrnoStatus(error, absl::StrCat("open network namespace ", path));
  }
  if (ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a network namespace"));
  }
  return fd;
}

absl::StatusOr<UniqueFd> CurrentNetNs() { return OpenNetNs("/proc/thread-self/ns/net"); }

absl::StatusOr<std::string> IdOfNetNs(const UniqueFd& netns) {
  struct stat info = {};
  if (fstat(netns.get(), &info) != 0) return ErrnoStatus(errno, "stat network namespace");
  return absl::StrCat(info.st_dev, ":", info.st_ino);
}

absl::StatusOr<bool> SameNetNs(const UniqueFd& a, const UniqueFd& b) {
  ASSIGN_OR_RETURN(const std::string id_a, IdOfNetNs(a));
  ASSIGN_OR_RETURN(const std::string id_b, IdOfNetNs(b));
  return id_a == id_b;
}

absl::Status RunInNetNs(const UniqueFd& netns, absl::FunctionRef<absl::Status()> function) {
  absl::Status status;
  try {
    std::thread thread([&] {
      if (setns(netns.get(), CLONE_NEWNET) != 0) {
        status = ErrnoStatus(errno, "enter network namespace");
        return;
      }
      status = function();
    });
    thread.join();
  } catch (const std::system_error& error) {
    return ErrnoStatus(error.code().value(), "start a thread for a network namespace");
  }
  return status;
}

}  // namespace vxvde
