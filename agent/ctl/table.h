// Text output: tables with aligned columns, and short forms of sizes and durations. Pure.

#ifndef VXVDE_AGENT_CTL_TABLE_H_
#define VXVDE_AGENT_CTL_TABLE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "plugin/base/time.h"

namespace vxvde {

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column. An empty cell is shown as "-", a control character as "?".
  void Add(std::vector<std::string> cells);

  // A line of titles, then a line for each row. Two spaces separate columns; lines have no trailing
  // space.
  std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Replaces control characters, which could move a terminal's cursor, by "?".
std::string Printable(std::string text);

// 999, 1.2k, 34k, 5.6M ... in powers of 1000, rounded down, so that it never overstates.
std::string HumanNumber(uint64_t value);

// The two largest units: 1d1h, 1h5m, 2m30s, 3s. Below a second: 250ms, 0.3ms, 0s.
std::string HumanDuration(Duration duration);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CTL_TABLE_H_
