// UniqueFd and the errno table; the contract is in fd.h.

#include "plugin/os/fd.h"

#include <string.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace vxvde {

void UniqueFd::Reset(int fd) {
  // Linux releases the descriptor even if close() fails with EINTR, so it is never called twice.
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ESRCH:
      return absl::StatusCode::kNotFound;
    case EEXIST:
    case EADDRINUSE:
      return absl::StatusCode::kAlreadyExists;
    case EPERM:
    case EACCES:
      return absl::StatusCode::kPermissionDenied;
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    case EOPNOTSUPP:
    case ENOSYS:
    case EPROTONOSUPPORT:
      return absl::StatusCode::kUnimplemented;
    case ECONNREFUSED:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view what) {
  // Unlike strerror(), these two do not depend on thread and locale.
  const char* text = strerrordesc_np(error);
  const char* name = strerrorname_np(error);
  return absl::Status(CodeOf(error), absl::StrCat(what, ": ", text ? text : "unknown error", " (",
                                                  name ? name : absl::StrCat(error), ")"));
}

}  // namespace vxvde
