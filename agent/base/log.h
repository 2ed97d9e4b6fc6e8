// Log: one line an event, as key=value pairs. It does not know where lines go: main() supplies a
// sink (spdlog), and tests supply their own.

#ifndef VXVDE_AGENT_BASE_LOG_H_
#define VXVDE_AGENT_BASE_LOG_H_

#include <functional>
#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"

namespace vxvde {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

struct LogField {
  absl::string_view key;
  std::string value;
};

// `event=EVENT key=value ...`. A value that is empty, or contains anything but printable ASCII
// without space, quote, backslash and '=', is quoted and escaped, so that no value can forge a line
// or a key.
std::string FormatLogLine(absl::string_view event, std::initializer_list<LogField> fields);

class Log {
 public:
  using Sink = std::function<void(LogLevel, const std::string& line)>;
  using Fields = std::initializer_list<LogField>;

  explicit Log(Sink sink) : sink_(std::move(sink)) {}

  void Debug(absl::string_view event, Fields fields) const {
    Write(LogLevel::kDebug, event, fields);
  }
  void Info(absl::string_view event, Fields fields) const { Write(LogLevel::kInfo, event, fields); }
  void Warn(absl::string_view event, Fields fields) const { Write(LogLevel::kWarn, event, fields); }
  void Error(absl::string_view event, Fields fields) const {
    Write(LogLevel::kError, event, fields);
  }

 private:
  void Write(LogLevel level, absl::string_view event, Fields fields) const {
    if (sink_) sink_(level, FormatLogLine(event, fields));
  }
  Sink sink_;
};

}  // namespace vxvde

#endif  // VXVDE_AGENT_BASE_LOG_H_
