#include "agent/api/detach_queue.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"
#include "plugin/os/fd.h"

namespace vxvde {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr size_t kMaxFile = 4096;  // a record has some hundred bytes

absl::StatusOr<std::string> Text(const Json& object, const char* key) {
  const auto value = object.find(key);
  if (value == object.end() || !value->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing or no text"));
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.empty() || absl::StrContains(text, '\0')) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is empty or contains a NUL"));
  }
  return text;
}

// O_NONBLOCK: whatever lies there, a pipe too, must not hold the agent up.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return ErrnoStatus(errno, absl::StrCat("open ", path));
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("look at ", path));
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("no plain file");
  std::string text(kMaxFile + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = read(file.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, absl::StrCat("read ", path));
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  if (size > kMaxFile) {
    return absl::InvalidArgumentError(absl::StrCat("larger than ", kMaxFile, " bytes"));
  }
  text.resize(size);
  return text;
}

}  // namespace

std::string QueuedDetach::id() const { return AttachmentId(network, container_id, ifname); }

std::string FormatQueuedDetach(const QueuedDetach& detach) {
  Json json;
  json["version"] = kVersion;
  json["network"] = detach.network;
  json["container_id"] = detach.container_id;
  json["ifname"] = detach.ifname;
  json["with_others"] = detach.with_others;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<QueuedDetach> ParseQueuedDetach(absl::string_view text) {
  // Nothing in a record is nested; dump() and the destructor of deep values are recursive.
  const auto flat = [](int depth, Json::parse_event_t, Json&) { return depth <= 1; };
  const Json json = Json::parse(text.begin(), text.end(), flat, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  const auto version = json.find("version");
  if (version == json.end() || *version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat("\"version\" is not ", kVersion));
  }
  QueuedDetach detach;
  ASSIGN_OR_RETURN(detach.network, Text(json, "network"));
  ASSIGN_OR_RETURN(detach.container_id, Text(json, "container_id"));
  ASSIGN_OR_RETURN(detach.ifname, Text(json, "ifname"));
  const auto others = json.find("with_others");
  if (others == json.end() || !others->is_boolean()) {
    return absl::InvalidArgumentError("\"with_others\" is missing or neither true nor false");
  }
  detach.with_others = others->get<bool>();
  return detach;
}

std::string DetachQueue::Path(const std::string& id) const {
  return absl::StrCat(run_dir_, "/queue/", id, ".json");
}

absl::Status DetachQueue::Put(const QueuedDetach& detach) {
  const std::string folder = absl::StrCat(run_dir_, "/queue");
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, absl::StrCat("make ", folder));
  }
  const std::string path = Path(detach.id());
  const std::string beside = absl::StrCat(path, ".new");
  const UniqueFd file(
      open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return ErrnoStatus(errno, absl::StrCat("create ", beside));
  absl::Cleanup remove = [&] { unlink(beside.c_str()); };
  const std::string text = FormatQueuedDetach(detach);
  const ssize_t n = write(file.get(), text.data(), text.size());
  if (n != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(n < 0 ? errno : ENOSPC, absl::StrCat("write ", beside));
  }
  if (rename(beside.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("rename ", beside));
  }
  std::move(remove).Cancel();
  return absl::OkStatus();
}

absl::Status DetachQueue::Remove(const std::string& id) {
  const std::string path = Path(id);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, absl::StrCat("remove ", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<DetachQueue::Contents> DetachQueue::Load() {
  Contents contents;
  const std::string folder = absl::StrCat(run_dir_, "/queue");
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), closedir);
  if (dir == nullptr && errno == ENOENT) return contents;
  if (dir == nullptr) return ErrnoStatus(errno, absl::StrCat("open ", folder));
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    // A file that is being written, or whose writer was killed: that DEL comes again.
    const bool ours = name != "." && name != ".." && !absl::EndsWith(name, ".new");
    if (ours && !absl::EndsWith(name, ".bad")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(folder, "/", name);
    const absl::StatusOr<std::string> text = ReadFile(path);
    if (absl::IsNotFound(text.status())) continue;  // the other side has taken it away
    absl::StatusOr<QueuedDetach> detach =
        text.ok() ? ParseQueuedDetach(*text) : absl::StatusOr<QueuedDetach>(text.status());
    if (detach.ok() && name != absl::StrCat(detach->id(), ".json")) {
      detach = absl::InvalidArgumentError(absl::StrCat("holds the DEL of ", detach->id()));
    }
    if (detach.ok()) {
      contents.detaches.push_back(*std::move(detach));
      continue;
    }
    const std::string bad = absl::StrCat(path, ".bad");
    const bool moved = rename(path.c_str(), bad.c_str()) == 0;
    contents.problems.push_back(absl::StrCat(path, ": ", detach.status().message(),
                                             moved ? "; set aside as " : "; cannot be renamed to ",
                                             bad));
  }
  return contents;
}

}  // namespace vxvde
