// Text for people: tables with aligned columns, sizes and times in a few characters. Pure.

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

  // One cell a column. An empty cell shows as "-"; control characters as "?".
  void Add(std::vector<std::string> cells);

  // A line of titles, then a line for each row; two spaces between columns, none at the end.
  std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Without what could move a terminal's cursor: control characters become "?".
std::string Printable(std::string text);

// 999, 1.2k, 34k, 5.6M ... in powers of 1000, rounded down: never more than there is.
std::string HumanNumber(uint64_t value);

// The two largest units: 1d1h, 1h5m, 2m30s, 3s; below a second 250ms, 0.3ms; 0s.
std::string HumanDuration(Duration duration);

}  // namespace vxvde

#endif  // VXVDE_AGENT_CTL_TABLE_H_
