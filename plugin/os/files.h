// Operations on whole files: reading, replacing, removing, listing, and setting aside. Not here:
// the meaning of a file.
//
// A replacement is written beside the old file and renamed, so a reader sees the old or the new
// one. There is no fsync: run-dirs are on a tmpfs, and their content ends with a reboot.

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
  kRegular,  // a regular file, not behind a symbolic link; any other kind is refused without
             // blocking
  kAny,      // any file that can be opened
};

// InvalidArgument: not of `kind`, or larger than `max_size`; a retry does not help. NotFound: there
// is no such file.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_size,
                                     FileKind kind = FileKind::kRegular);

// Writes with mode 0600. A killed writer leaves a file of the name PATH with this suffix.
inline constexpr char kPartialSuffix[] = ".new";
absl::Status ReplaceFile(const std::string& path, absl::string_view text);

// Also OK if there is none.
absl::Status RemoveFile(const std::string& path);

// Also OK if the folder exists. Its parent must exist.
absl::Status MakeFolder(const std::string& path, unsigned mode);

// The names in `folder` except "." and "..", sorted. NotFound: there is no such folder.
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& folder);

// Renames an unusable file to PATH with this suffix. Returns a sentence for the log.
inline constexpr char kBadSuffix[] = ".bad";
std::string SetAside(const std::string& path, const absl::Status& why);

}  // namespace vxvde

#endif  // VXVDE_PLUGIN_OS_FILES_H_
