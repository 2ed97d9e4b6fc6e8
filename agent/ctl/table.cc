#include "agent/ctl/table.h"

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace vxvde {

std::string Printable(std::string text) {
  for (char& c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return text;
}

void Table::Add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = cell.empty() ? "-" : Printable(std::move(cell));
  rows_.push_back(std::move(cells));
}

std::string Table::Render() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = columns_[i].title.size();
    for (const auto& row : rows_) width = std::max(width, row[i].size());
    widths.push_back(width);
  }

  std::string out;
  const auto line = [&](const auto& cell_of) {
    std::string text;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_of(i);
      const std::string pad(widths[i] - cell.size(), ' ');
      absl::StrAppend(&text, i == 0 ? "" : "  ");
      if (columns_[i].align == Align::kRight) {
        absl::StrAppend(&text, pad, cell);
      } else {
        absl::StrAppend(&text, cell, pad);
      }
    }
    text.erase(text.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, text, "\n");
  };
  line([&](size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) {
    line([&](size_t i) -> const std::string& { return row[i]; });
  }
  return out;
}

std::string HumanNumber(uint64_t value) {
  constexpr char kUnits[] = "kMGTPE";
  if (value < 1000) return absl::StrCat(value);
  uint64_t thousandths = 0;
  size_t power = 0;
  for (; value >= 1000; ++power) {
    thousandths = value % 1000;
    value /= 1000;
  }
  const std::string unit(1, kUnits[power - 1]);
  if (value >= 10) return absl::StrCat(value, unit);
  return absl::StrCat(value, ".", thousandths / 100, unit);
}

std::string HumanDuration(Duration duration) {
  const int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  if (ns <= 0) return "0s";
  if (ns < 10'000'000) return absl::StrCat(ns / 1'000'000, ".", ns / 100'000 % 10, "ms");
  if (ns < 1'000'000'000) return absl::StrCat(ns / 1'000'000, "ms");

  const int64_t seconds = ns / 1'000'000'000;
  const struct {
    int64_t seconds;
    const char* name;
  } units[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
  std::string out;
  for (size_t i = 0; i < 4; ++i) {
    if (seconds < units[i].seconds) continue;
    absl::StrAppend(&out, seconds / units[i].seconds, units[i].name);
    const int64_t rest = seconds % units[i].seconds;
    if (i < 3 && rest >= units[i + 1].seconds) {
      absl::StrAppend(&out, rest / units[i + 1].seconds, units[i + 1].name);
    }
    break;
  }
  return out;
}

}  // namespace vxvde
