#include "plugin/os/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "plugin/os/fd.h"

namespace vxvde {

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_size, FileKind kind) {
  // O_NONBLOCK, because open() of a FIFO waits for a writer.
  const int flags = kind == FileKind::kRegular ? O_NOFOLLOW | O_NONBLOCK : 0;
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
  if (!file && errno == ELOOP) return absl::InvalidArgumentError("not a regular file");
  if (!file) return ErrnoStatus(errno, absl::StrCat("open ", path));
  if (kind == FileKind::kRegular) {
    struct stat info = {};
    if (fstat(file.get(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("stat ", path));
    if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("not a regular file");
  }
  std::string text;
  char buffer[16384];
  while (true) {
    const ssize_t n = read(file.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, absl::StrCat("read ", path));
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > max_size) {
      return absl::InvalidArgumentError(absl::StrCat("larger than ", max_size, " bytes"));
    }
  }
}

absl::Status ReplaceFile(const std::string& path, absl::string_view text) {
  const std::string partial = absl::StrCat(path, kPartialSuffix);
  const UniqueFd file(
      open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return ErrnoStatus(errno, absl::StrCat("create ", partial));
  absl::Cleanup remove = [&] { unlink(partial.c_str()); };
  while (!text.empty()) {
    const ssize_t n = write(file.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, absl::StrCat("write ", partial));
    text.remove_prefix(static_cast<size_t>(n));
  }
  if (rename(partial.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("rename ", partial, " to ", path));
  }
  std::move(remove).Cancel();
  return absl::OkStatus();
}

absl::Status RemoveFile(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("remove ", path));
}

absl::Status MakeFolder(const std::string& path, unsigned mode) {
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("make folder ", path));
}

absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), closedir);
  if (dir == nullptr) return ErrnoStatus(errno, absl::StrCat("open ", folder));
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(dir.get())) {
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return ErrnoStatus(errno, absl::StrCat("read ", folder));
  std::sort(names.begin(), names.end());
  return names;
}

std::string SetAside(const std::string& path, const absl::Status& why) {
  const std::string bad = absl::StrCat(path, kBadSuffix);
  const bool moved = rename(path.c_str(), bad.c_str()) == 0;
  return absl::StrCat(path, ": ", why.message(),
                      moved ? "; set aside as " : "; cannot be renamed to ", bad);
}

}  // namespace vxvde
