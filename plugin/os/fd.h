// UniqueFd, and the only conversion of an errno to a Status.

#ifndef VXVDE_PLUGIN_OS_FD_H_
#define VXVDE_PLUGIN_OS_FD_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vxvde {

// Owns a file descriptor and closes it on destruction.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// "WHAT: strerror(errno) (ENAME)", with a code that tells the caller what to do: EAGAIN ENOBUFS
// ENOMEM -> ResourceExhausted; ENOENT ENODEV ENXIO ESRCH -> NotFound; EEXIST EADDRINUSE ->
// AlreadyExists; EPERM EACCES -> PermissionDenied; EINVAL -> InvalidArgument; EOPNOTSUPP ENOSYS
// EPROTONOSUPPORT -> Unimplemented; ECONNREFUSED ENETDOWN ENETUNREACH EHOSTUNREACH -> Unavailable;
// the rest -> Internal. `error` is a positive errno value.
absl::Status ErrnoStatus(int error, absl::string_view what);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_FD_H_
