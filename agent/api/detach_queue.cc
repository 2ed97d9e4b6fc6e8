#include "agent/api/detach_queue.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agent/api/attachment_id.h"
#include "plugin/base/status.h"
#include "plugin/os/files.h"

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
  // Records have no nesting; dump() and the destructor of deep values are recursive.
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
  RETURN_IF_ERROR(MakeFolder(absl::StrCat(run_dir_, "/queue"), 0700));
  return ReplaceFile(Path(detach.id()), FormatQueuedDetach(detach));
}

absl::Status DetachQueue::Remove(const std::string& id) { return RemoveFile(Path(id)); }

absl::StatusOr<DetachQueue::Contents> DetachQueue::Load() {
  Contents contents;
  const std::string folder = absl::StrCat(run_dir_, "/queue");
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  if (absl::IsNotFound(names.status())) return contents;
  RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    // A partial file is being written, or its writer was killed: the runtime repeats that DEL.
    if (absl::EndsWith(name, kPartialSuffix) || absl::EndsWith(name, kBadSuffix)) continue;
    const std::string path = absl::StrCat(folder, "/", name);
    const absl::StatusOr<std::string> text = ReadFile(path, kMaxFile);
    if (absl::IsNotFound(text.status())) continue;  // the other side has removed it
    // Any other error may be temporary, and the DEL must not be lost.
    if (!text.ok() && !absl::IsInvalidArgument(text.status())) return text.status();
    absl::StatusOr<QueuedDetach> detach =
        text.ok() ? ParseQueuedDetach(*text) : absl::StatusOr<QueuedDetach>(text.status());
    if (detach.ok() && name != absl::StrCat(detach->id(), ".json")) {
      detach = absl::InvalidArgumentError(absl::StrCat("contains the DEL of ", detach->id()));
    }
    if (detach.ok()) {
      contents.detaches.push_back(*std::move(detach));
    } else {
      contents.problems.push_back(SetAside(path, detach.status()));
    }
  }
  return contents;
}

}  // namespace vxvde
