// Files as a whole: reading, replacing, removing, listing, and setting aside. Not here: what a file
// means.
//
// A replaced file is written beside and renamed, so a reader sees the old or the new one. There is
// no fsync: run-dirs are on a tmpfs, and what is in them ends with a reboot.

#ifndef VXVDE_PLUGIN_OS_FILES_H_
#define VXVDE_PLUGIN_OS_FILES_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vxvde {

enum class FileKind {
  kRegular,  // a regular file, not behind a symbolic link; others do not block the caller
  kAny,      // anything that opens
};

// InvalidArgument: not of `kind`, or larger than `max_size`; reading it again does not help.
// NotFound: there is none.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_size,
                                     FileKind kind = FileKind::kRegular);

// With mode 0600. What is left of a writer that was killed is PATH with this suffix.
inline constexpr char kPartialSuffix[] = ".new";
absl::Status ReplaceFile(const std::string& path, absl::string_view text);

// Also OK if there is none.
absl::Status RemoveFile(const std::string& path);

// OK as well if it is there. The folder above it exists.
absl::Status MakeFolder(const std::string& path, unsigned mode);

// The names in `folder` but for "." and "..", sorted. NotFound: there is no such folder.
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& folder);

// Renames a file that cannot be used to PATH with this suffix. Returns a sentence for the log.
inline constexpr char kBadSuffix[] = ".bad";
std::string SetAside(const std::string& path, const absl::Status& why);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_FILES_H_
