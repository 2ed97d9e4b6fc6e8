#include "agent/base/log.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vxvde {
namespace {

bool IsPlain(char c) {
  return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '"' && c != '\\' && c != '=';
}

std::string Quoted(absl::string_view value) {
  if (!value.empty() && std::all_of(value.begin(), value.end(), IsPlain)) return std::string(value);
  return absl::StrCat("\"", absl::Utf8SafeCEscape(value), "\"");
}

}  // namespace

std::string FormatLogLine(absl::string_view event, std::initializer_list<LogField> fields) {
  std::string line = absl::StrCat("event=", Quoted(event));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", field.key, "=", Quoted(field.value));
  }
  return line;
}

}  // namespace vxvde
